"""Draws and densities of a pair as machine code for blocks and chunks of one shape; Pyro runs all other shapes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inference.densities.layout import Latents
from inference.densities.unconstrained import Coordinates
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

    Args:
        draws: Makes the draws by Pyro.
        blocks: Batches of this shape: the one that is traced, and others, from elsewhere in the data, on which the values are compared.
        num_particles: Draws per datum.

    Attributes:
        latents: The latents of each block.

    Raises:
        UntraceableError: If compiling fails, or the compiled function returns other values on the same noise.
    """

    def __init__(self, draws: Draws, blocks: Sequence[Batch], num_particles: int) -> None:
        def draw(*batch: Tensor) -> Batch:
            log_q, latents = draws(batch, num_particles)
            return log_q, *latents.values()

        self.eager, self.key = draws, _key(blocks[0], num_particles)
        self.latents: list[Latents] = []
        for block in blocks:
            torch.manual_seed(0)
            self.latents.append(draws(block, num_particles)[1])
        self.run = compile_graph(_graph(draw, blocks[0]), *blocks[0])
        for block in blocks:
            torch.manual_seed(0)
            expected = draw(*block)
            torch.manual_seed(0)
            _check("the guide", self.run(*block), expected)

    def __call__(self, batch: Batch, num_particles: int) -> tuple[Tensor, Latents]:
        if _key(batch, num_particles) != self.key:
            return self.eager(batch, num_particles)
        log_q, *values = self.run(*batch)
        return log_q, dict(zip(self.latents[0], values, strict=True))


class CompiledDensity:
    """:meth:`Eager.density <inference.scoring.eager.Eager.density>`, compiled for chunks of one shape.

    It is correct only while the pair's parameters do not change.

    Args:
        eager: The pair's programs.
        precision: Precision of matrix products.
        chunks: Batches of this shape with their latents: those that are traced, and others, on which the values are compared.
        num_particles: Draws per datum.

    Attributes:
        suits_workers: Whether several threads may call it at the same time: it must run on the CPU and draw nothing.

    Raises:
        UntraceableError: If compiling fails, or the compiled function returns other values.
    """

    def __init__(self, eager: Eager, precision: Precision, chunks: Sequence[tuple[Batch, Latents]], num_particles: int) -> None:
        batch, latents = chunks[0]
        self.names, self.eager = tuple(latents), eager.density(precision)

        def density(*inputs: Tensor) -> Batch:
            values = dict(zip(self.names, inputs[len(batch) :], strict=True))
            return (self.eager(inputs[: len(batch)], values, num_particles),)

        self.key = _key(batch, num_particles)
        inputs = self._inputs(batch, latents)
        graph = without_unused_draws(_graph(density, inputs))
        self.suits_workers = batch[0].device.type == "cpu" and not graph.is_random
        self.run = compile_graph(graph, *inputs)
        for chunk in chunks:
            _check("the model", self.run(*self._inputs(*chunk)), (self.eager(*chunk, num_particles),), precision)

    def __call__(self, batch: Batch, latents: Latents, num_particles: int) -> Tensor:
        if _key(batch, num_particles) != self.key:
            return self.eager(batch, latents, num_particles)
        return self.run(*self._inputs(batch, latents))[0]

    def _inputs(self, batch: Batch, latents: Latents) -> Batch:
        return *(x.contiguous() for x in batch), *(latents[name].contiguous() for name in self.names)


class CompiledScores:
    """:meth:`Eager.scores <inference.scoring.eager.Eager.scores>`, compiled for chunks of one shape.

    It is correct only while the pair's parameters do not change.

    Args:
        eager: The pair's programs.
        coordinates: The latents as one unconstrained vector.
        precision: Precision of matrix products.
        chunks: Batches of this shape with vectors: those that are traced, and others, on which the values are compared.

    Attributes:
        suits_workers: Whether several threads may call it at the same time.

    Raises:
        UntraceableError: If compiling fails, or the compiled function returns other values.
    """

    def __init__(self, eager: Eager, coordinates: Coordinates, precision: Precision, chunks: Sequence[tuple[Batch, Tensor]]) -> None:
        batch, vector = chunks[0]
        self.eager, self.key = eager.scores(coordinates, precision), _key((*batch, vector), len(vector))

        def scores(*inputs: Tensor) -> Batch:
            return self.eager(inputs[:-1], inputs[-1])

        graph = without_unused_draws(_graph(scores, (*batch, vector)))
        self.suits_workers = batch[0].device.type == "cpu" and not graph.is_random
        self.run = compile_graph(graph, *batch, vector)
        for some, points in chunks:
            got, expected = self.run(*some, points), self.eager(some, points)
            _check("the model", got[:1], expected[:1], precision)
            _check("the gradient of the model", got[1:], expected[1:], precision, slack=100)

    def __call__(self, batch: Batch, vector: Tensor) -> tuple[Tensor, Tensor]:
        inputs = (*batch, vector)
        if _key(inputs, len(vector)) != self.key:
            return self.eager(batch, vector)
        log_p, gradient = self.run(*(x.contiguous() for x in inputs))
        return log_p, gradient


def _graph(function: Function, inputs: Batch) -> Graph:
    other = tuple(x.flip(0) for x in inputs)  # so that a value of the inputs that becomes a constant is noticed
    return precompute(trace(function, *other), len(inputs))


def _key(batch: Batch, num_particles: int) -> tuple:
    return num_particles, *((x.shape, x.dtype) for x in batch)


def _check(what: str, got: Batch, expected: Batch, precision: Precision = "full", slack: float = 1.0) -> None:
    for value, wanted in zip(got, expected, strict=True):
        relative, absolute = (1e-12, 1e-9) if wanted.dtype == torch.float64 else (1e-5, 1e-3)
        if precision != "full" and wanted.dtype != torch.float64:
            relative, absolute = 1e-3, 0.1  # a last digit of float32 may change one of bfloat16
        if not torch.allclose(value, wanted, rtol=slack * relative, atol=slack * absolute, equal_nan=True):
            raise UntraceableError(f"{what} differs by {(value - wanted).abs().max():.3g} on the same draws when compiled")
