r"""Counts of genes in single cells: are there more zeros than a negative binomial distribution has?

.. math:: x_g \mid z, s \sim \pi_g \delta_0 + (1 - \pi_g)\, \mathrm{NB}\big(\mu_g, \alpha_g\big), \qquad
    \mu = e^s \operatorname{softmax}\big(\mathrm{network}(z)\big)

z is the state of a cell, and s the logarithm of the number of molecules that are read from it, its library size. Both are latent: a library
size computed from x itself would be data on both sides of p(x|s), which is then no likelihood of x. Lopez et al. (2018), Deep generative
modeling for single-cell transcriptomics.
"""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from inference import compare, evaluate, fit, load_data
from inference.data.load import Data
import pyro_lvm as lvm

GENES, GATE = 25, 0.3


class LogMeans(nn.Module):
    """Maps states and log sizes, ``[*lead, D + 1]`` with the size last, to the log means ``[*lead, G]``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: Tensor) -> Tensor:
        return latents[..., -1:] + self.network(latents[..., :-1]).log_softmax(-1)


class Cells(nn.Module):
    """Model and guide of counts ``[B, G]`` with latent states z and log library sizes s."""

    def __init__(self, latent_dim: int, likelihood: lvm.NegativeBinomialLikelihood, encoder: nn.Module, sizes: Tensor) -> None:
        super().__init__()
        self.latent_dim, self.likelihood, self.encoder = latent_dim, likelihood, encoder
        self.loc, self.log_scale = nn.Parameter(sizes.log().mean()), nn.Parameter(sizes.log().std().log())

    def model(self, x: Tensor) -> None:
        pyro.module("cells", self)
        with pyro.plate("cells", len(x)):
            z = pyro.sample("z", dist.Normal(self.loc.new_zeros(self.latent_dim), 1.0).to_event(1))
            s = pyro.sample("s", dist.Normal(self.loc, self.log_scale.exp()))
            pyro.sample("x", self.likelihood(torch.cat([z, s[..., None]], -1)), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("cells", self)
        loc, log_scale = self.encoder(torch.cat([x.log1p(), x.sum(-1, keepdim=True).log1p()], -1)).chunk(2, -1)  # [B, D + 1]
        with pyro.plate("cells", len(x)):
            pyro.sample("z", dist.Normal(loc[:, :-1], log_scale[:, :-1].exp()).to_event(1))
            pyro.sample("s", dist.Normal(self.loc + loc[:, -1], log_scale[:, -1].exp()))


def make_pair(data: Data, *, latent_dim: int = 2, zero_inflation: bool = True, hidden: int = 32) -> Cells:
    """A model of counts of genes ``[N, G]``.

    Args:
        data: The counts.
        latent_dim: Number of latents of a cell's state.
        zero_inflation: Let counts be set to 0 at random.
        hidden: Width of the networks.
    """
    num_genes = data.train.shape[-1]
    network = LogMeans(lvm.MLP(latent_dim, [hidden], num_genes))
    dispersion = torch.full((num_genes,), -1.0).exp()  # of each gene, as is the share set to 0
    if zero_inflation:
        gate = torch.full((num_genes,), -2.0).sigmoid()
        likelihood: lvm.NegativeBinomialLikelihood = lvm.ZeroInflatedNegativeBinomialLikelihood(
            network, dispersion=dispersion, learn_dispersion=True, gate=gate, learn_gate=True
        )
    else:
        likelihood = lvm.NegativeBinomialLikelihood(network, dispersion=dispersion, learn_dispersion=True)
    encoder = lvm.MLP(num_genes + 1, [hidden], 2 * latent_dim + 2)
    return Cells(latent_dim, likelihood, encoder, data.train.sum(-1).clamp(min=1))


def simulate(gate: float, num_cells: int = 800, *, seed: int = 0) -> Data:
    """Counts ``[N, 25]`` of three kinds of cells, alpha = 0.3, log size ~ N(log 200, 0.3); a share ``gate`` of them is set to 0."""
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet(np.full(GENES, 1.0), 3)[draw.integers(3, size=num_cells)]  # [N, G]
    means = shares * np.exp(np.log(200) + 0.3 * draw.normal(size=(num_cells, 1)))
    counts = draw.poisson(means * draw.gamma(1 / 0.3, 0.3, means.shape))
    kept = draw.random(means.shape) >= gate
    return load_data((counts * kept).astype(np.float32), test_fraction=1 / 4, seed=seed)


def main() -> None:
    for gate in (GATE, 0.0):
        data, scores = simulate(gate), {}
        for name in ("negative binomial", "zero-inflated"):
            torch.manual_seed(0)
            pair = make_pair(data, zero_inflation=name == "zero-inflated")
            fit(pair, data, epochs=40, learning_rate=2e-2, progress=False)
            scores[name] = evaluate(pair, data, num_particles=300, progress=False)
        print(f"share set to 0: {gate}, learned: {pair.likelihood.gate.mean():.3f}\n{compare(scores)}\n")


if __name__ == "__main__":
    main()
