r"""Missing for a reason: a model of values and of which of them are missing, where a value decides whether it is told (not-MIWAE).

.. math:: p(x_\mathrm{obs}, s) = \iint p(z)\, p(x_\mathrm{obs}, x_\mathrm{mis} \mid z) \prod_i p(s_i \mid x_i)\,
    dx_\mathrm{mis}\, dz, \qquad p(s_i = 0 \mid x_i) = \sigma\big(w_i (y_i - b_i)\big)

y is x in units of its column, and s = 0 where a cell is missing. Missing cells are latents, drawn from p(x|z) in the guide
as in the model, so that only p(s|x) tells good draws from bad ones. Without p(s|x), this is a MIWAE, right where cells are missing at
random. Ipsen, Mattei, Frellsen (2021), not-MIWAE: Deep Generative Modelling with Missing not at Random Data.
"""

from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from inference import IWAE, evaluate, fit, impute
from inference.data.load import Data
import pyro_lvm as lvm

Reason = Literal["larger", "smaller", "either", "none"]


class NotAtRandom(nn.Module):
    """Model and guide of rows ``[B, X]`` with NaN in missing cells."""

    def __init__(
        self, inputs: lvm.ColumnInputs, units: tuple[Tensor, Tensor], latent_dim: int, hidden: int, reason: Reason, linear: bool
    ) -> None:
        super().__init__()
        self.latent_dim, self.reason, (num_columns,) = latent_dim, reason, inputs.loc.shape
        self.decoder = lvm.MLP(latent_dim, [] if linear else [hidden, hidden], num_columns)
        self.encoder = lvm.NormalEncoder(nn.Sequential(inputs, lvm.MLP(inputs.out_shape[0], [hidden, hidden], 2 * latent_dim)))
        self.log_noise = nn.Parameter(torch.zeros(()))
        self.slope, self.middle = nn.Parameter(torch.full((num_columns,), 0.5)), nn.Parameter(torch.zeros(num_columns))
        self.register_buffer("loc", units[0])
        self.register_buffer("scale", units[1])

    def cells(self, z: Tensor) -> dist.TorchDistribution:
        """Normal distributions of all cells given latents, ``[*lead, X]``."""
        return dist.Normal(self.loc + self.scale * self.decoder(z), self.scale * self.log_noise.exp())

    def is_told(self, x: Tensor) -> dist.TorchDistribution:
        """Distributions of which cells of complete rows are observed, ``[*lead, X]``."""
        slope = self.slope if self.reason == "either" else nn.functional.softplus(self.slope) * (-1 if self.reason == "smaller" else 1)
        return dist.Bernoulli(logits=-slope * ((x - self.loc) / self.scale - self.middle))

    def model(self, x: Tensor) -> None:
        pyro.module("not_at_random", self)
        observed = ~x.isnan()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.loc.new_zeros(self.latent_dim), 1.0).to_event(1))
            cells = self.cells(z)
            pyro.sample("x", cells.mask(observed).to_event(1), obs=x.nan_to_num())
            missing = pyro.sample("missing", cells.to_event(1))  # of all cells; where they are observed, nothing depends on it
            if self.reason != "none":
                pyro.sample("s", self.is_told(torch.where(observed, x, missing)).to_event(1), obs=observed.to(x.dtype))

    def guide(self, x: Tensor) -> None:
        pyro.module("not_at_random", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.encoder(x))
            pyro.sample("missing", self.cells(z).to_event(1))


def make_pair(
    data: Data, *, latent_dim: int = 4, hidden: int = 64, reason: Reason = "larger", linear: bool = True, standardized: bool = False
) -> NotAtRandom:
    """A model of real columns ``[N, X]`` with NaN in missing cells.

    Args:
        data: The table.
        latent_dim: Number of latents beside the missing cells.
        hidden: Width of the two hidden layers of the networks.
        reason: Which values are the more often missing: larger or smaller ones, either of these as the data say for each column, or none.
        linear: Let p(x|z) be linear in z, as in factor analysis; a nonlinear one can be anything where no cell is observed.
        standardized: Keep the units of the table; by default, y is in standard deviations of the observed cells.
    """
    num_columns = data.train.shape[1]
    inputs = lvm.ColumnInputs(data.train, ["real"] * num_columns, [0] * num_columns)
    units = (torch.zeros_like(inputs.loc), torch.ones_like(inputs.scale)) if standardized else (inputs.loc, inputs.scale)
    return NotAtRandom(inputs, units, latent_dim, hidden, reason, linear)


def simulate(num_people: int = 1000, *, seed: int = 0) -> tuple[Data, Tensor]:
    """Five columns of a factor model, the first two of which are not told where they are above 0; and all rows with all cells."""
    draw = torch.Generator().manual_seed(seed)
    weights = torch.randn(2, 5, generator=draw)
    complete = torch.randn(num_people, 2, generator=draw) @ weights + 0.3 * torch.randn(num_people, 5, generator=draw)
    x = complete.masked_fill((complete > 0) & (torch.arange(5) < 2), torch.nan)
    held_out = num_people // 10
    return Data("people", "simulated", x[: -2 * held_out], x[-2 * held_out : -held_out], x[-held_out:]), complete


def main() -> None:
    data, complete = simulate()
    x = torch.cat([data.train, data.valid, data.test])
    for reason in ("larger", "none"):
        torch.manual_seed(0)
        pair = make_pair(data, latent_dim=2, reason=reason)
        fit(pair, data, elbo=IWAE(20), epochs=100, learning_rate=3e-3, progress=False)
        drawn = impute(pair, x, site="missing", num_draws=50, seed=0)
        error = (drawn.mean - complete)[x.isnan()].square().mean().sqrt()
        print(f"values that are more often missing: {reason}; RMSE of imputed cells {error:.2f}; of the test data")
        print(evaluate(pair, data, num_particles=200, progress=False))


if __name__ == "__main__":
    main()
