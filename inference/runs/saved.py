"""A finished run with all that its folder holds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from inference.data.load import Data
from inference.new_rows.reading import read_alike
from inference.recipes.options import Recipe
from inference.runs.folders import load_without_data, read_history, read_summary
from inference.runs.kept import kept_scores
from inference.scoring.evaluation import Evaluation
from pyro_lvm.checks import warn_caller
from pyro_lvm.pair import Batch


@dataclass(frozen=True)
class SavedRun:
    """A finished run, as :func:`load_run` reads it.

    Attributes:
        folder: Its folder.
        pair: The fitted model, with the weights of the best epoch.
        known: Its data or, where these are not found, what the run knows of them, with a few rows that stand for theirs.
        recipe: All options.
        history: Losses, one row per epoch.
        summary: Figures of the fit, by name, such as ``best_epoch`` and ``best_valid_loss``.
        scores: Scores that are of the present weights and data, by the paths of their files in the folder without ``.nc``, such as
            ``"test-K1000-seed0-auto"``, or ``"expost-flow/test-K1000-seed0-auto"`` under a prior fitted after training. None are where
            the data are not found, as nothing says whether they are of these.
        absent: Which file of data is not found, in a sentence; empty if it is.
    """

    folder: Path
    pair: Any = field(repr=False)
    known: Data = field(repr=False)
    recipe: Recipe = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    scores: dict[str, Evaluation]
    absent: str = field(default="", repr=False)

    @property
    def data(self) -> Data:
        """Its data.

        Raises:
            FileNotFoundError: If their file is not found.
        """
        if self.absent:
            raise FileNotFoundError(self.absent)
        return self.known

    def read(self, source: Any, *, has_gaps: bool = False) -> Tensor | Batch:
        """Read new rows as the run's data were read: with their columns, shape, gray levels, alphabet and treatment.

        What the pair is given beside the observations, such as labels, must be in the file, too, under the same name.

        Args:
            source: The path of a .npy, .npz, .csv, .parquet or, for text, .txt file, of a folder or glob of arrays; or an array or table.
            has_gaps: Whether cells may be missing, as for :func:`~inference.new_rows.imputing.impute`; they become NaN.

        Returns:
            The rows in their order, float32 ``[N, *X]``, as ``encode``, ``reconstruct``, ``impute`` and ``evaluate`` take them; a tuple of
            them and of what the pair is given, if it is given anything.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the rows do not suit the run; the error names the file, and says what was expected.
        """
        batch = read_alike(source, self.known, self.pair, has_gaps=has_gaps).batch
        return batch if len(batch) > 1 else batch[0]


def load_run(folder: str | Path) -> SavedRun:
    """Load a run that ``pyro-lvm train`` or ``compare`` saved.

    Its data file is looked for in the current directory, then where it lay beside the run, then where it was. If it is in none of these,
    as where the data are private, the pair is loaded alone: it samples, encodes, and scores new rows, which :meth:`SavedRun.read` reads as
    before, whereas :attr:`SavedRun.data` is refused.

    Args:
        folder: Its folder.

    Returns:
        The run. Scores of other weights, data or options, and damaged ones, are told of on stderr and left out.

    Raises:
        FileNotFoundError: If the folder holds no finished run, or the file of its data is not found and the pair cannot be built without.
        ValueError: If the data have changed since, or a file is damaged or of a newer format; the error names it.

    Warns:
        UserWarning: If the file of its data is not found.
    """
    folder = Path(folder)
    run, absent = load_without_data(folder)
    if absent:
        warn_caller(f"the pair is loaded alone, and without scores: {absent}")
    scores = {} if absent else kept_scores(run, folder)
    return SavedRun(folder, run.pair, run.data, run.recipe, read_history(folder), read_summary(folder), scores, absent)
