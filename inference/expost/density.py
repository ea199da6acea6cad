"""A prior as a pair without latents, and the moments of codes."""

import pyro
import torch
from torch import Tensor, nn

from pyro_lvm.pair import Pair

LEAST_SPREAD = 1e-6  # standard deviation of a feature given the others, relative to its own; anything less is rounding error


def density_of(prior: nn.Module) -> Pair:
    """A pair without latents: its ELBO is log p(z) of the codes it observes."""

    def model(z: Tensor) -> None:
        pyro.module("prior", prior)
        with pyro.plate("data", len(z)):
            pyro.sample("z", prior(), obs=z)

    return Pair(model, lambda z: None)


def cholesky_factor(z: Tensor) -> Tensor:
    """Cholesky factor of the covariance of standardized codes, plus a small diagonal for codes that lie in a subspace."""
    own = LEAST_SPREAD**2 * torch.eye(z.shape[1]).to(z)
    return torch.linalg.cholesky(z.T @ z / len(z) + own)


@torch.no_grad()
def moments(name: str, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature, float64 ``[D]``."""
    check_codes(name, codes)
    z = codes.double()
    loc, scale = z.mean(0), z.std(0, correction=0)
    if not (scale > 0).all():
        raise ValueError(
            f"{name} must vary in every feature; got {len(codes)} codes with {int((scale == 0).sum())} constant features. Use a guide "
            "with a density, or give more codes."
        )
    return loc, scale


def check_codes(name: str, codes: Tensor, num_features: int | None = None) -> None:
    if codes.dim() != 2 or 0 in codes.shape or num_features not in (None, codes.shape[1]):
        raise ValueError(
            f"{name} must have shape [N, {num_features or 'D'}]; got {tuple(codes.shape)}. Give a vector for each datum: codes.flatten(1)."
        )
    if not codes.is_floating_point():
        raise TypeError(f"{name} must be floating point; got {codes.dtype}. Use .float(), unless they are discrete.")
    wrong = int((~codes.isfinite()).any(1).sum())
    if wrong:
        raise ValueError(f"{name} must be finite; {wrong} of {len(codes)} hold NaN or infinite values. Check the encoder.")
