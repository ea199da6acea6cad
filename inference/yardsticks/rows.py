"""What yardsticks are fitted to: the rows of a data set as a table in float64, with the kind of each column."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from inference.data.columns import Column, Kind
from inference.data.load import Data
from inference.data.treatments import drawn_once

Model = TypeVar("Model")
DISCRETE: tuple[Kind, ...] = ("count", "ordinal", "category", "binary")
_RANK = 1e-9  # of the correlations: with a smaller eigenvalue, columns depend on each other, and a density has no upper bound
_MOST_ALIKE = 0.2  # of the rows that may share a value of a real column where a component could shrink to it
_SUM = 1e-4  # by which the numbers of a row of proportions, or of a unit vector, may be off


class NotApplicable(ValueError):
    """A yardstick cannot be fitted to the data, for the reason that it gives."""


@dataclass(frozen=True, eq=False)
class TableOfRows:
    """The rows of a data set as a table.

    Attributes:
        train: Training rows, float64 ``[N, D]``; missing cells are NaN.
        valid: Validation rows, ``[M, D]``.
        kinds: What the numbers of each column are.
        sizes: The number of values of each column of codes, and 0 for real numbers and counts.
        measure: ``"mass"``, ``"density"`` or ``"mixed"``: what the kinds make of p(x).
        is_text: Whether the rows are pieces of a text, of codes of characters.
        latent_dim: Number of latents of the models beside which yardsticks stand; None if they have none that are real.
        seed: Seed of starts that are drawn.
    """

    train: np.ndarray
    valid: np.ndarray
    kinds: tuple[Kind, ...]
    sizes: tuple[int, ...]
    measure: str
    is_text: bool
    latent_dim: int | None
    seed: int

    @property
    def is_complete(self) -> bool:
        """Whether no cell is missing."""
        return not (np.isnan(self.train).any() or np.isnan(self.valid).any())

    def of_kind(self, *kinds: Kind) -> list[int]:
        """The places of the columns of some kinds."""
        return [place for place, kind in enumerate(self.kinds) if kind in kinds]


def table_of(data: Data, *, measure: str | None, latent_dim: int | None, seed: int) -> TableOfRows:
    """Read a data set as yardsticks see it: after one draw of the noise of its transform, if it has one.

    Args:
        data: The data set.
        measure: What p(x) of the compared models is; by default, what the kinds of the columns make of it.
        latent_dim: Number of latents of these models.
        seed: Seed of noise and starts.

    Raises:
        NotApplicable: If the measure does not go with the data, or the rows are no vectors of free numbers.
    """
    train, valid = (_flat(x) for x in (drawn_once(data.train, data.transform, seed), data.valid))
    kinds = _kinds(train, valid, data.kinds, data.alphabet is not None, measure)
    natural = _measure(kinds)
    if measure not in (None, natural):
        raise NotApplicable(f"the models have a {measure}, and the columns would have a {natural}")
    if natural != "mass":
        _check_free(train[:, [kind == "real" for kind in kinds]])
    sizes = tuple(_size(place, kind, train, valid, data.kinds, data.alphabet) for place, kind in enumerate(kinds))
    return TableOfRows(train, valid, kinds, sizes, natural, data.alphabet is not None, latent_dim, seed)


def num_cells(data: Data) -> int:
    """Return the number of cells of the training data, rows times columns."""
    return prod(data.train.shape)


def _flat(x: Tensor) -> np.ndarray:
    return x.detach().cpu().to(torch.float64).reshape(len(x), -1).numpy()


def _kinds(train: np.ndarray, valid: np.ndarray, known: tuple[Column, ...] | None, is_text: bool, measure: str | None) -> tuple[Kind, ...]:
    """The kinds of the columns: known, or what models with that measure take them for."""
    num_columns = train.shape[1]
    if measure == "density":
        return ("real",) * num_columns
    if known is not None:
        return tuple(column.kind for column in known)
    if is_text:
        return ("category",) * num_columns
    cells = np.concatenate([train.ravel(), valid.ravel()])
    cells = cells[~np.isnan(cells)]
    if ((cells == 0) | (cells == 1)).all():
        return ("binary",) * num_columns
    is_counts = bool((cells >= 0).all() and (cells == np.rint(cells)).all())
    return ("count" if measure == "mass" and is_counts else "real",) * num_columns


def _measure(kinds: tuple[Kind, ...]) -> str:
    found = {"mass" if kind in DISCRETE else "density" for kind in kinds}
    return found.pop() if len(found) == 1 else "mixed"


def _size(place: int, kind: Kind, train: np.ndarray, valid: np.ndarray, known: tuple[Column, ...] | None, alphabet: str | None) -> int:
    if kind in ("real", "count"):
        return 0
    if kind == "binary":
        return 2
    seen = np.concatenate([train[:, place], valid[:, place]])
    highest = int(np.nanmax(seen, initial=0))
    return max(len(alphabet or ""), 0 if known is None else len(known[place].values), highest + 1, 2)


def _check_free(reals: np.ndarray) -> None:
    """Refuse real columns whose density has no upper bound or is one on a surface: constant columns, proportions and unit vectors.

    Raises:
        NotApplicable: If they are such.
    """
    spread = np.nanmax(reals, axis=0, initial=-np.inf) - np.nanmin(reals, axis=0, initial=np.inf)
    if constant := int((~(spread > 0)).sum()):
        columns = "column is" if constant == 1 else "columns are"
        raise NotApplicable(f"{constant} {columns} constant in the training rows, where a density has no upper bound")
    is_proportions = (reals >= 0).all() and (np.abs(reals.sum(1) - 1) < _SUM).all()
    if reals.shape[1] > 1 and (is_proportions or (np.abs(np.square(reals).sum(1) - 1) < _SUM).all()):
        raise NotApplicable("the rows are proportions or unit vectors, whose densities are on a surface")


def check_independent(rows: np.ndarray) -> None:
    """Refuse complete real columns that are linear functions of each other, or as many as rows: a covariance would be singular.

    Raises:
        NotApplicable: If they are.
    """
    num_rows, num_columns = rows.shape
    smallest = float(np.linalg.eigvalsh(np.atleast_2d(np.corrcoef(rows, rowvar=False)))[0])
    if num_rows <= num_columns or smallest < _RANK:
        raise NotApplicable(f"the covariance of {num_columns} columns over {num_rows} training rows is singular")


def check_spread(table: TableOfRows) -> None:
    """Refuse real columns in which many rows share a value: the density of a component there rises without limit as it shrinks.

    Raises:
        NotApplicable: If there are such columns.
    """
    for place in table.of_kind("real"):
        column = table.train[~np.isnan(table.train[:, place]), place]
        share = np.unique(column, return_counts=True)[1].max() / len(column)
        if share > _MOST_ALIKE:
            raise NotApplicable(
                f"{100 * share:.0f}% of the training rows share a value of column {place}, where the density of a component that shrinks "
                "to it has no upper bound"
            )


def best_of(fitted: Callable[[int], tuple[Model, float]], sizes: Sequence[int], table: TableOfRows) -> tuple[Model, float]:
    """Fit models of rising size as long as the validation rows become more likely, and return the best with its score.

    Args:
        fitted: Fits a model of a size, and returns its mean log-likelihood of the validation rows.
        sizes: Sizes, smallest first, of which those above half of the number of training rows are left out.
        table: The rows.

    Raises:
        NotApplicable: If there are no validation rows, or too few training rows.
    """
    if not len(table.valid):
        raise NotApplicable("there are no validation rows to choose its size by")
    possible = [size for size in sizes if size <= len(table.train) // 2]
    if not possible:
        raise NotApplicable(f"{len(table.train)} training rows are too few")
    best = fitted(possible[0])
    for size in possible[1:]:
        model = fitted(size)
        if model[1] <= best[1]:
            break
        best = model
    return best
