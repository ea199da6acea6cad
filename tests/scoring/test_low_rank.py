"""Proposals in more than 256 dimensions: normal distributions that are diagonal but for a part of low rank."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from inference import evaluate
from inference.scoring.proposals.curvature import curvature
from inference.scoring.proposals.families import LowRankFamily
from inference.scoring.proposals.normal import DiagonalNormal, LowRankNormal, log_density
import pyro_lvm as lvm

DIM, ROWS = 300, 3
QUIET = {"progress": False}


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def low_rank(dim, rank, low, high):
    directions = torch.linalg.qr(randn(ROWS, dim, rank, seed=1))[0]
    variances = low + (high - low) * torch.rand(ROWS, rank, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return LowRankNormal(randn(ROWS, dim, seed=3), (0.3 * randn(ROWS, dim, seed=4)).exp(), directions, variances)


def covariance(normal):
    inner = torch.eye(normal.loc.shape[1]) + normal.directions * (normal.variances - 1)[:, None] @ normal.directions.mT
    return normal.scale[:, :, None] * inner * normal.scale[:, None]


def divergence(normal, precision):
    """KL(q || p) of distributions with one mean."""
    spread = covariance(normal)
    trace = (precision @ spread).diagonal(dim1=1, dim2=2).sum(1)
    return 0.5 * (trace - spread.shape[1] - torch.logdet(precision) - torch.logdet(spread))


def test_densities_are_those_of_torch():
    normal = low_rank(20, 4, 1.0, 9.0)
    factors = normal.scale[..., None] * normal.directions * (normal.variances - 1).sqrt()[:, None]
    expected = torch.distributions.LowRankMultivariateNormal(normal.loc, factors, normal.scale.square())
    value = normal.loc + 2 * randn(7, ROWS, 20, seed=5)
    torch.testing.assert_close(log_density(normal, value), expected.log_prob(value), rtol=1e-10, atol=1e-10)
    narrow = low_rank(20, 4, 0.01, 3.0)  # of which torch has no distribution of low rank
    expected = torch.distributions.MultivariateNormal(narrow.loc, covariance(narrow))
    torch.testing.assert_close(log_density(narrow, value), expected.log_prob(value), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(narrow.precisions, torch.linalg.inv(covariance(narrow)).diagonal(dim1=1, dim2=2))


def test_colors_and_gradients_belong_together():
    normal, noise, other = low_rank(20, 4, 0.01, 9.0), randn(7, ROWS, 20, seed=6), randn(7, ROWS, 20, seed=7)
    deviations = normal.colored(noise)
    torch.testing.assert_close(normal.whitened(deviations), noise)
    torch.testing.assert_close((normal.uncolored(other) * noise).sum(2), (other * deviations).sum(2))
    torch.testing.assert_close((normal.recolored(other) * deviations).sum(2), (other * noise).sum(2))
    torch.testing.assert_close(normal.colored(normal.uncolored(other)), (covariance(normal) @ other.permute(1, 2, 0)).permute(2, 0, 1))


def likelihood(count):
    """The curvature of ``count`` observed values."""
    weight = 6 * randn(ROWS, count, DIM, seed=8) / math.sqrt(DIM)
    return weight.mT @ weight


def standard():
    """A standard normal prior, and a likelihood."""
    return torch.eye(DIM) + likelihood(40)


def scaled():
    """Prior scales that the start does not know."""
    root = (0.5 * randn(ROWS, DIM, seed=9)).exp()
    return root[:, :, None] * (torch.eye(DIM) + likelihood(20)) * root[:, None]


def levels():
    """Ten latents above 290 others: directions of large and of small precisions; and a likelihood."""
    down = randn(ROWS, DIM - 10, 10, seed=10)
    precision = torch.eye(DIM).double().repeat(ROWS, 1, 1)
    precision[:, :10, 10:], precision[:, 10:, :10] = -down.mT, -down
    precision[:, :10, :10] += down.mT @ down
    return precision + likelihood(20)


def wide():
    """A covariance with ten factors."""
    factors = 0.5 * randn(ROWS, 10, DIM, seed=11)
    return torch.linalg.inv(torch.diag_embed((0.5 * randn(ROWS, DIM, seed=12)).exp()) + factors.mT @ factors)


def found_normal(found):
    return LowRankNormal(torch.zeros_like(found.scale), found.scale, found.directions, 1 / found.precisions)


@pytest.mark.parametrize("precision", [standard, scaled, levels, wide])
def test_precisions_of_that_structure_are_found(precision):
    matrix = precision()
    steps = matrix.diagonal(dim1=1, dim2=2).rsqrt()[..., None] * randn(ROWS, DIM, 160, seed=13)
    found = curvature(steps, matrix @ steps, [torch.ones(ROWS, DIM).double()], 80)
    assert divergence(found_normal(found), matrix).abs().max() < 0.05
    assert found.left_out.max() < 0.5
    inner = found.directions.mT @ found.directions
    torch.testing.assert_close(inner, torch.eye(80).double().expand_as(inner), rtol=0, atol=1e-10)


def test_too_few_pairs_for_a_likelihood_are_known_to_be_so():
    matrix = standard()
    steps = matrix.diagonal(dim1=1, dim2=2).rsqrt()[..., None] * randn(ROWS, DIM, 40, seed=14)
    assert curvature(steps, matrix @ steps, [torch.ones(ROWS, DIM).double()], 20).left_out.min() > 2


def test_scatter_of_scores_does_not_pass_for_curvature():
    steps = randn(ROWS, DIM, 200, seed=15)
    found = curvature(steps, steps + 0.3 * randn(ROWS, DIM, 200, seed=16), [torch.ones(ROWS, DIM).double()], 100)
    assert (found.precisions != 1).sum(1).max() <= 5
    assert divergence(found_normal(found), torch.eye(DIM).double().expand(ROWS, DIM, DIM)).max() < 0.5


def test_precisions_are_positive_whatever_the_scores():
    steps = randn(ROWS, DIM, 60, seed=17)
    found = curvature(steps, -2 * steps + randn(ROWS, DIM, 60, seed=18), [torch.ones(ROWS, DIM).double()], 30)
    assert (found.precisions > 0).all()
    assert (found.scale > 0).all()


class Posterior:
    """Log density and gradients of normal distributions with 30 observed values; the batch holds the data's numbers."""

    batch = (torch.arange(ROWS),)

    def __init__(self):
        self.precision, self.loc, self.shapes = torch.eye(DIM) + likelihood(30), randn(ROWS, DIM, seed=19), []

    def __call__(self, batch, vector):
        self.shapes.append(vector.shape[:2])
        deviation = vector - self.loc[batch[0]]
        slope = (self.precision[batch[0]] @ deviation.permute(1, 2, 0)).permute(2, 0, 1)
        constant = 0.5 * torch.logdet(self.precision / (2 * torch.pi))
        return constant[batch[0]] - 0.5 * (deviation * slope).sum(2), -slope


@pytest.mark.parametrize("needs_all_rows", [True, False])
def test_fits_are_exact_from_far_off(needs_all_rows):
    p, family = Posterior(), LowRankFamily(torch.ones(1, DIM).double())
    start = family.started(DiagonalNormal(p.loc + 2, torch.full_like(p.loc, 0.2)))
    rows = torch.arange(ROWS) if needs_all_rows else torch.tensor([2])
    draws = torch.Generator().manual_seed(0)
    for fit in (
        family.fit_all(p, p.batch, start, draws).normal.rows(rows),
        family.fit_again(p, p.batch, rows, start.rows(rows), draws, needs_all_rows=needs_all_rows).normal,
    ):
        torch.testing.assert_close(fit.loc, p.loc[rows], rtol=0, atol=1e-3)
        assert divergence(fit, p.precision[rows]).abs().max() < 1e-3
    again = family.fit_again(p, p.batch, rows, start.rows(rows), draws, needs_all_rows=needs_all_rows)
    assert again.has_converged.all()
    torch.testing.assert_close(again.pilot.estimate, torch.zeros(len(rows)).double(), rtol=0, atol=1e-3)
    assert set(p.shapes) == {(family.num_draws, ROWS)}  # one shape, which may be compiled


def test_draws_without_a_gradient_count_for_nothing():
    p, family, numbers = Posterior(), LowRankFamily(torch.ones(1, DIM).double()), torch.Generator().manual_seed(3)

    def scores(batch, vector):
        log_p, gradient = p(batch, vector)
        gone = torch.rand(log_p.shape, generator=numbers) < 0.05
        return log_p.masked_fill(gone, -torch.inf), gradient.masked_fill(gone[..., None], torch.nan)

    start = family.started(DiagonalNormal(p.loc + 0.5, torch.full_like(p.loc, 0.5)))
    fit = family.fit_all(scores, p.batch, start, torch.Generator().manual_seed(0))
    assert divergence(fit.normal, p.precision).abs().max() < 1e-3
    nothing = family.fit_all(lambda batch, v: (v[..., 0] * torch.nan, v * torch.nan), p.batch, start, torch.Generator().manual_seed(0))
    torch.testing.assert_close(nothing.normal.colored(randn(2, ROWS, DIM)), start.colored(randn(2, ROWS, DIM)))
    assert not nothing.has_converged.any()


def linear(count, *, dim=DIM, spread=1.0, shift=0.0, prior=None, rows=6):
    """z ~ N(0, C), x|z ~ N(W z, .5^2 I), its guide a normal with independent latents, and log p(x)."""
    prior = torch.eye(dim).double() if prior is None else prior
    weight = 3 * randn(count, dim, seed=20) / math.sqrt(dim)
    marginal = dist.MultivariateNormal(torch.zeros(count).double(), weight @ prior @ weight.T + 0.25 * torch.eye(count))
    x = randn(rows, count, seed=21) @ marginal.scale_tril.T
    precision = torch.linalg.inv(prior) + weight.T @ weight / 0.25
    scale, gain = precision.diagonal().rsqrt().float(), torch.linalg.solve(precision, weight.T / 0.25).T.float()
    latents, weight = dist.MultivariateNormal(torch.zeros(dim), scale_tril=torch.linalg.cholesky(prior).float()), weight.float()
    if (prior == torch.eye(dim)).all():
        latents = dist.Normal(torch.zeros(dim), 1.0).to_event(1)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", latents)
            pyro.sample("x", dist.Normal(z @ weight.T, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ gain + shift * scale, spread * scale).to_event(1))

    return lvm.Pair(model, guide), x.float(), marginal.log_prob(x.float().double())


@pytest.mark.parametrize(("count", "spread", "shift"), [(20, 1.0, 0.0), (50, 0.4, 0.0), (100, 1.0, 3.0), (30, 3.0, 0.5)])
def test_linear_models_are_scored_rightly_whatever_the_guide(count, spread, shift):
    pair, x, truth = linear(count, spread=spread, shift=shift)
    score = evaluate(pair, x, **QUIET)
    assert score.is_refined.all()
    assert not score.is_unreliable.any()
    assert ((score.log_px - truth).abs() < 5 * score.mc_error).all()
    assert score.ess.min() > 600


@pytest.mark.parametrize(("count", "correlation"), [(20, 0.6), (130, 0.0)])
def test_posteriors_of_a_higher_rank_are_marked(count, correlation):
    places = torch.arange(DIM)
    pair, x, truth = linear(count, prior=correlation ** (places[:, None] - places).abs().double())
    score = evaluate(pair, x, **QUIET)
    assert (truth - score.log_px).min() > 5
    assert score.is_unreliable.all()


def test_figures_do_not_depend_on_chunks():
    pair, x, _ = linear(20, rows=33, spread=0.7)  # two blocks of data
    first, again = (evaluate(pair, x, num_particles=100, chunk_size=size, proposal="refined", **QUIET) for size in (None, 130))
    torch.testing.assert_close(again.log_px, first.log_px, rtol=0, atol=1e-3)


def vae(dim):
    torch.manual_seed(0)
    decoder, encoder = lvm.MLP(dim, [32], 40), lvm.MLP(40, [32], 2 * dim)
    return lvm.VAE(lvm.StandardNormal(dim), lvm.BernoulliLikelihood(decoder), lvm.NormalEncoder(encoder))


def test_a_vae_agrees_with_chains():
    """The guide's own draws are off by nats here; chains from the refined proposal, whose weights do not need it to fit, are not."""
    x = torch.rand(6, 40, generator=torch.Generator().manual_seed(1)).round()
    pair = vae(512)
    refined, chains = evaluate(pair, x, **QUIET), evaluate(pair, x, method="ais", num_particles=16, num_steps=20, **QUIET)
    assert refined.is_refined.all()
    assert not refined.is_unreliable.any()
    assert ((refined.log_px - chains.log_px).abs() < 5 * (refined.mc_error**2 + chains.mc_error**2).sqrt()).all()
    assert refined.ess.min() > 400
    guided = evaluate(pair, x, proposal="guide", **QUIET)
    assert (refined.log_px - guided.log_px).mean() > 1


def test_compiled_figures_are_the_same():
    pair, x = vae(260).double(), torch.rand(10, 40, generator=torch.Generator().manual_seed(1)).round().double()
    eager, compiled = (evaluate(pair, x, num_particles=100, proposal="refined", compile=c, **QUIET) for c in (False, True))
    torch.testing.assert_close(compiled.log_px, eager.log_px, rtol=0, atol=1e-6)


class LargestTensors(TorchDispatchMode):
    """Notes the shapes of all tensors with two or more dimensions of a size."""

    def __init__(self, dim):
        super().__init__()
        self.dim, self.shapes = dim, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        shapes = [tuple(value.shape) for value in tree_leaves(out) if isinstance(value, torch.Tensor)]
        self.shapes.update(shape for shape in shapes if shape.count(self.dim) > 1)
        return out


def test_no_matrix_has_as_many_rows_and_columns_as_there_are_latents():
    pair, x, truth = linear(20, dim=2003, rows=3)
    with LargestTensors(2003) as seen:
        score = evaluate(pair, x, num_particles=200, **QUIET)
    assert not seen.shapes
    assert ((score.log_px - truth).abs() < 5 * score.mc_error).all()
    assert not score.is_unreliable.any()
