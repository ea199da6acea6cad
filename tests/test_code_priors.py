"""Distributions and priors of codes against enumeration, torch.distributions and a Markov chain of known entropy."""

import math

import pyro
from pyro import poutine
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from inference import evaluate, fit, log_weights
from inference.tracing.trace import trace
from pyro_lvm import Pair
from pyro_lvm.contract import check_pair
from pyro_lvm.distributions.codes import AutoregressiveCodes, CategoricalCodes, UniformCodes
from pyro_lvm.priors.autoregressive import PixelCNNPrior, TransformerPrior
from pyro_lvm.priors.codes import CategoricalCodePrior, UniformCodePrior
from pyro_lvm.sites import is_discrete

V = 3
PRIORS = {
    "uniform-grid": lambda: UniformCodePrior((2, 2), V),
    "uniform-sequence": lambda: UniformCodePrior((4,), V),
    "categorical-grid": lambda: CategoricalCodePrior((2, 2), V),
    "categorical-sequence": lambda: CategoricalCodePrior((4,), V),
    "pixelcnn": lambda: PixelCNNPrior((2, 2), V, channels=4, layers=1),
    "pixelcnn-column": lambda: PixelCNNPrior((4, 1), V, channels=4, layers=1),
    "transformer-grid": lambda: TransformerPrior((2, 2), V, width=8, depth=1, heads=2),
    "transformer-sequence": lambda: TransformerPrior((4,), V, width=8, depth=1, heads=2),
}
AUTOREGRESSIVE = {
    "pixelcnn": lambda: PixelCNNPrior((4, 5), 6, channels=8, layers=1),
    "pixelcnn-deep": lambda: PixelCNNPrior((4, 5), 6, channels=8, layers=3),
    "transformer": lambda: TransformerPrior((4, 5), 6, width=8, depth=1, heads=2),
}


def perturbed(build):
    """Far from the start, where all codes are almost alike."""
    torch.manual_seed(0)
    module = build().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return module


@pytest.fixture(params=PRIORS)
def prior(request):
    return perturbed(PRIORS[request.param])


@pytest.fixture(params=AUTOREGRESSIVE)
def causal(request):
    return perturbed(AUTOREGRESSIVE[request.param])


def random_logits(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def slot_by_slot(p, z):
    """The sum of the conditional log probabilities of the codes that are there."""
    terms = p.conditional_logits(z).gather(-1, z[..., None])[..., 0]
    return terms.sum(tuple(range(-len(p.event_shape), 0)))


# Densities


@torch.no_grad()
def test_masses_of_all_states_add_up_to_one(prior):
    p = prior()
    z = p.enumerate_support()
    assert z.shape == (V**4, *p.event_shape) and len(z.unique(dim=0)) == V**4
    assert p.batch_shape == () and is_discrete(p) and p.has_enumerate_support and not p.has_rsample
    torch.testing.assert_close(p.log_prob(z).exp().sum(), torch.ones((), dtype=torch.float64), rtol=0, atol=1e-12)


@torch.no_grad()
def test_conditionals_are_normalized_and_multiply_to_the_density(prior):
    p = prior()
    z = p.sample((5, 7))
    conditional = p.conditional_logits(z)
    assert conditional.shape == (5, 7, *p.event_shape, V)
    torch.testing.assert_close(conditional.exp().sum(-1), torch.ones(z.shape, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(slot_by_slot(p, z), p.log_prob(z), rtol=0, atol=1e-12)


def test_uniform_mass_is_exact():
    p = UniformCodePrior((8, 8), 512)()
    assert (p.log_prob(p.sample((3,))) == torch.tensor(-64 * math.log(512))).all()
    assert UniformCodePrior((8, 8), 512).double()().log_prob(p.sample()).item() == -64 * math.log(512)


@pytest.mark.parametrize("make", [CategoricalCodePrior, PixelCNNPrior, TransformerPrior])
def test_learned_priors_start_near_the_uniform(make):
    torch.manual_seed(0)
    p = make((3, 4), 32)()
    gap = p.conditional_logits(p.sample((50,))) + math.log(32)
    assert gap.abs().max() < 0.5  # 5 standard deviations: a last layer of .1 / sqrt(width) reads features of about unit variance


@pytest.mark.parametrize(("shape", "event_dims"), [((2, 3), 1), ((5, 2, 3), 1), ((4, 5, 2, 2, 3), 2)])
def test_categorical_codes_are_torchs_categorical(shape, event_dims):
    logits = random_logits(*shape).requires_grad_()
    p = CategoricalCodes(logits, event_dims)
    reference = torch.distributions.Independent(torch.distributions.Categorical(logits=logits), event_dims)
    assert p.batch_shape == reference.batch_shape and p.event_shape == reference.event_shape
    z = reference.sample((6,))
    torch.testing.assert_close(p.log_prob(z), reference.log_prob(z), rtol=0, atol=1e-12)
    weight = torch.randn_like(p.log_prob(z))
    got, expected = (torch.autograd.grad((weight * q.log_prob(z)).sum(), logits)[0] for q in (p, reference))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_values_and_batches_broadcast():
    p = CategoricalCodes(random_logits(5, 2, V), 1)
    z = p.sample((4,))  # [4, 5, 2]
    expected = torch.distributions.Independent(torch.distributions.Categorical(logits=p.logits), 1).log_prob(z)
    torch.testing.assert_close(p.expand((4, 5)).log_prob(z), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(p.log_prob(z[0, 0]), p.log_prob(z[0, 0].expand(5, 2)), rtol=0, atol=0)
    assert p.expand((4, 5)).log_prob(z[0]).shape == (4, 5)
    assert p.log_prob(z.int()).equal(p.log_prob(z))


def test_slots_see_all_slots_before_them_and_no_other(causal):
    """Changing slot j changes the logits of every later slot, and of no other: no look ahead, no blind spot."""
    torch.manual_seed(2)
    z = torch.randint(6, (20,))
    changed = (z + torch.eye(20, dtype=torch.long)) % 6  # row j differs at slot j
    with torch.no_grad():
        logits = causal.logits(torch.cat([z[None], changed]).view(21, 4, 5)).flatten(1, 2)  # [21, 20, 6]
    effect = (logits[1:] - logits[0]).abs().amax(-1)  # [slot changed, slot seen]
    later = torch.ones(20, 20).triu(1).bool()
    assert (effect[~later] == 0).all()
    assert (effect[later] > 1e-9).all()  # rounding is 1e-15


@torch.no_grad()
def test_the_order_of_earlier_slots_matters(causal):
    z = torch.tensor([0, 1, 2, 3, 4] * 4)
    swapped = z.clone()
    swapped[[2, 4]] = z[[4, 2]]
    first, second = causal.logits(torch.stack([z, swapped]).view(2, 4, 5))
    assert ((first - second)[1:].abs().amax(-1) > 1e-9).all()  # rounding is 1e-15


def test_the_reach_of_a_pixelcnn_is_what_it_says():
    model = perturbed(lambda: PixelCNNPrior((8, 8), 4, channels=4, layers=4))
    z = torch.zeros(8, 8, dtype=torch.long)
    corners = torch.stack([z, z.clone(), z.clone(), z.clone()])
    corners[1, 0, 0], corners[2, 6, 7], corners[3, 7, 0] = 1, 1, 1
    with torch.no_grad():
        logits = model.logits(corners)
    for changed, seen in ((1, (7, 7)), (2, (7, 0)), (3, (7, 7))):
        assert (logits[changed][seen] != logits[0][seen]).all()


@torch.no_grad()
def test_leading_dimensions_and_training_mode_do_not_matter(causal):
    z = torch.randint(6, (2, 3, 1, 4, 5))
    expected = torch.stack([causal.logits(row) for row in z.reshape(6, 4, 5)]).view(2, 3, 1, 4, 5, 6)
    torch.testing.assert_close(causal.train().logits(z), expected, rtol=0, atol=1e-12)
    assert causal.eval().logits(z).equal(causal.train().logits(z))
    assert causal.logits(z[:0]).shape == (0, 3, 1, 4, 5, 6)


# Draws


def assert_frequencies(p, z):
    """Draws ``[N, *S]`` against the exact mass of every state, within 5 standard errors."""
    states = p.enumerate_support()
    mass = p.log_prob(states).exp()
    weights = p.num_codes ** torch.arange(p.event_shape.numel()).flip(0)
    counts = torch.bincount((z.flatten(1) * weights).sum(1), minlength=len(states))
    error = (mass * (1 - mass) / len(z)).sqrt()
    assert ((counts / len(z) - mass).abs() < 5 * error).all()


@torch.no_grad()
def test_draws_have_the_frequencies_of_the_masses(prior):
    torch.manual_seed(3)
    p = prior()
    z = p.expand((200,)).sample((100,))
    assert z.shape == (100, 200, *p.event_shape) and z.dtype == torch.int64 and z.is_contiguous()
    assert_frequencies(p, z.flatten(0, 1))


@torch.no_grad()
def test_every_row_of_a_batch_is_drawn_from_its_own_table():
    torch.manual_seed(4)
    logits = 2 * random_logits(3, 1, 2, V)  # sizes of 1 are expanded, the others kept
    p = CategoricalCodes(logits, 1).expand((2, 3, 4))
    z = p.sample((5000,))
    assert z.shape == (5000, 2, 3, 4, 2)
    for row in range(3):
        assert_frequencies(CategoricalCodes(logits[row, 0], 1), z[:, :, row].reshape(-1, 2))


def test_seeds_decide_the_draws(prior):
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(prior().sample((30,)))
    assert draws[0].equal(draws[1]) and not draws[0].equal(draws[2])


@pytest.mark.parametrize("dead", [0, 1, 3])
def test_a_code_of_no_mass_is_never_drawn(dead, monkeypatch):
    logits = torch.zeros(2, 4)
    logits[:, dead] = -torch.inf
    p = CategoricalCodes(logits, 1, validate_args=True)
    for extreme in (0.0, 1 / 3, 2 / 3, 1 - 2.0**-53):  # ends, and the edges between codes
        monkeypatch.setattr(torch, "rand", lambda *shape, extreme=extreme, **kw: torch.full(shape, extreme, **kw))
        assert (p.sample((5,)) != dead).all()
    assert p.log_prob(torch.tensor([dead, 2])) == -torch.inf


def test_a_code_of_little_mass_is_drawn_where_its_turn_comes(monkeypatch):
    """A mass of 1e-9 after one of nearly 1: float32 sums would never reach it."""
    p = CategoricalCodes(torch.tensor([[0.0, math.log(1e-9)]]), 1)
    for number, code in ((1 - 0.9e-9, 1), (1 - 1.1e-9, 0)):
        monkeypatch.setattr(torch, "rand", lambda *shape, number=number, **kw: torch.full(shape, number, **kw))
        assert p.sample() == code


def test_a_density_scored_without_gradients_still_has_one():
    logits = random_logits(2, V).requires_grad_()
    p, z = CategoricalCodes(logits, 1), torch.tensor([0, 2])
    with torch.no_grad():
        assert not p.log_prob(z).requires_grad
    expected = nn.functional.one_hot(z, V) - logits.softmax(-1)
    torch.testing.assert_close(torch.autograd.grad(p.log_prob(z), logits)[0], expected, rtol=0, atol=1e-12)


# Expanding and enumerating


def test_expanding_copies_nothing_and_changes_no_density():
    logits = random_logits(1, 2, 2, V)
    p = CategoricalCodes(logits, 2)
    wide = p.expand((3, 100, 7))
    assert wide.logits.data_ptr() == logits.data_ptr() and wide.logits.untyped_storage().nbytes() == logits.nbytes
    assert wide.expand((2, 3, 100, 7)).batch_shape == (2, 3, 100, 7)
    z = wide.sample()
    assert wide.log_prob(z).shape == (3, 100, 7)
    torch.testing.assert_close(wide.log_prob(z), CategoricalCodes(logits[0], 2).log_prob(z), rtol=0, atol=0)
    assert wide.conditional_logits(z).data_ptr() == wide.conditional_logits(z).data_ptr()  # normalized once


def test_nothing_as_large_as_codes_times_v_is_made():
    """The largest tensor of a density and its gradient, and of a draw, read off their graphs."""
    particles, size, slots, codes = 50, 8, 3, 64
    logits = torch.randn(size, slots, codes, requires_grad=True)

    def scored(z):
        log_prob = CategoricalCodes(logits, 1).expand((particles, size)).log_prob(z)
        return log_prob, *torch.autograd.grad(log_prob.sum(), logits)

    z = torch.randint(codes, (particles, size, slots))
    drawn = trace(lambda z: (CategoricalCodes(logits, 1).expand((particles, size)).sample(),), z)
    for graph in (trace(scored, z), drawn):
        numels = [node.meta["val"].numel() for node in graph.module.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
        assert max(numels) == max(z.numel(), logits.numel())


def test_enumerated_values_are_in_raster_order():
    p = CategoricalCodes(random_logits(5, 2, 2, V), 2)
    values = p.enumerate_support(expand=False)
    assert values.shape == (81, 1, 2, 2) and p.enumerate_support().shape == (81, 5, 2, 2)
    assert values.flatten(1).equal(torch.cartesian_prod(*[torch.arange(V)] * 4))
    torch.testing.assert_close(p.log_prob(values).exp().sum(0), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-12)


def observing(prior, decoder):
    """A pair whose latent codes are summed out: z ~ prior, x ~ N(decoder[z], 1)."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior(), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(decoder[z].sum(-1), 1.0), obs=x)

    return Pair(model, lambda x: None)


@pytest.mark.parametrize("make", [CategoricalCodePrior, TransformerPrior])
@torch.no_grad()
def test_enumerated_log_px_is_the_sum_over_all_codes(make):
    prior, decoder = perturbed(lambda: make((4,), V)), random_logits(V)
    x = torch.tensor([-1.0, 0.3, 2.0, 0.0, 5.0]).double()
    z = torch.cartesian_prod(*[torch.arange(V)] * 4)
    log_joint = prior().log_prob(z)[:, None] + dist.Normal(decoder[z].sum(-1)[:, None], 1.0).log_prob(x)  # [81, 5]
    pair = observing(prior, decoder)
    assert check_pair(pair, x).enumerated == ("z",)
    torch.testing.assert_close(log_weights(pair, x, num_particles=2), log_joint.logsumexp(0).expand(2, 5), rtol=0, atol=1e-12)
    score = evaluate(pair, x, num_particles=100, progress=False)
    torch.testing.assert_close(score.log_px, log_joint.logsumexp(0), rtol=0, atol=1e-12)
    assert score.is_exact and score.num_particles == 1 and (score.mc_error == 0).all()
    assert "log p(x) = " in str(score) and "Exact: every latent is summed out" in str(score)


# In Pyro, traced, trained


def test_codes_in_plates_are_particles_by_data(prior):
    def model():
        with pyro.plate("particles", 4, dim=-2), pyro.plate("data", 3, dim=-1):
            return pyro.sample("z", prior())

    sites = poutine.trace(model).get_trace()
    sites.compute_log_prob()
    z = sites.nodes["z"]["value"]
    assert z.shape == (4, 3, *prior().event_shape)
    assert sites.nodes["z"]["log_prob"].shape == (4, 3)
    torch.testing.assert_close(sites.nodes["z"]["log_prob"], slot_by_slot(prior(), z), rtol=0, atol=1e-12)
    assert sites.nodes["z"]["fn"].conditional_logits(z).shape == (*z.shape, V)


@pytest.mark.parametrize("name", ["uniform-grid", "categorical-grid", "pixelcnn", "transformer-sequence"])
def test_traced_densities_gradients_and_draws_are_the_eager_ones(name):
    prior = perturbed(PRIORS[name])
    parameters = list(prior.parameters())

    def scored(z):
        log_prob = prior().expand((4, 3)).log_prob(z)
        return log_prob, *(torch.autograd.grad(log_prob.sum(), parameters) if parameters else ())

    def drawn(z):
        return (prior().expand((4, 3)).sample(),)

    z = prior().sample((4, 3))
    graphs = trace(scored, z), trace(drawn, z)
    with torch.no_grad():  # what the graphs read is read anew
        for parameter in parameters:
            parameter.mul_(0.9)
    for got, expected in zip(graphs[0](z), scored(z), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    draws = []
    for function in (graphs[1], drawn):
        torch.manual_seed(5)
        draws += function(z)
    assert draws[0].equal(draws[1])


class MarkovChain:
    """A chain of 4 codes that likes to stay, in raster order, with its exact masses."""

    def __init__(self):
        self.start = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
        self.step = torch.tensor([[0.8, 0.1, 0.1], [0.05, 0.9, 0.05], [0.3, 0.1, 0.6]], dtype=torch.float64)
        self.states = torch.cartesian_prod(*[torch.arange(V)] * 4)
        before, after = self.states[:, :-1], self.states[:, 1:]
        self.mass = self.start[self.states[:, 0]] * self.step[before, after].prod(1)  # [81]
        self.entropy = -(self.mass * self.mass.log()).sum()

    def sample(self, num_data):
        return self.states[self.mass.multinomial(num_data, replacement=True, generator=torch.Generator().manual_seed(6))]

    def marginal_entropies(self):
        """The least that independent slots can reach."""
        total, marginal = 0.0, self.start
        for _ in range(4):
            total, marginal = total - (marginal * marginal.log()).sum(), marginal @ self.step
        return total


def test_the_chains_entropy_is_that_of_its_steps():
    chain = MarkovChain()
    marginal = chain.start
    total = -(marginal * marginal.log()).sum()
    for _ in range(3):
        total = total - (marginal[:, None] * chain.step * chain.step.log()).sum()
        marginal = marginal @ chain.step
    torch.testing.assert_close(chain.entropy, total, rtol=0, atol=1e-12)
    assert chain.marginal_entropies() - chain.entropy > 1.0


@pytest.mark.parametrize(
    ("make", "is_independent"),
    [
        (lambda: CategoricalCodePrior((4,), V), True),
        (lambda: PixelCNNPrior((2, 2), V, channels=16, layers=1), False),
        (lambda: TransformerPrior((4,), V, width=16, depth=1, heads=2), False),
    ],
    ids=["categorical", "pixelcnn", "transformer"],
)
def test_a_prior_learns_a_markov_chain(make, is_independent):
    """Its exact expected code length under the chain, by enumeration, comes within 1 % of the least: the chain's entropy, or, for slots
    that are independent, the sum of theirs, 1.3 nats more. The 8 free numbers of the chain, learned from 4000 data, cost .001 nats.
    """
    chain = MarkovChain()
    torch.manual_seed(0)
    prior = make()

    def model(z):
        pyro.module("prior", prior)
        with pyro.plate("data", len(z)):
            pyro.sample("z", prior(), obs=z)

    data = chain.sample(4000).view(-1, *prior.shape)
    fit(Pair(model, lambda z: None), data, epochs=5, batch_size=200, learning_rate=1e-2, compile=False, progress=False)
    with torch.no_grad():
        nll = -(chain.mass * prior().log_prob(chain.states.view(-1, *prior.shape)).double()).sum()
    least = chain.marginal_entropies() if is_independent else chain.entropy
    assert -1e-4 < nll - least < 0.01 * chain.entropy  # a float32 density may add up to a little more than one


# Errors


def test_nan_logits_are_named():
    logits = torch.zeros(2, V)
    logits[0, 0] = torch.nan
    with pytest.raises(ValueError, match="parameter logits .* CategoricalCodes"):
        CategoricalCodes(logits, 1, validate_args=True)
    p = AutoregressiveCodes(lambda z: logits.expand(*z.shape, V), (2,), V, validate_args=True)
    with pytest.raises(ValueError, match="parameter logits"):
        p.log_prob(torch.zeros(2, dtype=torch.long))
    with pyro.validation_enabled(False):
        broken = CategoricalCodes(logits, 1, validate_args=False)
        assert broken.sample((50,)).max() < V and broken.log_prob(broken.sample()).isnan()


@pytest.mark.parametrize("value", [torch.tensor([0, V]), torch.tensor([-1, 0]), torch.zeros(3, dtype=torch.long)])
@pytest.mark.parametrize(
    "p",
    [
        UniformCodes((2,), V, validate_args=True),
        CategoricalCodes(torch.zeros(2, V), 1, validate_args=True),
        AutoregressiveCodes(lambda z: torch.zeros(*z.shape, V), (2,), V, validate_args=True),
    ],
    ids=["uniform", "categorical", "autoregressive"],
)
def test_values_outside_the_support_are_refused(p, value):
    with pytest.raises(ValueError, match="within the support|size of tensor|event_shape|broadcastable"):
        p.log_prob(value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CategoricalCodes(torch.zeros(V), 0), r"event_dims=0.*shape \(1,\)"),
        (lambda: CategoricalCodes(torch.zeros(2, V), 2), "event_dims=2"),
        (lambda: CategoricalCodes(torch.zeros(0, V), 1), "sizes of at least 1"),
        (lambda: UniformCodes((), V), "at least one slot dimension"),
        (lambda: CategoricalCodes(torch.zeros(5, 2, V), 1).expand((4,)), r"cannot be expanded to \(4,\)"),
        (lambda: CategoricalCodes(torch.zeros(5, 2, V), 1).expand(()), "cannot be expanded"),
        (lambda: UniformCodes((21,), 2).enumerate_support(), r"at most 1048576 .* got 2\*\*21.*fewer slots"),
        (lambda: AutoregressiveCodes(lambda z: torch.zeros(2, V), (2,), V).sample((4,)), r"must return logits of shape \(4, 2, 3\)"),
        (lambda: UniformCodePrior((2,), 1), "num_codes must be an integer of at least 2; got 1"),
        (lambda: CategoricalCodePrior((2, 0), V), r"positive size.*got \(2, 0\)"),
        (lambda: CategoricalCodePrior((), V), "positive size"),
        (lambda: PixelCNNPrior((2,), V), r"\(height, width\); got \(2,\).*TransformerPrior"),
        (lambda: PixelCNNPrior((2, 2), V, layers=0), "layers must be an integer of at least 1"),
        (lambda: TransformerPrior((2,), V, width=10, heads=4), "multiple of heads"),
        (lambda: TransformerPrior((2, 3), V).logits(torch.zeros(3, 2).long()), r"\[\*lead, 2, 3\]; got \(3, 2\).*Reshape"),
        (lambda: PixelCNNPrior((2, 3), V).logits(torch.zeros(3).long()), r"\[\*lead, 2, 3\]; got \(3,\)"),
    ],
)
def test_errors_name_what_is_wrong(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_largest_enumeration_is_allowed():
    assert UniformCodes((5,), 16).enumerate_support(expand=False).shape == (2**20, 5)


def test_parameters_are_those_that_are_saved(prior):
    assert set(prior.state_dict()) == {name for name, _ in prior.named_parameters()}
    assert isinstance(prior, nn.Module)
