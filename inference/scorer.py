"""Log weights of blocks of draws, eager or compiled."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import RLock
import warnings

import torch
from torch import Tensor

from inference.compiled import compile_graph
from inference.densities import Latents, Layout, guide_draws, model_density
from inference.numerics import one_thread, seed_generators
from inference.precision import Precision, products
from inference.tracing import Graph, UntraceableError, precompute, trace, without_unused_draws
from pyro_lvm.pair import programs

_CHUNK_ROWS = 1024  # particles times data of one call of the model: what fits a core's cache
_CHUNK_ROWS_ACCELERATOR = 65536
_CHUNK_STATES = 32  # states of enumerated latents that multiply a chunk before its rows become fewer
_RESCORED = 8  # one in so many weights of a block, the largest, is computed again in full precision

Batch = tuple[Tensor, ...]
Block = tuple[Batch, int, int]  # rows of the data, draws for each, and the seed of these
_PYRO = RLock()  # all threads share Pyro's handlers and torch's generator


class Scorer:
    """Log weights of one block of noise after the other.

    Args:
        pair: Any pair.
        layout: How particles are laid out.
        chunk_size: At most so many particles times data in one call of the model; by default what fits the cache.
        precision: Of the model's products; with ``"bf16"``, the largest weights are computed again in full, and their mean
            error is taken from the others.
        num_states: States of enumerated latents, each of which the model sees for every particle and datum.
    """

    def __init__(
        self, pair: object, layout: Layout, chunk_size: int | None, precision: Precision = "full", num_states: int = 1
    ) -> None:
        self.model, self.guide = programs(pair)
        self.layout, self.chunk_size, self.precision, self.num_states = layout, chunk_size, precision, num_states
        self.draws: Callable = guide_draws
        self.density: Callable = partial(_density, precision)
        self.full_density: Callable = partial(_density, "full")
        self.start, self.num_ahead = _now, 0

    def __call__(self, blocks: Iterable[Block]) -> Iterator[Tensor]:
        """Log weights ``[K, B]`` in float64 of fresh draws, one block after the other; the model sees them in chunks."""
        started: deque[Callable[[], Tensor]] = deque()
        for block in blocks:
            started.append(self.start(self._log_weights, *block))
            if len(started) > self.num_ahead:
                yield started.popleft()()
        for result in started:
            yield result()

    @contextmanager
    def workers(self) -> Iterator[None]:
        """Scores as many blocks at a time as torch has threads, each on one of them, which costs less than all threads on one block.

        A pair that is not compiled is scored one block at a time all the same, for Pyro's handlers are not made for threads; so is a
        model that draws, as all threads draw from one generator.
        """
        count = torch.get_num_threads()
        if not isinstance(self.density, CompiledDensity) or not self.density.suits_workers or count == 1:
            yield
            return
        with one_thread(), ThreadPoolExecutor(count, initializer=_prepare_worker) as pool:
            self.start, self.num_ahead = lambda *job: pool.submit(*job).result, count + 1
            try:
                yield
            finally:
                self.start, self.num_ahead = _now, 0

    def _log_weights(self, batch: Batch, num_particles: int, seed: int) -> Tensor:
        """Log weights ``[K, B]`` of fresh draws, which depend on their seed alone."""
        with _PYRO:
            seed_generators(batch[0].device, seed)
            log_q, latents = self.draws(self.guide, batch, num_particles, self.layout)
        log_p = self._in_chunks(self.density, batch, latents, len(log_q))
        if self.precision != "full":
            largest = (log_p - log_q).topk(_count_rescored(len(log_q)), dim=0).indices  # [R, B]
            exact = self._in_chunks(self.full_density, batch, _taken(latents, largest), len(largest))
            error = log_p.gather(0, largest) - exact
            # Weights of one datum are rounded much alike.
            log_p -= error.where(error.isfinite(), 0.0).mean(0)
            log_p.scatter_(0, largest, exact)
        return log_p - log_q

    def _in_chunks(self, density: Callable, batch: Batch, latents: Latents, num_particles: int) -> Tensor:
        """Log density ``[K, B]`` of the model in float64."""
        rows, particles = self.chunk(batch, num_particles)
        columns = []
        for i in range(0, len(batch[0]), rows):
            part = tuple(x[i : i + rows] for x in batch)
            column = []
            for k in range(0, num_particles, particles):
                z = {name: value[k : k + particles, i : i + rows] for name, value in latents.items()}
                column.append(density(self.model, part, z, min(particles, num_particles - k), self.layout))
            columns.append(torch.cat(column))
        return torch.cat(columns, dim=1).double()

    def chunk(self, batch: Batch, num_particles: int) -> tuple[int, int]:
        """Rows and particles of one call of the model: all particles of few rows, as what is one datum's then stays in the cache."""
        most = self.chunk_size or self._default_chunk(batch[0].device)
        particles = even_part(num_particles, most)
        return min(len(batch[0]), most // particles), particles

    def _default_chunk(self, device: torch.device) -> int:
        most = _CHUNK_ROWS if device.type == "cpu" else _CHUNK_ROWS_ACCELERATOR
        return max(1, min(most, most * _CHUNK_STATES // self.num_states))

    def compile(self, batch: Batch, num_particles: int, *, is_required: bool) -> None:
        """Compiles the pair, for one thread, for blocks of this shape and for whole chunks of them; others stay eager.

        Right for as long as the pair's parameters do not change.

        Raises:
            ValueError: If compiling is required and impossible.
        """
        try:
            with torch.random.fork_rng(), one_thread():
                draws = CompiledDraws(self.guide, batch, num_particles, self.layout)
                density = self._compiled_density(batch, draws.latents, num_particles, self.precision)
                full_density = density
                if self.precision != "full":
                    full_density = self._compiled_density(batch, draws.latents, _count_rescored(num_particles), "full")
        except UntraceableError as error:
            if is_required:
                raise ValueError(f"the pair must be compilable with compile=True: {error}. Mend it, or use compile='auto'.") from error
            warnings.warn(f"evaluate runs without compiled programs: {error}.", stacklevel=3)
        else:
            self.draws, self.density, self.full_density = draws, density, full_density

    def _compiled_density(self, batch: Batch, latents: Latents, num_particles: int, precision: Precision) -> "CompiledDensity":
        rows, particles = self.chunk(batch, num_particles)
        latents = {name: value[:particles, :rows] for name, value in latents.items()}
        return CompiledDensity(self.model, tuple(x[:rows] for x in batch), latents, particles, self.layout, precision)


class CompiledDraws:
    """:func:`~inference.densities.guide_draws`, compiled for batches of one shape.

    Raises:
        UntraceableError: If that fails, or gives other figures on the same noise.
    """

    def __init__(self, guide: Callable[..., object], batch: Batch, num_particles: int, layout: Layout) -> None:
        torch.manual_seed(0)
        log_q, self.latents = guide_draws(guide, batch, num_particles, layout)

        def draw(*batch: Tensor) -> Batch:
            log_q, latents = guide_draws(guide, batch, num_particles, layout)
            return log_q, *latents.values()

        self.key = _key(batch, num_particles)
        self.run = compile_graph(_graph(draw, batch), *batch)
        torch.manual_seed(0)
        got = self.run(*batch)
        _check("the guide", got, (log_q, *self.latents.values()))

    def __call__(self, guide: Callable[..., object], batch: Batch, num_particles: int, layout: Layout) -> tuple[Tensor, Latents]:
        if _key(batch, num_particles) != self.key:
            return guide_draws(guide, batch, num_particles, layout)
        log_q, *values = self.run(*batch)
        return log_q, dict(zip(self.latents, values, strict=True))


class CompiledDensity:
    """:func:`~inference.densities.model_density` with products of some precision, compiled for chunks of one shape.

    Raises:
        UntraceableError: If that fails, or gives other figures.
    """

    def __init__(
        self, model: Callable[..., object], batch: Batch, latents: Latents, num_particles: int, layout: Layout, precision: Precision
    ) -> None:
        self.names, self.eager = tuple(latents), partial(_density, precision)

        def density(*inputs: Tensor) -> Batch:
            return (self.eager(model, inputs[: len(batch)], dict(zip(self.names, inputs[len(batch) :])), num_particles, layout),)

        self.key = _key(batch, num_particles)
        inputs = self._inputs(batch, latents)
        graph = without_unused_draws(_graph(density, inputs))
        self.suits_workers = batch[0].device.type == "cpu" and not graph.is_random
        self.run = compile_graph(graph, *inputs)
        _check("the model", self.run(*inputs), (self.eager(model, batch, latents, num_particles, layout),), precision)

    def __call__(
        self, model: Callable[..., object], batch: Batch, latents: Latents, num_particles: int, layout: Layout
    ) -> Tensor:
        if _key(batch, num_particles) != self.key:
            return self.eager(model, batch, latents, num_particles, layout)
        return self.run(*self._inputs(batch, latents))[0]

    def _inputs(self, batch: Batch, latents: Latents) -> Batch:
        return *(x.contiguous() for x in batch), *(latents[name].contiguous() for name in self.names)


def _now(function: Callable[..., Tensor], *arguments: object) -> Callable[[], Tensor]:
    result = function(*arguments)
    return lambda: result


def _prepare_worker() -> None:
    """What torch keeps for each thread."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.set_flush_denormal(True)


def _density(precision: Precision, *arguments: object) -> Tensor:
    with _PYRO, products(precision):
        return model_density(*arguments)


def _count_rescored(num_particles: int) -> int:
    return -(-num_particles // _RESCORED)


def _taken(latents: Latents, indices: Tensor) -> Latents:
    """The draws ``[R, B, ...]`` with these indices, ``[R, B]``."""
    return {
        name: value.take_along_dim(indices.reshape(*indices.shape, *[1] * (value.dim() - 2)), 0) for name, value in latents.items()
    }


def _graph(function: Callable[..., Batch], inputs: Batch) -> Graph:
    other = tuple(x.flip(0) for x in inputs)  # so that no value of these becomes a constant unnoticed
    return precompute(trace(function, *other), len(inputs))


def _key(batch: Batch, num_particles: int) -> tuple:
    return num_particles, *((x.shape, x.dtype) for x in batch)


def _check(what: str, got: Batch, expected: Batch, precision: Precision = "full") -> None:
    for value, wanted in zip(got, expected, strict=True):
        relative, absolute = (1e-12, 1e-9) if wanted.dtype == torch.float64 else (1e-5, 1e-3)
        if precision != "full" and wanted.dtype != torch.float64:
            relative, absolute = 1e-3, 0.1  # a last digit of float32 may turn one of bfloat16
        if not torch.allclose(value, wanted, rtol=relative, atol=absolute, equal_nan=True):
            raise UntraceableError(f"{what}, compiled, differs by {(value - wanted).abs().max():.3g} on the same draws")


def even_part(total: int, most: int) -> int:
    """The size of the fewest parts of a total that are at most so large and, but for the last, equal."""
    return -(-total // -(-total // most))
