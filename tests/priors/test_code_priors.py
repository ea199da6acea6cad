"""Priors of codes against enumeration and a Markov chain of known entropy."""

import math

from parts import perturbed, random_logits
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
from pyro_lvm.priors.autoregressive import PixelCNNPrior, TransformerPrior
from pyro_lvm.priors.codes import CategoricalCodePrior, UniformCodePrior

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


def far_from_start(build):
    """Where not all codes are almost alike."""
    return perturbed(lambda: build().double(), 0.4)


@pytest.fixture(params=PRIORS)
def prior(request):
    return far_from_start(PRIORS[request.param])


@pytest.fixture(params=AUTOREGRESSIVE)
def causal(request):
    return far_from_start(AUTOREGRESSIVE[request.param])


def slot_by_slot(p, z):
    """The sum of the conditional log probabilities of the codes that are there."""
    terms = p.conditional_logits(z).gather(-1, z[..., None])[..., 0]
    return terms.sum(tuple(range(-len(p.event_shape), 0)))


# Densities


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
    model = far_from_start(lambda: PixelCNNPrior((8, 8), 4, channels=4, layers=4))
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


# Enumerated, in Pyro, traced, trained


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
    prior, decoder = far_from_start(lambda: make((4,), V)), random_logits(V)
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
    prior = far_from_start(PRIORS[name])
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


@pytest.mark.parametrize(
    ("build", "message"),
    [
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


def test_parameters_are_those_that_are_saved(prior):
    assert set(prior.state_dict()) == {name for name, _ in prior.named_parameters()}
    assert isinstance(prior, nn.Module)
