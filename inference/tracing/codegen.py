"""Machine code of a graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import warnings

import torch
from torch import Tensor

from inference.tracing.graph import Graph, UntraceableError


def compile_graph(graph: Graph, *inputs: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """Machine code of a graph, for inputs of these shapes; its random draws are those of eager torch.

    Raises:
        UntraceableError: If torch's compiler fails.
    """
    import torch._inductor  # seconds, which only a run that compiles must spend

    tensors = list(graph.tensors)
    for node in graph.module.graph.find_nodes(op="placeholder"):
        node.meta.pop("val", None)  # the compiler would take all inputs from these, and only those of the function have one
    # What is compiled is kept on disk by torch, and found again when the graph is the same. A caller in C++ costs less than one in Python,
    # and lets other threads run meanwhile.
    options = {"config_patches": {"fallback_random": True, "cpp_wrapper": inputs[0].device.type == "cpu"}}
    with untraceable("torch's compiler fails"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        run = torch._inductor.standalone_compile(graph.module, [*inputs, *tensors], dynamic_shapes="from_example_inputs", options=options)
    return lambda *inputs: run(*inputs, *tensors)


@contextmanager
def untraceable(what: str) -> Iterator[None]:
    """Gives whatever a compiler, or a wrong shape in a graph, may raise as an UntraceableError."""
    try:
        yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UntraceableError(f"{what}: {reason}") from error


def as_cuda_graph(run: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """The same function as one launch of all its CUDA kernels, for inputs of these shapes; each call overwrites the results of the last.

    Runs the function once, as kernels are built and tuned at their first call. Torch's compiler cannot do this: it refuses to put a
    graph that writes to parameters into a CUDA graph.
    """
    own = [x.clone() for x in inputs]
    run(*own)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run(*own)

    def replay(*inputs: Tensor) -> tuple[Tensor, ...]:
        for mine, given in zip(own, inputs, strict=True):
            mine.copy_(given)
        graph.replay()
        return results

    return replay
