r"""A deep Markov model of series: z_1 ... z_T are T sites of one pair, and the guide reads each series from its end.

.. math:: p(x, z) = p(z_1) \prod_{t > 1} p(z_t \mid z_{t - 1}) \prod_t p(x_t \mid z_t), \qquad
    q(z \mid x) = \prod_t q(z_t \mid z_{t - 1}, x_t, \dots, x_T)

The mean of z_t is A z_{t-1} + b, plus what a network makes of z_{t-1} unless the model is linear. log p(x) of a linear model is known: the
Kalman filter has it. Series of different lengths are padded, with a mask ``[B, T]`` that is 0 where one has ended, after which nothing is
observed or seen by the guide. Krishnan, Shalit, Sontag (2017), Structured inference networks for nonlinear state space models.
"""

import numpy as np
import pyro
import pyro.distributions as dist
from scipy.stats import multivariate_normal
import torch
from torch import Tensor, nn

from inference import compare, evaluate, fit, load_data
from inference.data.load import Data
import pyro_lvm as lvm


class DeepMarkov(nn.Module):
    """Model and guide of series ``[B, T, X]`` with latents z_1 ... z_T, each ``[B, D]``; ``residual`` maps z to ``[B, D]``."""

    def __init__(self, num_features: int, latent_dim: int, residual: nn.Module | None, hidden: int) -> None:
        super().__init__()
        self.transition, self.residual = nn.Linear(latent_dim, latent_dim), residual
        self.emission = nn.Linear(latent_dim, num_features)
        self.first = nn.Parameter(torch.zeros(latent_dim))
        scales = {"first": torch.zeros(latent_dim), "step": torch.zeros(latent_dim) - 1, "noise": torch.zeros(num_features) - 1}
        self.log_scales = nn.ParameterDict(scales)
        self.backward = nn.GRU(num_features, hidden, batch_first=True)
        self.combiner = lvm.MLP(hidden + latent_dim, [hidden], 2 * latent_dim)

    def scale(self, name: str) -> Tensor:
        return self.log_scales[name].exp()

    def step(self, z: Tensor) -> Tensor:
        """The mean of z_t given z_{t-1}."""
        return self.transition(z) if self.residual is None else self.transition(z) + self.residual(z)

    def model(self, x: Tensor, mask: Tensor | None = None) -> None:
        pyro.module("deep_markov", self)
        with pyro.plate("data", len(x)):
            path = [pyro.sample("z_1", dist.Normal(self.first, self.scale("first")).to_event(1))]
            for t in range(2, x.shape[1] + 1):
                path.append(pyro.sample(f"z_{t}", dist.Normal(self.step(path[-1]), self.scale("step")).to_event(1)))
            loc = self.emission(torch.stack(path, -2))
            pyro.sample("x", dist.Normal(loc, self.scale("noise")).mask(mask is None or mask[..., None] > 0).to_event(2), obs=x)

    def guide(self, x: Tensor, mask: Tensor | None = None) -> None:
        pyro.module("deep_markov", self)
        known = x.new_ones(x.shape[:2]) > 0 if mask is None else mask > 0
        places = (known.sum(1, keepdim=True) - 1 - torch.arange(x.shape[1], device=x.device)) % x.shape[1]  # each series from its end
        later = self.backward(x.gather(1, places[..., None].expand_as(x)))[0]
        later = later.gather(1, places[..., None].expand_as(later))  # what is left of each series, [B, T, H]
        z = later.new_zeros(len(x), self.emission.in_features)
        with pyro.plate("data", len(x)):
            for t in range(x.shape[1]):
                loc, log_scale = self.combiner(torch.cat([later[:, t].expand(*z.shape[:-1], -1), z], -1)).chunk(2, -1)
                if mask is not None:  # after the end, the guide is the prior, so that nothing there changes a score
                    prior = self.step(z), self.log_scales["step"]
                    loc, log_scale = (torch.where(known[:, t, None], *two) for two in zip((loc, log_scale), prior, strict=True))
                z = pyro.sample(f"z_{t + 1}", dist.Normal(loc, log_scale.exp()).to_event(1))


def make_pair(data: Data, *, latent_dim: int = 2, hidden: int = 32, linear: bool = False) -> DeepMarkov:
    """A deep Markov model of series ``[N, T, X]``.

    Args:
        data: The series.
        latent_dim: Number of latents of each time step.
        hidden: Width of the networks.
        linear: Leave out the network in the transition.
    """
    return DeepMarkov(data.train.shape[-1], latent_dim, None if linear else lvm.MLP(latent_dim, [hidden], latent_dim), hidden)


def kalman_filter(pair: DeepMarkov, x: Tensor) -> np.ndarray:
    """log p(x) of a linear model for series ``[N, T, X]``, shape ``[N]``: the sum of log p(x_t | x_1 ... x_{t-1})."""
    weights = {name: value.detach().double().numpy() for name, value in pair.named_parameters()}
    step, emission = weights["transition.weight"], weights["emission.weight"]
    first, drift, noise = (np.diag(np.exp(2 * weights[f"log_scales.{name}"])) for name in ("first", "step", "noise"))
    mean, covariance, total = np.tile(weights["first"], (len(x), 1)), first, np.zeros(len(x))
    for now in x.double().numpy().transpose(1, 0, 2):  # [N, X]
        error = now - mean @ emission.T - weights["emission.bias"]
        spread = emission @ covariance @ emission.T + noise
        total += multivariate_normal.logpdf(error, cov=spread).reshape(len(x))
        gain = covariance @ emission.T @ np.linalg.inv(spread)  # [D, X]
        mean, covariance = mean + error @ gain.T, covariance - gain @ emission @ covariance
        mean, covariance = mean @ step.T + weights["transition.bias"], step @ covariance @ step.T + drift
    return total


def simulate(num_series: int = 900, num_steps: int = 12, *, seed: int = 0) -> Data:
    """Noisy positions ``[N, T, 1]`` of a particle in a double well, u + 0.5 (u - u^3) + noise."""
    draw = np.random.default_rng(seed)
    position, series = draw.normal(size=num_series), []
    for _ in range(num_steps):
        position = position + 0.5 * (position - position**3).clip(-3, 3) + 0.2 * draw.normal(size=num_series)
        series.append(position + 0.3 * draw.normal(size=num_series))
    return load_data(np.stack(series, 1)[..., None].astype(np.float32), test_fraction=1 / 3, seed=seed)


def main() -> None:
    data, scores = simulate(), {}
    for name in ("linear", "deep"):
        torch.manual_seed(0)
        pair = make_pair(data, linear=name == "linear")
        fit(pair, data, epochs=70, learning_rate=1e-2, progress=False)
        scores[name] = evaluate(pair, data, progress=False)
        if name == "linear":
            print(f"linear, by the Kalman filter: {kalman_filter(pair, data.test).mean():.3f} nats; by evaluate: {scores[name].mean:.3f}")
    print(compare(scores))


if __name__ == "__main__":
    main()
