"""Bounds on log p(x) from both sides: around the truth, closer with more steps, and only for pairs that can be simulated."""

from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import bidirectional, evaluate
from pyro_lvm import Pair, check_pair

QUIET = {"progress": False}


def test_the_truth_lies_between_bounds_that_close_with_more_steps():
    oracle, gaps = LinearGaussian(), []
    for num_steps in (1, 4, 16):
        bounds = bidirectional(oracle.broad, oracle.sample(256), num_steps=num_steps, num_particles=4, **QUIET)
        (x,) = bounds.data
        truth = oracle.log_px(x)
        for bound, sign in ((bounds.lower, 1), (bounds.upper, -1)):
            missing = sign * (truth - bound)
            assert missing.mean() > -3 * missing.std() / 256**0.5
        assert ((bounds.lower - truth).exp().mean() - 1).abs() < 4 * (bounds.lower - truth).exp().std() / 256**0.5
        gaps.append((bounds.gap, bounds.gap_error))
    assert gaps[0][0] > 5 * gaps[0][1] and gaps[0][0] > 2 * gaps[1][0] > 4 * gaps[2][0] and gaps[2][0] < 0.05
    assert abs(truth.mean() - oracle.log_px(oracle.sample(3000)).mean()) < 0.5  # of data that are the model's


def test_data_and_bounds_follow_from_the_seed():
    oracle = LinearGaussian()
    options = {"num_steps": 3, "num_particles": 3, **QUIET}
    first, again = (bidirectional(oracle.broad, oracle.sample(9), **options) for _ in range(2))  # of values that do not matter
    assert torch.equal(first.data[0], again.data[0]) and torch.equal(first.lower, again.lower) and torch.equal(first.upper, again.upper)
    other = bidirectional(oracle.broad, oracle.sample(9), seed=1, **options)
    assert (other.data[0] != first.data[0]).all()


def test_a_record_of_it():
    oracle = LinearGaussian()
    pair = oracle.broad
    check_pair(pair, oracle.sample(2))
    bounds = bidirectional(pair, 40, num_steps=5, proposal="guide", **QUIET)
    frame = bounds.to_frame()
    assert list(frame) == ["lower", "upper", "gap"] and len(frame) == 40
    assert frame["gap"].mean() == pytest.approx(bounds.gap) and frame["gap"].sem() == pytest.approx(bounds.gap_error)
    lines = str(bounds).splitlines()
    assert "<= log p(x) <=" in lines[0] and "on average over 40 simulated data" in lines[0]
    assert lines[1].startswith("gap 0.") and " ± " in lines[1]
    assert lines[2] == "K = 16 chains of 5 steps each way, seed 0, proposal: the guide's moments"


def test_how_far_a_score_may_be_off():
    """A bad guide by as much as its figure is below the truth, within the error of the bound."""
    oracle = LinearGaussian()

    def far(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(oracle.posterior(x).mean + 1, 0.3).to_event(1))

    pair = Pair(oracle.model, far)
    bounds = bidirectional(pair, oracle.sample(100), num_steps=20, **QUIET)
    score = evaluate(pair, bounds.data, proposal="guide", num_particles=50, **QUIET)
    shortfall, error = bounds.shortfall(score)
    assert shortfall == pytest.approx(float((oracle.log_px(bounds.data[0]) - score.log_px).mean()), abs=4 * error)
    assert shortfall > 10 * error
    with pytest.raises(ValueError, match="score must be of the simulated data"):
        bounds.shortfall(evaluate(pair, oracle.sample(100), proposal="guide", num_particles=50, **QUIET))


def conditional(x, y):
    """z ~ N(y, 1), x ~ N(z, .5^2): given the covariate y, x is normal around it."""
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(y, 1.0)), 0.5), obs=x)


def conditional_guide(x, y):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal((y + 4 * x) / 5, 0.4))


def test_covariates_are_given(double):
    pair, y = Pair(conditional, conditional_guide), torch.linspace(-30, 30, 60)
    bounds = bidirectional(pair, torch.zeros(60), y, num_steps=10, **QUIET)
    assert bounds.data[1] is not None and torch.equal(bounds.data[1], y)
    assert (bounds.data[0] - y).abs().max() < 5
    truth = dist.Normal(y, 1.25**0.5).log_prob(bounds.data[0])
    assert (bounds.lower - truth).abs().mean() < 0.2 and (bounds.upper - truth).abs().mean() < 0.2
    with pytest.raises(ValueError, match=r"arguments \[1\] of the pair are not observed; got only a number"):
        bidirectional(pair, 60, **QUIET)


def two_sites(x, labels):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
        c = pyro.sample("c", dist.Categorical(x.new_tensor([0.4, 0.6])), infer={"enumerate": "parallel"})
        pyro.sample("labels", dist.Bernoulli(torch.sigmoid(z)), obs=labels)
        pyro.sample("x", dist.Normal(z + 3 * c, 0.5), obs=x)


def guide_of_two_sites(x, labels):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.3 * x, 0.8))


def test_several_observed_sites_and_a_latent_that_is_summed_out(double):
    bounds = bidirectional(Pair(two_sites, guide_of_two_sites), torch.zeros(80), torch.zeros(80), num_steps=10, **QUIET)
    x, labels = bounds.data
    assert set(labels.unique().tolist()) == {0.0, 1.0}
    grid = torch.linspace(-8, 8, 4001)[:, None]
    c = torch.tensor([0.0, 3.0])[:, None, None]
    joint = dist.Normal(0.0, 1.0).log_prob(grid) + dist.Bernoulli(torch.sigmoid(grid)).log_prob(labels)
    joint = joint + dist.Normal(grid + c, 0.5).log_prob(x) + torch.tensor([0.4, 0.6]).log()[:, None, None]
    truth = joint.logsumexp(0).logsumexp(0) + torch.tensor(16 / 4000).log()
    for missing in (truth - bounds.lower, bounds.upper - truth):
        assert abs(missing.mean()) < 3 * missing.std() / 80**0.5 + 0.02 < 0.15


def guide_of_normal(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x.reshape(len(x), -1).mean(1), 1.0))


def earlier_elements(x):
    """Every element is drawn around the one before it, as it was passed."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
        before = torch.cat([z[..., None], x[:, :-1].expand(*z.shape, -1)], dim=-1)
        pyro.sample("x", dist.Normal(before, 1.0).to_event(1), obs=x)


def computed(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x.square().sum(1))


def parts(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
        pyro.sample("first", dist.Normal(z, 1.0), obs=x[:, 0])
        pyro.sample("second", dist.Normal(z, 1.0), obs=x[:, 1])


def masked(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([*z.shape, 2]).mask(x != 0).to_event(1), obs=x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (earlier_elements, "cannot be given data that its own model has drawn: site 'x' has other values or densities"),
        (computed, "site 'x' must observe an argument of the pair to be simulated; it observes a value that is computed"),
        (parts, "site 'first' must observe an argument as a whole"),
        (masked, "cannot be given data that its own model has drawn: site 'x'"),
    ],
)
def test_models_that_cannot_simulate_what_they_observe(model, message, double):
    x = torch.tensor([[1.0, 0.0], [0.5, 2.0], [0.0, 1.5]])
    with pytest.raises(ValueError, match=message):
        bidirectional(Pair(model, guide_of_normal), x, **QUIET)


def test_draws_that_overflow_are_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(x.new_tensor(0.0), 60.0))
            pyro.sample("x", dist.Normal(1 / (1 + z), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.LogNormal(x.new_zeros(len(x)), 1.0))

    with pytest.raises(ValueError, match=r"must lie inside their supports; \d+ of 50 are on a bound. Use float64"):
        bidirectional(Pair(model, guide), torch.zeros(50), num_steps=2, **QUIET)
