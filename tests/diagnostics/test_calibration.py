"""Calibration of guides of models whose posteriors are known, exact p-values, and what is refused."""

from calibration_rates import GUIDES, MODELS
from known.conjugate import joint_posterior, normal_gamma, separate
import numpy as np
from oracles import LinearGaussian, LinearMixture
import pyro
import pyro.distributions as dist
import pytest
from scipy import stats
import torch

from inference import calibrate
from inference.diagnostics.calibration.uniformity import band, detectable_scales, normal_scores, scale_p_values, shape_p_values
from pyro_lvm import Pair, check_pair

FEW = {"num_data": 500}


def guided_by(model, posterior):
    def guide(*batch):
        with pyro.plate("data", len(batch[0])):
            pyro.sample("z", posterior(*batch))

    return Pair(model, guide)


def test_p_values_of_the_distribution_function_are_exact():
    values = np.random.default_rng(0).random((60, 1500))
    p = shape_p_values(values)
    for level in (0.5, 0.2, 0.05, 0.01):
        error = (level * (1 - level) / p.size) ** 0.5
        assert (p <= level).mean() < level + 3 * error, "they never reject too often"
        limits = band(60, level)
        counts = np.stack([np.searchsorted(np.sort(column), limits.points) for column in values.T])
        is_outside = ((counts < limits.low) | (counts > limits.high)).any(1)
        np.testing.assert_array_equal(is_outside, p <= level)
        assert level / 2 < is_outside.mean() < level + 3 * error, "and hardly less often"


@pytest.mark.parametrize("num_draws", [9, 99])
def test_detectable_scales_are_detected_as_often_as_stated(num_draws):
    generator, found = np.random.default_rng(1), []
    for scale in detectable_scales(300, num_draws, 0.001):
        ranks = generator.binomial(num_draws, stats.norm.cdf(generator.standard_normal((300, 2000)) / scale))
        scores = normal_scores((ranks + generator.random(ranks.shape)) / (num_draws + 1))
        found.append((scale_p_values(scores) <= 0.001).mean())
    assert found == pytest.approx([0.95, 0.95], abs=0.015)  # the sum of squares is not quite a chi-square variable
    assert detectable_scales(300, 1, 0.001) == []


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_guide_whose_scale_is_a_fifth_off_is_flagged_and_the_exact_one_is_not(make, guide):
    options, word = GUIDES[guide]
    calibration = calibrate(make(**options), MODELS[make])
    found = {name: words for name, words in calibration.findings.items() if not name.startswith("log")}
    assert calibration.is_calibrated == (guide == "exact")
    assert all(words == (word,) for words in found.values()) and (guide == "exact" or found)
    assert (word if word else "No departure from the posterior is found") in calibration.verdict


def test_shift_and_scale_are_those_of_the_guide():
    (make, rows), *_ = MODELS.items()
    frame = calibrate(make(scale=1.2, shift=0.3), rows, num_draws=299).to_frame().loc[["z[0]", "z[1]"]]
    assert ((frame["scale"] - 1.2).abs() < 4 * frame["scale_se"]).all()
    assert ((frame["shift"] - 0.3 / 1.2).abs() < 4 * frame["shift_se"]).all()


def test_the_prior_as_guide_shows_in_the_likelihood_alone():
    linear = LinearGaussian()
    calibration = calibrate(
        guided_by(linear.model, lambda x: dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1)), linear.sample(20), **FEW
    )
    assert set(calibration.findings) == {"log p(x|z)", "log p(x, z)"}
    assert calibration.findings["log p(x|z)"][-1] == "too low"


def test_lost_correlations_show_in_the_joint_density():
    linear = LinearGaussian()
    linear.weight[:, 1] = linear.weight[:, 0] + 0.2
    linear.covariance = torch.linalg.inv(torch.eye(2).double() + linear.weight.T @ (linear.weight / linear.noise[:, None]))

    def uncorrelated(x):
        exact = linear.posterior(x)
        return dist.Normal(exact.mean, exact.variance.sqrt()).to_event(1)

    found = calibrate(guided_by(linear.model, uncorrelated), linear.sample(20), **FEW).findings
    assert set(found) == {"log p(x|z)", "log p(x, z)"} and "too low" in found["log p(x, z)"]


def test_figures_depend_on_the_seed_and_not_on_chunks():
    linear = LinearGaussian()
    x, state = linear.sample(30), torch.random.get_rng_state()
    whole, parts, other = (calibrate(linear, x, num_data=90, num_draws=20, **options) for options in ({}, {"chunk_size": 7}, {"seed": 1}))
    assert torch.equal(whole.ranks, parts.ranks) and torch.equal(whole.positions, parts.positions)
    assert not torch.equal(whole.ranks, other.ranks) and torch.equal(torch.random.get_rng_state(), state)


def test_several_latents_and_a_factorized_guide():
    exact, factorized = (calibrate(case.pair, *case.batch, **FEW) for case in (normal_gamma(joint_posterior), normal_gamma(separate)))
    assert exact.names == ("tau", "m", "log p(x|z)", "log p(x, z)") and exact.is_calibrated
    assert "too narrow" in factorized.findings["tau"]


def test_latents_that_are_summed_out_are_left_out():
    mixture = LinearMixture(seed=1)
    calibration = calibrate(Pair(mixture.enumerated_model, mixture.guide), mixture.sample(20), **FEW)
    assert calibration.is_calibrated and calibration.left_out == ("c",)
    assert "Left out, as they are summed out: c." in repr(calibration)


def conditional(heeds):
    """z ~ N(y, 1), x ~ N(z, 1) given y; the posterior N((x + y) / 2, 1/2) needs y."""

    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(y, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return guided_by(model, lambda x, y: dist.Normal((x + heeds * y) / 2, 0.5**0.5))


def test_conditions_keep_their_rows():
    batch = torch.zeros(3).double(), torch.tensor([-1.0, 0.0, 2.0]).double()
    assert calibrate(conditional(1.0), *batch, **FEW).is_calibrated
    assert "z" in calibrate(conditional(0.0), *batch, **FEW).findings


@pytest.mark.parametrize("odds", [1.0, 3.0])
def test_ties_of_discrete_latents_are_broken_at_random(odds):
    """A latent of two values, of whose ranks most are ties, as are those of its densities."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.3).double()))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.zeros(10).double()
    logit = np.log(0.3 / 0.7)
    calibration = calibrate(guided_by(model, lambda x: dist.Bernoulli(logits=odds * (logit + x - 0.5))), x)
    assert calibration.is_calibrated == (odds == 1.0)
    if odds == 1.0:
        for column in calibration.positions.T.numpy():
            assert stats.kstest(column, "uniform").pvalue > 1e-3


def test_a_pair_that_has_run_needs_no_rows_and_prints_a_table_and_a_picture(tmp_path):
    linear = LinearGaussian(6, 14)
    check_pair(linear, linear.sample(5))
    calibration = calibrate(linear, num_data=200, num_draws=9)
    text = repr(calibration)
    assert "... 4 more quantities" in text and "200 data simulated from the model, 9 draws of the guide for each, seed 0" in text
    assert calibration.ranks.shape == (200, 16) and int(calibration.ranks.max()) == 9 and calibration.num_data == 200
    calibration.plot(tmp_path / "own.png")
    assert (tmp_path / "own.png").read_bytes().startswith(b"\x89PNG")
    frame = calibration.to_frame()
    mean = normal_scores(calibration.positions.numpy()).mean(0)
    np.testing.assert_allclose(frame["p_shift"], np.minimum(1, 48 * 2 * stats.norm.sf(abs(mean) * 200**0.5)))


def rows_guide(x):
    loc = pyro.param("loc", torch.zeros(len(x), 2).double())
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))


def test_what_cannot_be_calibrated_is_refused():
    linear = LinearGaussian()
    x = linear.sample(6)
    with pytest.raises(ValueError, match="belong to the rows of the training data"):
        calibrate(Pair(linear.model, rows_guide), x, num_data=6)
    with pytest.raises(ValueError, match="level must lie between 0 and 1; got 1"):
        calibrate(linear, x, level=1)
    with pytest.raises(ValueError, match="num_data must be at least 2"):
        calibrate(linear, x, num_data=1)
    with pytest.raises(ValueError, match="must have been run on data"):
        calibrate(LinearGaussian())

    def summed(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(2).double()), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(c.double(), 1.0), obs=x)

    with pytest.raises(ValueError, match="nothing to calibrate"):
        calibrate(Pair(summed, lambda x: None), x[:, 0])

    def discrete(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(2).double()))
            pyro.sample("x", dist.Normal(z.double(), 1.0), obs=x)

    with pytest.raises(ValueError, match="it is certain of \\('z',\\)"):
        calibrate(guided_by(discrete, lambda x: dist.Delta((x > 0).long())), x[:, 0])

    def unused(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("x", dist.Normal(torch.zeros(len(x)).double(), 1.0), obs=x)

    with pytest.raises(ValueError, match="those of 'z' are not"):  # of one draw in ten thousand
        calibrate(guided_by(unused, lambda x: dist.Normal(0 * x, 4.6e307)), x[:, 0], num_data=20, num_draws=5000)
