"""Choose a layout of particles on evidence: the fastest one whose log densities equal those of one run for each particle."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from math import prod

from pyro import poutine
import torch
from torch import Tensor

from inference.densities.layout import BROADCAST, LOOPED, TILED, Latents, Layout, run_guide, run_model, runs_of
from inference.densities.log_density import guide_density, latents_of, log_density, log_joint, model_density
from inference.densities.trials import NUM_ROWS, agree, are_close, displaced, distinct_rows, mixed_latents
from inference.numerics import row_slices
from pyro_lvm.checks import warn_caller
from pyro_lvm.pair import Batch, programs
from pyro_lvm.sites import Site, density_sites, knows_any_density

_NUM_STATES = 3  # of enumerated latents to compare at
_BLOCK = 512  # rows on which a layout is tried at once
_MIXES = (
    "the model's density of a datum must not depend on other rows or on its place among them; it does. Look for means, softmax or "
    "normalization along the first dimension, for networks that take it for another one (batch_first=True), and for numbers that belong to "
    "rows, which must be arguments of the pair."
)


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
        if not needs_all_rows:
            comparison.check_rows()
        styles = (replace(layout, enumerates=comparison.enumerates) for layout in (BROADCAST, TILED))
        rows = torch.linspace(0, len(batch[0]) - 1, min(num_checked, len(batch[0]))).long().unique()
        many = tuple(x[rows.to(x.device)] for x in batch) if len(rows) > NUM_ROWS and not needs_all_rows else None
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
        _check_halves(model, block, latents, looped, expected)
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


def _check_halves(model: Callable[..., object], batch: Batch, latents: Latents, looped: Layout, expected: Tensor) -> None:
    """Check that the model has the same densities on every other row as on all, as only a rare row may change those of others."""
    for half in (slice(0, None, 2), slice(1, None, 2)):
        some = {name: value[:, half] for name, value in latents.items()}
        try:
            got = model_density(model, tuple(x[half] for x in batch), some, 2, looped)
        except Exception:  # a program may raise any error on rows for which it is not made
            return
        if not agree(got, expected[:, half]) and are_close(model_density(model, batch, latents, 2, looped), expected):
            raise ValueError(_MIXES)


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
        drawn = latents_of(guide_trace, self.num_particles, len(batch[0]), LOOPED)
        model_trace = run_guide(self.model, batch, self.num_particles, LOOPED, drawn)
        self.enumerates = any(site["infer"].get("enumerate") and not site["is_observed"] for site in density_sites(model_trace))
        self.looped = replace(LOOPED, enumerates=self.enumerates)
        enumerated = run_model(self.model, batch, drawn, self.num_particles, self.looped)
        self.num_states = _num_states(density_sites(enumerated))
        self._check_enumeration(enumerated, drawn)
        self.latents = mixed_latents(drawn, model_trace)
        with displaced(pair):
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
            if not are_close(got.reshape(-1)[-prod(shape) :].reshape(shape), self._model_density(self.looped, self.batch, drawn | values)):
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
        if all(map(are_close, got, self.expected)):
            return True
        if layout.style == "broadcast":
            return False
        # A program that draws by itself has no densities to compare, and tiling works for any program that takes any number of rows.
        return not all(map(are_close, self._at_same_parameters(self.looped), self.expected))

    def check_rows(self) -> None:
        """Check that densities of data stay as they are if the data stand in another order and without some of the others.

        Raises:
            ValueError: If those of the model do not.

        Warns:
            UserWarning: If those of the guide do not, whose figures are right, but depend on the rows that are scored together.
        """
        rows = torch.arange(len(self.batch[0])).flip(0)[::2] if len(self.batch[0]) > 2 else torch.arange(len(self.batch[0])).flip(0)
        some = tuple(x[rows.to(x.device)] for x in self.batch)
        latents = {name: value[:, rows.to(value.device)] for name, value in self.latents.items()}
        with self._parameters():
            try:
                log_p = self._model_density(self.looped, some, latents)  # before the guide runs on these rows
            except Exception as error:  # a program may raise any error on rows for which it is not made
                self._check_own_rows(some, latents, error)
                return
            is_same = [are_close(*each) for each in zip(self._densities(self.looped), self.expected, strict=True)]
            if not all(is_same):
                self._check_repeatable()
            try:
                log_q = self._guide_density(self.looped, some, latents)
            except Exception:  # for the same reason
                is_same[0], log_q = False, self.expected[0]
        expected = [each[:, rows.to(each.device)] for each in self.expected]
        if is_same[1] and not agree(log_p, expected[1]):
            raise ValueError(_MIXES)
        if is_same[0] and not agree(log_q, expected[0]):
            warn_caller(
                "the guide's density of a datum depends on the other rows of the batch, as with batch normalization without running "
                "statistics: figures depend on which rows are scored together. Give every datum a density of its own."
            )

    def _check_repeatable(self) -> None:
        """Check that densities which are others in every run are the same with the same noise; the guide's are only warned of."""
        runs = []
        for _ in range(2):
            torch.manual_seed(0)
            runs.append(self._densities(self.looped))
        guide, model = (are_close(*each) for each in zip(*runs, strict=True))
        text = (
            "have the same density whenever it runs with the same values and noise of torch; it has not. Let it change nothing that it "
            "uses, such as a counter of steps or a buffer in evaluation mode (see on_epoch of fit), and draw no noise from numpy or random."
        )
        if not model:
            raise ValueError(f"the model must {text}")
        if not guide:
            warn_caller(f"figures depend on what has run before: the guide should {text}")

    def _check_own_rows(self, batch: Batch, latents: Latents, error: Exception) -> None:
        """Check that the model, which has failed on rows other than the guide's last ones, also fails after a run of the guide on them."""
        try:
            run_guide(self.guide, batch, self.num_particles, self.looped, latents)
            self._model_density(self.looped, batch, latents)
        except Exception:  # for the same reason
            return
        raise ValueError(
            "the model must compute everything from its arguments and the latents; it uses what the guide has left in its last run, such "
            "as features of x in an attribute. Pass on what it needs as a latent, or as an argument of the pair."
        ) from error

    def is_bound_to_places(self) -> bool:
        """Return whether densities change if all rows stand in the opposite order."""
        flipped = tuple(x.flip(0) for x in self.batch)
        with self._parameters():
            if not all(map(are_close, self._densities(self.looped), self.expected)):
                return False  # of a program that draws by itself
            self.batch, self.latents = flipped, {name: value.flip(1) for name, value in self.latents.items()}
            got = self._densities(self.looped)
        return not all(agree(a.flip(1), b) for a, b in zip(got, self.expected, strict=True))

    def _at_same_parameters(self, layout: Layout) -> tuple[Tensor, Tensor]:
        with self._parameters():
            return self._densities(layout)

    def _parameters(self) -> AbstractContextManager[None]:
        """Return the context of the parameters at which the expected densities were found."""
        return displaced(self.pair) if self.is_displaced else nullcontext()

    def _densities(self, layout: Layout) -> tuple[Tensor, Tensor]:
        return self._guide_density(layout, self.batch, self.latents), self._model_density(layout, self.batch, self.latents)

    def _guide_density(self, layout: Layout, batch: Batch, latents: Latents) -> Tensor:
        if not self.has_guide_density:
            return torch.zeros(self.num_particles, len(batch[0]), device=batch[0].device)
        return guide_density(run_guide(self.guide, batch, self.num_particles, layout, latents), self.num_particles, len(batch[0]), layout)

    def _model_density(self, layout: Layout, batch: Batch, latents: Latents) -> Tensor:
        trace = run_model(self.model, batch, latents, self.num_particles, layout)
        return log_density(trace, self.num_particles, len(batch[0]), layout)


def _at(site: Site, places: dict[int, int], shape: tuple[int, int]) -> Tensor:
    """Return one of the values of an enumerated site for all particles and data, ``[K, B, ...]``."""
    value, event_shape = site["value"], site["fn"].event_shape
    return value[places[site["infer"]["_enumerate_dim"]]].reshape(event_shape).expand(*shape, *event_shape)


def _num_states(sites: list[Site]) -> int:
    """Return the number of joint values of the enumerated latents in one run, in which those under ``pyro.markov`` share dimensions."""
    sizes = {site["infer"]["_enumerate_dim"]: len(site["value"]) for site in sites if site["infer"].get("_enumerate_dim") is not None}
    return prod(sizes.values())
