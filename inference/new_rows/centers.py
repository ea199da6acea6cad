"""One best value for each missing cell, and how probable the values of codes are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from inference.data.columns import Column


def centers(draws: Tensor, columns: Sequence[Column]) -> Tensor:
    """Return one table ``[N, D]`` for draws of its missing cells ``[M, N, D]``.

    A real cell has the mean of its draws, a count or an ordinal code their median, and a category or a binary code the value that most of
    them have.
    """
    best = draws.mean(0)
    for place, column in enumerate(columns):
        own = draws[..., place]
        if column.kind in ("count", "ordinal"):
            best[:, place] = own.median(0).values
        elif column.kind != "real":
            best[:, place] = own.mode(0).values
    return best


def probabilities(draws: Tensor, is_missing: Tensor, columns: Sequence[Column]) -> pd.DataFrame:
    """Return how probable each value of a missing cell that has codes is: its share of the draws, with the error of a share.

    Args:
        draws: Draws of the missing cells, ``[M, N, D]``.
        is_missing: Which cells are missing, ``[N, D]``.
        columns: The columns.
    """
    lines = []
    for place, column in enumerate(columns):
        rows = is_missing[:, place].nonzero().flatten()
        for code, value in enumerate(column.values if len(rows) else ()):
            share = (draws[:, rows, place] == code).double().mean(0).numpy()
            error = np.sqrt(share * (1 - share) / len(draws))
            lines.append(pd.DataFrame({"row": rows.numpy(), "column": column.name, "value": value, "probability": share, "error": error}))
    empty = pd.DataFrame(columns=["row", "column", "value", "probability", "error"])
    return pd.concat(lines).sort_values(["row", "column"], kind="stable", ignore_index=True) if lines else empty
