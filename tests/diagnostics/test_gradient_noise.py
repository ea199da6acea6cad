"""Noise of gradients against closed forms, and what is refused."""

import math

import numpy as np
from oracles import LinearGaussian
import pandas as pd
import pyro
import pyro.distributions as dist
from pyro.infer import Trace_ELBO
import pytest
import torch
from torch import nn

from inference import IWAE, gradient_noise
from inference.diagnostics.gradients.moments import Moments
from pyro_lvm import MLP, VAE, GaussianLikelihood, NormalEncoder, Pair, StandardNormal

QUIET = {"progress": False}
SCALE, LOC, PRIOR = 0.9, 0.7, 0.3


def location(num_latents=1):
    r"""z ~ N(theta, 1), x ~ N(z, 1), q(z) = N(m, 0.9^2), each with D latents: for a draw z,

    .. math:: \partial_m \mathrm{loss} = 2 z - x - \theta, \quad \partial_\theta \mathrm{loss} = \theta - z
    """

    def model(x):
        theta = pyro.param("theta", torch.full((num_latents,), PRIOR).double())
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(theta, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        m = pyro.param("m", torch.full((num_latents,), LOC).double())
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(m.expand(len(x), -1), SCALE).to_event(1))

    return Pair(model, guide)


def data(num_data, num_latents=1):
    return torch.randn(num_data, num_latents, generator=torch.Generator().manual_seed(0)).double() + 0.3


def check(row, **expected):
    for name, value in expected.items():
        assert abs(row[name] - value) < 4 * row[f"{name}_se"] + 1e-12, (name, row[name], value)


def test_moments_over_draws_equal_the_closed_form():
    x = data(20, 3)
    noise = gradient_noise(location(3), x, num_repeats=200, **QUIET)
    assert noise.table.index.tolist() == [("Trace_ELBO", "guide"), ("Trace_ELBO", "model")] and noise.batch_size == 20
    guide, model = (row for _, row in noise.table.iterrows())
    mean, sd = 2 * LOC - x.mean(0) - PRIOR, 2 * SCALE / 20**0.5
    check(guide, norm=float(mean.norm()), variance_draws=3 * sd**2, variance_batches=0.0, snr_draws=float(mean.abs().mean()) / sd)
    check(model, norm=3**0.5 * (LOC - PRIOR), variance_draws=3 * sd**2 / 4, snr_draws=2 * (LOC - PRIOR) / sd)
    assert guide["snr"] == guide["snr_draws"] and guide["parameters"] == 3
    assert guide["floor_draws"] == pytest.approx((2 / math.pi / 400) ** 0.5)


def test_moments_over_mini_batches_equal_the_closed_form():
    x = data(40)
    noise = gradient_noise(location(), x, batch_size=10, num_repeats=200, **QUIET)
    draws, batches = 4 * SCALE**2 / 10, float(x.var()) / 10 * (1 - 10 / 40)  # without replacement
    mean = float((2 * LOC - x.mean() - PRIOR).abs())
    guide, model = (row for _, row in noise.table.iterrows())
    check(guide, variance_draws=draws, variance_batches=batches, snr_draws=mean / draws**0.5, snr=mean / (draws + batches) ** 0.5)
    check(model, variance_draws=draws / 4, variance_batches=0.0, snr=2 * (LOC - PRIOR) / draws**0.5)
    assert "variance, batches" in repr(noise) and "mini-batches of 10 of 40 data" in repr(noise)


def test_standard_errors_are_the_scatter_over_seeds():
    tables = [gradient_noise(location(), data(10), num_repeats=20, seed=seed, **QUIET).table for seed in range(16)]
    for name in ("norm", "variance_draws", "snr_draws"):
        scatter = np.std([table[name] for table in tables], axis=0, ddof=1)
        stated = np.mean([table[f"{name}_se"] for table in tables], axis=0)
        assert (np.abs(np.log(stated / scatter)) < math.log(2.0)).all(), (name, stated, scatter)


def test_the_ratio_of_the_guide_falls_with_the_particles_of_iwae_and_that_of_the_model_rises():
    objectives = {f"{k}": IWAE(k) for k in (1, 16, 64)}
    noise = gradient_noise(location(), data(20), objectives, num_repeats=100, **QUIET)
    ratios = noise.table["snr_draws"].unstack("group")
    first, middle, last = (ratios.loc[name] for name in objectives)
    assert first["guide"] > 2 * middle["guide"] and first["guide"] > 3 * last["guide"], "as 1 / sqrt(K): Rainforth et al., theorem 1"
    assert middle["model"] > 1.4 * first["model"] and last["model"] > 1.5 * middle["model"], "as sqrt(K)"


def test_figures_near_their_floor_are_marked():
    at_optimum = location()
    x = data(20)
    pair = Pair(at_optimum.model, at_optimum.guide)
    noise = gradient_noise(pair, x - x.mean() + 2 * LOC - PRIOR, **QUIET)
    guide, model = (row for _, row in noise.table.iterrows())
    assert guide["snr_draws"] < 3 * guide["floor_draws"] and guide["norm"] < 3 * guide["floor_norm"]
    rows = repr(noise).splitlines()
    assert "*" in rows[2] and "*" not in rows[3] and "if the mean were zero" in rows[-1]


class Shared(nn.Module):
    """A pair with parameters of the guide, of the model and of both, dropout, and a count of steps."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.tensor(0.5)) for _ in range(3))
        self.norm = nn.BatchNorm1d(1)

    def model(self, x):
        pyro.module("pair", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.b, 1.0))
            pyro.sample("x", dist.Normal(z[..., None] * self.c, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("pair", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.norm(x)[:, 0] * self.a + self.c, 1.0))


def test_parameters_are_grouped_by_what_depends_on_them_and_nothing_is_changed():
    pair, x = Shared(), data(12).float()
    state, random = {name: value.clone() for name, value in pair.state_dict().items()}, torch.random.get_rng_state()
    table = gradient_noise(pair, x, {"elbo": Trace_ELBO()}, num_repeats=20, **QUIET).table
    assert table["parameters"].to_dict() == {("elbo", "guide"): 3, ("elbo", "model"): 1, ("elbo", "shared"): 1}
    assert all(torch.equal(value, pair.state_dict()[name]) for name, value in state.items())
    assert torch.equal(torch.random.get_rng_state(), random) and all(p.grad is None for p in pair.parameters())


def test_objectives_see_the_same_draws_and_are_drawn(tmp_path):
    noise = gradient_noise(location(), data(10), {"a": Trace_ELBO(), "b": Trace_ELBO()}, num_repeats=20, **QUIET)
    pd.testing.assert_frame_equal(noise.table.loc["a"], noise.table.loc["b"])
    noise.plot(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").read_bytes().startswith(b"\x89PNG")


def test_a_plate_that_declares_more_data_has_the_gradient_per_datum():
    linear = LinearGaussian()

    def of(program):
        def registered(x):
            pyro.module("offset", holder)
            program(x)

        return registered

    x = linear.sample(20)
    linear.offset = nn.Parameter(linear.offset)
    holder = nn.ParameterList([linear.offset])
    plain, declared = (
        gradient_noise(Pair(of(model), of(guide)), x, num_repeats=20, **QUIET).table
        for model, guide in ((linear.model, linear.guide), (linear.subsampled_model, linear.subsampled_guide))
    )
    pd.testing.assert_frame_equal(plain, declared)


def test_merged_moments_are_those_of_all_pairs():
    pairs = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0)).double()
    parts = [Moments(4, False, torch.device("cpu")) for _ in range(3)]
    for number, (first, second) in enumerate(zip(*pairs, strict=True)):
        parts[number // 10].add(first, second)
    parts[0].merge(parts[1])
    parts[0].merge(parts[2])
    average, half = (pairs[0] + pairs[1]) / 2, (pairs[0] - pairs[1]) / 2
    figures = parts[0].figures()
    assert figures.norm == pytest.approx(float(average.mean(0).norm()))
    assert figures.variance_draws == pytest.approx(2 * float((half**2).mean(0).sum()))
    assert figures.variance_batches == pytest.approx(float((average.var(0) - (half**2).mean(0)).sum()))


def test_what_cannot_be_measured_is_refused():
    x = data(10)
    with pytest.raises(ValueError, match="num_repeats must be a multiple of 10 of at least 20; got 25"):
        gradient_noise(location(), x, num_repeats=25, **QUIET)
    with pytest.raises(TypeError, match="must be a pyro.infer.ELBO"):
        gradient_noise(location(), x, {"a": Trace_ELBO}, **QUIET)
    with pytest.raises(ValueError, match="at least one objective"):
        gradient_noise(location(), x, {}, **QUIET)
    with pytest.raises(ValueError, match="batch_size must be between 1 and"):
        gradient_noise(location(), x, batch_size=11, **QUIET)
    vae = VAE(StandardNormal(2), GaussianLikelihood(MLP(2, [], 1)), NormalEncoder(MLP(1, [], 4))).double()
    next(iter(vae.likelihood.parameters())).data.fill_(1e200)
    with pytest.raises(FloatingPointError, match="gradients of Trace_ELBO must be finite"):
        gradient_noise(vae, x, num_repeats=20, **QUIET)
