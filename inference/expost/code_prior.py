"""Priors over discrete codes, fitted after training to the codes of a pair."""

import torch
from torch import Tensor, nn

from inference.expost.density import density_of
from inference.svi.fitting import fit
from pyro_lvm.arrays import as_tensor


def fit_code_prior(
    prior: nn.Module,
    codes: Tensor,
    valid: Tensor,
    *,
    epochs: int = 100,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    patience: int | None = 10,
    seed: int = 0,
    progress: bool = False,
) -> nn.Module:
    r"""Fit a prior to discrete codes by maximum likelihood; the weights of the best epoch are kept.

    .. math:: \max_\theta \sum_n \log p_\theta(z_n)

    Args:
        prior: Module whose call returns a distribution of codes, such as :class:`~pyro_lvm.priors.autoregressive.PixelCNNPrior` for
            a grid or :class:`~pyro_lvm.priors.autoregressive.TransformerPrior` for a sequence; trained in place.
        codes: Codes of training data, int64 ``[N, *S]``, as returned by :func:`~inference.expost.codes.codes_of`.
        valid: Codes of validation data ``[M, *S]``, by which the best epoch is chosen.
        epochs: Largest number of passes through the codes.
        batch_size: Codes in a batch; by default 100, or N if that is less.
        learning_rate: Learning rate of Adam.
        patience: Stop after this many epochs without a better validation loss.
        seed: Seed of shuffling.
        progress: Whether to show a progress bar.

    Returns:
        The prior.

    Raises:
        TypeError: If the codes are not indices.
        ValueError: If their shapes differ from the prior's, or an option is invalid.
    """
    codes, valid = as_tensor(codes, "codes"), as_tensor(valid, "valid")
    shape = prior().event_shape
    for name, values in (("codes", codes), ("valid", valid)):
        if values.dtype != torch.int64:
            raise TypeError(f"{name} must be indices, int64; got {values.dtype}. Take .argmax(-1) of indicators.")
        if values.shape[1:] != shape:
            expected = ", ".join(map(str, shape))
            raise ValueError(
                f"{name} must have shape [N, {expected}], like the prior; got {tuple(values.shape)}. "
                "Build the prior for codes of this shape."
            )
    # Not compiled: Python takes a small part of the time of such steps, and compiling them takes minutes.
    fit(
        density_of(prior),
        codes,
        valid=valid,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        compile=False,
        seed=seed,
        progress=progress,
    )
    return prior
