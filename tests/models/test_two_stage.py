"""A VAE in two stages against the marginal of its chain."""

from oracles import LinearGaussian
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from inference import encode, evaluate, sample_prior
from pyro_lvm import VAE, StandardNormal, TwoStageVAE


class Exact(nn.Module):
    """A linear-Gaussian conditional of fixed weights as a part of a VAE."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, value):
        return self.function(value)


def linear_likelihood(oracle):
    return Exact(lambda z: dist.Normal(z @ oracle.weight.T + oracle.offset, oracle.noise.sqrt()).to_event(1))


def two_stage_oracle():
    """z = A u + a + noise, x = W z + b + noise; the VAEs of both stages have exact posteriors under the chain."""
    first, second = LinearGaussian(5, 3, seed=1), LinearGaussian(3, 2, seed=2)
    spread = second.weight @ second.weight.T + second.noise.diag()  # of z
    noise = first.noise.diag()
    precision = torch.linalg.inv(spread) + first.weight.T @ torch.linalg.inv(noise) @ first.weight

    def q_z(x):
        shift = (x - first.offset) / first.noise @ first.weight + torch.linalg.solve(spread, second.offset)
        return dist.MultivariateNormal(torch.linalg.solve(precision, shift[..., None]).squeeze(-1), precision_matrix=precision)

    marginal = torch.distributions.MultivariateNormal(
        second.offset @ first.weight.T + first.offset, first.weight @ spread @ first.weight.T + noise
    )
    stages = (
        VAE(StandardNormal(3), linear_likelihood(first), Exact(q_z)),
        VAE(StandardNormal(2), linear_likelihood(second), Exact(second.posterior)),
    )
    return TwoStageVAE(*stages).double(), marginal


def test_two_stages_have_the_marginal_of_the_chain():
    vae, marginal = two_stage_oracle()
    x = marginal.sample((50,))
    score = evaluate(vae, x, num_particles=30, progress=False)
    torch.testing.assert_close(score.log_px, marginal.log_prob(x), rtol=1e-9, atol=1e-9)
    assert set(encode(vae, x)) == {"u", "z"}
    draws = sample_prior(vae, torch.zeros(40000, 5).double(), seed=0)
    error = (marginal.variance / 40000).sqrt()
    assert ((draws.mean(0) - marginal.mean).abs() < 5 * error).all()
    assert (torch.cov(draws.T) - marginal.covariance_matrix).abs().max() < 6 * marginal.variance.max() * (2 / 40000) ** 0.5


def test_stages_of_a_two_stage_model_are_vaes():
    vae = VAE(StandardNormal(2), nn.Identity(), nn.Identity())
    with pytest.raises(TypeError, match="second must be a VAE; got StandardNormal"):
        TwoStageVAE(vae, StandardNormal(2))
