"""Graphs of tensor operations, and the kinds of their nodes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx


class UntraceableError(ValueError):
    """Raised if a function cannot be made a graph, or its graph does not do what the function does."""


@contextmanager
def untraceable(what: str) -> Iterator[None]:
    """Raise every error within a ``with`` block, as from a program, a compiler or a wrong shape in a graph, as an UntraceableError."""
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UntraceableError(f"{what}: {lines[0].removesuffix('.')}") from error


class Graph:
    """A traced function.

    Args:
        module: The operations; the inputs are the function's arguments, followed by the tensors.
        tensors: What the function reads besides its arguments: parameters, buffers and other tensors, read again at each call.
    """

    def __init__(self, module: fx.GraphModule, tensors: list[Tensor]) -> None:
        self.module = module
        self.tensors = tensors

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.module(*inputs, *self.tensors)

    @property
    def is_random(self) -> bool:
        """Whether the graph draws random numbers."""
        return any(map(is_random, self.module.graph.nodes))


def lift(module: fx.GraphModule) -> Graph:
    """Turn the tensors that a module holds as attributes into inputs of its graph, one for each tensor."""
    graph, inputs, tensors = module.graph, {}, []
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        tensor = getattr(module, node.target)
        if id(tensor) not in inputs:
            with graph.inserting_after(last):
                last = inputs[id(tensor)] = graph.placeholder(node.target)
            last.meta = dict(node.meta)
            tensors.append(tensor)
        node.replace_all_uses_with(inputs[id(tensor)])
        graph.erase_node(node)
    return Graph(fx.GraphModule({}, graph), tensors)  # anything else in the old module would become an input of the machine code


def writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def is_view(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is None or any(value.alias_info is not None for value in schema.returns)


def is_random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
