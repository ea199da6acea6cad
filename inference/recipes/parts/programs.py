"""Programs that show histories, by name."""

from pathlib import Path
from typing import TYPE_CHECKING

from inference.recipes.registries import TRACKERS

if TYPE_CHECKING:
    from inference.recipes.trackers import TensorBoard


@TRACKERS.register("tensorboard", package="tensorboard", files=r"events\.out\.tfevents\.[\w.-]+")
def _tensorboard(folder: Path) -> "TensorBoard":
    from inference.recipes.trackers import TensorBoard

    return TensorBoard(folder)
