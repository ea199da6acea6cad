"""Columns of several kinds as features of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_lvm.arrays import as_tensor
from pyro_lvm.networks.inputs import LARGEST_INPUT

KINDS = ("real", "count", "binary", "ordinal", "category")  # in the order of a network's outputs


def check_kinds(kinds: Sequence[str], num_values: Sequence[int]) -> None:
    """Check what columns are said to be.

    Args:
        kinds: Kind of each column, one of ``KINDS``.
        num_values: Number of values of each column, V; 0 for real numbers and counts.

    Raises:
        ValueError: If there are none, a kind is unknown, or a number of values does not suit its kind.
    """
    if not kinds or len(kinds) != len(num_values):
        raise ValueError(f"kinds and num_values must have one entry for each column; got {len(kinds)} and {len(num_values)}.")
    for place, (kind, count) in enumerate(zip(kinds, num_values, strict=True)):
        if kind not in KINDS:
            raise ValueError(f"kinds must be of {', '.join(KINDS)}; got {kind!r} for column {place}. Choose one of these.")
        allowed = {"real": count == 0, "count": count == 0, "binary": count in (1, 2)}.get(kind, count >= 1)
        if not allowed:
            expected = {"real": "0", "count": "0", "binary": "2"}.get(kind, "at least 1")
            raise ValueError(f"num_values of a {kind} column must be {expected}; got {count} for column {place}. Correct it.")


def places_of(kinds: Sequence[str], *wanted: str) -> list[int]:
    """Return the places of the columns that are of some kinds."""
    return [place for place, kind in enumerate(kinds) if kind in wanted]


def moments(train: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation ``[D]`` of the observed cells of columns ``[N, D]``; 0 and 1 where there are none, 1 for 0."""
    observed = ~train.isnan()
    count = observed.sum(0).clamp_min(1)
    loc = train.nansum(0) / count
    variance = (train - loc).square().nansum(0) / (count - 1).clamp_min(1)
    return loc, torch.where(variance > 0, variance.sqrt(), 1.0)


class ColumnInputs(nn.Module):
    r"""Layer that makes features of columns of several kinds, some of whose cells may be missing.

    Numbers, of counts :math:`\log(1 + x)`, binary and ordinal codes are centered and scaled by the training data and clamped to 10
    standard deviations; categories become indicators. A missing cell, NaN, is 0 in all its features, and each column that has gaps in the
    training data has one more feature, which is 1 where it is missing.

    Args:
        train: Training data ``[N, D]``, with NaN in missing cells.
        kinds: Kind of each column: ``"real"``, ``"count"``, ``"binary"``, ``"ordinal"`` or ``"category"``.
        num_values: Number of values of each column; 0 for real numbers and counts.

    Attributes:
        out_shape: Shape of the features of one datum.

    Returns:
        On call with ``[*lead, D]``: features ``[*lead, F]``.

    Raises:
        ValueError: If kinds or numbers of values do not go together, or the training data have another number of columns.

    Example:
        >>> import torch
        >>> from pyro_lvm import ColumnInputs
        >>> x = torch.tensor([[1.0, 0.0], [3.0, 2.0], [float("nan"), 1.0]])
        >>> ColumnInputs(x, ["real", "category"], [0, 3])(x)
        tensor([[-0.7071,  1.0000,  0.0000,  0.0000,  0.0000],
                [ 0.7071,  0.0000,  0.0000,  1.0000,  0.0000],
                [ 0.0000,  0.0000,  1.0000,  0.0000,  1.0000]])
    """

    loc: Tensor
    scale: Tensor
    is_count: Tensor
    numeric: Tensor
    coded: Tensor
    codes: Tensor
    gaps: Tensor

    def __init__(self, train: Tensor, kinds: Sequence[str], num_values: Sequence[int]) -> None:
        super().__init__()
        train = as_tensor(train, "train")
        check_kinds(kinds, num_values)
        if train.dim() != 2 or train.shape[1] != len(kinds):
            raise ValueError(f"train must have shape [N, {len(kinds)}], one column for each kind; got {tuple(train.shape)}.")
        numeric = places_of(kinds, "real", "count", "binary", "ordinal")
        coded = [(place, code) for place in places_of(kinds, "category") for code in range(num_values[place])]
        self._index("numeric", numeric)
        self._index("coded", [place for place, _ in coded])
        self._index("gaps", train.isnan().any(0).nonzero().flatten().tolist())
        self.register_buffer("is_count", torch.tensor([kinds[place] == "count" for place in numeric], dtype=torch.bool), persistent=False)
        self.register_buffer("codes", torch.tensor([code for _, code in coded], dtype=train.dtype), persistent=False)
        loc, scale = moments(self._numbers(train))
        self.register_buffer("loc", loc)
        self.register_buffer("scale", scale)
        self.out_shape = torch.Size([len(numeric) + len(coded) + len(self.gaps)])

    def _index(self, name: str, places: list[int]) -> None:
        # Which columns have gaps in training is no constant of the kinds, so that all of these are kept in files.
        self.register_buffer(name, torch.tensor(places, dtype=torch.int64))

    def _numbers(self, x: Tensor) -> Tensor:
        numbers = x.index_select(-1, self.numeric)
        return torch.where(self.is_count, torch.log1p(numbers.clamp_min(0)), numbers)

    def forward(self, x: Tensor) -> Tensor:
        numbers = ((self._numbers(x) - self.loc) / self.scale).clamp(-LARGEST_INPUT, LARGEST_INPUT)
        indicators = (x.index_select(-1, self.coded) == self.codes).to(x.dtype)
        is_missing = x.index_select(-1, self.gaps).isnan().to(x.dtype)
        return torch.cat([numbers.nan_to_num(nan=0.0), indicators, is_missing], -1)
