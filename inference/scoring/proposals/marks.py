"""Marks of data whose draws from the guide look alike, or leave out what other draws find: their k-hat is infinite."""

import torch

from inference.numerics import block_seed, row_slices, seed_generators
from inference.scoring.eager import Eager
from inference.scoring.proposals.judging import OUTSIDE
from inference.scoring.proposals.scouts import share_outside
from inference.scoring.reduction import WeightSummary
from pyro_lvm.pair import Batch
from pyro_lvm.structure import Structure

_EQUAL = 1e-4  # standard deviation of weights, relative to their mean, that may be due to rounding
_SUSPECT_DRAWS = 64  # by which data whose weights are equal show whether their draws are
_PRIOR_DRAWS, _ROWS = 64, 64  # by which it is seen what a guide leaves out, and data at once


def mark_alike(summary: WeightSummary, eager: Eager, structure: Structure, batch: Batch, num_particles: int, seed: int) -> WeightSummary:
    """Mark data whose draws are all the same discrete values, as their equal weights say nothing of all others."""
    suspects = (summary.mc_error * num_particles**0.5 < _EQUAL).nonzero().flatten()
    if len(suspects) == 0 or not structure.is_discrete or eager.layout.needs_all_rows:
        return summary
    rows = tuple(x[suspects.to(x.device)] for x in batch)
    seed_generators(batch[0].device, seed)
    _, latents = eager.draws(rows, _SUSPECT_DRAWS)
    alike = torch.stack([(z == z[:1]).reshape(len(z), z.shape[1], -1).all(2).all(0) for z in latents.values()]).all(0).cpu()  # [S]
    k_hat = summary.pareto_k.clone()
    k_hat[suspects[alike]] = torch.inf
    return summary._replace(pareto_k=k_hat)


def mark_unreached(summary: WeightSummary, eager: Eager, structure: Structure, batch: Batch, seed: int) -> WeightSummary:
    """Mark data of which draws from the prior find latents that the guide, far too seldom, draws.

    Nothing is marked if the guide's density at other latents than its own draws is not known.
    """
    size = len(batch[0]) if eager.layout.needs_all_rows else _ROWS
    k_hat = summary.pareto_k.clone()
    for index, rows in enumerate(row_slices(len(batch[0]), size)):
        block = tuple(x[rows] for x in batch)
        seed_generators(batch[0].device, block_seed(seed, 3, index))
        latents = eager.prior_draws(block, structure.latents, _PRIOR_DRAWS)
        log_prior, log_p = eager.prior_and_joint(block, latents)
        log_q = eager.guide_density(block, latents)
        if log_q is None:
            return summary
        outside = share_outside(log_p, log_prior, log_q, summary.log_px[rows].to(log_p.device)).cpu()
        k_hat[rows] = k_hat[rows].masked_fill(outside > OUTSIDE, torch.inf)
    return summary._replace(pareto_k=k_hat)
