"""The gradients of objectives against finite differences of what they claim to estimate, and against closed forms."""

from functools import partial
from itertools import product
import math

from oracles import LinearGaussian, two_modalities
import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.infer import SVI
import pytest
import torch
from torch import nn

from inference import IWAE, STL, VIMCO, AnalyticKL, DReG, FreeBits, KLWeight
import pyro_lvm as lvm

NUM_ROWS, NUM_RUNS, STEP = 600, 12, 1e-5
pytestmark = pytest.mark.usefixtures("double")


def parts(prior="standard", features=3, latents=2):
    torch.manual_seed(3)
    encoder = lvm.NormalEncoder(nn.Linear(features, 2 * latents))
    prior = {
        "standard": lambda: lvm.StandardNormal(latents),
        "mixture": lambda: lvm.GaussianMixturePrior(latents, 3),
        "vamp": lambda: lvm.VampPrior(encoder, torch.randn(4, features)),
        "maf": lambda: lvm.FlowPrior(lvm.maf(latents, transforms=1, hidden=[4])),
    }[prior]()
    return lvm.VAE(prior, lvm.GaussianLikelihood(nn.Linear(latents, features)), encoder)


def flow_guide():
    torch.manual_seed(3)
    vae = parts()
    vae.encoder = lvm.FlowEncoder(nn.Linear(3, 5), lvm.iaf(2, 1, hidden=[4]))
    for parameter in vae.encoder.parameters():
        nn.init.normal_(parameter, std=0.4)
    return vae


def levels(num_levels=3, declared=None, mask=None, is_sliced=False, cost=0.0):
    """A pair of functions with several levels, below which the guide's distributions depend on the draws above."""
    torch.manual_seed(3)
    up, down = nn.ModuleList(nn.Linear(1, 1) for _ in range(num_levels - 1)), nn.Linear(num_levels, 3)
    encoder, across = nn.Linear(3, 2 * num_levels), nn.ModuleList(nn.Linear(1, 2) for _ in range(num_levels - 1))

    def plate(x):
        return pyro.plate("data", declared or len(x), subsample_size=len(x), dim=-1)

    def model(x):
        pyro.module("up", up)
        pyro.module("down", down)
        with plate(x):
            z = [pyro.sample("z0", dist.Normal(torch.zeros(1), 1.0).to_event(1))]
            for number, layer in enumerate(up, start=1):
                z.append(pyro.sample(f"z{number}", dist.Normal(layer(z[-1]).tanh(), 0.8).to_event(1)))
            with poutine.mask(mask=torch.tensor(True) if mask is None else x[..., 0] > 0):
                if is_sliced:
                    z = [each[:, :1] for each in z]  # wrong under a plate of particles
                pyro.sample("x", dist.Normal(down(torch.cat(z, -1)), 0.7).to_event(1), obs=x)
            if cost:
                lvm.penalty("cost", cost * z[0].sum(-1) ** 2)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.module("across", across)
        out = encoder(x).unflatten(-1, (num_levels, 2))
        with plate(x):
            loc, log_scale = out[:, 0].chunk(2, -1)
            z = pyro.sample("z0", dist.Normal(loc, log_scale.exp()).to_event(1))
            for number, layer in enumerate(across, start=1):
                loc, log_scale = (out[:, number] + 3 * layer(z)).sin().chunk(2, -1)
                z = pyro.sample(f"z{number}", dist.Normal(loc, log_scale.exp()).to_event(1))

    return lvm.Pair(model, guide)


PAIRS = {
    "normal": parts,
    "mixture prior": partial(parts, "mixture"),
    "flow prior": partial(parts, "maf"),
    "VampPrior": partial(parts, "vamp"),
    "flow guide": flow_guide,
    "three levels": levels,
    "three levels, run for each particle": partial(levels, is_sliced=True),
    "masked": partial(levels, 2, mask=True),
    "600 of 60000": partial(levels, 2, declared=100 * NUM_ROWS),
    "penalty": partial(levels, 2, cost=0.5),
}
OBJECTIVES = {"IWAE": lambda: IWAE(3), "STL": lambda: STL(2), "DReG": lambda: DReG(3)}


def parameters_of(pair, x):
    lvm.check_pair(pair, x)
    own = list(pair.parameters()) if isinstance(pair, nn.Module) else list(pair.param_store._params.values())
    return [parameter for parameter in own if parameter.requires_grad]


def check_gradients(objective, pair, wrap=lambda model, guide: (model, guide)):
    """Compare derivatives in several directions with differences of the loss, on the same noise, over many draws."""
    x = torch.randn(NUM_ROWS, 3)
    parameters = parameters_of(pair, x)
    directions = [[torch.randn_like(p) for p in parameters] for _ in range(2)]
    model, guide = wrap(pair.model, pair.guide)

    def loss(seed):
        torch.manual_seed(seed)
        return objective.differentiable_loss(model, guide, x)

    @torch.no_grad()
    def moved(seed, direction, step):
        torch._foreach_add_(parameters, direction, alpha=step)
        value = loss(seed)
        torch._foreach_add_(parameters, direction, alpha=-step)
        return value

    loss(0)  # which chooses the layout, and draws for it
    errors = []
    for seed, direction in product(range(NUM_RUNS), directions):
        gradients = torch.autograd.grad(loss(seed), parameters, allow_unused=True, materialize_grads=True)
        got = sum((g * u).sum() for g, u in zip(gradients, direction, strict=True))
        errors.append(got - (moved(seed, direction, STEP) - moved(seed, direction, -STEP)) / (2 * STEP))
    errors = torch.stack(errors).reshape(NUM_RUNS, 2)
    assert (errors.mean(0).abs() < 5 * errors.std(0) / NUM_RUNS**0.5 + 3e-5).all(), errors.mean(0) / errors.std(0)
    return errors


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("pair", PAIRS)
def test_gradients_are_those_of_the_loss(pair, name):
    check_gradients(OBJECTIVES[name](), PAIRS[pair]())


@pytest.mark.filterwarnings("ignore:the guide's density of a datum depends on the other rows")  # on its place, by shift
def test_only_parameters_are_cut_and_not_the_latents_above():
    """The mean gradient of DReG over many data, where the guide's lower level depends on the upper one, is that of IWAE."""
    shift = torch.zeros(20_000, 1, requires_grad=True)

    def model(x):
        with pyro.plate("data", len(x)):
            z0 = pyro.sample("z0", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(z0, 0.5).to_event(1))
            pyro.sample("x", dist.Normal(z1, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z0 = pyro.sample("z0", dist.Normal(x / 2 + shift[: len(x)], 0.6).to_event(1))
            pyro.sample("z1", dist.Normal(0.2 * x + 0.3 * z0 + 0.5, 0.6 + 0.2 * z0.sin()).to_event(1))

    x = torch.ones(len(shift), 1)
    torch.manual_seed(0)
    by_dreg, by_iwae = (torch.autograd.grad(kind(3).differentiable_loss(model, guide, x), shift)[0] for kind in (DReG, IWAE))
    error = (by_dreg.var() + by_iwae.var()).sqrt() / len(x) ** 0.5
    assert abs(by_dreg.mean() - by_iwae.mean()) < 4 * error < 0.05
    assert by_dreg.std() < 0.8 * by_iwae.std()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_under_a_weight_of_the_kl_and_free_bits(name):
    kl = KLWeight(0.3)
    check_gradients(OBJECTIVES[name](), levels(2), lambda model, guide: (kl(model), kl(guide)))
    bits = FreeBits({"z0": 2.0}, kl)
    errors = check_gradients(OBJECTIVES[name](), levels(2), lambda model, guide: (bits.model(model), bits.guide(guide)))
    assert errors.abs().max() > 0 or name == "IWAE"


def two_levels_exactly():
    """z0 -> z1 -> x, linear and normal, and a guide that is the posterior at its initial parameters."""
    top, top_scale, scale = 0.4, math.sqrt(1 - 0.8 * 0.4), math.sqrt(0.36 / 1.36)  # as x has variance 0.64 + 0.36 + 1
    names = {"of_x": 0.36 / 1.36, "of_z": 0.8 / 1.36, "top": top, "scale": scale, "top_scale": top_scale}

    def model(x):
        with pyro.plate("data", len(x)):
            z0 = pyro.sample("z0", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(0.8 * z0, 0.6).to_event(1))
            pyro.sample("x", dist.Normal(z1, 1.0).to_event(1), obs=x)

    def guide(x):
        p = {name: pyro.param(name, torch.tensor(value)) for name, value in names.items()}
        with pyro.plate("data", len(x)):
            z0 = pyro.sample("z0", dist.Normal(p["top"] * x, p["top_scale"]).to_event(1))
            pyro.sample("z1", dist.Normal(p["of_x"] * x + p["of_z"] * z0, p["scale"]).to_event(1))

    return lvm.Pair(model, guide)


@pytest.mark.parametrize("objective", [STL(1), STL(4), DReG(4)], ids=["STL", "STL, 4 draws", "DReG"])
def test_gradients_vanish_where_the_guide_is_exact(objective):
    pair, x = two_levels_exactly(), torch.randn(5, 1)
    parameters = parameters_of(pair, x)
    for seed in range(3):
        torch.manual_seed(seed)
        gradients = torch.autograd.grad(objective.differentiable_loss(pair.model, pair.guide, x), parameters)
        assert torch.stack(gradients).square().max() < 1e-24
    plain = torch.autograd.grad(IWAE(4).differentiable_loss(pair.model, pair.guide, x), parameters)
    assert torch.stack(plain).square().max() > 1e-3


def test_stl_has_no_variance_at_the_exact_posterior():
    oracle = LinearGaussian()
    x = oracle.sample(20)
    slope = (oracle.weight / oracle.noise[:, None] @ oracle.covariance).requires_grad_()
    scale_tril = torch.linalg.cholesky(oracle.covariance).requires_grad_()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal((x - oracle.offset) @ slope, scale_tril=scale_tril.tril()))

    def gradients(objective):
        found = [torch.autograd.grad(objective.differentiable_loss(oracle.model, guide, x), (slope, scale_tril)) for _ in range(20)]
        return torch.stack([torch.cat([each.flatten() for each in pair]) for pair in found])

    assert gradients(STL()).var(0).max() < 1e-12
    assert gradients(IWAE(1)).var(0).max() > 0.1


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_vimco_against_a_sum_over_all_discrete_draws(weight):
    """Two draws of a Bernoulli latent, below which there is a normal one with draws of its own."""
    rows, runs = 4000, 30
    x = torch.tensor([[-0.5], [1.5]]).repeat(rows // 2, 1)
    torch.manual_seed(5)
    parameters = [torch.randn(size, requires_grad=True) for size in (2, 2, 2)]
    logit, locs, decoder = parameters

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.3))
            z = pyro.sample("z", dist.Normal(c, 1.0))
            pyro.sample("x", dist.Normal((decoder[0] * z + decoder[1] * c)[..., None], 0.6).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(logits=logit[0] + logit[1] * x[:, 0]))
            pyro.sample("z", dist.Normal(locs[0] + locs[1] * c, 0.7))

    def exact():
        """The bound, summed over the values of both discrete draws, at one noise of the normal ones."""
        q = torch.distributions.Bernoulli(logits=logit[0] + logit[1] * x[:, 0])
        noise, total = torch.randn(2, rows), 0.0
        for values in product((0.0, 1.0), repeat=2):
            c = torch.tensor(values)[:, None].expand(2, rows)
            q_z = torch.distributions.Normal(locs[0] + locs[1] * c, 0.7)
            z = q_z.loc + 0.7 * noise
            log_w = torch.distributions.Bernoulli(0.3).log_prob(c) + torch.distributions.Normal(c, 1.0).log_prob(z)
            log_w = weight * (log_w - q.log_prob(c) - q_z.log_prob(z))
            log_w = log_w + torch.distributions.Normal(decoder[0] * z + decoder[1] * c, 0.6).log_prob(x[:, 0])
            total = total + (q.log_prob(c).sum(0).exp() * (log_w.logsumexp(0) - math.log(2))).sum()
        return -total

    kl, objective = KLWeight(weight), VIMCO(2)
    model, guide = kl(model), kl(guide)
    got = [torch.cat(torch.autograd.grad(objective.differentiable_loss(model, guide, x), parameters)) for _ in range(runs)]
    expected = [torch.cat(torch.autograd.grad(exact(), parameters)) for _ in range(runs)]
    got, expected = torch.stack(got), torch.stack(expected)
    error = (got.var(0) + expected.var(0)).sqrt() / runs**0.5
    assert ((got - expected).mean(0).abs() < 4.5 * error).all()
    assert (error < 0.1 * expected.mean(0).abs().max()).all()


def test_the_analytic_kl_is_the_closed_form():
    """At one draw, the loss is that of the draw with the KL of each level in its closed form."""
    pair, x = levels(2), torch.randn(7, 3)
    parameters = parameters_of(pair, x)
    torch.manual_seed(0)
    loss = AnalyticKL().differentiable_loss(pair.model, pair.guide, x)
    torch.manual_seed(0)
    guide_trace = poutine.trace(pair.guide).get_trace(x)
    sites = poutine.trace(poutine.replay(pair.model, guide_trace)).get_trace(x).nodes
    expected = -sites["x"]["fn"].log_prob(x).sum()
    for name in ("z0", "z1"):
        (q, p) = guide_trace.nodes[name]["fn"].base_dist, sites[name]["fn"].base_dist
        expected = expected + ((q.scale / p.scale) ** 2 / 2 + ((q.loc - p.loc) / p.scale) ** 2 / 2 + (p.scale / q.scale).log() - 0.5).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    for got, wanted in zip(*(torch.autograd.grad(value, parameters) for value in (loss, expected)), strict=True):
        torch.testing.assert_close(got, wanted)


def test_iwae_of_masked_data_bounds_log_p_of_what_is_observed():
    pair, mean, covariance = two_modalities()
    x, is_seen = torch.distributions.MultivariateNormal(mean, covariance).sample((6,)), torch.arange(6) % 2 == 0
    observed = [torch.arange(5) if seen else torch.arange(2, 5) for seen in is_seen]
    known = 0.0
    for row, at in zip(x, observed, strict=True):
        known += torch.distributions.MultivariateNormal(mean[at], covariance[at][:, at]).log_prob(row[at]).item()
    bound = -IWAE(20_000).loss(pair.model, pair.guide, x[:, :2], x[:, 2:], is_seen)
    assert bound == pytest.approx(known, abs=0.3)


@pytest.mark.parametrize("objective", [IWAE(3), STL(), DReG(3), AnalyticKL()], ids=lambda objective: type(objective).__name__)
def test_objectives_run_in_plain_svi(objective):
    pair, x = parts(), 2 + torch.randn(100, 3)
    pyro.clear_param_store()
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.02}), objective)
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-5:]) < sum(losses[:5]) - 500
    assert svi.evaluate_loss(x) == pytest.approx(losses[-1], rel=0.1)
    pyro.clear_param_store()


@pytest.mark.parametrize("objective", [IWAE(3), STL(), DReG(3)], ids=lambda objective: type(objective).__name__)
def test_a_guide_with_bounds_may_exclude_latents_of_the_prior(objective):
    """In plain SVI, Pyro checks every value; the guide is asked for densities outside of its bounds only to find out about layouts."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(torch.tensor(0.0), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Uniform(0.2 * x.sigmoid(), 0.5))

    with pyro.validation_enabled():
        assert math.isfinite(objective.loss(model, guide, torch.randn(9)))


def test_gradients_of_the_model_alone():
    """With a guide that is not trained, the draws carry no gradient."""
    vae, x = parts(), torch.randn(100, 3)
    frozen = parts()
    frozen.encoder.eval().requires_grad_(False)
    for objective in (STL(2), DReG(2)):
        losses = []
        for pair in (vae, frozen):
            objective.loss(pair.model, pair.guide, x)
            torch.manual_seed(0)
            losses.append(torch.autograd.grad(objective.differentiable_loss(pair.model, pair.guide, x), list(pair.likelihood.parameters())))
        torch.testing.assert_close(*losses)
