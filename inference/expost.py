"""Priors fitted after training, to the codes of a fitted pair: the likelihood and the guide stay as they are.

The codes of the data, draws from the aggregate posterior, need not fill the prior. Each function here fits a density to codes of training
data and returns a prior module, so that ``vae.with_prior(prior)`` samples and is scored like any other pair.
"""

from collections.abc import Sequence

import pyro
from sklearn.mixture import GaussianMixture
import torch
from torch import Tensor, nn

from inference.batches import Transform
from inference.svi import fit
from inference.verbs import encode
from pyro_lvm.contract import check_batch
from pyro_lvm.distributions import zuko
from pyro_lvm.flows import spline, whitened
from pyro_lvm.pair import Pair
from pyro_lvm.priors import FlowPrior, FullGaussianMixturePrior, GaussianMixturePrior

NUM_COMPONENTS = (1, 2, 5, 10, 20, 50)
_LEAST_SPREAD = 1e-6  # of a feature given the others, in its standard deviations; less is rounding


def codes_of(
    pair: object,
    data: Tensor | Sequence[Tensor],
    *,
    transform: Transform | None = None,
    batch_size: int = 1000,
    seed: int = 0,
) -> Tensor:
    r"""One code for each datum, :math:`z \sim q(z \mid x)`, batch by batch: draws from the aggregate posterior.

    Args:
        pair: Any pair with one latent site.
        data: Observations ``[N, *X]``, or a tuple of tensors with these first; training data, if a prior is to be fitted.
        transform: Applied to the observations of every batch, as in :func:`~inference.svi.fit`.
        batch_size: Data that are encoded at a time.
        seed: Seed of the draws.

    Returns:
        Codes ``[N, D]``.

    Raises:
        ValueError: If the pair has several latent sites, or ``batch_size`` is below 1.
    """
    batch = (data,) if isinstance(data, Tensor) else tuple(data)
    check_batch(*batch)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = [_encoded(pair, x, transform) for x in zip(*(x.split(batch_size) for x in batch), strict=True)]
    return torch.cat(parts)  # [N, D]


@torch.no_grad()
def fit_gaussian(codes: Tensor) -> FullGaussianMixturePrior:
    r"""The normal distribution of the codes, by maximum likelihood in closed form.

    .. math:: p(z) = \mathcal N(z \mid m, S), \quad m = \frac{1}{N} \sum_n z_n, \quad S = \frac{1}{N} \sum_n (z_n - m)(z_n - m)^\top

    Args:
        codes: Codes of training data ``[N, D]``.

    Returns:
        A mixture of one component, with the codes' dtype and device.

    Raises:
        ValueError: If the codes are bad, or lie in a subspace.
    """
    loc, scale = _moments("codes", codes)
    factor = _factor((codes.double() - loc) / scale)
    if factor.diagonal().min() < 2 * _LEAST_SPREAD:
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
    r"""A mixture of normal distributions fitted to codes by expectation maximization.

    .. math:: p(z) = \sum_{c=1}^C w_c \, \mathcal N(z \mid m_c, S_c)

    Args:
        codes: Codes of training data ``[N, D]``.
        valid: Codes of validation data ``[M, D]``, whose mean log p(z) chooses among the candidates; without them, the least BIC does.
        num_components: :math:`C`, or candidates to choose from; by default 1, 2, 5, 10, 20 and 50, as far as there are codes enough.
        diagonal: Whether the covariances are diagonal.
        seed: Seed of the starts, by k-means.

    Returns:
        The prior, with the codes' dtype and device.

    Raises:
        ValueError: If the codes are bad, or too few for the components.

    References:
        Ghosh et al. (2020), From Variational to Deterministic Autoencoders. https://arxiv.org/abs/1903.12436
    """
    loc, scale = _moments("codes", codes)
    candidates = _candidates(num_components, len(codes), 2 if diagonal else len(loc) + 1)
    kind = "diag" if diagonal else "full"
    z = ((codes.double() - loc) / scale).cpu().numpy()
    fits = [GaussianMixture(C, covariance_type=kind, max_iter=1000, random_state=seed).fit(z) for C in candidates]
    if valid is None:
        best = min(fits, key=lambda fitted: fitted.bic(z))
    else:
        _check_codes("valid", valid, len(loc))
        held_out = ((valid.double() - loc) / scale).cpu().numpy()
        best = max(fits, key=lambda fitted: fitted.score(held_out))
    weights, means, covariances = (torch.from_numpy(a).to(loc) for a in (best.weights_, best.means_, best.covariances_))
    logits, means = weights.log(), loc + scale * means
    if diagonal:
        return _diagonal_prior(codes, logits, means, scale * covariances.sqrt())
    return _full_prior(codes, logits, means, scale[:, None] * torch.linalg.cholesky(covariances))


def fit_flow(
    codes: Tensor,
    valid: Tensor,
    *,
    flow: zuko.lazy.Flow | None = None,
    epochs: int = 200,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    patience: int | None = 20,
    seed: int = 0,
    progress: bool = False,
) -> FlowPrior:
    r"""A normalizing flow of the whitened codes, fitted by maximum likelihood; the weights of the best epoch are kept.

    .. math:: \max_\theta \sum_n \log p_\theta(z_n)

    A flow that starts near the identity, as ours do, starts near the codes' normal distribution.

    Args:
        codes: Codes of training data ``[N, D]``.
        valid: Codes of validation data ``[M, D]``, which choose the epoch.
        flow: Zuko lazy flow of D features, trained in place; by default :func:`~pyro_lvm.flows.spline`.
        epochs: Passes through the codes at most.
        batch_size: Codes in a batch; by default 100, or N if that is less.
        learning_rate: Of Adam.
        patience: Stop after so many epochs without a better validation loss.
        seed: Seed of the default flow's weights and of shuffling.
        progress: Whether to show a progress bar.

    Returns:
        The prior, with the codes' dtype and device.

    Raises:
        ValueError: If the codes or an option are bad, or the flow has not D features.
        TypeError: If ``flow`` is not a zuko lazy flow.
    """
    loc, scale = _moments("codes", codes)
    _check_codes("valid", valid, len(loc))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = spline(len(loc)) if flow is None else flow
    features = FlowPrior(flow)().event_shape[0]
    if features != len(loc):
        raise ValueError(f"flow must have {len(loc)} features, as the codes; got {features}. Pass maf({len(loc)}).")
    prior = FlowPrior(whitened(flow, loc, scale[:, None] * _factor((codes.double() - loc) / scale))).to(codes)
    fit(
        density_of(prior),
        codes,
        valid=valid,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
        progress=progress,
    )
    return prior


def _encoded(pair: object, batch: tuple[Tensor, ...], transform: Transform | None) -> Tensor:
    x, *others = batch
    codes = encode(pair, x if transform is None else transform(x), *others)
    if isinstance(codes, dict):
        raise ValueError(f"a pair must have one latent site to be given another prior; got {tuple(codes)}. Use encode(pair, x).")
    return codes


def _factor(z: Tensor) -> Tensor:
    """Cholesky factor of the covariance of standardized codes, and of a spread of its own where they lie in a subspace."""
    own = _LEAST_SPREAD**2 * torch.eye(z.shape[1]).to(z)
    return torch.linalg.cholesky(z.T @ z / len(z) + own)


def density_of(prior: nn.Module) -> Pair:
    """A pair without latents: its ELBO is log p(z) of the codes it observes."""

    def model(z: Tensor) -> None:
        pyro.module("prior", prior)
        with pyro.plate("data", len(z)):
            pyro.sample("z", prior(), obs=z)

    return Pair(model, lambda z: None)


def _diagonal_prior(codes: Tensor, logits: Tensor, loc: Tensor, scale: Tensor) -> GaussianMixturePrior:
    with torch.random.fork_rng():
        prior = GaussianMixturePrior(loc.shape[1], len(loc))
    return _started(prior, codes, logits=logits, loc=loc, log_scale=scale.log())


def _full_prior(codes: Tensor, logits: Tensor, loc: Tensor, scale_tril: Tensor) -> FullGaussianMixturePrior:
    row, column = torch.tril_indices(*scale_tril.shape[1:], offset=-1)
    log_diagonal, below = scale_tril.diagonal(dim1=1, dim2=2).log(), scale_tril[:, row, column]
    with torch.random.fork_rng():
        prior = FullGaussianMixturePrior(loc.shape[1], len(loc))
    return _started(prior, codes, logits=logits, loc=loc, log_diagonal=log_diagonal, below=below)


@torch.no_grad()
def _started(prior: nn.Module, codes: Tensor, **values: Tensor) -> nn.Module:
    prior.to(codes)
    for name, value in values.items():
        getattr(prior, name).copy_(value)
    return prior


@torch.no_grad()
def _moments(name: str, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature, float64 ``[D]``."""
    _check_codes(name, codes)
    z = codes.double()
    loc, scale = z.mean(0), z.std(0, correction=0)
    if not (scale > 0).all():
        raise ValueError(
            f"{name} must vary in every feature; got {len(codes)} codes with {int((scale == 0).sum())} constant features. Use a guide "
            "with a density, or give more codes."
        )
    return loc, scale


def _check_codes(name: str, codes: Tensor, num_features: int | None = None) -> None:
    if codes.dim() != 2 or 0 in codes.shape or num_features not in (None, codes.shape[1]):
        raise ValueError(
            f"{name} must have shape [N, {num_features or 'D'}]; got {tuple(codes.shape)}. Give a vector for each datum: codes.flatten(1)."
        )
    if not codes.is_floating_point():
        raise TypeError(f"{name} must be floating point; got {codes.dtype}. Use .float(), unless they are discrete.")
    wrong = int((~codes.isfinite()).any(1).sum())
    if wrong:
        raise ValueError(f"{name} must be finite; {wrong} of {len(codes)} hold NaN or infinite values. Look at the encoder.")


def _candidates(num_components: int | Sequence[int] | None, num_codes: int, least: int) -> list[int]:
    """The numbers of components to try; each component needs ``least`` codes."""
    if num_components is None:
        candidates = [C for C in NUM_COMPONENTS if C * least <= num_codes]
    else:
        candidates = [num_components] if isinstance(num_components, int) else list(num_components)
    if not candidates or min(candidates) < 1 or max(candidates) * least > num_codes:
        raise ValueError(
            f"num_components must be at least 1, with {least} codes for each component; got {num_components} for {num_codes} codes. "
            "Take fewer components, or give more codes."
        )
    return candidates
