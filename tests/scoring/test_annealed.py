"""Annealed importance sampling of pairs whose log p(x) is known, and what goes with it or is refused."""

import math

from oracles import LinearGaussian, LinearMixture
import pyro
import pyro.distributions as dist
import pytest
from scipy import integrate, stats
import torch

from inference import Evaluation, compare, evaluate
from pyro_lvm import Pair

AIS = {"method": "ais", "progress": False}


def pair_of(prior, likelihood, guide):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", likelihood(pyro.sample("z", prior)), obs=x)

    def guided(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", guide(x))

    return Pair(model, guided)


def squares():
    """z ~ N(0, 1), x ~ N(z^2, .2^2): the posterior has two modes, of which the guide knows one."""
    return pair_of(dist.Normal(0.0, 1.0), lambda z: dist.Normal(z.square(), 0.2), lambda x: dist.Normal(x.sqrt(), 0.15))


def squares_truth(x):
    density = lambda z, x: stats.norm.pdf(z) * stats.norm.pdf(x, z**2, 0.2)  # noqa: E731
    return torch.tensor([math.log(2 * integrate.quad(density, 0, 4, args=(float(each),), points=[float(each) ** 0.5])[0]) for each in x])


def rates():
    """z ~ Gamma(2, 1.5), x ~ Poisson(z); the guide is log-normal and off."""
    likelihood = lambda z: dist.Poisson(z)  # noqa: E731
    return pair_of(dist.Gamma(2.0, 1.5), likelihood, lambda x: dist.LogNormal(((x + 1) / 2.5).log() + 0.3, 0.4))


class TwoLevels:
    """h ~ N(0, 1), z ~ N(h 1, .5^2 I), x ~ N(z, .3^2 I) in two dimensions: x is normal. The guide has means and scales that are off."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            h = pyro.sample("h", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            z = pyro.sample("z", dist.Normal(h.expand(*h.shape[:-1], 2), 0.5).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.3).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("h", dist.Normal(x.mean(1, keepdim=True), 0.5).to_event(1))
            pyro.sample("z", dist.Normal(0.9 * x, 0.2).to_event(1))

    def data(self, size):
        generator = torch.Generator().manual_seed(1)
        covariance = 1 + (0.5**2 + 0.3**2) * torch.eye(2)
        truth = torch.distributions.MultivariateNormal(torch.zeros(2), covariance)
        x = torch.randn(size, 2, generator=generator) @ torch.linalg.cholesky(covariance).T
        return x, truth.log_prob(x)


def check_right(score, truth):
    """Errors are such as sixteen chains have, whose scatter is itself uncertain."""
    errors = (score.log_px - truth) / score.mc_error
    assert abs(errors.mean()) < 5 / len(truth) ** 0.5 and errors.abs().max() < 7
    assert (errors.abs() > 2.13).double().mean() < 0.05 + 4 * (0.05 / len(truth)) ** 0.5  # 95% of Student's t


@pytest.mark.parametrize("proposal", ["auto", "guide"])
@pytest.mark.parametrize("oracle", [LinearGaussian(num_features=8, latent_dim=3), LinearMixture()], ids=["linear", "mixture"])
def test_linear_models(oracle, proposal):
    x = oracle.sample(60)
    score = evaluate(oracle.broad, x, proposal=proposal, num_steps=20, **AIS)
    check_right(score, oracle.log_px(x))
    assert (score.method, score.num_particles, score.num_steps) == ("ais", 16, 20)
    assert score.is_refined.all() == (proposal == "auto")
    assert score.mc_error.mean() < 0.1 and not score.is_unreliable.any()
    assert math.isnan(score.bad_k_share) and (score.elbo < score.log_px.mean()).any()


def test_two_modes_of_which_the_guide_knows_one(double):
    x = torch.linspace(0.8, 2.5, 16)
    by_guide = evaluate(squares(), x, proposal="guide", progress=False)
    assert (by_guide.log_px - squares_truth(x) + math.log(2)).abs().max() < 0.1  # one mode of two is missing
    check_right(evaluate(squares(), x, num_steps=30, **AIS), squares_truth(x))


def test_positive_latents(double):
    x = torch.arange(12.0)
    truth = stats.nbinom(2, 1.5 / 2.5).logpmf(x.numpy())
    check_right(evaluate(rates(), x, num_steps=20, **AIS), torch.from_numpy(truth))


def test_two_levels(double):
    pair = TwoLevels()
    x, truth = pair.data(40)
    check_right(evaluate(pair, x, num_steps=20, **AIS), truth)


def test_a_summed_out_latent_beside_one_that_is_drawn():
    oracle = LinearMixture()
    x = oracle.sample(40)
    check_right(evaluate(Pair(oracle.enumerated_model, oracle.broad_guide), x, num_steps=20, **AIS), oracle.log_px(x))


def test_the_estimate_of_px_is_unbiased_with_few_steps():
    """E[p-hat / p] = 1, where a chain that adapted to itself, or was not corrected, would show."""
    oracle = LinearGaussian()
    x = oracle.sample(250)
    for num_steps in (2, 3):
        ratio = (evaluate(oracle.broad, x, num_steps=num_steps, num_particles=32, **AIS).log_px - oracle.log_px(x)).exp()
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / 250**0.5 < 0.05


def test_figures_depend_on_the_seed_and_not_on_the_chunks(monkeypatch):
    monkeypatch.setattr("inference.scoring.annealed.annealer._CHAINS", 8)
    monkeypatch.setattr("inference.scoring.annealed.course._NUM_PLACES", 4)
    oracle = LinearGaussian()
    x = oracle.sample(131)  # of two blocks
    options = {"num_steps": 2, "num_particles": 10, **AIS}  # in two parts
    first, again, other = (evaluate(oracle.broad, x, chunk_size=size, **options).log_px for size in (None, None, 300))
    assert torch.equal(first, again)
    torch.testing.assert_close(first, other, rtol=0, atol=1e-8)
    moved = evaluate(oracle.broad, x, seed=1, **options).log_px
    assert (moved != first).all()


def test_compiled_chains_are_the_interpreted_ones(interpreted):
    oracle = LinearGaussian()
    x = oracle.sample(9)
    first, second = (evaluate(oracle.broad, x, num_steps=4, num_particles=5, compile=c, **AIS).log_px for c in (True, False))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-8)


def test_float32_figures_are_those_of_float64():
    pair = TwoLevels()
    x, truth = pair.data(40)
    score = evaluate(pair, x.float(), num_steps=20, **AIS)
    check_right(score, truth)
    assert score.log_px.dtype == torch.float64


def test_it_says_how_it_was_made_and_keeps_that(tmp_path):
    oracle = LinearGaussian()
    x = oracle.sample(8)
    score = evaluate(oracle.broad, x, num_steps=3, **AIS)
    assert "8 data, K = 16, seed 0, annealed in 3 steps, proposal: refined for each datum" in str(score)
    score.to_netcdf(tmp_path / "score.nc")
    kept = Evaluation.from_netcdf(tmp_path / "score.nc")
    assert (kept.method, kept.num_steps) == ("ais", 3) and str(kept) == str(score)
    plain = evaluate(oracle.broad, x, proposal="guide", progress=False)
    assert (plain.method, plain.num_steps) == ("importance", 0) and "annealed" not in str(plain)
    table = compare({"plain": plain, "chains": score})
    assert "chains: annealed importance sampling; each particle is a chain of 3 steps." in table.notes
    assert not any("num_particles*" in note for note in table.notes)
    assert "the guide's moments" in str(evaluate(oracle.broad, x, num_steps=2, proposal="guide", **AIS))


def test_one_chain_is_a_bound_and_no_latent_is_exact():
    oracle = LinearGaussian()
    x = oracle.sample(100)
    score = evaluate(oracle.broad, x, num_steps=3, num_particles=1, **AIS)
    assert score.is_bound and score.log_px.mean() < oracle.log_px(x).mean()

    def coin(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(x.new_tensor([0.3, 0.7])), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(c.to(x), 1.0), obs=x)

    exact = evaluate(Pair(coin, lambda x: None), x[:, 0], **AIS)
    assert exact.is_exact and exact.method == "importance"


def discrete(x):
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(pyro.sample("c", dist.Bernoulli(0.5)), 1.0), obs=x)


def test_latents_in_which_chains_cannot_move_are_refused():
    guide = lambda x: pyro.sample("c", dist.Bernoulli(torch.sigmoid(x)))  # noqa: E731

    def guided(x):
        with pyro.plate("data", len(x)):
            guide(x)

    with pytest.raises(ValueError, match="chains cannot move in the pair's latents: latent 'c' is discrete and drawn.*method='importance'"):
        evaluate(Pair(discrete, guided), torch.randn(5), **AIS)
    angle = pair_of(dist.VonMises(0.0, 1.0), lambda z: dist.Normal(z.cos(), 1.0), lambda x: dist.VonMises(x, 1.0))
    with pytest.raises(ValueError, match="latent 'z' is periodic"):
        evaluate(angle, torch.randn(5), **AIS)
    many = pair_of(
        dist.Normal(torch.zeros(4100), 1.0).to_event(1),
        lambda z: dist.Normal(z.sum(-1), 1.0),
        lambda x: dist.Normal(x[:, None].expand(-1, 4100), 1.0).to_event(1),
    )
    with pytest.raises(ValueError, match="the latents have 4100 coordinates, and proposals are fitted to at most 4096"):
        evaluate(many, torch.randn(5), **AIS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "annealed"}, r"method must be one of \('importance', 'ais'\); got 'annealed'"),
        ({"num_steps": 5}, "num_steps has no effect with method='importance'; got 5"),
        ({"method": "ais", "num_steps": 0}, "num_steps must be an integer of at least 1; got 0"),
        ({"method": "ais", "precision": "bf16"}, "precision must be 'full' with method='ais'"),
        ({"method": "ais", "proposal": "prior"}, "proposal must be one of .*got 'prior'"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    oracle = LinearGaussian()
    with pytest.raises(ValueError, match=message):
        evaluate(oracle, oracle.sample(3), **options)
