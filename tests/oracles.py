"""Pairs whose log p(x) and posterior are known exactly, in float64."""

import pyro
from pyro import poutine
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_lvm import Pair


class LinearGaussian:
    r"""Factor analysis, x = W z + mu + noise; PPCA if all noise variances are equal. Exact posterior as guide."""

    def __init__(self, num_features: int = 5, latent_dim: int = 2, *, isotropic: bool = False, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(num_features, latent_dim, generator=generator, dtype=torch.float64)
        self.offset = torch.randn(num_features, generator=generator, dtype=torch.float64)
        noise = 0.3 + torch.rand(num_features, generator=generator, dtype=torch.float64)
        self.noise = torch.full_like(noise, 0.5) if isotropic else noise  # variances [X]
        precision = torch.eye(latent_dim).double() + self.weight.T @ (self.weight / self.noise[:, None])
        self.covariance = torch.linalg.inv(precision)
        self.generator = generator

    def sample(self, num_data: int) -> Tensor:
        z = torch.randn(num_data, self.weight.shape[1], generator=self.generator, dtype=torch.float64)
        noise = torch.randn(num_data, len(self.offset), generator=self.generator, dtype=torch.float64)
        return z @ self.weight.T + self.offset + noise * self.noise.sqrt()

    def log_px(self, x: Tensor) -> Tensor:
        covariance = self.weight @ self.weight.T + self.noise.diag()
        return torch.distributions.MultivariateNormal(self.offset, covariance).log_prob(x)

    def posterior(self, x: Tensor) -> dist.MultivariateNormal:
        loc = (x - self.offset) / self.noise @ self.weight @ self.covariance
        return dist.MultivariateNormal(loc, self.covariance)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.weight.shape[1]), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T + self.offset, self.noise.sqrt()).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(x))

    def broad_guide(self, x: Tensor) -> None:
        """A proposal that is not exact: diagonal, 1.3 times too wide, off by 0.1."""
        posterior = self.posterior(x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(posterior.mean + 0.1, 1.3 * posterior.variance.sqrt()).to_event(1))

    @property
    def broad(self) -> Pair:
        return Pair(self.model, self.broad_guide)

    def subsampled_model(self, x: Tensor) -> None:
        """The model, with a plate that declares 300 data."""
        with pyro.plate("data", 300, subsample=torch.arange(len(x))):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.weight.shape[1]), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T + self.offset, self.noise.sqrt()).to_event(1), obs=x)

    def subsampled_guide(self, x: Tensor) -> None:
        with pyro.plate("data", 300, subsample=torch.arange(len(x))):
            pyro.sample("z", self.posterior(x))


class LinearMixture(LinearGaussian):
    """A mixture-of-normals prior under a linear decoder; the exact posterior is again a mixture."""

    def __init__(self, num_components: int = 3, **options: int) -> None:
        super().__init__(**options)
        shape = (num_components, self.weight.shape[1])
        self.logits = torch.randn(num_components, generator=self.generator, dtype=torch.float64)
        self.loc = 2 * torch.randn(shape, generator=self.generator, dtype=torch.float64)
        self.scale = 0.5 + torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def _marginals(self) -> torch.distributions.MultivariateNormal:
        """p(x | component), batch shape [C]."""
        spread = self.weight * self.scale[:, None] ** 2 @ self.weight.T  # [C, X, X]
        return torch.distributions.MultivariateNormal(self.loc @ self.weight.T + self.offset, spread + self.noise.diag())

    def log_px(self, x: Tensor) -> Tensor:
        return (self.logits.log_softmax(0) + self._marginals().log_prob(x[:, None])).logsumexp(1)

    def posterior(self, x: Tensor) -> dist.MixtureSameFamily:
        logits = self.logits.log_softmax(0) + self._marginals().log_prob(x[:, None])  # [B, C]
        prior_precision = self.scale**-2
        precision = prior_precision.diag_embed() + self.weight.T @ (self.weight / self.noise[:, None])  # [C, D, D]
        shift = ((x - self.offset) / self.noise @ self.weight)[:, None] + prior_precision * self.loc  # [B, C, D]
        loc = torch.linalg.solve(precision, shift.unsqueeze(-1)).squeeze(-1)
        components = dist.MultivariateNormal(loc, precision_matrix=precision.expand(len(x), *precision.shape))
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)

    def model(self, x: Tensor) -> None:
        components = dist.Normal(self.loc, self.scale).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(logits=self.logits), components))
            pyro.sample("x", dist.Normal(z @ self.weight.T + self.offset, self.noise.sqrt()).to_event(1), obs=x)

    def enumerated_model(self, x: Tensor) -> None:
        """The same model with the component as a site of its own, marked for enumeration."""
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(self.loc[c], self.scale[c]).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T + self.offset, self.noise.sqrt()).to_event(1), obs=x)


def two_modalities():
    """A linear normal pair of two observed sites, the first of which a mask hides; also mean and covariance of both together."""
    torch.manual_seed(0)
    W, scale = torch.randn(5, 2).double(), 0.6

    def model(first, second, is_seen):
        with pyro.plate("data", len(first)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            with poutine.mask(mask=is_seen):
                pyro.sample("first", dist.Normal(z @ W[:2].T, scale).to_event(1), obs=first)
            pyro.sample("second", dist.Normal(z @ W[2:].T, scale).to_event(1), obs=second)

    def guide(first, second, is_seen):
        with pyro.plate("data", len(first)):
            pyro.sample("z", dist.Normal(torch.zeros(len(first), 2).double(), 1.0).to_event(1))

    return Pair(model, guide), torch.zeros(5).double(), W @ W.T + scale**2 * torch.eye(5).double()
