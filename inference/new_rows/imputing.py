"""Missing cells of new rows, drawn from the model given the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from inference.data.columns import Column
from inference.densities.layout import LOOPED, run_guide, run_model
from inference.densities.log_density import latents_of, log_density
from inference.new_rows.centers import centers
from inference.new_rows.missing import UnsplitError, filled, observed_site, takes_gaps, with_missing
from inference.new_rows.posterior import Posterior, draw_posterior
from inference.numerics import block_seed, seeded
from inference.predictive.conditioning import Latents, predict_observed
from inference.predictive.enumeration import draw_enumerated
from pyro_lvm.checks import check_counts, check_seeds
from pyro_lvm.contract import check_batch, read_structure
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import Batch, programs
from pyro_lvm.reading import read_batch
from pyro_lvm.rows.lazy import plain
from pyro_lvm.scopes import isolated
from pyro_lvm.structure import Structure, run_pair

_FEW = 16  # rows on which it is tried what a latent is for
_CELLS = 6  # a stream of noise of its own
_ROWS = 4096  # whose cells are drawn at once


@dataclass(frozen=True)
class Imputation:
    """Rows whose missing cells are filled in.

    Attributes:
        draws: The rows with M independent draws of their missing cells; observed cells are as they were, ``[M, B, *X]``.
        ess: Effective number of draws of z for each row, of K, ``[B]``.
        pareto_k: Pareto shape of the largest weights, ``[B]``; infinite where draws are known to miss a part of p(z | x), and NaN where
            every latent is summed out.
        is_poor: Rows whose draws are not to be trusted: fewer than 50 effective draws of z, or a k-hat above
            :func:`~inference.scoring.pareto.pareto_k_threshold`, ``[B]``.
    """

    draws: Tensor
    ess: Tensor
    pareto_k: Tensor
    is_poor: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean of the draws, ``[B, *X]``; of categories and counts, it is no value that can occur, see :meth:`center`."""
        return self.draws.mean(0)

    def center(self, kinds: Sequence[Column]) -> Tensor:
        """Return rows of a table with one value for each missing cell, ``[B, D]``, as ``impute --center`` does.

        A real cell has the mean of its draws, a count or an ordinal code their median, and a category or a binary code the value that most
        of them have. ``data.table(found.center(data.kinds))`` is the table with names of columns and values.

        Args:
            kinds: The columns, :attr:`Data.kinds <inference.data.load.Data.kinds>`.

        Raises:
            ValueError: If the rows have another number of columns.
        """
        if self.draws.dim() != 3 or self.draws.shape[-1] != len(kinds):
            raise ValueError(f"kinds must have one column for each of the rows [B, D]; got {len(kinds)} for {tuple(self.draws.shape[1:])}.")
        return centers(self.draws, kinds)


def impute(
    pair: object, *data: Any, num_draws: int = 1, num_particles: int = 1000, site: str | None = None, seed: int | None = None
) -> Imputation:
    r"""Draw the missing cells of rows from the model, given the observed ones.

    .. math:: z \sim p(z \mid x_\mathrm{obs}), \quad x_\mathrm{mis} \sim p(x_\mathrm{mis} \mid z)

    The guide is a first proposal only. If it takes NaN in missing cells, as one that begins with a
    :class:`~pyro_lvm.networks.columns.ColumnInputs` does, it is given the rows as they are, and otherwise medians in place of missing
    cells. It is refined for each row towards p(z | x_obs), the model's own posterior with the missing cells left out of its likelihood,
    and its draws are chosen by their importance weights.

    A model that says why cells are missing has them as latents, and observes which they are: missing cells are then drawn with the others,
    from p(z, x_mis | x_obs, s), and ``site`` names them.

    Args:
        pair: Any pair whose model observes its first argument as it is, as independent cells given the latents; or, with ``site``, any
            pair that takes NaN in missing cells.
        data: Observations ``[B, *X]`` with NaN in missing cells, then any other arguments of the pair, which are complete; or data in any
            other form that :func:`~inference.scoring.importance.evaluate` takes.
        num_draws: Draws of the missing cells of each row, M.
        num_particles: Draws of z for each row, K, among which M are chosen.
        site: The latent that holds the missing cells, each in its place, ``[B, *X]``; by default, there is none, and the likelihood draws
            them.
        seed: Seed of the draws; by default, it is drawn from torch's generator.

    Returns:
        An :class:`Imputation`. Its :attr:`~Imputation.is_poor` says which rows are not to be trusted.

    Raises:
        ValueError: If cells depend on one another given the latents, as under a full covariance or in an autoregressive model; if the guide
            is certain of a latent, or its parameters belong to rows; if there is no latent ``site`` of the shape of x; or as
            :func:`~inference.scoring.importance.evaluate` does.
    """
    check_counts(num_draws=num_draws, num_particles=num_particles)
    seed = int(torch.randint(2**31, ())) if seed is None else seed
    check_seeds(seed=seed)
    x, *others = map(plain, read_batch(pair, data))
    check_batch(x, *others)
    if not x.is_floating_point():
        x = x.to(torch.get_default_dtype())
    draw_cells = _of_likelihood if site is None else partial(_of_latent, site)
    cells, posterior = draw_cells(pair, (x, *others), num_draws=num_draws, num_particles=num_particles, seed=seed)
    drawn = torch.where(x.isnan(), cells.to(x.dtype), x)
    return Imputation(drawn, posterior.ess, posterior.pareto_k, posterior.is_poor)


def _of_likelihood(pair: object, given: Batch, *, num_draws: int, num_particles: int, seed: int) -> tuple[Tensor, Posterior]:
    """Draw z from p(z | x_obs), and rows ``[M, B, *X]`` from p(x | z)."""
    x, *others = given
    complete, is_missing = filled(x)
    batch = (complete, *others)
    site, structure = observed_site(pair, batch)
    conditioned = with_missing(pair, site, shows_gaps=takes_gaps(pair, given))
    with eval_mode(pair):
        try:
            posterior = draw_posterior(conditioned, (*batch, is_missing), num_draws=num_draws, num_particles=num_particles, seed=seed)
        except UnsplitError as error:
            raise ValueError(f"site '{site}': {error}") from error
        return _cells(pair, conditioned, site, structure, batch, is_missing, posterior.latents, num_draws, seed), posterior


def _of_latent(site: str, pair: object, batch: Batch, *, num_draws: int, num_particles: int, seed: int) -> tuple[Tensor, Posterior]:
    """Draw from p(z, x_mis | x_obs, s), after checking that a latent holds the missing cells."""
    shape, structure = tuple(batch[0].shape), read_structure(pair, *batch)
    got = tuple(run_pair(pair, batch, validate=False).guide[site]["value"].shape) if site in structure.latents else None
    if got != shape:
        raise ValueError(
            f"site must be a latent of the shape of x, {shape}, with a value for each cell; got '{site}' of shape {got}, and the latents "
            f"are {', '.join(structure.latents)}. Name the latent that holds the missing cells, or leave it out."
        )
    with eval_mode(pair):
        _check_holds_missing(pair, site, tuple(x[:_FEW] for x in batch))
        posterior = draw_posterior(pair, batch, num_draws=num_draws, num_particles=num_particles, seed=seed)
    return posterior.latents[site], posterior


def _check_holds_missing(pair: object, site: str, batch: Batch) -> None:
    """Refuse a latent whose values where cells are observed change the densities of others, as those of missing cells do not."""
    x, K = batch[0], 2
    with isolated(pair), torch.random.fork_rng(), torch.no_grad():
        latents = latents_of(run_guide(programs(pair)[1], batch, K, LOOPED), K, len(x), LOOPED)
        moved = latents | {site: torch.where(x.isnan(), latents[site], latents[site].flip(0))}
        first, second = (
            log_density(run_model(programs(pair)[0], batch, each, K, LOOPED), K, len(x), LOOPED, where=lambda one: one["name"] != site)
            for each in (latents, moved)
        )
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-4):
        raise ValueError(
            f"site must be the latent that holds the missing cells; '{site}' also matters where cells are observed, as codes do. Name "
            "another latent, or leave it out for a model whose likelihood draws the cells."
        )


def _cells(
    pair: object,
    conditioned: Any,
    site: str,
    structure: Structure,
    batch: Batch,
    is_missing: Tensor,
    latents: Latents,
    num_draws: int,
    seed: int,
) -> Tensor:
    """Draw x ``[M, B, *X]`` at latents ``[M, B, *Z]`` of p(z | x_obs); latents that are summed out are drawn from their exact posterior."""
    size, draws = len(is_missing), []
    with isolated(pair), torch.no_grad():
        for index, numbers in enumerate(torch.arange(num_draws).split(max(1, _ROWS // size))):
            tiled, values = _tiled((*batch, is_missing), len(numbers)), {name: z[numbers].flatten(0, 1) for name, z in latents.items()}
            with seeded(block_seed(seed, _CELLS, index)):
                values |= draw_enumerated(programs(conditioned)[0], tiled, values, structure)
                drawn = predict_observed(pair, tiled[:-1], structure, values, means=False)[site]
            draws.append(drawn.reshape(len(numbers), *batch[0].shape))
    return torch.cat(draws)


def _tiled(batch: Batch, count: int) -> Batch:
    """Repeat all rows of a batch, one copy of it after the other."""
    return tuple(x.repeat(count, *[1] * (x.dim() - 1)) for x in batch)
