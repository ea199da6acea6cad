"""Missing cells follow p(x_mis | x_obs): against closed forms, whatever the guide; what has no cells to leave out is refused."""

import math

from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
import pytest
import torch

from inference import impute
from inference.new_rows.missing import masked_elements
import pyro_lvm as lvm

NAN = float("nan")


def conditional(oracle, row):
    """Mean and covariance of the missing cells of a row given the others."""
    covariance, gap = oracle.weight @ oracle.weight.T + oracle.noise.diag(), row.isnan()
    gain = covariance[gap][:, ~gap] @ torch.linalg.inv(covariance[~gap][:, ~gap])
    mean = oracle.offset[gap] + gain @ (row[~gap] - oracle.offset[~gap])
    return mean, covariance[gap][:, gap] - gain @ covariance[~gap][:, gap]


@pytest.mark.parametrize("guide", ["exact for complete rows", "broad"])
def test_draws_follow_the_conditional_normal_distribution(guide):
    oracle = LinearGaussian()
    x = oracle.sample(40)
    gaps = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    gaps[0], gaps[1], gaps[2] = True, False, torch.tensor([True, True, True, True, False])
    found = impute(oracle.broad if guide == "broad" else oracle, x.masked_fill(gaps, NAN), num_draws=500, num_particles=2000, seed=0)
    assert not found.is_poor.any() and torch.equal(found.draws[:, ~gaps], x[~gaps].expand(500, -1))
    scores, spreads = [], []
    for row, drawn, ess in zip(x.masked_fill(gaps, NAN), found.draws.unbind(1), found.ess, strict=True):
        if row.isnan().any():
            mean, covariance = conditional(oracle, row)
            error = (covariance.diag() * (1 / 500 + 1 / float(ess))).sqrt()  # of draws chosen among as many effective ones
            scores.append((drawn[:, row.isnan()].mean(0) - mean) / error)
            spreads.append(torch.logdet(torch.atleast_2d(drawn[:, row.isnan()].T.cov())) - torch.logdet(covariance))
    scores, spreads = torch.cat(scores), torch.stack(spreads)
    assert scores.abs().max() < 4.5 and 0.7 < scores.std() < 1.3
    assert spreads.abs().max() < 0.5 and spreads.mean().abs() < 0.1


def test_several_latents_are_drawn_together():
    """z2 ~ N(0, 1), z1 ~ N(z2, 1), x1 ~ N(z1, 1/4), x2 ~ N(z2, 1/4): given x1 = 2, x2 has mean 8/9 and variance 1 + 1/4 - 4/9."""

    def model(x):
        with pyro.plate("data", len(x)):
            upper = pyro.sample("z2", dist.Normal(torch.zeros(()), 1.0))
            lower = pyro.sample("z1", dist.Normal(upper, 1.0))
            pyro.sample("x", dist.Normal(torch.stack([lower, upper], -1), 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            upper = pyro.sample("z2", dist.Normal(x[:, 1], 0.7))
            pyro.sample("z1", dist.Normal(0.5 * upper, 1.5))

    found = impute(lvm.Pair(model, guide), torch.tensor([[2.0, NAN], [2.0, 0.0]]), num_draws=4000, num_particles=8000, seed=0)
    drawn, variance = found.draws[:, 0, 1].double(), 1.25 - 4 / 9
    assert abs(drawn.mean() - 8 / 9) < 4 * (variance * (1 / 4000 + 1 / float(found.ess[0]))) ** 0.5
    assert abs(drawn.var() / variance - 1) < 4 * (2 / 4000 + 2 / float(found.ess[0])) ** 0.5


class Classes:
    """Two classes, and three binary cells given the class; p(x_mis | x_obs) is a sum of two terms."""

    def __init__(self, *, is_enumerated, guide_share=0.5):
        self.share, self.guide_share, self.is_enumerated = torch.tensor([0.3, 0.7]), guide_share, is_enumerated
        self.probs = torch.tensor([[0.9, 0.8, 0.2], [0.1, 0.3, 0.6]])

    def model(self, x):
        infer = {"enumerate": "parallel"} if self.is_enumerated else {}
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(self.share), infer=infer)
            pyro.sample("x", dist.Bernoulli(self.probs[c]).to_event(1), obs=x)

    def guide(self, x):
        if not self.is_enumerated:
            with pyro.plate("data", len(x)):
                pyro.sample("c", dist.Categorical(torch.tensor([1 - self.guide_share, self.guide_share])))


@pytest.mark.parametrize("is_enumerated", [True, False])
def test_classes_are_inferred_from_the_observed_cells_alone(is_enumerated):
    pair = Classes(is_enumerated=is_enumerated)
    x = torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, 1.0], [0.0, 1.0, NAN]])
    found = impute(pair, x, num_draws=2000, num_particles=4000, seed=1)
    for row, mean in zip(x, found.mean, strict=True):
        gap = row.isnan()
        posterior = pair.share * dist.Bernoulli(pair.probs[:, ~gap]).log_prob(row[~gap]).sum(1).exp()
        expected = (posterior / posterior.sum()) @ pair.probs[:, gap]
        assert torch.allclose(mean[gap], expected, atol=4 * math.sqrt(0.25 / 2000 + 0.25 / 2000))
    assert not found.is_poor.any()


class ClassesOfRowsWithGaps(Classes):
    """The guide is the posterior given the observed cells, and takes NaN in the others."""

    def guide(self, x):
        cells = dist.Bernoulli(self.probs).log_prob(x.nan_to_num()[:, None]) * ~x.isnan()[:, None]  # [B, 2, 3]
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Categorical(logits=self.share.log() + cells.sum(-1)))


def test_a_guide_that_is_made_for_gaps_sees_them():
    x = torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, 1.0], [0.0, 1.0, NAN], [1.0, 1.0, 1.0]])
    found = impute(ClassesOfRowsWithGaps(is_enumerated=False), x, num_particles=300, seed=0)
    assert torch.allclose(found.ess, torch.tensor(300.0).double())  # as all weights are equal


def test_a_latent_of_missing_cells_must_have_a_place_for_each():
    with pytest.raises(ValueError, match=r"site must be a latent of the shape of x, \(2, 3\).*got 'c' of shape \(2,\)"):
        impute(ClassesOfRowsWithGaps(is_enumerated=False), torch.tensor([[0.0, NAN, 1.0], [1.0, 1.0, 0.0]]), site="c")
    with pytest.raises(ValueError, match="got 'x' of shape None, and the latents are c"):
        impute(ClassesOfRowsWithGaps(is_enumerated=False), torch.tensor([[0.0, NAN, 1.0], [1.0, 1.0, 0.0]]), site="x")


def test_rows_whose_draws_miss_the_posterior_are_marked():
    pair = Classes(is_enumerated=False, guide_share=1e-4)
    found = impute(pair, torch.tensor([[0.0, NAN, 1.0], [1.0, NAN, 0.0]]), num_particles=300, seed=0)
    assert found.is_poor.tolist() == [True, True]


@pytest.mark.parametrize("likelihood", ["categorical", "poisson", "masked", "expanded"])
def test_every_likelihood_of_independent_cells_has_cells_to_leave_out(likelihood):
    counts = torch.tensor([[True, False, True], [False, False, True]])
    value = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    elements = {
        "categorical": dist.Categorical(logits=torch.randn(2, 3, 4)),
        "poisson": dist.Poisson(torch.rand(2, 3)),
        "masked": dist.Normal(torch.randn(2, 3), 1.0),
        "expanded": dist.Normal(torch.randn(3), 1.0),
    }[likelihood]
    fn = elements.to_event(1).mask(torch.tensor([True, False])) if likelihood == "masked" else elements.to_event(1)
    fn = fn.expand((2,)) if likelihood == "expanded" else fn
    expected = (elements.log_prob(value) * counts).sum(1) * (torch.tensor([1.0, 0.0]) if likelihood == "masked" else 1.0)
    assert torch.allclose(masked_elements(fn, counts).log_prob(value), expected)


def of_pair(observe):
    """A pair of one latent whose model observes x, ``[B, 3]``, by a function of z and x."""

    def model(x):
        with pyro.plate("data", len(x)):
            observe(pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1)), x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    return lvm.Pair(model, guide)


def full_covariance(z, x):
    pyro.sample("x", dist.MultivariateNormal(z, torch.eye(3)), obs=x)


def autoregressive(z, x):
    pyro.sample("x", dist.Normal(z + x.roll(1, 1), 1.0).to_event(1), obs=x)


def another_site_given_x(z, x):
    seen = pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
    pyro.sample("y", dist.Normal(seen.sum(1), 1.0), obs=torch.zeros(len(x)))


def a_function_of_x(z, x):
    pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=2 * x + 1)


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        (full_covariance, "site 'x': cells can be left out of a distribution of independent ones; got a MultivariateNormal"),
        (autoregressive, "must not depend on x other than by observing it at site 'x'"),
        (another_site_given_x, "must not depend on x other than by observing it at site 'x'"),
        (a_function_of_x, "must be observed as it is at one site"),
    ],
)
def test_cells_that_depend_on_one_another_are_refused(observe, message):
    with pytest.raises(ValueError, match=message):
        impute(of_pair(observe), torch.tensor([[1.0, NAN, 2.0], [0.5, 1.0, NAN]]), num_particles=20, seed=0)


def test_guides_that_cannot_propose_are_refused():
    encoder = lvm.VectorQuantizer(lvm.MLP(3, [4], (2, 2)), num_codes=4)
    vqvae = lvm.VQVAE(lvm.UniformCodePrior((2,), 4), lvm.GaussianLikelihood(lvm.MLP((2, 2), [4], 3)), encoder)
    x = torch.tensor([[1.0, NAN, 2.0], [0.5, 1.0, NAN]])
    with pytest.raises(ValueError, match="the guide is certain of z"):
        impute(vqvae, x, num_particles=20, seed=0)
    assert impute(vqvae.soft(1.0), x, num_particles=200, seed=0).draws.isfinite().all()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match="belong to the rows of the training data"):
        impute(lvm.Pair(model, AutoNormal(model)), x, num_particles=20, seed=0)


def test_nothing_observed_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one observed cell"):
        impute(LinearGaussian(), torch.full((2, 5), NAN, dtype=torch.float64), seed=0)


def test_draws_depend_on_the_seed_alone():
    oracle = LinearGaussian()
    x = oracle.sample(4)
    x[:, 1] = NAN
    first, again, other = (impute(oracle.broad, x, seed=seed).draws for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_one_draw_is_not_to_be_trusted():
    oracle = LinearGaussian()
    x = oracle.sample(6)
    x[:, 0] = NAN
    assert impute(oracle.broad, x, num_particles=1, seed=0).is_poor.all()


def test_a_latent_that_explains_observed_cells_holds_no_missing_ones():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).mask(~x.isnan()).to_event(1), obs=x.nan_to_num())

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.nan_to_num() / 2, 1.0).to_event(1))

    x = torch.randn(20, 3)
    x[::2, 1] = NAN
    with pytest.raises(ValueError, match="'z' also matters where cells are observed"):
        impute(lvm.Pair(model, guide), x, site="z")
