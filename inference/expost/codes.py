"""Codes of data: draws from the aggregate posterior."""

from typing import Any

from torch import Tensor

from inference.predictive.draws import encode, in_blocks
from pyro_lvm.checks import check_counts, check_seeds
from pyro_lvm.contract import check_batch
from pyro_lvm.dtypes import Suit, Transform
from pyro_lvm.reading import Splits, read_rows


def codes_of(
    pair: object,
    data: Any,
    *,
    transform: Transform | None = None,
    batch_size: int = 1000,
    seed: int = 0,
) -> Tensor:
    r"""Draw one code for each datum, :math:`z \sim q(z \mid x)`, batch by batch; together they are draws from the aggregate posterior.

    Args:
        pair: Any pair with one latent site.
        data: Data in any form that :func:`~inference.scoring.importance.evaluate` takes; to fit a prior, those of the training data.
            Of what ``load_data`` returns, the training data are used, with their transform.
        transform: Applied to the observations of every batch, as in :func:`~inference.svi.fitting.fit`.
        batch_size: Number of data encoded at a time.
        seed: Seed of the draws.

    Returns:
        Codes ``[N, D]``.

    Raises:
        ValueError: If the pair has several latent sites, or ``batch_size`` is below 1.
    """
    check_counts(batch_size=batch_size)
    check_seeds(seed=seed)
    if transform is None and isinstance(data, Splits):
        transform = data.transform
    suit = Suit(pair, transform=transform)
    batch = suit(read_rows(data, split="train", pair=pair))
    check_batch(*batch)

    def encoded(*rows: Tensor) -> Tensor:
        codes = encode(pair, *suit.transformed(rows))
        if isinstance(codes, dict):
            raise ValueError(f"a pair must have one latent site to be given another prior; got {tuple(codes)}. Use encode(pair, x).")
        return codes

    return in_blocks(encoded, *batch, seed=seed, size=batch_size)  # [N, D]
