"""Draws and densities of a pair as machine code for blocks and chunks of one shape; Pyro runs all other shapes."""

import torch
from torch import Tensor

from inference.densities.layout import Latents
from inference.scoring.eager import Draws, Eager
from inference.tracing.codegen import compile_graph
from inference.tracing.graph import Graph, UntraceableError
from inference.tracing.passes import precompute, without_unused_draws
from inference.tracing.precision import Precision
from inference.tracing.trace import Function, trace
from pyro_lvm.pair import Batch


class CompiledDraws:
    """:meth:`Eager.draws <inference.scoring.eager.Eager.draws>`, compiled for batches of one shape.

    It is correct only while the pair's parameters do not change.

    Raises:
        UntraceableError: If compiling fails, or the compiled function returns other values on the same noise.
    """

    def __init__(self, draws: Draws, batch: Batch, num_particles: int) -> None:
        torch.manual_seed(0)
        log_q, self.latents = draws(batch, num_particles)

        def draw(*batch: Tensor) -> Batch:
            log_q, latents = draws(batch, num_particles)
            return log_q, *latents.values()

        self.eager, self.key = draws, _key(batch, num_particles)
        self.run = compile_graph(_graph(draw, batch), *batch)
        torch.manual_seed(0)
        _check("the guide", self.run(*batch), (log_q, *self.latents.values()))

    def __call__(self, batch: Batch, num_particles: int) -> tuple[Tensor, Latents]:
        if _key(batch, num_particles) != self.key:
            return self.eager(batch, num_particles)
        log_q, *values = self.run(*batch)
        return log_q, dict(zip(self.latents, values, strict=True))


class CompiledDensity:
    """:meth:`Eager.density <inference.scoring.eager.Eager.density>`, compiled for chunks of one shape.

    It is correct only while the pair's parameters do not change.

    Attributes:
        suits_workers: Whether several threads may call it at the same time: it must run on the CPU and draw nothing.

    Raises:
        UntraceableError: If compiling fails, or the compiled function returns other values.
    """

    def __init__(self, eager: Eager, precision: Precision, batch: Batch, latents: Latents, num_particles: int) -> None:
        self.names, self.eager = tuple(latents), eager.density(precision)

        def density(*inputs: Tensor) -> Batch:
            values = dict(zip(self.names, inputs[len(batch) :], strict=True))
            return (self.eager(inputs[: len(batch)], values, num_particles),)

        self.key = _key(batch, num_particles)
        inputs = self._inputs(batch, latents)
        graph = without_unused_draws(_graph(density, inputs))
        self.suits_workers = batch[0].device.type == "cpu" and not graph.is_random
        self.run = compile_graph(graph, *inputs)
        _check("the model", self.run(*inputs), (self.eager(batch, latents, num_particles),), precision)

    def __call__(self, batch: Batch, latents: Latents, num_particles: int) -> Tensor:
        if _key(batch, num_particles) != self.key:
            return self.eager(batch, latents, num_particles)
        return self.run(*self._inputs(batch, latents))[0]

    def _inputs(self, batch: Batch, latents: Latents) -> Batch:
        return *(x.contiguous() for x in batch), *(latents[name].contiguous() for name in self.names)


def _graph(function: Function, inputs: Batch) -> Graph:
    other = tuple(x.flip(0) for x in inputs)  # so that a value of the inputs that becomes a constant is noticed
    return precompute(trace(function, *other), len(inputs))


def _key(batch: Batch, num_particles: int) -> tuple:
    return num_particles, *((x.shape, x.dtype) for x in batch)


def _check(what: str, got: Batch, expected: Batch, precision: Precision = "full") -> None:
    for value, wanted in zip(got, expected, strict=True):
        relative, absolute = (1e-12, 1e-9) if wanted.dtype == torch.float64 else (1e-5, 1e-3)
        if precision != "full" and wanted.dtype != torch.float64:
            relative, absolute = 1e-3, 0.1  # a last digit of float32 may change one of bfloat16
        if not torch.allclose(value, wanted, rtol=relative, atol=absolute, equal_nan=True):
            raise UntraceableError(f"{what} differs by {(value - wanted).abs().max():.3g} on the same draws when compiled")
