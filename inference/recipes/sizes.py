"""Types of options."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

if TYPE_CHECKING:
    from torch import nn

Counts = tuple[PositiveInt, ...]
Names = tuple[str, ...]
MakeNetwork = Callable[..., "nn.Module"]
MakeGrid = Callable[[int, int], "tuple[nn.Module, Counts]"]
