"""Programs that show the history of a fit while it runs, by name."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
import time
from typing import TYPE_CHECKING

import pandas as pd

from inference.recipes.options import check_extra
from inference.recipes.registries import TRACKERS

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

OnEpoch = Callable[[pd.DataFrame], object]


class TensorBoard:
    """Writes every column of a history as a curve of TensorBoard; to be passed to ``fit`` as ``on_epoch``.

    The log is that of one fit, and is written anew, from its first epoch on, when a fit goes on: no epoch is in it twice, and none of
    those that were lost with a crash.

    Args:
        folder: Folder of the log, for this fit alone.

    Raises:
        ImportError: If tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        check_extra("tensorboard", "TensorBoard")
        self.folder, self.num_written = Path(folder), 0
        self.writer: SummaryWriter | None = None

    def __call__(self, history: pd.DataFrame) -> None:
        """Write the epochs that are new since the last call.

        Args:
            history: The history so far, one row per epoch.
        """
        writer = self._opened()
        ends = time.time() + history["seconds"] - history["seconds"][::-1].cumsum()[::-1]  # when each epoch ended, had there been no break
        for place in range(self.num_written, len(history)):
            row = history.iloc[place]
            for name in history.columns.drop("epoch"):
                writer.add_scalar(str(name), row[name], int(row["epoch"]), ends.iloc[place])
        self.num_written = len(history)
        writer.flush()

    def close(self) -> None:
        """Close the file of the log."""
        if self.writer is not None:
            self.writer.close()

    def _opened(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter  # here, as it is an extra

        if self.writer is None:
            for earlier in self.folder.glob("events.out.tfevents.*"):
                earlier.unlink()
            self.writer = SummaryWriter(str(self.folder))
        return self.writer


def tracking(name: str | None, folder: Path) -> AbstractContextManager[OnEpoch]:
    """A callback by name, for a ``with`` block, which writes into the subfolder of its name; without a name, it does nothing."""
    return nullcontext(lambda history: None) if name is None else closing(TRACKERS.build(name, {}, folder=folder / name))
