"""Codes of data and draws from the prior, each with its log densities; every block of rows has its own seed."""

from typing import NamedTuple

from pyro import poutine
import torch
from torch import Tensor

from inference.densities.broadcasting import choose_layout
from inference.densities.layout import LOOPED, Latents, Layout, run_guide, run_model, runs_of
from inference.densities.log_density import guide_density, latents_of, log_density
from inference.densities.scope import check_scorable, scoring
from inference.numerics import seeded_blocks
from pyro_lvm.pair import Batch, programs
from pyro_lvm.sites import Site, density_sites, knows_any_density, sites_of
from pyro_lvm.structure import Structure

_ROWS = 1024  # particles times data in one run
_FEW = 64


class Codes(NamedTuple):
    """K draws z from q(z|x) for each of S data, with their log densities in nats.

    Attributes:
        latents: The draws by site, each ``[K, S, *Z]``.
        log_q: log q(z|x), shape ``[K, S]``.
        log_p: log p(z), shape ``[K, S]``.
        log_px: log p(x|z), shape ``[K, S]``.
        site_rates: log q - log p of each site, each ``[K, S]``; empty if the model enumerates a site.
    """

    latents: Latents
    log_q: Tensor
    log_p: Tensor
    log_px: Tensor
    site_rates: dict[str, Tensor]


def diagnosable(pair: object, batch: Batch) -> Structure:
    """Return the structure of a pair after checking that its q(z|x), a density or mass, can be evaluated at any z.

    Raises:
        ValueError: As :func:`~pyro_lvm.contract.check_pair`; also if the pair has no likelihood per datum, no latent in the guide,
            or a guide that computes its latents from auxiliary draws, or draws them by a map without an inverse.
    """
    structure = check_scorable(pair, batch)
    if structure.is_exact:
        raise ValueError("the pair has no latents that the guide samples, so that there are no codes to diagnose. Score it with evaluate.")
    if structure.row_parameters:
        raise ValueError(
            f"q(z|x) must be known for any x; the parameters {structure.row_parameters} belong to the rows of the training data, one each. "
            "Write a guide that computes its parameters from x."
        )
    few = tuple(x[:_FEW] for x in batch)
    with torch.random.fork_rng():
        trace = run_guide(programs(pair)[1], few, 1, LOOPED)
    drawn = tuple(latents_of(trace, 1, len(few[0]), LOOPED))
    if set(drawn) != set(structure.latents):
        raise ValueError(
            f"the guide must draw exactly the latents {structure.latents}, so that q(z|x) can be evaluated at any z; got {drawn}. "
            "Sample the latents directly, without auxiliary sites."
        )
    for site in runs_of(density_sites(trace), LOOPED)[0]:
        if not knows_any_density(site):
            raise ValueError(
                f"q(z|x) must be known at any z; '{site['name']}' is drawn by a map without an inverse, as a planar flow is, "
                "whose density is known at its own draws only. Use a flow with an inverse."
            )
    return structure


def draw_codes(pair: object, batch: Batch, structure: Structure, rows: Tensor, num_particles: int, layout: Layout, seed: int) -> Codes:
    r"""Draw :math:`z \sim q(z \mid x_n)` for given rows n of the data.

    Args:
        pair: Any pair.
        batch: All data, observations ``[N, *X]`` first.
        structure: As returned by :func:`diagnosable`.
        rows: The rows n, shape ``[S]``.
        num_particles: Draws per datum, :math:`K`.
        layout: As returned by :func:`~inference.densities.broadcasting.choose_layout`.
        seed: Seed of the draws.

    Returns:
        The codes.

    Raises:
        ValueError: If a log density is not finite.
    """
    blocks = []
    for part in seeded_blocks(rows, max(1, _ROWS // num_particles), seed, 0):
        block = tuple(x[part] for x in batch)
        blocks.append(_codes(pair, block, structure, num_particles, layout))
    latents, *densities, site_rates = zip(*blocks, strict=True)
    log_q, log_p, log_px = (torch.cat(parts, 1).double() for parts in densities)
    codes = Codes(_joined(latents), log_q, log_p, log_px, _joined(site_rates))
    for meaning, values in (("log q(z|x)", codes.log_q), ("log p(z)", codes.log_p), ("log p(x|z)", codes.log_px)):
        _check_finite(meaning, values)
    return codes


def _codes(pair: object, batch: Batch, structure: Structure, num_particles: int, layout: Layout) -> Codes:
    model, guide = programs(pair)
    shape = num_particles, len(batch[0]), layout
    guide_trace = run_guide(guide, batch, num_particles, layout)
    latents = latents_of(guide_trace, *shape)
    model_trace = run_model(model, batch, latents, num_particles, layout)
    log_q = guide_density(guide_trace, *shape)  # [K, B]
    log_p = log_density(model_trace, *shape, where=_is_latent)
    names = () if structure.enumerated else structure.latents
    rates = {name: _of_site(name, guide_trace, shape) - _of_site(name, model_trace, shape) for name in names}
    # A difference instead of the densities of the observed sites: an enumerated site belongs to both z and x.
    return Codes(latents, log_q, log_p, log_density(model_trace, *shape) - log_p, rates)


def _is_latent(site: Site) -> bool:
    return not site["is_observed"]


def _of_site(name: str, trace: poutine.Trace, shape: tuple[int, int, Layout]) -> Tensor:
    return log_density(trace, *shape, where=lambda site: site["name"] == name)


def _joined(blocks: tuple[dict[str, Tensor], ...]) -> dict[str, Tensor]:
    return {name: torch.cat([block[name] for block in blocks], 1) for name in blocks[0]}


def _check_finite(meaning: str, values: Tensor) -> None:
    if not values.isfinite().all():
        raise ValueError(
            f"{meaning} must be finite at every code; {int((~values.isfinite()).sum())} of {values.numel()} are not. "
            "Check for NaN in the parameters and for codes outside the support of the prior."
        )


def draw_prior(pair: object, batch: Batch, num_draws: int, names: tuple[str, ...], layout: Layout, seed: int) -> tuple[Latents, Tensor]:
    r"""Draw :math:`z \sim p(z)`; the data serve only as templates.

    Returns:
        The draws by site, each ``[M, *Z]``, and log p(z), shape ``[M]``.
    """
    draws, log_p = [], []
    rows = torch.arange(num_draws, device=batch[0].device) % len(batch[0])
    for part in seeded_blocks(rows, _ROWS, seed, 1):
        block = tuple(x[part] for x in batch)
        trace = poutine.trace(programs(pair)[0]).get_trace(*block)
        draws.append({name: sites_of(trace)[name]["value"][None] for name in names})  # [1, B, *Z]
        log_p.append(log_prior(pair, block, draws[-1], layout))
    values = torch.cat(log_p, 1)[0].double()
    _check_finite("log p(z)", values)
    return {name: value[0] for name, value in _joined(tuple(draws)).items()}, values


def log_prior(pair: object, batch: Batch, latents: Latents, layout: Layout) -> Tensor:
    """log p(z) of latents ``[K, B, *Z]``, shape ``[K, B]``, with enumerated sites summed out."""
    num_particles, size = next(iter(latents.values())).shape[:2]
    trace = run_model(programs(pair)[0], batch, latents, num_particles, layout)
    return log_density(trace, num_particles, size, layout, where=_is_latent)


def has_one_prior(pair: object, batch: Batch) -> bool:
    """Return whether log p(z) does not depend on the datum that the model is given, tried on some data."""
    few = tuple(x[:_FEW] for x in batch)
    with scoring(pair, batch[0].device):
        structure, layout = check_scorable(pair, few), choose_layout(pair, few)
        latents = {name: value[None] for name, value in draw_prior(pair, few, len(few[0]), structure.latents, layout, 0)[0].items()}
        return _is_alike(*_own_and_other(pair, few, latents, layout))


def check_one_prior(pair: object, batch: Batch, rows: Tensor, codes: Codes, layout: Layout) -> None:
    """Check on some codes that log p(z) does not depend on the datum that the model is given.

    Raises:
        ValueError: If it is not.
    """
    few = rows[:_FEW]
    latents = {name: value[:1, : len(few)] for name, value in codes.latents.items()}
    own, other = _own_and_other(pair, tuple(x[few] for x in batch), latents, layout)
    if not _is_alike(own, other):
        raise ValueError(
            "p(z) must be the same for every datum; the model's prior changes with its arguments, by up to "
            f"{(own - other).abs().max().item():.2g} nats. Diagnose data with equal values of these "
            "arguments, such as those of one label or one length, separately."
        )


def _own_and_other(pair: object, batch: Batch, latents: Latents, layout: Layout) -> tuple[Tensor, Tensor]:
    """log p(z) of latents ``[1, B, *Z]`` given their own data, and given those of another, each ``[1, B]``."""
    return log_prior(pair, batch, latents, layout), log_prior(pair, tuple(x.roll(1, 0) for x in batch), latents, layout)


def _is_alike(own: Tensor, other: Tensor) -> bool:
    return torch.allclose(own, other, rtol=1e-5, atol=1e-4)
