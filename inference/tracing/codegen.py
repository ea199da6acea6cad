"""Compile graphs to machine code."""

from collections.abc import Callable
import warnings

import torch
from torch import Tensor

from inference.tracing.graph import Graph, untraceable


def check_compile(compile: object) -> None:
    """Check that an option ``compile`` is ``"auto"``, True or False.

    Raises:
        ValueError: If it is anything else.
    """
    if compile not in ("auto", True, False):
        raise ValueError(f"compile must be 'auto', True or False; got {compile!r}.")


def compile_graph(graph: Graph, *inputs: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """Compile a graph to machine code for inputs of these shapes; its random draws are those of eager torch.

    Raises:
        UntraceableError: If torch's compiler fails.
    """
    import torch._inductor  # takes seconds, which only a run that compiles should spend

    tensors = list(graph.tensors)
    for node in graph.module.graph.find_nodes(op="placeholder"):
        node.meta.pop("val", None)  # the compiler would take all inputs from these, but only the function's arguments have one
    # Torch caches compiled code on disk and reuses it for the same graph. A C++ wrapper costs less than a Python one, and lets other
    # threads run in the meantime.
    options = {"config_patches": {"fallback_random": True, "cpp_wrapper": inputs[0].device.type == "cpu"}}
    with untraceable("torch's compiler fails"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about its own internals
        run = torch._inductor.standalone_compile(graph.module, [*inputs, *tensors], dynamic_shapes="from_example_inputs", options=options)
    return lambda *inputs: run(*inputs, *tensors)


def as_cuda_graph(run: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """Turn a function into one launch of all its CUDA kernels, for inputs of these shapes.

    Each call overwrites the results of the previous one. The function is run once before it is recorded, as kernels are built and tuned
    at their first call. Torch's compiler cannot be used for this: it refuses to put a graph that writes to parameters into a CUDA graph.
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
