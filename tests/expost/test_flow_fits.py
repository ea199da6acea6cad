"""Flows fitted to codes: against autograd, and how they start and stop."""

from clouds import SHIFT, STRETCH, clusters, ring
import pytest
import torch

from inference import fit, fit_flow, fit_gaussian
from inference.expost import flow as flow_fits
from pyro_lvm import MLP, maf, spline


@pytest.mark.parametrize("constructor", [maf, spline])
def test_flow_density_counts_the_standardization(constructor):
    codes = SHIFT + STRETCH * clusters(200)
    prior = fit_flow(codes, codes, flow=constructor(2, hidden=(8,)), epochs=3, learning_rate=0.01)
    transform = prior().flow.transform
    jacobian = torch.func.vmap(torch.func.jacrev(transform))(codes)  # [N, D, D]
    base = torch.distributions.Normal(0.0, 1.0).log_prob(transform(codes)).sum(-1)
    torch.testing.assert_close(prior().log_prob(codes), base + torch.linalg.slogdet(jacobian)[1], rtol=1e-10, atol=1e-10)
    assert (transform(codes).std(0) - 1).abs().max() < 0.5


@pytest.mark.parametrize("constructor", [maf, spline])
def test_a_flow_starts_near_the_normal_distribution_of_the_codes(constructor):
    generator = torch.Generator().manual_seed(0)
    codes = (
        torch.randn(500, 3, generator=generator, dtype=torch.float64)
        @ torch.tensor([[2.0, 0, 0], [1.9, 0.1, 0], [5.0, -3.0, 40.0]]).double().T
        + 7
    )
    flow = fit_flow(codes, codes, flow=constructor(3, hidden=(8,)), epochs=1, learning_rate=1e-12)
    difference = flow().log_prob(codes) - fit_gaussian(codes)().log_prob(codes)
    assert (
        abs(difference.mean()) < 0.02 and difference.std() < 0.2
    )  # spread with another scale for each feature alone, it would be 2.9 nats


def test_codes_in_a_subspace_still_have_a_flow():
    codes = ring(200).double()
    codes = torch.cat([codes, codes[:, :1]], 1)
    assert fit_flow(codes, codes, flow=maf(3, hidden=(8,)), epochs=1)().log_prob(codes).isfinite().all()


def test_early_stopping_keeps_the_best_epoch(monkeypatch):
    results = []
    monkeypatch.setattr(flow_fits, "fit", lambda *args, **options: results.append(fit(*args, **options)) or results[-1])
    codes, valid = ring(60), ring(500, seed=1)
    prior = fit_flow(codes, valid, flow=spline(2, hidden=(32, 32)), epochs=60, learning_rate=0.02, patience=5)
    result, losses = results[0], results[0].history["valid_loss"]
    assert result.stopped_early and len(losses) == result.best_epoch + 5 < 60
    best = -prior().log_prob(valid).mean().item()
    assert best == pytest.approx(losses.min(), rel=1e-5) and losses.iloc[-1] > best + 0.01


def test_a_seed_makes_the_flow():
    codes = ring(60)
    state = torch.get_rng_state()
    first, again, other = (fit_flow(codes, codes, epochs=1, seed=seed)().log_prob(codes) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda z: fit_flow(z, z, flow=maf(3)), ValueError, r"must have 2 features, like the codes; got 3. Pass maf\(2\)"),
        (lambda z: fit_flow(z, z, flow=MLP(2, [4], 2)), TypeError, "must be a Flow; got MLP"),
        (lambda z: fit_flow(z, z, epochs=0), ValueError, "epochs must be an integer of at least 1"),
    ],
)
def test_errors_name_the_remedy(build, error, message):
    with pytest.raises(error, match=message):
        build(ring(100))
