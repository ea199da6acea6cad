"""Normal distributions and their mixtures, fitted to codes."""

from collections.abc import Sequence
from numbers import Integral
from typing import TypeVar

from sklearn.mixture import GaussianMixture
import torch
from torch import Tensor, nn

from inference.expost.density import LEAST_SPREAD, check_codes, cholesky_factor, moments
from pyro_lvm.arrays import as_tensor
from pyro_lvm.checks import SKLEARN_SEEDS, check_seeds
from pyro_lvm.priors.gaussian_mixture import FullGaussianMixturePrior, GaussianMixturePrior

Prior = TypeVar("Prior", bound=nn.Module)
NUM_COMPONENTS = (1, 2, 5, 10, 20, 50)


@torch.no_grad()
def fit_gaussian(codes: Tensor) -> FullGaussianMixturePrior:
    r"""Fit a normal distribution to codes by maximum likelihood, in closed form.

    .. math:: p(z) = \mathcal N(z \mid m, S), \quad m = \frac{1}{N} \sum_n z_n, \quad S = \frac{1}{N} \sum_n (z_n - m)(z_n - m)^\top

    Args:
        codes: Codes of training data ``[N, D]``.

    Returns:
        A mixture of one component, with the codes' dtype and device.

    Raises:
        ValueError: If the codes are invalid, or lie in a subspace.
    """
    codes = as_tensor(codes, "codes")
    loc, scale = moments("codes", codes)
    factor = cholesky_factor((codes.double() - loc) / scale)
    if factor.diagonal().min() < 2 * LEAST_SPREAD:
        raise ValueError(
            f"codes must spread over all {len(loc)} features; {len(codes)} codes lie in a subspace of them. Give more codes, or drop "
            "features that repeat others."
        )
    return _full_prior(codes, codes.new_zeros(1), loc[None], scale[:, None] * factor[None])


@torch.no_grad()
def fit_gaussian_mixture(
    codes: Tensor,
    valid: Tensor | None = None,
    *,
    num_components: int | Sequence[int] | None = None,
    diagonal: bool = False,
    seed: int = 0,
) -> FullGaussianMixturePrior | GaussianMixturePrior:
    r"""Fit a mixture of normal distributions to codes by expectation maximization.

    .. math:: p(z) = \sum_{c=1}^C w_c \, \mathcal N(z \mid m_c, S_c)

    Args:
        codes: Codes of training data ``[N, D]``.
        valid: Codes of validation data ``[M, D]``; the candidate with their highest mean log p(z) is chosen, and without them the one
            with the lowest BIC.
        num_components: :math:`C`, or candidates to choose from; by default 1, 2, 5, 10, 20 and 50, as far as there are enough codes.
        diagonal: Whether the covariances are diagonal.
        seed: Seed of the initialization by k-means.

    Returns:
        The prior, with the codes' dtype and device.

    Raises:
        ValueError: If the codes are invalid, or too few for the components.

    References:
        Ghosh et al. (2020), From Variational to Deterministic Autoencoders. https://arxiv.org/abs/1903.12436
    """
    check_seeds(seed=seed)
    codes, valid = as_tensor(codes, "codes"), valid if valid is None else as_tensor(valid, "valid")
    loc, scale = moments("codes", codes)
    candidates = _candidates(num_components, len(codes), 2 if diagonal else len(loc) + 1)
    kind = "diag" if diagonal else "full"
    z = ((codes.double() - loc) / scale).cpu().numpy()
    fits = [GaussianMixture(C, covariance_type=kind, max_iter=1000, random_state=seed % SKLEARN_SEEDS).fit(z) for C in candidates]
    if valid is None:
        best = min(fits, key=lambda fitted: fitted.bic(z))
    else:
        check_codes("valid", valid, len(loc))
        held_out = ((valid.double() - loc) / scale).cpu().numpy()
        best = max(fits, key=lambda fitted: fitted.score(held_out))
    weights, means, covariances = (torch.from_numpy(a).to(loc) for a in (best.weights_, best.means_, best.covariances_))
    logits, means = weights.log(), loc + scale * means
    if diagonal:
        return _diagonal_prior(codes, logits, means, scale * covariances.sqrt())
    return _full_prior(codes, logits, means, scale[:, None] * torch.linalg.cholesky(covariances))


def _diagonal_prior(codes: Tensor, logits: Tensor, loc: Tensor, scale: Tensor) -> GaussianMixturePrior:
    with torch.random.fork_rng():
        prior = GaussianMixturePrior(loc.shape[1], len(loc))
    return _initialized(prior, codes, logits=logits, loc=loc, log_scale=scale.log())


def _full_prior(codes: Tensor, logits: Tensor, loc: Tensor, scale_tril: Tensor) -> FullGaussianMixturePrior:
    D = loc.shape[1]
    row, column = torch.tril_indices(D, D, offset=-1)
    log_diagonal, below = scale_tril.diagonal(dim1=1, dim2=2).log(), scale_tril[:, row, column]
    with torch.random.fork_rng():
        prior = FullGaussianMixturePrior(D, len(loc))
    return _initialized(prior, codes, logits=logits, loc=loc, log_diagonal=log_diagonal, below=below)


@torch.no_grad()
def _initialized(prior: Prior, codes: Tensor, **values: Tensor) -> Prior:
    prior.to(codes)
    for name, value in values.items():
        getattr(prior, name).copy_(value)
    return prior


def _candidates(num_components: int | Sequence[int] | None, num_codes: int, least: int) -> list[int]:
    """The numbers of components to try; each component needs ``least`` codes."""
    if num_components is None:
        candidates = [C for C in NUM_COMPONENTS if C * least <= num_codes]
    else:
        candidates = [int(C) for C in ([num_components] if isinstance(num_components, Integral | int) else num_components)]
    if not candidates or min(candidates) < 1 or max(candidates) * least > num_codes:
        raise ValueError(
            f"num_components must be at least 1, with {least} codes for each component; got {num_components} for {num_codes} codes. "
            "Take fewer components, or give more codes."
        )
    return candidates
