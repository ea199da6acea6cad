"""Normalizing flows, fitted to codes."""

from torch import Tensor

from inference.expost.density import check_codes, cholesky_factor, density_of, moments
from inference.numerics import seeded
from inference.svi.fitting import fit
from pyro_lvm.arrays import as_tensor
from pyro_lvm.distributions.flow import zuko
from pyro_lvm.networks.flows import spline, whitened
from pyro_lvm.priors.flow import FlowPrior


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
    r"""Fit a normalizing flow to whitened codes by maximum likelihood; the weights of the best epoch are kept.

    .. math:: \max_\theta \sum_n \log p_\theta(z_n)

    A flow that is initialized near the identity, as all flows of this library are, is initialized near the normal distribution of the
    codes.

    Args:
        codes: Codes of training data ``[N, D]``.
        valid: Codes of validation data ``[M, D]``, by which the best epoch is chosen.
        flow: Zuko lazy flow of D features, trained in place; by default :func:`~pyro_lvm.networks.flows.spline`.
        epochs: Largest number of passes through the codes.
        batch_size: Codes in a batch; by default 100, or N if that is less.
        learning_rate: Learning rate of Adam.
        patience: Stop after this many epochs without a better validation loss.
        seed: Seed of the default flow's weights and of shuffling.
        progress: Whether to show a progress bar.

    Returns:
        The prior, with the codes' dtype and device.

    Raises:
        ValueError: If the codes or an option are invalid, or the flow does not have D features.
        TypeError: If ``flow`` is not a zuko lazy flow.
    """
    codes, valid = as_tensor(codes, "codes"), as_tensor(valid, "valid")
    loc, scale = moments("codes", codes)
    check_codes("valid", valid, len(loc))
    with seeded(seed):
        flow = spline(len(loc)) if flow is None else flow
    features = FlowPrior(flow)().event_shape[0]
    if features != len(loc):
        raise ValueError(f"flow must have {len(loc)} features, like the codes; got {features}. Pass maf({len(loc)}).")
    prior = FlowPrior(whitened(flow, loc, scale[:, None] * cholesky_factor((codes.double() - loc) / scale))).to(codes)
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
