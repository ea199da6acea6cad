"""A finished run with all that its folder holds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from inference.data.load import Data
from inference.new_rows.reading import read_alike
from inference.recipes.options import Recipe
from inference.runs.folders import load_runs, read_history, read_summary
from inference.runs.kept import kept_scores
from inference.scoring.evaluation import Evaluation
from pyro_lvm.pair import Batch


@dataclass(frozen=True)
class SavedRun:
    """A finished run, as :func:`load_run` reads it.

    Attributes:
        folder: Its folder.
        pair: The fitted model, with the weights of the best epoch.
        data: Its data.
        recipe: All options.
        history: Losses, one row per epoch.
        summary: Figures of the fit, by name, such as ``best_epoch`` and ``best_valid_loss``.
        scores: Scores that are of the present weights and data, by the paths of their files in the folder without ``.nc``, such as
            ``"test-K1000-seed0-auto"``, or ``"expost-flow/test-K1000-seed0-auto"`` under a prior fitted after training.
    """

    folder: Path
    pair: Any = field(repr=False)
    data: Data = field(repr=False)
    recipe: Recipe = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    scores: dict[str, Evaluation]

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
        batch = read_alike(source, self.data, self.pair, has_gaps=has_gaps).batch
        return batch if len(batch) > 1 else batch[0]


def load_run(folder: str | Path) -> SavedRun:
    """Load a run that ``pyro-lvm train`` or ``compare`` saved.

    A relative path of its data file is looked for in the current directory, then in that where the run was made.

    Args:
        folder: Its folder.

    Returns:
        The run. Scores of other weights, data or options, and damaged ones, are told of on stderr and left out.

    Raises:
        FileNotFoundError: If the folder holds no finished run, or the file of its data is not found.
        ValueError: If the data have changed since, or a file is damaged or of a newer format; the error names it.
    """
    folder = Path(folder)
    run = load_runs({str(folder): folder})[str(folder)]
    return SavedRun(folder, run.pair, run.data, run.recipe, read_history(folder), read_summary(folder), kept_scores(run, folder))
