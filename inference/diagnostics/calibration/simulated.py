"""``calibrate``: whether a guide is the posterior, on data that are simulated from the model."""

from typing import Any

import torch
from torch import Tensor

from inference.densities.broadcasting import choose_layout
from inference.densities.scope import check_scorable, scoring
from inference.diagnostics.calibration.findings import Calibration
from inference.diagnostics.calibration.ranks import Ranks, draw_ranks
from inference.diagnostics.calibration.uniformity import normal_scores, scale_p_values, shape_p_values, shift_p_values
from inference.predictive.rows import read_data, read_rows
from inference.scoring.annealed.simulation import Simulated, simulate
from inference.scoring.chunks import Chunks
from pyro_lvm.checks import check_counts, check_seeds
from pyro_lvm.structure import Structure

_LAYOUT_ROWS = 1024  # on which the layout of particles is tried


def calibrate(
    pair: object,
    *data: Any,
    num_data: int = 1000,
    num_draws: int = 99,
    level: float = 0.01,
    seed: int = 0,
    chunk_size: int | None = None,
) -> Calibration:
    r"""Test whether the guide is the posterior, on data simulated from the model; no truth besides the model is needed.

    With (z, x) drawn from the model, z is a draw from p(z|x). If q(z|x) is p(z|x), its rank among L draws from q(z|x) is uniform,

    .. math:: r = \sum_{l=1}^L 1[f(z_l, x) < f(z, x)] \sim \mathrm{Uniform}\{0, \dots, L\}

    for any quantity f, with ties broken at random. The quantities are the elements of all latents, log p(x|z), which tells a guide that
    ignores x from the posterior, and log p(x, z), which tells one without the posterior's correlations. The ranks of each are tested by
    the mean and the variance of their normal scores, which find shifts and scales, and by their distribution function (Säilynoja et al.),
    which finds anything else; the p-values of all three are exact, and corrected for the number of tests by Bonferroni's inequality.

    What is found holds on average over data from the model. A guide whose center is off by amounts that change from one datum to the next
    counts as too narrow, as its draws miss the truth more often than they should. Data from elsewhere may be worse.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        data: A batch as for training, or data in any other form that :func:`~inference.scoring.importance.evaluate` takes. What the model
            observes of them, labels included, sets the shape of the simulated data, and its values are ignored; other arguments, such as
            conditions, are kept, and their rows are used in random order, several times if there are fewer than ``num_data``. Nothing may
            be passed if the pair has been fitted, scored or checked before and takes no other arguments.
        num_data: Number of data to simulate, N.
        num_draws: Draws from the guide for each, L.
        level: Largest probability of any finding about an exact guide.
        seed: Seed of data and draws.
        chunk_size: Maximum number of particles times data in one call of the model; by default, what fits the cache.

    Returns:
        A :class:`~inference.diagnostics.calibration.findings.Calibration`, which prints a table and a verdict.

    Raises:
        ValueError: If the pair breaks the contract of a pair or has no likelihood per datum, if the guide samples no latent, is certain of
            one, or has parameters that belong to rows of the training data; if the model cannot simulate what the pair observes, or a draw
            or a log density is not a number.

    References:
        Talts, Betancourt, Simpson, Vehtari, Gelman (2018), Validating Bayesian inference algorithms with simulation-based calibration.
        https://arxiv.org/abs/1804.06788

        Modrák, Moon, Kim, Bürkner, Huurre, Faltejsková, Gelman, Vehtari (2023), Simulation-based calibration checking for Bayesian
        computation: the choice of test quantities shapes sensitivity. https://arxiv.org/abs/2211.02383

        Säilynoja, Bürkner, Vehtari (2022), Graphical test for discrete uniformity and its applications in goodness-of-fit evaluation and
        multiple sample comparison. https://arxiv.org/abs/2103.10522
    """
    check_counts(num_data=num_data, num_draws=num_draws, chunk_size=chunk_size)
    check_seeds(seed=seed)
    _check_options(num_data, level)
    with scoring(pair, torch.device("cpu")):
        simulated = _simulated(pair, data, num_data, seed)
    device = simulated.batch[0].device
    with scoring(pair, device):
        structure = check_scorable(pair, simulated.batch)
        layout = choose_layout(pair, simulated.batch, num_checked=min(num_data, _LAYOUT_ROWS))
        ranks = draw_ranks(pair, *simulated, layout, num_draws, seed, Chunks(chunk_size, layout))
    return Calibration(*ranks, _p_values(ranks), structure.enumerated, num_draws, level, seed)


def _check_options(num_data: int, level: float) -> None:
    if num_data < 2:
        raise ValueError(f"num_data must be at least 2, as a scale is tested; got {num_data}. Take 1000.")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}. Take 0.01, the probability of a finding about an exact guide.")


def _simulated(pair: object, data: tuple[Any, ...], num_data: int, seed: int) -> Simulated:
    """Simulate data for given rows, or for a number of data."""
    rows = read_data(pair, data) if data else (num_data,)
    _check_calibratable(read_rows(pair, rows)[1])
    if data and len(rows[0]) != num_data:
        order = torch.randperm(len(rows[0]), generator=torch.Generator().manual_seed(seed))
        chosen = order[torch.arange(num_data) % len(order)]
        rows = tuple(x[chosen.to(x.device)] for x in rows)
    return simulate(pair, rows, seed)


def _check_calibratable(structure: Structure) -> None:
    structure.scorable()
    if structure.is_exact:
        raise ValueError("the pair has no latents that the guide samples: all are summed out exactly. There is nothing to calibrate.")
    if structure.certain:
        raise ValueError(
            f"the guide must be a distribution to be calibrated; it is certain of {structure.certain}, so that all of its draws are alike. "
            "Use soft codes."
        )
    if structure.row_parameters:
        raise ValueError(
            f"q(z|x) must be known for simulated data; the parameters {structure.row_parameters} belong to the rows of the training data, "
            "one each. Write a guide that computes its parameters from x."
        )


def _p_values(ranks: Ranks) -> Tensor:
    positions = ranks.positions.numpy()
    scores = normal_scores(positions)
    tests = shift_p_values(scores), scale_p_values(scores), shape_p_values(positions)
    return torch.stack([torch.from_numpy(p) for p in tests], 1)
