"""The result of a measurement of gradients' noise: a table and a picture of objectives."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from inference.diagnostics.gradients.pictures import draw_noise
from inference.formatting import format_with_error
from inference.markup import Record, Shown

_NEAR = 3  # times the floor, below which a ratio is mostly its own error


@dataclass(frozen=True, eq=False, repr=False)
class GradientNoise(Record):
    """Noise of the gradients of objectives, of the loss in nats per datum.

    Attributes:
        table: One row for each objective and group of parameters. ``parameters``: their number, P. ``norm``: norm of the mean gradient.
            ``variance_draws``: sum over parameters of the variance over draws, given the mini-batch; ``variance_batches``: that of what
            draws have as their mean, over mini-batches. ``snr_draws``: mean over parameters of abs(mean) / standard deviation over draws;
            ``snr``: the same over draws and mini-batches together. Each has its standard error, ``..._se``. ``floor_norm``,
            ``floor_draws`` and ``floor`` are what norm and ratios would be if the mean gradient were zero: a mean over draws never is.
        num_repeats: Number of pairs of gradients of each objective.
        batch_size: Number of data in a mini-batch.
        num_data: Number of data.
        seed: Seed of mini-batches and draws.
    """

    table: pd.DataFrame
    num_repeats: int
    batch_size: int
    num_data: int
    seed: int

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the table."""
        return self.table.copy()

    def plot(self, path: str | Path) -> None:
        """Draw the ratios of every objective and group of parameters, with their errors and floors.

        Args:
            path: PNG file to write.
        """
        draw_noise(self.table, Path(path))

    def __repr__(self) -> str:
        texts, notes, _ = self._shown()
        return "\n".join([texts.to_string(), *notes])

    def _shown(self) -> Shown:
        is_whole = self.batch_size == self.num_data
        frame = pd.DataFrame([_texts(row, is_whole) for _, row in self.table.iterrows()], index=self.table.index)
        which = "all data" if is_whole else f"mini-batches of {self.batch_size}"
        sizes = f"{self.num_repeats} pairs of gradients of the loss in nats per datum, {which} of {self.num_data} data, seed {self.seed}."
        words = "Variances are summed over parameters; SNR is the mean over parameters of |mean| / standard deviation."
        near = f"* below {_NEAR} times what it would be if the mean were zero: at most this. Take more repeats."
        return Shown(frame, [sizes, words, *([near] if frame.map(lambda text: text.endswith("*")).any(axis=None) else [])])


def _texts(row: pd.Series, is_whole: bool) -> Mapping[str, str]:
    kinds = ["draws"] if is_whole else ["draws", "batches"]
    texts = {"parameters": f"{row['parameters']:.0f}", "norm": _marked(row, "norm", "floor_norm")}
    texts |= {f"variance, {kind}": _with_error(row, f"variance_{kind}") for kind in kinds}
    texts["SNR, draws"] = _marked(row, "snr_draws", "floor_draws")
    return texts if is_whole else texts | {"SNR, both": _marked(row, "snr", "floor")}


def _marked(row: pd.Series, name: str, floor: str) -> str:
    return _with_error(row, name) + "*" * bool(row[name] < _NEAR * row[floor])


def _with_error(row: pd.Series, name: str) -> str:
    return format_with_error(row[name], row[f"{name}_se"])
