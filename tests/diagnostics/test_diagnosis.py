"""Diagnoses against closed forms and quadrature, their table, and what is refused."""

import math

import numpy as np
from oracles import LinearMixture
from posteriors import QUIET, close, encoded, kl, matched, normal_pair, standard
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import diagnose, evaluate
from inference.diagnostics.aggregate import leave_out
from inference.diagnostics.estimates import Sample, _reverse_kl, mean_over_data
from pyro_lvm import MLP, VAE, BernoulliLikelihood, FlowEncoder, Pair, StandardNormal, iaf


def grid_densities(x, half_width=7.0, step=0.05):
    """A square grid, the mixture's density on it and its marginals', [G], [G, G], [G]."""
    axis = torch.arange(-half_width, half_width, step).double()
    loc, scale = x.chunk(2, -1)
    each = torch.distributions.Normal(loc, scale).log_prob(axis[:, None, None]).exp()  # [G, N, 2]
    return axis, each[..., 0] @ each[..., 1].T / len(x), each.mean(1).T


def test_the_rate_and_its_parts_equal_quadrature_in_the_plane():
    generator = torch.Generator().manual_seed(0)
    loc = torch.randn(1000, 2, generator=generator).double() @ torch.tensor([[1.0, 0.8], [0.0, 0.5]]).double() + 0.3
    x = encoded(loc, 0.2 + 0.5 * torch.rand(1000, 2, generator=generator).double())
    diagnosis = diagnose(normal_pair(standard(2)), x, num_draws=4000, **QUIET)

    scale = x[:, 2:]
    axis, q, (q_1, q_2) = grid_densities(x)
    step = float(axis[1] - axis[0])
    p_1 = torch.distributions.Normal(0.0, 1.0).log_prob(axis).exp()
    rate = float((0.5 * (loc**2 + scale**2 - 1) - scale.log()).sum(1).mean())
    distortion = 0.5 * (scale**2 * 2 + (scale - loc) ** 2 + math.log(4 * math.pi**2)).sum(1)
    marginal_kl = kl(q, p_1[:, None] * p_1, step**2)
    by_dimension = [kl(q_1, p_1, step), kl(q_2, p_1, step)]
    expected = {
        "rate": rate,
        "distortion": float(distortion.mean()),
        "marginal_kl": marginal_kl,
        "mutual_information": rate - marginal_kl,
        "total_correlation": kl(q, q_1[:, None] * q_2, step**2),
        "dimension_kl": sum(by_dimension),
        "reverse_kl": kl(p_1[:, None] * p_1, q, step**2),
    }
    for name, value in expected.items():
        assert close(diagnosis, name, value) < 0.06, name
    assert ((diagnosis.dimension_kls - torch.tensor(by_dimension)).abs() < 4 * diagnosis.dimension_kl_errors).all()
    assert diagnosis.rate == pytest.approx(diagnosis.mutual_information + diagnosis.marginal_kl, abs=1e-10)
    assert diagnosis.marginal_kl == pytest.approx(diagnosis.total_correlation + diagnosis.dimension_kl, abs=1e-10)
    assert diagnosis.marginal_kl_held_out < diagnosis.marginal_kl
    assert "cannot exceed log N = 6.91" in (note := diagnosis.notes["mutual_information"]) and "close" not in note
    assert (diagnosis.num_data, diagnosis.num_codes, diagnosis.num_draws) == (1000, 4000, 4000)


def test_errors_of_both_divergences_are_those_of_new_data():
    """q(z) of 200 data on the line changes with the data, and both divergences with it."""
    generator = torch.Generator().manual_seed(0)
    normal, forward, backward = torch.distributions.Normal, [], []
    for _ in range(200):
        loc, noise, draws = torch.randn(3, 200, generator=generator).double()
        points = torch.cat([loc + 0.5 * noise, draws])
        sums = normal(loc, 0.5).log_prob(points[:, None]).unflatten(1, (20, 10)).logsumexp(1).T  # [G, P]
        log_q, log_p = sums.logsumexp(0) - math.log(200), normal(0.0, 1.0).log_prob(points)
        left = leave_out(sums, torch.full((10,), 20))
        forward.append(mean_over_data((log_q - log_p)[None, :200]))
        backward.append(_reverse_kl(Sample(None, None, None, None, log_p[200:], log_q[200:], left[:, 200:]))[:2])
    for values, errors in (torch.tensor(forward).T, torch.tensor(backward).T):
        assert 0.8 < errors.mean() / values.std() < 1.25


def test_blocks_of_any_size_give_equal_figures():
    x = matched(200, 2, 0.5)
    whole, parts = (diagnose(normal_pair(standard(2)), x, num_draws=500, chunk_size=size, **QUIET).to_frame() for size in (None, 5000))
    np.testing.assert_allclose(whole["value"], parts["value"], rtol=1e-10)
    other = diagnose(normal_pair(standard(2)), x, num_draws=500, seed=1, **QUIET)
    assert other.rate != whole.loc["rate", "value"]


def test_a_flow_guide_and_plain_numbers_of_a_vae():
    torch.manual_seed(0)
    encoder = FlowEncoder(MLP(6, [8], 2 * 2 + 2), iaf(2, 2, hidden=(8,)))
    vae = VAE(StandardNormal(2), BernoulliLikelihood(MLP(2, [8], 6)), encoder)
    x = (torch.rand(100, 6) > 0.5).float()
    diagnosis = diagnose(vae, x, num_draws=200, **QUIET)
    score = evaluate(vae, x, num_particles=50, progress=False)
    error = math.hypot(diagnosis.standard_errors["rate"], diagnosis.standard_errors["distortion"])
    assert abs(diagnosis.rate + diagnosis.distortion + float(score.elbo.mean())) < 4 * error
    assert diagnosis.rate == pytest.approx(diagnosis.mutual_information + diagnosis.marginal_kl, abs=1e-4)
    assert "marginals" in diagnosis.notes["dimension_kl"] and vae.training


def test_an_enumerated_site_is_summed_out_of_prior_and_likelihood():
    oracle = LinearMixture()
    x = oracle.sample(100)
    pairs = oracle.broad, Pair(oracle.enumerated_model, oracle.broad_guide)
    summed, enumerated = (diagnose(pair, x, num_draws=100, **QUIET) for pair in pairs)
    for name in ("rate", "distortion", "mutual_information", "marginal_kl", "total_correlation"):
        assert getattr(enumerated, name) == pytest.approx(getattr(summed, name), abs=1e-9), name
    assert not math.isnan(summed.holes_codes) and math.isnan(enumerated.dimension_kl)


def test_the_table_prints_no_digit_beyond_its_error():
    diagnosis = diagnose(normal_pair(standard(2)), matched(200, 2, 0.5), num_draws=200, **QUIET)
    frame = diagnosis.to_frame()
    assert list(frame.columns) == ["value", "se", "note"] and frame["note"].str.len().min() > 10
    assert (frame["se"] >= 0).all() and frame.loc["rate", "value"] == diagnosis.rate
    printed = {line.split()[0]: line.split()[1:3] for line in repr(diagnosis).splitlines()[1:15]}
    for name, (value, error) in printed.items():
        assert float(value) == pytest.approx(frame.loc[name, "value"], abs=2 * frame.loc[name, "se"] + 1e-12)
        assert len(value.partition(".")[2]) <= len(error.partition(".")[2])


GOOD = matched(200, 2, 0.5)
BAD_INPUT = {
    "no data": (GOOD[:0], {}, "at least one row"),
    "too few data": (GOOD[:99], {}, "data must number at least 100 for quantile 0.01; got 99.*such as 0.05"),
    "fewer than two data a fold": (
        GOOD[:19],
        {"quantile": 0.2},
        r"data must number at least 20, two for each of 10 folds; got 19. Take more\.$",
    ),
    "too few draws": (GOOD, {"num_draws": 99}, "num_draws must number at least 100"),
    "no whole draws": (GOOD, {"num_draws": 0}, "num_draws must be an integer"),
    "quantile 0": (GOOD, {"quantile": 0.0}, "quantile must lie between 0 and 1; got 0"),
    "quantile 1": (GOOD, {"quantile": 1.0}, "quantile must lie between 0 and 1; got 1"),
    "NaN": (torch.where(torch.arange(200)[:, None] == 3, math.nan, GOOD), {}, "1 of 200 rows hold NaN"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_refused(name):
    data, options, message = BAD_INPUT[name]
    with pytest.raises(ValueError, match=message):
        diagnose(normal_pair(standard(2)), data, **options, **QUIET)


def pair_with(prior, posterior):
    def model(x, *labels):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior(*labels))
            pyro.sample("x", dist.Normal(torch.cat([z, z], -1), 1.0).to_event(1), obs=x)

    def guide(x, *labels):
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    return Pair(model, guide)


def auxiliary(x):
    noise = pyro.sample("noise", standard(2), infer={"is_auxiliary": True})
    return dist.Delta(x[:, :2] + noise, event_dim=1)


def diagonal(x):
    return dist.Normal(x[:, :2], x[:, 2:]).to_event(1)


LABELS = torch.arange(200).double() % 2
BAD_PAIRS = {
    "a point mass": (pair_with(lambda: standard(2), lambda x: dist.Delta(x[:, :2], event_dim=1)), (GOOD,), "point mass"),
    "auxiliary draws": (pair_with(lambda: standard(2), auxiliary), (GOOD,), "without auxiliary sites"),
    "a prior for each label": (
        pair_with(lambda y: dist.Normal(y[:, None].expand(-1, 2), 1.0).to_event(1), diagonal),
        (GOOD, LABELS),
        "prior changes with its arguments",
    ),
    "codes outside the prior": (
        pair_with(lambda: dist.Uniform(torch.zeros(2).double(), 1.0).to_event(1), diagonal),
        (GOOD,),
        r"log p\(z\) must be finite",
    ),
}


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_pairs_without_a_diagnosis_are_refused(name):
    pair, data, message = BAD_PAIRS[name]
    with pytest.raises(ValueError, match=message):
        diagnose(pair, data, **QUIET)
