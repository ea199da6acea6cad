"""Diagnoses against closed forms, enumeration and quadrature; holes of known size; what is refused."""

import math

import numpy as np
from oracles import LinearMixture
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import diagnose, evaluate
from inference.diagnostics.aggregate import leave_out
from inference.diagnostics.codebook_use import codebook_use
from inference.diagnostics.estimates import Sample, _mean_over_data, _reverse_kl
from inference.diagnostics.holes import _auc_error, share_below, two_sample_auc
from pyro_lvm import (
    MLP,
    VAE,
    BernoulliLikelihood,
    DiagNormalMixture,
    FlowEncoder,
    LogisticNormal,
    Pair,
    PowerSpherical,
    StandardNormal,
    iaf,
)
from pyro_lvm.distributions.student_t import StudentT

QUIET = {"progress": False}


def normal_pair(prior):
    """Data hold the mean and the scale of their own q(z|x), so that q(z) may be any mixture."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(torch.cat([z, z], -1), 1.0).to_event(1), obs=x)

    def guide(x):
        loc, scale = x.chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    return Pair(model, guide)


def standard(latent_dim):
    return dist.Normal(torch.zeros(latent_dim).double(), 1.0).to_event(1)


def encoded(loc, scale):
    return torch.cat([loc, scale * torch.ones_like(loc)], -1)


def matched(num_data, latent_dim, scale, seed=0):
    """Data whose q(z), were there no end of them, is the standard normal."""
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(num_data, latent_dim, generator=generator, dtype=torch.float64)
    return encoded((1 - scale**2) ** 0.5 * loc, scale)


def close(diagnosis, name, expected):
    error = diagnosis.standard_errors[name]
    assert abs(getattr(diagnosis, name) - expected) < 4 * error, (name, getattr(diagnosis, name), expected, error)
    return error


def grid_densities(x, half_width=7.0, step=0.05):
    """A square grid, the mixture's density on it and its marginals', [G], [G, G], [G]."""
    axis = torch.arange(-half_width, half_width, step).double()
    loc, scale = x.chunk(2, -1)
    each = torch.distributions.Normal(loc, scale).log_prob(axis[:, None, None]).exp()  # [G, N, 2]
    return axis, each[..., 0] @ each[..., 1].T / len(x), each.mean(1).T


def kl(q, p, cell):
    return float((torch.special.xlogy(q, q) - torch.special.xlogy(q, p)).sum() * cell)


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


def outside_share(weight, quantile):
    """P(w phi(z) < t), z in the plane, at the quantile t of the density of two normals far apart with weights w and 1 - w.

    exp(-r^2 / 2) is uniform, so that a component of weight w has a share 2 pi t / w below t, and the mixture 4 pi t.
    """
    return quantile / (2 * weight)


def test_shares_of_a_prior_with_a_component_that_no_code_uses():
    loc = torch.tensor([[0.0, 0.0], [20.0, 0.0]]).double()
    prior = DiagNormalMixture(torch.tensor([0.7, 0.3]).double().log(), loc, torch.ones(2, 2).double())
    diagnosis = diagnose(normal_pair(prior), matched(2000, 2, 0.5), quantile=0.05, num_draws=2000, **QUIET)
    assert close(diagnosis, "holes_prior", 0.3 + 0.7 * 0.05) < 0.015
    assert close(diagnosis, "holes_codes", outside_share(0.7, 0.05)) < 0.01
    assert diagnosis.marginal_kl == pytest.approx(-math.log(0.7), abs=0.05)


def test_shares_of_codes_where_the_prior_never_samples():
    x = matched(2000, 2, 0.5)
    x[:400, 0] += 20
    diagnosis = diagnose(normal_pair(standard(2)), x, quantile=0.05, num_draws=2000, **QUIET)
    assert close(diagnosis, "holes_codes", 0.2 + 0.8 * 0.05) < 0.015
    assert close(diagnosis, "holes_prior", outside_share(0.8, 0.05)) < 0.01


def test_a_matched_model_in_many_dimensions_has_no_holes():
    diagnosis = diagnose(normal_pair(standard(40)), matched(10_000, 40, 0.3), num_draws=1000, **QUIET)
    for name in ("holes_prior", "holes_codes"):
        assert close(diagnosis, name, 0.01) < 0.006
    assert close(diagnosis, "auc", 0.5) < 0.025
    assert close(diagnosis, "dimension_kl", 0.0) < 0.05
    close(diagnosis, "rate", 40 * -math.log(0.3))
    assert diagnosis.mutual_information == pytest.approx(math.log(10_000), abs=1e-3)
    assert diagnosis.marginal_kl == pytest.approx(diagnosis.rate - math.log(10_000), abs=1e-3)
    assert "too low so close to it" in diagnosis.notes["mutual_information"]
    assert diagnosis.marginal_kl_held_out < 0 < diagnosis.marginal_kl
    assert diagnosis.active_units == 40


def log_ring(r, radius, scale):
    """Log density of normals along a circle, at radius r, up to a constant."""
    return -0.5 * ((r - radius) / scale) ** 2 + torch.special.i0e(r * radius / scale**2).log()


def test_a_ring_of_codes_leaves_a_hole_that_the_right_prior_fills():
    radius, scale = 3.2, 0.15
    angle = torch.arange(2000).double() * 2 * math.pi / 2000
    loc = radius * torch.stack([angle.cos(), angle.sin()], 1)
    x = encoded(loc, scale)
    diagnosis = diagnose(normal_pair(standard(2)), x, num_draws=1500, **QUIET)
    generator = torch.Generator().manual_seed(1)
    along = radius + scale * torch.randn(200_000, generator=generator).double()
    r = (along.square() + scale**2 * torch.randn(200_000, generator=generator).double().square()).sqrt()  # radii of codes
    level = log_ring(r, radius, scale).quantile(0.01)
    prior_r = (-2 * torch.rand(200_000, generator=generator).double().log()).sqrt()
    outside = (log_ring(prior_r, radius, scale) < level).double().mean()
    assert close(diagnosis, "holes_prior", float(outside)) < 0.01
    assert close(diagnosis, "holes_codes", float((r > (-2 * math.log(0.01)) ** 0.5).double().mean())) < 0.06
    assert diagnosis.holes_prior > 0.9 and diagnosis.holes_codes > 0.8
    assert diagnosis.auc > 0.97 and diagnosis.reverse_kl > 10 and diagnosis.marginal_kl > 2

    ring = DiagNormalMixture(torch.zeros(2000).double(), loc, torch.full((2000, 2), scale).double())
    mended = diagnose(normal_pair(ring), x, num_draws=1500, **QUIET)
    for name, expected in (("holes_prior", 0.01), ("holes_codes", 0.01), ("auc", 0.5)):
        close(mended, name, expected)
    assert mended.marginal_kl == pytest.approx(0, abs=1e-9) == mended.reverse_kl


def test_errors_of_shares_and_areas_are_those_of_repeated_samples():
    generator = torch.Generator().manual_seed(0)
    scores = 0.5 + torch.randn(300, 500, generator=generator).double()
    reference = torch.randn(300, 400, generator=generator).double()
    pairs = list(zip(scores, reference, strict=True))
    shares = torch.tensor([share_below(*pair, 0.1, num_scores=500, num_reference=400) for pair in pairs])
    share = torch.special.ndtr(torch.special.ndtri(torch.tensor(0.1).double()) - 0.5)
    z = (shares[:, 0] - share) / shares[:, 1]
    assert abs(z.mean()) < 0.25 and 0.85 < z.std() < 1.15
    areas = torch.tensor([float((a[:, None] > b).double().mean()) for a, b in pairs])
    assert 0.85 < areas.std() / _auc_error(float(areas.mean()), 400, 500) < 1.15
    assert share_below(torch.zeros(100), -torch.ones(100), 0.1, num_scores=100, num_reference=100)[1] > 0
    assert _auc_error(1.0, 50, 50) > 0


def test_a_classifier_with_nothing_to_tell_scatters_no_more_than_it_says():
    samples = torch.randn(12, 2, 400, 3, generator=torch.Generator().manual_seed(0))
    z = torch.tensor([(auc - 0.5) / error for auc, error in (two_sample_auc(*pair, seed=0) for pair in samples)])
    assert 0.3 < z.square().mean().sqrt() < 1.5


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
        forward.append(_mean_over_data((log_q - log_p)[None, :200]))
        backward.append(_reverse_kl(Sample(None, None, None, None, log_p[200:], log_q[200:], left[:, 200:]))[:2])
    for values, errors in (torch.tensor(forward).T, torch.tensor(backward).T):
        assert 0.8 < errors.mean() / values.std() < 1.25


def test_blocks_of_any_size_give_equal_figures():
    x = matched(200, 2, 0.5)
    whole, parts = (diagnose(normal_pair(standard(2)), x, num_draws=500, chunk_size=size, **QUIET).to_frame() for size in (None, 5000))
    np.testing.assert_allclose(whole["value"], parts["value"], rtol=1e-10)
    other = diagnose(normal_pair(standard(2)), x, num_draws=500, seed=1, **QUIET)
    assert other.rate != whole.loc["rate", "value"]


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

    idle = diagnose(Pair(model, lambda x: guide(x[:1].expand(len(x), -1))), x, quantile=0.05, num_draws=100, **QUIET)
    assert idle.active_units == 0


def discrete_pair(prior, posterior):
    """Data hold logits of their own q(z|x), [N, V]."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            index = z.argmax(-1) if prior.event_shape else z
            pyro.sample("x", dist.Normal(index[:, None].expand(x.shape).to(x), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    return Pair(model, guide)


LOGITS = 2 * torch.randn(500, 5, generator=torch.Generator().manual_seed(0)).double()
P = torch.tensor([0.1, 0.2, 0.1, 0.25, 0.35]).double()
CATEGORIES = {
    "index": (dist.Categorical(P), lambda x: dist.Categorical(logits=x)),
    "one-hot": (dist.OneHotCategorical(P), lambda x: dist.OneHotCategorical(logits=x)),
}


@pytest.mark.parametrize("kind", CATEGORIES)
def test_a_discrete_code_has_masses_for_densities(kind):
    diagnosis = diagnose(discrete_pair(*CATEGORIES[kind]), LOGITS, num_draws=1000, **QUIET)
    each, q = LOGITS.softmax(1), LOGITS.softmax(1).mean(0)
    information = float((each * (each / q).log()).sum(1).mean())
    assert close(diagnosis, "mutual_information", information) < 0.1
    assert close(diagnosis, "marginal_kl", float((q * (q / P).log()).sum())) < 0.1
    assert close(diagnosis, "reverse_kl", float((P * (P / q).log()).sum())) < 0.1
    perplexity = float(torch.distributions.Categorical(q).entropy().exp())
    assert abs(diagnosis.levels["perplexity[z]"] - perplexity) < 4 * diagnosis.standard_errors["perplexity[z]"] < 0.5
    assert diagnosis.levels["codes_used[z]"] == 1 and diagnosis.active_units == 0
    assert diagnosis.notes["active_units"] == "no latent is continuous"
    assert math.isnan(diagnosis.dimension_kl) == (kind == "one-hot")


def test_a_hard_code_shows_the_values_that_it_never_uses():
    x = LOGITS.clone()
    x[:, 1:3] = -50  # values 1 and 2, of prior mass .3

    def nearest(x):
        return dist.Delta(torch.nn.functional.one_hot(x.argmax(1), 5).double(), event_dim=1)

    diagnosis = diagnose(discrete_pair(dist.OneHotCategorical(P), nearest), x, num_draws=500, **QUIET)
    frequencies = torch.bincount(x.argmax(1)) / 500
    entropy = float(torch.distributions.Categorical(frequencies).entropy())
    assert diagnosis.mutual_information == pytest.approx(entropy, abs=1e-6)
    assert diagnosis.levels["perplexity[z]"] == pytest.approx(math.exp(entropy))
    assert diagnosis.levels["codes_used[z]"] == 0.6
    close(diagnosis, "holes_prior", 0.3)
    assert diagnosis.reverse_kl == math.inf and diagnosis.holes_codes == 0 and "inf" in repr(diagnosis)


def test_use_of_a_codebook_with_slots_pools_them():
    codes = torch.tensor([[0, 1], [0, 1], [0, 2], [0, 0]])
    use = codebook_use(dist.Categorical(torch.ones(4, 2, 6)).to_event(1), codes)
    entropy = -sum(f * math.log(f) for f in (5 / 8, 2 / 8, 1 / 8))
    assert (use.share, use.perplexity) == pytest.approx((3 / 6, math.exp(entropy)))
    assert use.share_error == pytest.approx((7 / 8) ** 0.5 / 6)
    assert math.isnan(codebook_use(dist.Poisson(torch.ones(4)), torch.tensor([0, 1, 1, 3])).share)


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


def test_units_that_ignore_the_data_are_collapsed():
    x = matched(300, 4, 0.5)
    x[:, 1], x[:, 5] = 0.0, 1.0  # loc, scale of unit 1
    x[:, 2] *= 0.02
    diagnosis = diagnose(normal_pair(standard(4)), x, num_draws=300, **QUIET)
    torch.testing.assert_close(diagnosis.unit_variances["z"], x[:, :4].var(0))
    assert diagnosis.active_units == 2 and diagnosis.collapsed["z"] == (1, 2) and diagnosis.standard_errors["active_units"] < 0.01
    assert "Collapsed units of z: 1, 2." in repr(diagnosis)


def test_the_table_prints_no_digit_beyond_its_error():
    diagnosis = diagnose(normal_pair(standard(2)), matched(200, 2, 0.5), num_draws=200, **QUIET)
    frame = diagnosis.to_frame()
    assert list(frame.columns) == ["value", "se", "note"] and frame["note"].str.len().min() > 10
    assert (frame["se"] >= 0).all() and frame.loc["rate", "value"] == diagnosis.rate
    printed = {line.split()[0]: line.split()[1:3] for line in repr(diagnosis).splitlines()[1:13]}
    for name, (value, error) in printed.items():
        assert float(value) == pytest.approx(frame.loc[name, "value"], abs=2 * frame.loc[name, "se"] + 1e-12)
        assert len(value.partition(".")[2]) <= len(error.partition(".")[2])


GOOD = matched(200, 2, 0.5)
BAD_INPUT = {
    "no data": (GOOD[:0], {}, "at least one row"),
    "too few data": (GOOD[:99], {}, "data must number at least 100 for quantile 0.01; got 99"),
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
