"""Trace a function of tensors as one graph of tensor operations, so that Pyro's handlers and distributions run only once."""

from collections.abc import Callable, Sequence

import pyro
import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from inference.tracing.graph import Graph, UntraceableError, lift, untraceable
from inference.tracing.kept import buffers_kept
from inference.tracing.passes import free_biases, merge_repeated
from inference.tracing.patches import no_host_reads
from inference.tracing.reads import reads_refused

Function = Callable[..., tuple[Tensor, ...]]


def trace(function: Function, *inputs: Tensor, modules: Sequence[nn.Module] = ()) -> Graph:
    """Run a function once, with its random draws, and record its operations on tensors.

    The graph repeats what Python did in this run: branches, loops, shapes and numbers that are not tensors are fixed.

    Args:
        function: Maps tensors to a tuple of tensors.
        inputs: Its arguments; only their shapes, dtypes and devices matter.
        modules: Modules that the function uses; their tensors are restored afterwards.

    Raises:
        UntraceableError: If the function raises an error, reads the value of a tensor, as ``.item()``, ``.numpy()`` or ``if tensor > 0``
            do, or replaces a tensor of a module by a new one.
    """
    refused: list[str] = []

    def watched(*inputs: Tensor) -> tuple[Tensor, ...]:
        with reads_refused() as found:
            try:
                return function(*inputs)
            finally:
                refused.extend(found)

    failing = untraceable("it cannot be traced")
    with torch.random.fork_rng(), no_host_reads(), pyro.validation_enabled(False), buffers_kept(modules), failing:
        graph = make_fx(watched)(*inputs)
        if refused:  # and the function has caught the error
            raise UntraceableError(refused[0])
        return _improved(graph)


def _improved(graph: fx.GraphModule) -> Graph:
    free_biases(graph.graph)
    lifted = lift(graph)
    merge_repeated(lifted.module)
    return lifted
