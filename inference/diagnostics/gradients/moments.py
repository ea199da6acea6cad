"""Moments of pairs of gradients on the same mini-batch, gathered in one pass, and the figures that follow from them."""

from typing import NamedTuple

import torch
from torch import Tensor


class Figures(NamedTuple):
    """Figures of a group of P parameters.

    Attributes:
        norm: Norm of the mean gradient.
        variance_draws: Sum over parameters of the variance over draws, given the mini-batch.
        variance_batches: Sum over parameters of the variance over mini-batches of what draws have as their mean.
        snr_draws: Mean over parameters of abs(mean) / standard deviation over draws.
        snr: The same with the standard deviation over draws and mini-batches together.
        floor_norm: What ``norm`` would be, as a root mean square, if the mean gradient were zero.
        floor_draws: What ``snr_draws`` would be on average if the mean gradient were zero.
        floor: The same of ``snr``.
    """

    norm: float
    variance_draws: float
    variance_batches: float
    snr_draws: float
    snr: float
    floor_norm: float
    floor_draws: float
    floor: float


class Moments:
    r"""Moments of pairs of gradients (g, g') of P parameters, each pair on a mini-batch of its own.

    With :math:`a = (g + g') / 2` and :math:`d = (g - g') / 2`, the variance over draws is :math:`2 E[d^2]`, and that over mini-batches
    :math:`\operatorname{Var}(a) - E[d^2]`. If all mini-batches are the same, the former is :math:`\operatorname{Var}(a) + E[d^2]`.

    Args:
        size: Number of parameters, P.
        is_whole: Whether every mini-batch is all data.
        device: Device of the gradients.
    """

    def __init__(self, size: int, is_whole: bool, device: torch.device) -> None:
        self.count, self.is_whole = 0, is_whole
        self.mean, self.squares, self.halves = torch.zeros(3, size, dtype=torch.float64, device=device)

    def add(self, first: Tensor, second: Tensor) -> None:
        """Add a pair of gradients ``[P]``."""
        self.count += 1
        average, half = (first + second) / 2, (first - second) / 2
        distance = average - self.mean
        self.mean += distance / self.count
        self.squares += distance * (average - self.mean)
        self.halves += half**2

    def merge(self, other: "Moments") -> None:
        """Add all pairs that another object has gathered, by the formula of Chan, Golub and LeVeque (1983)."""
        total, distance = self.count + other.count, other.mean - self.mean
        self.squares += other.squares + distance**2 * (self.count * other.count / total)
        self.mean += distance * (other.count / total)
        self.halves += other.halves
        self.count = total

    def figures(self) -> Figures:
        """Return the figures of all pairs so far, at least two."""
        of_average, of_half = self.squares / (self.count - 1), self.halves / self.count  # [P]
        draws = of_average + of_half if self.is_whole else 2 * of_half
        batches = torch.zeros_like(draws) if self.is_whole else of_average - of_half
        both = draws if self.is_whole else of_average + of_half
        error = (of_average / self.count).sqrt() if not self.is_whole else (draws / (2 * self.count)).sqrt()
        ratios = (_mean_ratio(top, sd.sqrt()) for top in (self.mean.abs(), error * (2 / torch.pi) ** 0.5) for sd in (draws, both))
        snr_draws, snr, floor_draws, floor = ratios
        norm, floor_norm = float(self.mean.norm()), float(error.norm())
        return Figures(norm, float(draws.sum()), float(batches.sum()), snr_draws, snr, floor_norm, floor_draws, floor)


def _mean_ratio(above: Tensor, below: Tensor) -> float:
    """The mean of ratios, without parameters whose gradient is always zero."""
    is_used = (above > 0) | (below > 0)
    return float((above[is_used] / below[is_used]).mean())
