"""The power spherical distribution: its density against quadrature, its draws and gradients against their laws."""

import math

import pyro
import pytest
from scipy import integrate, special, stats
from spaces import doubles, unit
import torch

from pyro_lvm import PowerSpherical


@pytest.mark.parametrize("D", [2, 3, 10])
@pytest.mark.parametrize("kappa", [0.0, 0.7, 30.0])
def test_power_spherical_equals_the_published_density_and_integrates_to_one(D, kappa):
    alpha, beta = (D - 1) / 2 + kappa, (D - 1) / 2
    log_norm = (alpha + beta) * math.log(2) + beta * math.log(math.pi) + special.gammaln(alpha) - special.gammaln(alpha + beta)
    fn, m = PowerSpherical(unit(D), doubles(kappa)[0]), unit(D)
    z = torch.stack([unit(D, seed) for seed in range(1, 8)])
    torch.testing.assert_close(fn.log_prob(z), kappa * torch.log1p(z @ m) - log_norm)

    across = torch.linalg.svd(m[None])[2][1]  # a unit vector at right angles to m

    def density(t):  # times the area of the sphere's slice at cosine t = sin(angle)
        z = math.sin(t) * m + math.cos(t) * across
        slice_area = 2 * math.pi**beta / math.gamma(beta) * math.cos(t) ** (D - 2)
        return fn.log_prob(z).exp().item() * slice_area

    assert integrate.quad(density, -math.pi / 2, math.pi / 2)[0] == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("D", [2, 3, 10])
@pytest.mark.parametrize("kappa", [0.0, 0.7, 30.0])
def test_power_spherical_draws_follow_their_law(D, kappa):
    torch.manual_seed(1)
    m, N = unit(D), 20000
    fn = PowerSpherical(m, doubles(kappa)[0])
    z = fn.sample((N,))
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(N).double())
    beta = (D - 1) / 2
    assert stats.kstest(((1 + z @ m) / 2).numpy(), stats.beta(beta + kappa, beta).cdf).pvalue > 1e-3
    assert ((z.mean(0) - fn.mean).abs() < 5 * z.std(0) / N**0.5).all()
    tangent = z - (z @ m)[:, None] * m
    spread = tangent.T @ tangent / N
    error = 6 * spread.diag().max() * (2 / N) ** 0.5
    assert (spread - (torch.eye(D).double() - m[:, None] * m) * spread.trace() / (D - 1)).abs().max() < error + 1e-12


@pytest.mark.parametrize("D", [2, 3, 10])
def test_power_spherical_gradients_are_those_of_the_mean(D):
    torch.manual_seed(2)
    N, weight = 40000, torch.randn(D).double()
    direction, log_kappa = (2 * unit(D)).requires_grad_(), torch.ones(()).double().requires_grad_()
    mean = PowerSpherical(direction / direction.norm(), log_kappa.exp()).mean
    exact = torch.autograd.grad(mean @ weight, [direction, log_kappa])
    many = direction.detach().expand(N, D).clone().requires_grad_(), log_kappa.detach().expand(N).clone().requires_grad_()
    fn = PowerSpherical(many[0] / many[0].norm(dim=-1, keepdim=True), many[1].exp())
    drawn = torch.autograd.grad((fn.rsample() @ weight).sum(), many)  # one gradient for each draw
    for gradient, expected in zip(drawn, exact, strict=True):
        gradient = gradient.reshape(N, -1)
        assert gradient.isfinite().all()
        assert ((gradient.mean(0) - expected).abs() < 5 * gradient.std(0) / N**0.5).all()


@pytest.mark.parametrize("kappa", [0.0, 1.0, 1e3, 1e5])
@pytest.mark.parametrize("D", [2, 40])
def test_power_spherical_keeps_its_digits_in_float32(D, kappa):
    torch.manual_seed(0)
    m = unit(D).float()
    fn = PowerSpherical(m, torch.tensor(kappa))
    z = fn.sample((200,))
    double_fn = PowerSpherical(m.double() / m.double().norm(), doubles(kappa)[0])
    error = (fn.log_prob(z).double() - double_fn.log_prob(z.double() / z.double().norm(dim=-1, keepdim=True))).abs()
    assert error.max() < 2e-3
    with pyro.validation_enabled():
        PowerSpherical(m, torch.tensor(kappa)).log_prob(z)  # draws and mean direction lie on the sphere


def test_power_spherical_at_its_poles():
    axis = doubles(1, 0, 0)
    fn = PowerSpherical(axis, doubles(0.0)[0])
    assert fn.log_prob(-axis).item() == pytest.approx(-math.log(4 * math.pi)) == fn.log_prob(axis).item()
    assert PowerSpherical(axis, doubles(2.0)[0]).log_prob(-axis) == -math.inf
    assert PowerSpherical(-axis, doubles(5e3)[0]).sample((9,))[:, 0].max() < -0.95
    assert PowerSpherical(axis, doubles(5e3)[0]).sample((9,))[:, 0].min() > 0.95


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PowerSpherical(torch.ones(1), torch.ones(())), r"loc \[\*batch, D\], D at least 2"),
        (lambda: PowerSpherical(torch.ones(5, 3), torch.ones(())), r"got \(5, 3\) and \(\)"),
    ],
)
def test_errors_name_the_remedy(build, message):
    with pytest.raises(ValueError, match=message):
        build()
