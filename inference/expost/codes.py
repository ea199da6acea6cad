"""Codes of data: draws from the aggregate posterior."""

from collections.abc import Sequence

from torch import Tensor

from inference.data.batches import Transform
from inference.predictive.draws import encode, in_blocks
from pyro_lvm.checks import check_counts
from pyro_lvm.contract import check_batch


def codes_of(
    pair: object,
    data: Tensor | Sequence[Tensor],
    *,
    transform: Transform | None = None,
    batch_size: int = 1000,
    seed: int = 0,
) -> Tensor:
    r"""Draw one code for each datum, :math:`z \sim q(z \mid x)`, batch by batch; together they are draws from the aggregate posterior.

    Args:
        pair: Any pair with one latent site.
        data: Observations ``[N, *X]``, or a tuple of tensors with these first; to fit a prior, those of the training data.
        transform: Applied to the observations of every batch, as in :func:`~inference.svi.fitting.fit`.
        batch_size: Number of data encoded at a time.
        seed: Seed of the draws.

    Returns:
        Codes ``[N, D]``.

    Raises:
        ValueError: If the pair has several latent sites, or ``batch_size`` is below 1.
    """
    batch = (data,) if isinstance(data, Tensor) else tuple(data)
    check_batch(*batch)
    check_counts(batch_size=batch_size)

    def encoded(x: Tensor, *others: Tensor) -> Tensor:
        codes = encode(pair, x if transform is None else transform(x), *others)
        if isinstance(codes, dict):
            raise ValueError(f"a pair must have one latent site to be given another prior; got {tuple(codes)}. Use encode(pair, x).")
        return codes

    return in_blocks(encoded, *batch, seed=seed, size=batch_size)  # [N, D]
