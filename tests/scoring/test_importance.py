"""log_weights and evaluate against closed forms, and their independence of chunks and blocks."""

import math

from oracles import LinearGaussian, LinearMixture
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import evaluate, log_weights
from pyro_lvm import Pair


@pytest.mark.parametrize(
    "oracle", [LinearGaussian(isotropic=True), LinearGaussian(), LinearMixture()], ids=["ppca", "factor-analysis", "mixture"]
)
def test_every_log_weight_of_the_exact_posterior_is_log_px(oracle):
    x = oracle.sample(11)
    log_w = log_weights(oracle, x, num_particles=7)
    assert log_w.shape == (7, 11)
    torch.testing.assert_close(log_w, oracle.log_px(x).expand(7, 11), rtol=0, atol=1e-10)


def test_seed_identity_log_px_is_elbo_plus_kl_to_the_posterior():
    """log p(x) = E_q[log p(x, z) - log q(z)] + KL(q || p(z|x)), both terms in closed form for normal q."""
    oracle = LinearGaussian()
    x = oracle.sample(6)
    posterior, covariance = oracle.posterior(x), oracle.covariance
    loc, scale = posterior.mean + 0.3, torch.full_like(posterior.mean, 0.8)
    q = torch.distributions.MultivariateNormal(loc, scale_tril=scale.diag_embed())
    residual = x - oracle.offset - loc @ oracle.weight.T
    spread = (oracle.weight**2 @ scale[0] ** 2) / oracle.noise  # what q's variance adds to the squared error
    log_px_given_z = -0.5 * (residual**2 / oracle.noise + spread + (2 * math.pi * oracle.noise).log()).sum(1)
    prior = torch.distributions.MultivariateNormal(torch.zeros_like(loc), torch.eye(2).double())
    elbo = log_px_given_z - torch.distributions.kl_divergence(q, prior)
    exact = torch.distributions.MultivariateNormal(posterior.mean, covariance)
    torch.testing.assert_close(elbo + torch.distributions.kl_divergence(q, exact), oracle.log_px(x), rtol=0, atol=1e-10)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(oracle.posterior(x).mean + 0.3, 0.8).to_event(1))

    log_w = log_weights(Pair(oracle.model, guide), x, num_particles=20000, seed=1)
    error = log_w.std(0) / 20000**0.5
    assert ((log_w.mean(0) - elbo).abs() < 5 * error).all()


@pytest.mark.parametrize("num_particles", [1, 7, 5000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_figures_do_not_depend_on_the_chunks(num_particles, dtype, tolerance):
    oracle = _MixedDtype(dtype)
    x = oracle.sample(13).to(dtype)
    scores = [evaluate(oracle, x, num_particles=num_particles, chunk_size=c) for c in (None, 1000, 100, 3 if num_particles < 100 else 77)]
    for score in scores[1:]:
        torch.testing.assert_close(score.log_px, scores[0].log_px, rtol=0, atol=tolerance)
        torch.testing.assert_close(score.elbo, scores[0].elbo, rtol=0, atol=tolerance)
    assert scores[0].num_particles == num_particles
    assert len(scores[0].log_px) == 13


class _MixedDtype(LinearGaussian):
    """The linear pair under a broad guide, in a given dtype."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def sample(self, num_data):
        x = super().sample(num_data)
        for name in ("weight", "offset", "noise", "covariance"):
            setattr(self, name, getattr(self, name).to(self.dtype))
        return x

    def guide(self, x):
        self.broad_guide(x)


@pytest.mark.parametrize("num_particles", [1, 7, 300])
def test_the_number_of_draws_is_exact(num_particles):
    oracle, counts = LinearGaussian(), []

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", oracle.posterior(x))
        counts.append(z.shape[:-1].numel())

    x = oracle.sample(5)
    log_w = log_weights(Pair(oracle.model, guide), x, num_particles=num_particles, seed=0)
    assert log_w.shape == (num_particles, 5)
    assert counts[-1] == num_particles * 5  # after the checks of the contract and the layout, on a few rows
    assert all(count in (2, 3, 4, 5, 10, 15) for count in counts[:-1])


def test_estimate_is_within_its_error_and_reproducible():
    oracle = LinearGaussian()
    x = oracle.sample(200)
    score = evaluate(oracle.broad, x, num_particles=2000, seed=3)
    z = (score.log_px - oracle.log_px(x)) / score.mc_error
    assert abs(z.mean()) < 5 / 200**0.5 and 0.8 < z.std() < 1.2
    again = evaluate(oracle.broad, x, num_particles=2000, seed=3)
    assert torch.equal(score.log_px, again.log_px)
    assert not torch.equal(score.log_px, evaluate(oracle.broad, x, num_particles=2000, seed=4).log_px)


@pytest.mark.parametrize(("proposal", "fewest"), [("guide", 100), ("refined", 1000)])
def test_memory_does_not_grow_with_the_number_of_particles(proposal, fewest):
    """The largest tensor made anywhere stays that of one block of particles times data times features."""
    oracle, sizes = LinearGaussian(num_features=100), []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                sizes[-1] = max(sizes[-1], out.numel())
            return out

    x = oracle.sample(64)
    for num_particles in (fewest, 5 * fewest, 5000):
        sizes.append(0)
        with Watch():
            evaluate(oracle.broad, x, num_particles=num_particles, proposal=proposal)
    assert sizes[-1] <= 1.1 * sizes[0]
    assert proposal == "refined" or sizes[0] < 64 * 5000


def test_a_point_mass_on_a_continuous_latent_is_refused():
    oracle = LinearGaussian()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(torch.zeros(len(x), 2).double(), event_dim=1))

    with pytest.raises(ValueError, match="point mass .Delta. on the continuous latent 'z'"):
        evaluate(Pair(oracle.model, guide), oracle.sample(3))


def test_draws_that_are_rounded_beside_their_density_are_refused():
    """Their density is that of an attribute of the tensor; without it, that of a rounded number, infinitely far out."""
    kind = dist.RelaxedBernoulliStraightThrough

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", kind(torch.tensor(0.7), torch.tensor([0.5])).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", kind(torch.tensor(0.7), x.sigmoid()).to_event(1))

    with pytest.raises(ValueError, match=r"'z' are rounded, .* z\.round"):
        evaluate(Pair(model, guide), torch.randn(5, 1))


def test_a_certain_guess_of_a_discrete_latent_is_a_bound():
    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.3, 0.7])))
            pyro.sample("x", dist.Normal(4.0 * c, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Delta((x > 2).long()))

    x = torch.tensor([0.1, 3.5, 2.2])
    score = evaluate(Pair(model, guide), x, num_particles=3)
    joint = torch.tensor([0.3, 0.7]).log() + torch.distributions.Normal(torch.tensor([0.0, 4.0]), 1.0).log_prob(x[:, None])
    assert score.is_bound and score.num_particles == 1 and score.ess.isnan().all() and score.pareto_k.isnan().all()
    torch.testing.assert_close(score.log_px, joint.max(1).values.double(), rtol=0, atol=1e-6)
    assert (score.log_px < joint.logsumexp(1)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_particles": 0}, "num_particles must be"), ({"num_particles": 2.5}, "num_particles must be"), ({"chunk_size": 0}, "chunk_size")],
)
def test_bad_counts(options, message):
    oracle = LinearGaussian()
    with pytest.raises(ValueError, match=message):
        evaluate(oracle, oracle.sample(3), **options)


def test_many_states_are_seen_for_few_data_at_a_time_and_no_draw_is_repeated():
    rows, logits = [], torch.randn(4096, generator=torch.Generator().manual_seed(0)).double()

    def model(x):
        rows.append(len(x))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(0.001 * c.double(), 1.0), obs=x)

    x = torch.linspace(-1, 5, 100).double()
    score = evaluate(Pair(model, lambda x: None), x, num_particles=1000, compile=False, progress=False)
    mixture = torch.distributions.Normal(0.001 * torch.arange(4096).double(), 1.0).log_prob(x[:, None])  # [100, 4096]
    torch.testing.assert_close(score.log_px, (logits.log_softmax(0) + mixture).logsumexp(1), rtol=0, atol=1e-9)
    scored = rows[-13:]
    assert sum(scored) == 100 and max(scored) == 8 and len(rows) < 60
