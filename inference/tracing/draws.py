"""Random draws of a function of some rows of a batch: those rows of what the function draws for the whole batch."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

# Operations that take the same random numbers whatever the values of their arguments; others, such as those that reject, do not.
_STEADY = {
    *("normal", "rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "uniform", "bernoulli", "exponential", "cauchy"),
    *("log_normal", "geometric", "random", "multinomial", "native_dropout"),
}

REFUSED = "processes cannot divide the batches of this pair"
_REMEDY = "Fit it in one process."


class Draw(NamedTuple):
    """A random operation.

    Attributes:
        name: Its name; with an underscore at the end, it changes its first argument.
        shape: Shape of what it draws.
    """

    name: str
    shape: tuple[int, ...]


class RecordedDraws(TorchDispatchMode):
    """Mode that notes random operations.

    Args:
        generator: The generator that they draw from.

    Attributes:
        found: The operations, in their order.
        states: The state of the generator before each of them.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator
        self.found: list[Draw] = []
        self.states: list[Tensor] = []

    def __torch_dispatch__(self, op: Any, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        before = self.generator.get_state() if torch.Tag.nondeterministic_seeded in op.tags else None
        result = op(*args, **(kwargs or {}))
        if before is not None:
            self.states.append(before)
            self.found.append(Draw(_name(op), tuple(_first(result).shape)))
        return result


class DrawsOfRows(TorchDispatchMode):
    """Mode in which a function of some rows of a batch draws random numbers for the whole batch, and uses those of its rows.

    So it takes what it would take as a part of a function of the whole batch, whose shapes tell which dimension has the rows. What is
    drawn once for all rows has the same shape for some of them, and is drawn as it is.

    Args:
        whole: The draws of the function of the whole batch.
        own: Those of the function of the rows.
        rows: The rows.
        size: Number of rows of the whole batch.
        num_particles: Draws for each row, which come before the rows where both are one dimension, as in repeated batches.

    Raises:
        ValueError: If draws for some rows cannot be a part of those for all.
    """

    def __init__(self, whole: list[Draw], own: list[Draw], rows: slice, size: int, num_particles: int = 1) -> None:
        super().__init__()
        if [draw.name for draw in whole] != [draw.name for draw in own]:
            raise ValueError(f"{REFUSED}: the programs draw otherwise for {size} rows than for some of these. {_REMEDY}")
        self.whole, self.own, self.rows, self.size, self.number = whole, own, rows, size, 0
        self.num_particles = num_particles

    def __torch_dispatch__(self, op: Any, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in op.tags:
            return op(*args, **kwargs)
        if self.number == len(self.own) or self.own[self.number].name != _name(op):
            raise ValueError(f"{REFUSED}: the programs do not make the same draws in every step. {_REMEDY}")
        whole, own = self.whole[self.number], self.own[self.number]
        self.number += 1
        if whole.shape == own.shape:
            return op(*args, **kwargs)
        if own.name.removesuffix("_") not in _STEADY:
            raise ValueError(f"{REFUSED}: how many random numbers '{own.name}' takes for a row depends on its values. {_REMEDY}")
        return self._drawn(op, args, kwargs, whole.shape, own.shape)

    def _drawn(self, op: Any, args: tuple, kwargs: dict, whole: tuple[int, ...], own: tuple[int, ...]) -> object:
        dims = [dim for dim, sizes in enumerate(zip(whole, own, strict=True)) if sizes[0] != sizes[1]]
        dim, length, own_size = dims[0], own[dims[0]], self.rows.stop - self.rows.start
        count = length // own_size  # more than one where rows, particles, and what is inside of rows are one dimension
        if len(dims) > 1 or (whole[dim], length) != (count * self.size, count * own_size):
            raise ValueError(f"{REFUSED}: a draw of shape {own} is one of shape {whole} for all rows. {_REMEDY}")
        outer = self.num_particles if count % self.num_particles == 0 else 1

        def filled(part: Tensor) -> Tensor:
            """Return a tensor of all rows, with others that no number depends on."""
            if part.dim() != len(own) or part.shape[dim] != length:
                return part
            part = part.unflatten(dim, (outer, own_size, -1))
            shape = [*part.shape[: dim + 1], self.size, *part.shape[dim + 2 :]]
            longer = torch.slice_scatter(part.new_ones(shape), part, dim + 1, self.rows.start, self.rows.stop)
            return longer.flatten(dim, dim + 2)

        def of_rows(drawn: Tensor) -> Tensor:
            return drawn.unflatten(dim, (outer, self.size, -1)).narrow(dim + 1, self.rows.start, own_size).flatten(dim, dim + 2)

        longer = tuple(list(whole) if isinstance(arg, list | tuple) and tuple(arg) == own else arg for arg in args)
        longer, kwargs = tree_map_only(Tensor, filled, (longer, kwargs))
        drawn = tree_map_only(Tensor, of_rows, op(*longer, **kwargs))
        return args[0].copy_(drawn) if op._schema.is_mutable else drawn


def _name(op: Any) -> str:
    return op.overloadpacket.__name__


def _first(result: Any) -> Tensor:
    return result if isinstance(result, Tensor) else result[0]
