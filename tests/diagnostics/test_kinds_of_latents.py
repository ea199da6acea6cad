"""Diagnoses of levels, of images of latents and of latents that are not normal; units that ignore the data."""

import math

import numpy as np
from posteriors import QUIET, close, kl, matched, normal_pair, standard
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import diagnose
from pyro_lvm import LogisticNormal, Pair, PowerSpherical
from pyro_lvm.distributions.student_t import StudentT


def two_level_pair(slope=0.6, width=0.5):
    def model(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", dist.Normal(x.new_zeros(len(x)), 1.0))
            bottom = pyro.sample("bottom", dist.Normal(0.5 * top, 1.0))
            pyro.sample("x", dist.Normal(bottom, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            bottom = pyro.sample("bottom", dist.Normal(slope * x, width))
            pyro.sample("top", dist.Normal(0.1 * bottom, width))

    return Pair(model, guide)


def test_two_levels_are_one_code_with_figures_of_each_level():
    x = 1.5 * torch.randn(500, generator=torch.Generator().manual_seed(0)).double()
    diagnosis = diagnose(two_level_pair(), x, num_draws=1000, **QUIET)

    axis = torch.arange(-7, 7, 0.05).double()
    normal = torch.distributions.Normal
    q_bottom = normal(0.6 * x, 0.5).log_prob(axis[:, None]).exp().mean(1)
    q = q_bottom[:, None] * normal(0.1 * axis[:, None], 0.5).log_prob(axis).exp()  # [bottom, top]
    p = (normal(0.5 * axis, 1.0).log_prob(axis[:, None]) + normal(0.0, 1.0).log_prob(axis)).exp()
    assert close(diagnosis, "marginal_kl", kl(q, p, 0.05**2)) < 0.05
    assert close(diagnosis, "reverse_kl", kl(p, q, 0.05**2)) < 0.2
    assert sum(diagnosis.levels[f"rate[{name}]"] for name in ("top", "bottom")) == pytest.approx(diagnosis.rate)
    second_moment = 0.1**2 * (0.6**2 * x.square() + 0.25) + 0.25
    top = float((-math.log(0.5) - 0.5 + 0.5 * second_moment).mean())
    assert abs(diagnosis.levels["rate[top]"] - top) < 4 * diagnosis.standard_errors["rate[top]"] < 0.1

    for name, slope in (("bottom", 0.6), ("top", 0.06)):
        assert float(diagnosis.unit_variances[name]) == pytest.approx(slope**2 * float(x.var()), rel=0.2)
    assert diagnosis.active_units == 1 and diagnosis.collapsed == {"top": (0,), "bottom": ()}
    assert math.isnan(diagnosis.total_correlation) and "single latent" in diagnosis.notes["total_correlation"]


class ImageBelow:
    """A linear-Gaussian hierarchy of a vector on an image of latents, with the distribution of both, flattened, in closed form."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        shapes = {"A": (4, 2), "B": (3, 4), "C": (2, 3), "D": (4, 3)}
        self.__dict__ |= {name: 0.6 * torch.randn(shape, generator=generator).double() for name, shape in shapes.items()}

    def model(self, x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", standard(2))
            below = pyro.sample("below", dist.Normal((top @ self.A.T).unflatten(-1, (1, 2, 2)), 0.8).to_event(3))
            pyro.sample("x", dist.Normal(below.flatten(-3) @ self.B.T, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", dist.Normal(x @ self.C.T, 0.7).to_event(1))
            loc = x @ self.D.T + top @ self.A.T
            pyro.sample("below", dist.Normal(loc.unflatten(-1, (1, 2, 2)), 0.5).to_event(3))

    def joint(self, loc, shift, top_scale, scale):
        eye, A = torch.eye(2).double(), self.A
        covariance = torch.cat([torch.cat([eye, A.T], 1), torch.cat([A, A @ A.T], 1)]) * top_scale**2
        covariance[2:, 2:] += scale**2 * torch.eye(4).double()
        mean = torch.cat([loc, shift + loc @ A.T], -1)
        return torch.distributions.MultivariateNormal(mean, covariance.expand(*mean.shape, 6))


def test_an_image_of_latents_below_a_vector():
    pair = ImageBelow()
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(1)).double()
    diagnosis = diagnose(pair, x, num_draws=800, **QUIET)
    posterior, prior = pair.joint(x @ pair.C.T, x @ pair.D.T, 0.7, 0.5), pair.joint(torch.zeros(2).double(), 0.0, 1.0, 0.8)
    kl_divergence = torch.distributions.kl_divergence
    assert close(diagnosis, "rate", float(kl_divergence(posterior, prior).mean())) < 0.3
    top = kl_divergence(dist.Normal(x @ pair.C.T, 0.7), dist.Normal(x.new_zeros(2), 1.0)).sum(1).mean()
    assert abs(diagnosis.levels["rate[top]"] - float(top)) < 4 * diagnosis.standard_errors["rate[top]"] < 0.4

    torch.manual_seed(0)
    z = posterior.sample((20,)).flatten(0, 1)  # [8000, 6], datum by datum
    log_q = torch.cat([posterior.log_prob(part[:, None]).logsumexp(1) for part in z.split(1000)]) - math.log(400)
    ratio = (log_q - prior.log_prob(z)).reshape(20, 400).mean(0)
    error = math.hypot(diagnosis.standard_errors["marginal_kl"], float(ratio.std()) / 20)
    assert abs(diagnosis.marginal_kl - float(ratio.mean())) < 4 * error < 1.5

    for name, mean in (("top", posterior.mean[:, :2]), ("below", posterior.mean[:, 2:])):
        variance, expected = diagnosis.unit_variances[name], mean.var(0)
        assert variance.shape == expected.shape and ((variance - expected).abs() < 0.05 * expected + 0.01).all()
    assert diagnosis.active_units == 6
    blocks = [diagnose(pair, x[:60], quantile=0.05, num_draws=100, chunk_size=size, **QUIET).to_frame() for size in (None, 300)]
    np.testing.assert_allclose(blocks[0]["value"], blocks[1]["value"], rtol=1e-9)


CODED = {
    "dirichlet": (dist.Dirichlet(torch.ones(12).double()), lambda x: dist.Dirichlet(0.2 + 40 * x), "simplex"),
    "logistic-normal": (
        LogisticNormal(torch.zeros(12).double(), torch.ones(12).double()),
        lambda x: LogisticNormal(x.log(), torch.full_like(x, 0.1)),
        "simplex",
    ),
    "sphere": (
        PowerSpherical(torch.eye(10)[0].double(), torch.zeros(()).double()),
        lambda x: PowerSpherical(x, torch.full((len(x),), 200.0).double()),
        "sphere",
    ),
    "laplace": (dist.Laplace(torch.zeros(3).double(), 1.0).to_event(1), lambda x: dist.Laplace(x, 0.2).to_event(1), None),
    "student-t": (
        StudentT(torch.full((3,), 5.0).double(), torch.zeros(3).double(), torch.ones(3).double()).to_event(1),
        lambda x: StudentT(torch.full_like(x, 5.0), x, torch.full_like(x, 0.2)).to_event(1),
        None,
    ),
}


@pytest.mark.parametrize("name", CODED)
def test_latents_that_are_not_normal(name):
    """Data are draws from the prior, and q(z|x) is close to the datum."""
    prior, posterior, where = CODED[name]

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    torch.manual_seed(0)
    x = prior.sample((100,))
    diagnosis = diagnose(Pair(model, guide), x, quantile=0.05, num_draws=200, **QUIET)
    z = posterior(x).sample((200,))
    ratio = (posterior(x).log_prob(z) - prior.log_prob(z)).mean(0)
    error = math.hypot(diagnosis.standard_errors["rate"], float(ratio.std()) / 10)
    assert abs(diagnosis.rate - float(ratio.mean())) < 4 * error < 4
    mean = z.mean(0)
    torch.testing.assert_close(diagnosis.unit_variances["z"], mean.var(0), rtol=0.3, atol=0.0)
    assert diagnosis.active_units == len(mean.T) and diagnosis.collapsed == {"z": ()}
    assert math.isnan(diagnosis.total_correlation) == (where is not None)
    if where:
        assert diagnosis.notes["total_correlation"] == f"blank: on the {where} the elements of z cannot be independent"
        threshold = float(diagnosis.notes["active_units"].split("Var_x(E_q[z_d|x]) > ")[1])
        assert threshold == pytest.approx(0.01 * float(x.var(0).mean()), rel=0.2) and threshold < 0.002

    first = x[:1]
    idle = diagnose(Pair(model, lambda x: guide(first.expand(len(x), -1))), x, quantile=0.05, num_draws=100, **QUIET)
    assert idle.active_units == 0


def test_units_that_ignore_the_data_are_collapsed():
    x = matched(300, 4, 0.5)
    x[:, 1], x[:, 5] = 0.0, 1.0  # loc, scale of unit 1
    x[:, 2] *= 0.02
    diagnosis = diagnose(normal_pair(standard(4)), x, num_draws=300, **QUIET)
    torch.testing.assert_close(diagnosis.unit_variances["z"], x[:, :4].var(0))
    assert diagnosis.active_units == 2 and diagnosis.collapsed["z"] == (1, 2) and diagnosis.standard_errors["active_units"] < 0.01
    assert "Collapsed units of z: 1, 2." in repr(diagnosis)
