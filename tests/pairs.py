"""Small pairs of every kind, and options to fit each with: plain functions, VAEs, hierarchies, codes."""

from functools import partial

import pyro
import pyro.distributions as dist
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
import torch
from torch import nn

from inference import IWAE, STL, VIMCO, AnalyticKL, DReG
import pyro_lvm as lvm

NUM_DATA, NUM_PIXELS, NUM_LATENTS = 70, 12, 3


def binary(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(NUM_DATA, NUM_PIXELS, generator=generator).round()


def make_vae(prior="standard", encoder="normal", layers=None):
    torch.manual_seed(1)
    network = layers or lvm.MLP(NUM_PIXELS, [8], 2 * NUM_LATENTS)
    encoder = {
        "normal": lambda: lvm.NormalEncoder(network),
        "full-rank": lambda: lvm.FullRankNormalEncoder(lvm.MLP(NUM_PIXELS, [8], 9), NUM_LATENTS),
        "iaf": lambda: lvm.FlowEncoder(lvm.MLP(NUM_PIXELS, [8], 2 * NUM_LATENTS + 4), lvm.iaf(NUM_LATENTS, 4, hidden=[8])),
    }[encoder]()
    prior = {
        "standard": lambda: lvm.StandardNormal(NUM_LATENTS),
        "mixture": lambda: lvm.GaussianMixturePrior(NUM_LATENTS, 4),
        "vamp": lambda: lvm.VampPrior(encoder, binary()[:5]),
        "maf": lambda: lvm.FlowPrior(lvm.maf(NUM_LATENTS, transforms=2, hidden=[8])),
        "spline": lambda: lvm.FlowPrior(lvm.spline(NUM_LATENTS, transforms=1, hidden=[8], bins=4)),
    }[prior]()
    return lvm.VAE(prior, lvm.BernoulliLikelihood(lvm.MLP(NUM_LATENTS, [8], NUM_PIXELS)), encoder)


def plain_functions():
    torch.manual_seed(1)
    decoder = nn.Linear(1, NUM_PIXELS)

    def model(x):
        pyro.module("decoder", decoder)
        scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(NUM_PIXELS))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ loc[:, None], 1.0).to_event(1))

    return lvm.Pair(model, guide)


def score_function():
    """A Bernoulli latent without reparameterization beside a normal one."""
    torch.manual_seed(1)
    decoder, encoder = nn.Linear(3, NUM_PIXELS), nn.Linear(NUM_PIXELS, 3)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(torch.full((2,), 0.4)).to_event(1))
            b = pyro.sample("b", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(torch.cat([a, b], -1))).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        code = encoder(x)
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Bernoulli(logits=code[:, :2]).to_event(1))
            pyro.sample("b", dist.Normal(code[:, 2:], 1.0).to_event(1))

    return lvm.Pair(model, guide)


def straight_through():
    torch.manual_seed(1)
    decoder, encoder = nn.Linear(4, NUM_PIXELS), nn.Linear(NUM_PIXELS, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.OneHotCategorical(torch.ones(4)))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.OneHotCategoricalStraightThrough(logits=encoder(x)))

    return lvm.Pair(model, guide)


def enumerated():
    torch.manual_seed(1)
    decoder, encoder = nn.Linear(2, 3 * NUM_PIXELS), nn.Linear(NUM_PIXELS, 4)

    def model(x):
        pyro.module("decoder", decoder)
        weights = pyro.param("weights", torch.ones(3) / 3, constraint=dist.constraints.simplex)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            c = pyro.sample("c", dist.Categorical(weights), infer={"enumerate": "parallel"})
            logits = decoder(z).reshape(*z.shape[:-1], 3, NUM_PIXELS)
            chosen = (nn.functional.one_hot(c, 3)[..., None] * logits).sum(-2)
            pyro.sample("x", dist.Bernoulli(logits=chosen).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc, log_scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return lvm.Pair(model, guide)


def autoguide():
    torch.manual_seed(1)
    decoder = nn.Linear(2, NUM_PIXELS)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", NUM_DATA, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    return lvm.Pair(model, AutoNormal(model))


def subsampled():
    """A global latent, and a plate that declares the whole data set."""

    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("data", NUM_DATA, subsample_size=len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).expand([NUM_PIXELS]).to_event(1), obs=x)

    def guide(x):
        loc, scale = pyro.param("l", torch.tensor(0.0)), pyro.param("s", torch.tensor(1.0), constraint=dist.constraints.positive)
        pyro.sample("loc", dist.Normal(loc, scale))
        with pyro.plate("data", NUM_DATA, subsample_size=len(x)):
            pass

    return lvm.Pair(model, guide)


def hierarchy():
    """A pair of functions with two levels, a vector on an image of latents."""
    torch.manual_seed(1)
    encoder, offsets, lower, decoder = nn.Linear(NUM_PIXELS, 4), nn.Linear(NUM_PIXELS, 4), nn.Linear(2, 4), nn.Linear(4, NUM_PIXELS)

    def model(x):
        pyro.module("lower", lower)
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(lower(z2).unflatten(-1, (1, 2, 2)), 1.0).to_event(3))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z1.flatten(-3))).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.module("offsets", offsets)
        loc, log_scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(loc, log_scale.exp()).to_event(1))
            pyro.sample("z1", dist.Normal((offsets(x) + lower(z2)).unflatten(-1, (1, 2, 2)), 0.5).to_event(3))

    return lvm.Pair(model, guide)


def ladder():
    torch.manual_seed(1)
    levels = lvm.ladder(NUM_PIXELS, [2, 3], [8])
    return lvm.HierarchicalVAE(lvm.StandardNormal(2), levels, lvm.BernoulliLikelihood(lvm.MLP(8, [8], NUM_PIXELS)))


def stacked():
    torch.manual_seed(1)
    levels = lvm.stacked(NUM_PIXELS, [2, 3], [8, 8], network=lvm.GatedMLP)
    return lvm.HierarchicalVAE(lvm.VampPrior(levels.top(), binary()[:5]), levels, lvm.BernoulliLikelihood(lvm.MLP(5, [8], NUM_PIXELS)))


def stacked_standard():
    torch.manual_seed(1)
    levels = lvm.stacked(NUM_PIXELS, [2, 3], [8])
    return lvm.HierarchicalVAE(lvm.StandardNormal(2), levels, lvm.BernoulliLikelihood(lvm.MLP(5, [8], NUM_PIXELS)))


def other_latents(prior, encoder, out_features):
    torch.manual_seed(1)
    likelihood = lvm.BernoulliLikelihood(lvm.MLP(NUM_LATENTS, [8], NUM_PIXELS))
    return lvm.VAE(prior(NUM_LATENTS), likelihood, encoder(lvm.MLP(NUM_PIXELS, [8], out_features)))


def codes(encoder=lvm.VectorQuantizer, num_codes=5, prior=lvm.UniformCodePrior, **options):
    torch.manual_seed(1)
    encoder = encoder(lvm.MLP(NUM_PIXELS, [8], (3, 2)), num_codes, **options)
    prior = prior(encoder.code_shape, encoder.num_codes)
    return lvm.VQVAE(prior, lvm.BernoulliLikelihood(lvm.MLP((3, 2), [8], NUM_PIXELS)), encoder)


def relaxed_codes(encoder):
    return codes(lambda network, _: encoder(lvm.MLP(NUM_PIXELS, [8], (3, 5)), 2))


def batch_norm():
    return make_vae(layers=nn.Sequential(nn.Linear(NUM_PIXELS, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2 * NUM_LATENTS)))


def dropout():
    return make_vae(layers=nn.Sequential(nn.Linear(NUM_PIXELS, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2 * NUM_LATENTS)))


STEPS = {
    "standard": (make_vae, {"batch_size": 20}),
    "mixture": (lambda: make_vae("mixture"), {}),
    "vamp": (lambda: make_vae("vamp"), {}),
    "maf": (lambda: make_vae("maf"), {}),
    "spline": (lambda: make_vae("spline"), {}),
    "full-rank": (lambda: make_vae(encoder="full-rank"), {}),
    "iaf": (lambda: make_vae(encoder="iaf"), {}),
    "warm-up": (make_vae, {"warmup_epochs": 4}),
    "free bits": (make_vae, {"free_bits": 0.3, "warmup_epochs": 4}),
    "clipped": (make_vae, {"clip_norm": 0.3}),
    "alternating": (lambda: make_vae("vamp"), {"alternating": True}),
    "sgd": (make_vae, {"optimizer": torch.optim.SGD}),
    "adamw": (make_vae, {"optimizer": torch.optim.AdamW}),
    "scheduled": (make_vae, {"scheduler": lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)}),
    "particles": (make_vae, {"elbo": Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)}),
    "analytic KL": (stacked_standard, {"elbo": AnalyticKL(), "warmup_epochs": {"z1": 3}}),
    "iwae": (make_vae, {"elbo": IWAE(3), "warmup_epochs": 3}),
    "stl": (make_vae, {"elbo": STL(2), "warmup_epochs": 3}),
    "stl, dropout": (dropout, {"elbo": STL()}),
    "stl, iaf": (lambda: make_vae(encoder="iaf"), {"elbo": STL()}),
    "dreg": (make_vae, {"elbo": DReG(3), "warmup_epochs": 3}),
    "dreg, free bits": (hierarchy, {"elbo": DReG(3), "free_bits": {"z2": 5.0}}),
    "dreg, vamp": (stacked, {"elbo": DReG(3)}),
    "dreg, batch norm": (batch_norm, {"elbo": DReG(2)}),
    "dreg, autoguide": (autoguide, {"elbo": DReG(2), "batch_size": NUM_DATA}),
    "dreg, enumerated": (enumerated, {"elbo": DReG(2)}),
    "vimco": (score_function, {"elbo": VIMCO(3), "warmup_epochs": {"a": 3}}),
    "plain functions": (plain_functions, {}),
    "score function": (score_function, {}),
    "straight-through": (straight_through, {}),
    "autoguide": (autoguide, {"batch_size": NUM_DATA}),
    "subsampled": (subsampled, {}),
    "batch norm": (batch_norm, {}),
    "dropout": (dropout, {}),
    "hierarchy": (hierarchy, {"warmup_epochs": {"z1": 3}}),
    "hierarchy, free bits": (hierarchy, {"warmup_epochs": {"z1": 3, "z2": 4}, "free_bits": {"z2": 5.0}}),
    "ladder": (ladder, {}),
    "stacked": (stacked, {"warmup_epochs": {"z2": 3}}),
    "laplace": (lambda: other_latents(lvm.LaplacePrior, lvm.LaplaceEncoder, 2 * NUM_LATENTS), {}),
    "student-t": (lambda: other_latents(lvm.StudentTPrior, lvm.StudentTEncoder, 2 * NUM_LATENTS), {}),
    "dirichlet": (lambda: other_latents(lvm.DirichletPrior, lvm.DirichletEncoder, NUM_LATENTS), {}),
    "logistic-normal": (lambda: other_latents(lvm.LogisticNormalPrior, lvm.LogisticNormalEncoder, 2 * NUM_LATENTS), {}),
    "sphere": (lambda: other_latents(lvm.UniformSpherePrior, lvm.PowerSphericalEncoder, NUM_LATENTS + 1), {}),
    "codes": (codes, {"warmup_epochs": 3}),
    "codes, dead ones": (lambda: codes(restart_below=0.5, decay=0.5), {}),
    "codes by gradient": (lambda: codes(decay=None, pass_gradient=lvm.rotated), {}),
    "codes, product": (lambda: codes(num_groups=2, prior=partial(lvm.TransformerPrior, width=8, depth=1, heads=2)), {}),
    "codes of scalars": (lambda: codes(lvm.FSQ, (3, 2), prior=lvm.CategoricalCodePrior), {"elbo": IWAE(2)}),
    "codes of indicators": (lambda: relaxed_codes(lvm.StraightThroughEncoder), {}),
    "codes, relaxed": (lambda: relaxed_codes(lvm.GumbelEncoder), {"warmup_epochs": 3}),
}


class Reads(nn.Module):
    """A network with control flow that depends on data."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(NUM_PIXELS, 2 * NUM_LATENTS)

    def forward(self, x):
        y = self.linear(x)
        return y if y.sum().item() > 0 else 2 * y
