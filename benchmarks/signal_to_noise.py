"""The signal-to-noise ratio of gradients by the number of draws, on a model whose gradients are known to lose it.

``python benchmarks/signal_to_noise.py`` prints the table of docs/objectives.md. The model is that of Rainforth et al. (2018), Tighter
Variational Bounds are Not Necessarily Better, https://arxiv.org/abs/1802.04537: z ~ N(mu, I), x | z ~ N(z, I), with a guide
N((x + mu) / 2 + b, 2/3 I), whose exact posterior has the variance 1/2; here mu = 0 and b = 0.1. An argument is another variance of the
guide. The ratio is |mean| / deviation of the derivative with respect to an element of b (guide) or mu (model) for one datum, over all
elements and many draws.
"""

import sys

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from inference import IWAE, STL, DReG, ParticleObjective

LATENTS, ROWS, RUNS = 5, 250, 32  # every row has parameters of its own, and one run has as many estimates
VARIANCE = float(sys.argv[1]) if len(sys.argv) > 1 else 2 / 3
PARTICLES = (1, 4, 16, 64, 256)
OBJECTIVES = {"IWAE": IWAE, "DReG": DReG, "STL": STL}


def model(x: Tensor, shift: Tensor, mean: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(mean, 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def guide(x: Tensor, shift: Tensor, mean: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal((x + mean.detach()) / 2 + shift, VARIANCE**0.5).to_event(1))


def estimates(objective: ParticleObjective) -> tuple[Tensor, Tensor]:
    """Independent estimates of the derivatives with respect to b and mu, each ``[ROWS, LATENTS]``."""
    x = torch.linspace(-1, 1, LATENTS, dtype=torch.float64).expand(ROWS, LATENTS)
    shift, mean = (torch.full((ROWS, LATENTS), value, dtype=torch.float64, requires_grad=True) for value in (0.1, 0.0))
    return torch.autograd.grad(objective.differentiable_loss(model, guide, x, shift, mean), (shift, mean))


def ratio(gradients: list[Tensor]) -> float:
    """Mean over the elements of |mean| / deviation."""
    found = torch.cat(gradients)
    return float((found.mean(0).abs() / found.std(0)).mean())


def main() -> None:
    """Print one line for each number of draws."""
    torch.manual_seed(0)
    parts = [f"{name}, {part}" for name in OBJECTIVES for part in ("guide", "model")]
    print(f"| K | {' | '.join(parts)} |\n|---:|{'---:|' * len(parts)}")
    for num_particles in PARTICLES:
        cells = []
        for kind in OBJECTIVES.values():
            objective = kind(num_particles)
            found = [estimates(objective) for _ in range(RUNS)]
            cells += [f"{ratio([each[part] for each in found]):.3f}" for part in (0, 1)]
        print(f"| {num_particles} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
