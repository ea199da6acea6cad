"""Choose a layout of particles on evidence: the fastest one whose log densities equal those of one run for each particle."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import chain
from math import prod

from pyro import poutine
import torch
from torch import Tensor

from inference.densities.layout import BROADCAST, LOOPED, TILED, Latents, Layout, run_guide, run_model, runs_of
from inference.densities.log_density import guide_density, latents_of, log_density, log_joint, model_density
from inference.numerics import row_slices, values_kept
from pyro_lvm.modules import modules_of
from pyro_lvm.pair import Batch, programs
from pyro_lvm.scopes import belongings
from pyro_lvm.sites import Site, density_sites, knows_any_density, sites_of

_NUM_ROWS, _NUM_SEEN = 5, 64  # rows to compare on, chosen from this many
_NUM_STATES = 3  # of enumerated latents to compare at
_BLOCK = 512  # rows on which a layout is tried at once
_DISPLACEMENT = 0.1  # of parameters, relative to their mean size


def choose_layout(pair: object, batch: Batch, needs_all_rows: bool = False, num_checked: int = 0) -> Layout:
    """Choose the broadcast layout if it yields the same log densities as one run for each particle; else tiling, if that does; else loops.

    A program that slices ``z[:, :1]`` runs on ``[K, B, D]`` without an error but returns wrong figures. So the layouts are compared on
    distinct rows from all over the data, at latents of which some are drawn from the prior, and with all parameters slightly displaced, as
    a wrong slice does not show where rows, latents or weights are equal or zero.

    Args:
        pair: Any pair that has run on the batch.
        batch: All data.
        needs_all_rows: Whether the pair is known to run only on all rows at once; otherwise, this is found out.
        num_checked: Number of rows, spread over the data, on which the layout is tried before it is chosen, as rare rows may differ.
    """
    with torch.random.fork_rng(), torch.no_grad():
        few = batch if needs_all_rows else distinct_rows(batch)
        try:
            comparison = _Comparison(pair, few)
        except Exception:  # a program may raise any error on rows for which it is not made
            if len(few[0]) == len(batch[0]):
                raise
            comparison, needs_all_rows = _Comparison(pair, batch), True
        if not needs_all_rows and comparison.mixes_rows():
            raise ValueError(
                "the model's density of a datum must not depend on other rows or on its place among them; it does. Look for means, softmax "
                "or normalization along the first dimension, for networks that take it for another one (batch_first=True), and for "
                "numbers that belong to rows, which must be arguments of the pair."
            )
        styles = (replace(layout, enumerates=comparison.enumerates) for layout in (BROADCAST, TILED))
        rows = torch.linspace(0, len(batch[0]) - 1, min(num_checked, len(batch[0]))).long().unique()
        many = tuple(x[rows.to(x.device)] for x in batch) if len(rows) > _NUM_ROWS and not needs_all_rows else None
        style = next(
            (layout for layout in styles if comparison.holds(layout) and _holds_on(pair, many, layout, comparison.looped)),
            comparison.looped,
        )
    return replace(style, needs_all_rows=needs_all_rows, num_states=comparison.num_states)


def check_places(pair: object, batch: Batch) -> None:
    """Check that the densities of model and guide follow their rows to other places in the batch, as a fit shuffles them.

    Raises:
        ValueError: If they do not, as where a program takes numbers for each row from elsewhere than its arguments.
    """
    with torch.random.fork_rng(), torch.no_grad():
        try:
            moves = _Comparison(pair, distinct_rows(batch)).is_bound_to_places()
        except Exception:  # a pair without densities per datum, or one that needs all of its rows
            return
    if moves:
        raise ValueError(
            "the densities of model and guide must follow a datum to another place in the batch; they do not. Numbers that belong to rows, "
            "such as labels or masks, must be arguments of the pair, like (x, y), so that they are shuffled with the data."
        )


def _holds_on(pair: object, batch: Batch | None, layout: Layout, looped: Layout) -> bool:
    """Return whether a layout gives the densities of one run for each particle on many rows."""
    model, guide = programs(pair)
    for rows in row_slices(len(batch[0]), _BLOCK) if batch else ():
        block = tuple(x[rows] for x in batch or ())
        latents = latents_of(run_guide(guide, block, 2, looped), 2, len(block[0]), looped)
        expected = model_density(model, block, latents, 2, looped)
        try:
            got = model_density(model, block, latents, 2, layout)
        except Exception:  # a program may raise any error at an unexpected shape; it has just run without particles
            return False
        relative, absolute = (1e-9, 1e-6) if expected.dtype == torch.float64 else (1e-5, 1e-2)
        if not torch.allclose(got, expected, relative, absolute, equal_nan=True):
            return layout.style == "tiled" and not torch.allclose(
                model_density(model, block, latents, 2, looped), expected, equal_nan=True
            )  # of a program that draws by itself
    return True


def distinct_rows(batch: Batch) -> Batch:
    """Return a few rows from all over the data, which differ from one another if the data do."""
    size = len(batch[0])
    seen = torch.linspace(0, size - 1, min(size, _NUM_SEEN)).long().unique()
    table = torch.cat([x[seen.to(x.device)].reshape(len(seen), -1).double().cpu() for x in batch], dim=1).nan_to_num()
    order = list(range(len(seen)))
    chosen: list[int] = []
    for row in sorted(order, key=lambda number: number * 7 % len(order)):
        if len(chosen) < _NUM_ROWS and not any(torch.equal(table[row], table[other]) for other in chosen):
            chosen.append(row)
    chosen += [row for row in order if row not in chosen][: min(_NUM_ROWS, size) - len(chosen)]
    return tuple(x[seen[sorted(chosen)].to(x.device)] for x in batch)


class _Comparison:
    """Log densities of a pair from one run for each particle, to compare those of the other layouts with.

    Args:
        pair: Any pair.
        batch: The rows to compare on.
    """

    def __init__(self, pair: object, batch: Batch) -> None:
        self.pair, self.batch = pair, batch
        self.model, self.guide = programs(pair)
        self.num_particles = 2 if len(batch[0]) == 3 else 3  # not the number of rows
        guide_trace = run_guide(self.guide, batch, self.num_particles, LOOPED)
        self.has_guide_density = all(map(knows_any_density, runs_of(density_sites(guide_trace), LOOPED)[0]))
        drawn = latents_of(guide_trace, *self._shape(LOOPED))
        model_trace = run_guide(self.model, batch, self.num_particles, LOOPED, drawn)
        self.enumerates = any(site["infer"].get("enumerate") and not site["is_observed"] for site in density_sites(model_trace))
        self.looped = replace(LOOPED, enumerates=self.enumerates)
        enumerated = run_model(self.model, batch, drawn, self.num_particles, self.looped)
        self.num_states = _num_states(density_sites(enumerated))
        self._check_enumeration(enumerated, drawn)
        self.latents = _mixed(drawn, model_trace)
        with _displaced(pair):
            self.expected = self._densities(self.looped)
        self.is_displaced = bool(torch.stack(self.expected).isnan().sum() == 0)
        if not self.is_displaced:
            self.expected = self._densities(self.looped)

    def _check_enumeration(self, trace: poutine.Trace, drawn: Latents) -> None:
        """Check the model's densities at all values of enumerated latents, which have more dimensions, against those at some of the values.

        Raises:
            ValueError: If they differ.
        """
        sites = [site for site in density_sites(trace) if site["infer"].get("_enumerate_dim") is not None]
        if not sites or len({site["infer"]["_enumerate_dim"] for site in sites}) < len(sites):
            return  # nothing to compare, or dimensions that stand for several latents
        joint, shape = log_joint(trace), (self.num_particles, len(self.batch[0]))
        for number in range(min(_NUM_STATES, max(len(site["value"]) for site in sites))):
            places = {site["infer"]["_enumerate_dim"]: number % len(site["value"]) for site in sites}
            values = {site["name"]: _at(site, places, shape) for site in sites}
            got = joint
            for dim, place in places.items():
                got = got.narrow(dim, place if got.shape[dim] > 1 else 0, 1)
            if not _are_close(got.reshape(-1)[-prod(shape) :].reshape(shape), self._model_density(self.looped, self.batch, drawn | values)):
                raise ValueError(
                    f"the model must have the same densities at enumerated values of {tuple(values)}, which have dimensions of their own, "
                    "as at a single value; it has not. Index tables with pyro.ops.indexing.Vindex, and avoid squeeze, view and "
                    "positive dimensions."
                )

    def holds(self, layout: Layout) -> bool:
        """Return whether a layout runs and yields the expected log densities; a guide whose own are unknown is never broadcast."""
        if layout.style == "broadcast" and not self.has_guide_density:
            return False
        try:
            got = self._at_same_parameters(layout)
        except Exception:  # a program may raise any error at an unexpected shape; it has just run without particles
            return False
        if all(map(_are_close, got, self.expected)):
            return True
        if layout.style == "broadcast":
            return False
        # A program that draws by itself has no densities to compare, and tiling works for any program that takes any number of rows.
        return not all(map(_are_close, self._at_same_parameters(self.looped), self.expected))

    def mixes_rows(self) -> bool:
        """Return whether the model's densities of data change if they stand in another order and without some of the others."""
        rows = torch.arange(len(self.batch[0])).flip(0)[::2] if len(self.batch[0]) > 2 else torch.arange(len(self.batch[0])).flip(0)
        some = tuple(x[rows.to(x.device)] for x in self.batch)
        latents = {name: value[:, rows.to(value.device)] for name, value in self.latents.items()}
        with self._parameters():
            try:
                got = self._model_density(self.looped, some, latents)
            except Exception:  # a program may raise any error on rows for which it is not made
                return False
            expected = self._model_density(self.looped, self.batch, self.latents)
        is_repeatable = _are_close(expected, self.expected[1])  # not that of a program that draws by itself
        relative, absolute = (1e-9, 1e-6) if expected.dtype == torch.float64 else (1e-3, 1e-2)  # of flows, whose rounding may grow
        return is_repeatable and not torch.allclose(got, expected[:, rows.to(expected.device)], relative, absolute, equal_nan=True)

    def is_bound_to_places(self) -> bool:
        """Return whether densities change if all rows stand in the opposite order."""
        flipped = tuple(x.flip(0) for x in self.batch)
        with self._parameters():
            if not all(map(_are_close, self._densities(self.looped), self.expected)):
                return False  # of a program that draws by itself
            self.batch, self.latents = flipped, {name: value.flip(1) for name, value in self.latents.items()}
            got = self._densities(self.looped)
        relative, absolute = (1e-9, 1e-6) if got[0].dtype == torch.float64 else (1e-3, 1e-2)
        return not all(torch.allclose(a.flip(1), b, relative, absolute, equal_nan=True) for a, b in zip(got, self.expected, strict=True))

    def _at_same_parameters(self, layout: Layout) -> tuple[Tensor, Tensor]:
        with self._parameters():
            return self._densities(layout)

    def _parameters(self) -> AbstractContextManager[None]:
        """Return the context of the parameters at which the expected densities were found."""
        return _displaced(self.pair) if self.is_displaced else nullcontext()

    def _densities(self, layout: Layout) -> tuple[Tensor, Tensor]:
        log_p = self._model_density(layout, self.batch, self.latents)
        if not self.has_guide_density:
            return torch.zeros_like(log_p), log_p
        guide_trace = run_guide(self.guide, self.batch, self.num_particles, layout, self.latents)
        return guide_density(guide_trace, *self._shape(layout)), log_p

    def _model_density(self, layout: Layout, batch: Batch, latents: Latents) -> Tensor:
        trace = run_model(self.model, batch, latents, self.num_particles, layout)
        return log_density(trace, self.num_particles, len(batch[0]), layout)

    def _shape(self, layout: Layout) -> tuple[int, int, Layout]:
        return self.num_particles, len(self.batch[0]), layout


def _at(site: Site, places: dict[int, int], shape: tuple[int, int]) -> Tensor:
    """Return one of the values of an enumerated site for all particles and data, ``[K, B, ...]``."""
    value, event_shape = site["value"], site["fn"].event_shape
    return value[places[site["infer"]["_enumerate_dim"]]].reshape(event_shape).expand(*shape, *event_shape)


def _num_states(sites: list[Site]) -> int:
    """Return the number of joint values of the enumerated latents in one run, in which those under ``pyro.markov`` share dimensions."""
    sizes = {site["infer"]["_enumerate_dim"]: len(site["value"]) for site in sites if site["infer"].get("_enumerate_dim") is not None}
    return prod(sizes.values())


def _mixed(drawn: Latents, model_trace: poutine.Trace) -> Latents:
    """Replace half of the draws by draws from the model, unless latents are computed from auxiliary draws."""
    sites = sites_of(model_trace)
    if not drawn.keys() <= sites.keys():
        return drawn
    return {name: _half_replaced(value, sites[name]["fn"].sample) for name, value in drawn.items()}


def _half_replaced(value: Tensor, sample: Callable[[], Tensor]) -> Tensor:
    try:
        other = sample()
    except NotImplementedError:
        return value
    chosen = torch.rand(value.shape[:2], device=value.device) < 0.5  # [K, B]
    return torch.where(chosen[(..., *[None] * (value.dim() - 2))], other.expand(value.shape).to(value.dtype), value)


@contextmanager
def _displaced(pair: object) -> Iterator[None]:
    """Displace all parameters of a pair slightly within a ``with`` block, always in the same way."""
    owned = (parameter for module in modules_of(pair) for parameter in module.parameters())
    networks = belongings(pair).networks
    tensors = chain(owned, networks.parameters.values(), networks.loose.values())
    parameters = {id(p): p.detach() for p in tensors if p.is_floating_point()}
    generator = torch.Generator().manual_seed(0)
    with values_kept(parameters.values()):
        for parameter in parameters.values():
            scale = _DISPLACEMENT * float(parameter.abs().mean()) if parameter.numel() else 0.0
            parameter += (scale or _DISPLACEMENT) * torch.randn(parameter.shape, generator=generator).to(parameter)
        yield


def _are_close(got: Tensor, expected: Tensor) -> bool:
    # A wrong slice changes log densities by nats, rounding by a few last digits of the largest density. If in doubt, tiling is correct.
    relative, absolute = (1e-12, 1e-9) if expected.dtype == torch.float64 else (1e-6, 1e-3)
    return torch.allclose(got, expected, rtol=relative, atol=absolute, equal_nan=True)
