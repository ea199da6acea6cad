"""Importance-sampled log-likelihoods with the guide as proposal: ``log_weights`` and ``evaluate``."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from inference.data.fingerprint import data_id
from inference.densities.broadcasting import choose_layout
from inference.densities.scope import check_scorable, scoring
from inference.numerics import seed_generators
from inference.scoring.blocks import batched, full_blocks, row_blocks
from inference.scoring.chunks import Chunks
from inference.scoring.eager import Eager
from inference.scoring.evaluation import Evaluation, Rounding
from inference.scoring.reduction import WeightSummary, curve_particles, reduce_log_weights
from inference.scoring.scorer import Scorer, make_scorer
from inference.scoring.workers import workers
from inference.tracing.codegen import check_compile
from inference.tracing.precision import PRECISIONS, Precision, has_bfloat16
from pyro_lvm.checks import check_counts, warn_caller
from pyro_lvm.contract import check_batch
from pyro_lvm.dtypes import suited
from pyro_lvm.pair import Batch
from pyro_lvm.reading import read_batch, read_rows
from pyro_lvm.structure import Structure

_REDUCED_WEIGHTS = 32768  # reduced at once, at least; for fewer, the calls take longer than the arithmetic
_ROUNDED_ROWS = (8, 32)  # smallest and largest number of data used to measure the error of a lower precision; otherwise, one in 50
_EQUAL = 1e-4  # standard deviation of weights, relative to their mean, that may be due to rounding
_MANY_PARTICLES, _FEW_CHECKED = 500, 1024  # draws from which on the layout is tried on all rows, and else on this many
_SUSPECT_DRAWS = 64  # by which data whose weights are equal show whether their draws are
_MASS_ERRORS, _MASS_NOISE = 6.0, 0.5  # standard errors, and nats, by which an estimate of log p(x) may exceed 0
_MASS_ROUNDING = 1e-2  # nats by which an exact value may
EARNS_BACK = 5_000_000  # particles times data; compiling takes about 20 s, and saves about 15 ms for every 1024


def log_weights(pair: object, *data: Any, num_particles: int, seed: int | None = None, chunk_size: int | None = None) -> Tensor:
    r"""Compute log importance weights with the guide as proposal.

    .. math:: \log w_k = \log p(x, z_k) - \log q(z_k \mid x), \quad z_k \sim q(z \mid x)

    Exactly K draws are made for each datum, in evaluation mode and without gradients; warm-up, subsampling scales and penalties
    are ignored. Noise is drawn in blocks of fixed shape, each with its own seed, so that the weights depend on the seed,
    on K and on the kind of device, but not on ``chunk_size``.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        data: Observations ``[B, *X]`` first, then any other inputs of the pair, each batch-first; or data in any other form that
            :func:`evaluate` takes.
        num_particles: Draws per datum, :math:`K`.
        seed: Seed of the draws; by default, it is drawn from torch's generator.
        chunk_size: Maximum number of particles times data in one call of the model; by default, what fits the cache.

    Returns:
        Log weights in nats, float64, shape ``[K, B]``.

    Raises:
        ValueError: If the pair breaks the contract of a pair, or has no likelihood per datum; see :func:`~pyro_lvm.contract.check_pair`.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders. https://arxiv.org/abs/1509.00519
    """
    seed = int(torch.randint(2**31, ())) if seed is None else seed
    check_counts(num_particles=num_particles, chunk_size=chunk_size)
    batch = read_batch(pair, data)
    check_batch(*batch)
    with scoring(pair, batch[0].device):
        structure = check_scorable(pair, batch)
        layout = choose_layout(pair, batch, bool(structure.row_parameters), _num_checked(num_particles, len(batch[0])))
        scorer = Scorer.eager(Eager(pair, layout), Chunks(chunk_size, layout))
        with workers(1) as each:
            return torch.cat(list(row_blocks(each, scorer, batch, num_particles, seed)), dim=1)  # [K, B]


def evaluate(
    pair: object,
    data: Any,
    *,
    num_particles: int = 1000,
    seed: int = 0,
    chunk_size: int | None = None,
    compile: Literal["auto"] | bool = "auto",
    precision: Precision = "full",
    progress: bool = True,
) -> Evaluation:
    r"""Estimate the log-likelihood of each datum by importance sampling, with its error and reliability.

    .. math:: \log \hat p(x) = \log \frac{1}{K} \sum_{k=1}^K w_k

    The expectation of this estimate is at most log p(x) and rises with K. Memory does not grow with the number of data times K.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        data: A tensor, an array or a table ``[N, *X]``, a tuple of these with the observations first, a torch Dataset, a loader or
            another iterable of batches, or what :func:`~inference.data.load.load_data` returns, of which the test data are scored.
        num_particles: Draws per datum, :math:`K`; only one is made if the guide is deterministic or every latent is summed out, as more
            would be identical.
        seed: Seed of the draws.
        chunk_size: Maximum number of particles times data in one call of the model; by default, what fits the cache.
        compile: Whether to compile the pair: ``"auto"`` does so if the time saved exceeds the time that compiling takes, and warns if the
            pair cannot be compiled; ``True`` always does so, and refuses a pair that cannot be compiled; ``False`` never does so.
        precision: Precision of the model's float32 matrix products and convolutions: ``"full"``, or ``"bf16"`` for bfloat16, which takes
            two thirds of the time on processors with instructions for it. The largest eighth of the weights is then recomputed in full
            precision, its mean error is subtracted from all other weights, and the remaining error is measured on a subset of the data.
        progress: Whether to show a progress bar.

    Returns:
        An :class:`~inference.scoring.evaluation.Evaluation`, with log-likelihoods in nats.

    Raises:
        ValueError: As for :func:`log_weights`; also if a log weight is NaN, or if the probability of discrete data exceeds 1.
    """
    check_counts(num_particles=num_particles, chunk_size=chunk_size)
    check_counts(0, seed=seed)
    check_compile(compile)
    rows = read_rows(data)
    batch = suited(pair, rows)
    size = check_batch(*batch)
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}; got {precision!r}.")
    if precision == "bf16" and not has_bfloat16(batch[0].device):
        warn_caller("this processor has no instructions for bfloat16: precision='bf16' takes far longer than 'full'.")
    with scoring(pair, batch[0].device), tqdm(total=size, desc="evaluate", disable=not progress, leave=False) as bar:
        structure = check_scorable(pair, batch)
        num_particles = 1 if structure.is_deterministic or structure.is_exact else num_particles
        is_bound = structure.is_bound or (num_particles == 1 and not structure.is_exact)
        layout = choose_layout(pair, batch, bool(structure.row_parameters), _num_checked(num_particles, len(batch[0])))
        eager, chunks = Eager(pair, layout), Chunks(chunk_size, layout)
        if size * num_particles >= EARNS_BACK if compile == "auto" else compile:
            scorer = make_scorer(eager, chunks, precision, *full_blocks(chunks, batch, num_particles), is_required=compile is True)
        else:
            scorer = Scorer.eager(eager, chunks, precision)
        rounding = Rounding() if precision == "full" else _rounding(scorer, Scorer.eager(eager, chunks), batch, num_particles, seed)
        with workers(torch.get_num_threads() if scorer.suits_workers else 1) as each:
            blocks = row_blocks(each, scorer, batch, num_particles, seed)
            summary = _summary(blocks, num_particles, is_bound, bar)
        if not is_bound and num_particles > 1:
            summary = _marked(summary, eager, structure, batch, num_particles, seed)
    _check_masses(summary, structure, num_particles)
    return Evaluation(
        **summary._asdict(),
        curve_particles=curve_particles(num_particles),
        num_particles=num_particles,
        seed=seed,
        measure=structure.measure,
        data_id=_id_of_observed(structure, rows),
        is_bound=is_bound,
        num_dims=_per_datum(structure.num_elements, size),
        is_unit_scaled=structure.is_unit_scaled,
        precision=precision,
        **rounding._asdict(),
    )


def _num_checked(num_particles: int, size: int) -> int:
    """Return on how many rows the layout is tried: all of them where this takes little of the time of a score."""
    return size if num_particles >= _MANY_PARTICLES else min(size, _FEW_CHECKED)


def _id_of_observed(structure: Structure, rows: Batch) -> str:
    """Return the fingerprint of what is observed: of arguments as given, and also of observations that the programs compute from them."""
    places = sorted({place for place in structure.observed_arguments if place is not None})
    if not structure.computed:
        return data_id(*(rows[place] for place in places))
    return "~".join([data_id(*rows), *(f"{total:.6g}" for total in structure.computed)])


def _per_datum(total: int, size: int) -> float:
    """Return the mean number of a datum, an integer if it is one."""
    whole, rest = divmod(total, size)
    return total / size if rest else whole


def _summary(blocks: Iterator[Tensor], num_particles: int, is_bound: bool, bar: tqdm) -> WeightSummary:
    """Reduce the log weights of one block of rows after the other over the particles."""
    parts, first = [], next(blocks)
    for some in batched(chain([first], blocks), -(-_REDUCED_WEIGHTS // first.numel())):
        parts.append(reduce_log_weights(torch.cat(some, dim=1), is_bound=is_bound))
        bar.update(len(parts[-1].log_px))
    return WeightSummary(*(torch.cat(columns, dim=-1) for columns in zip(*parts, strict=True)))


def _marked(summary: WeightSummary, eager: Eager, structure: Structure, batch: Batch, num_particles: int, seed: int) -> WeightSummary:
    """Give an infinite k-hat to data whose draws are all the same discrete values, as their equal weights say nothing of all others."""
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


def _check_masses(summary: WeightSummary, structure: Structure, num_particles: int) -> None:
    """Refuse probabilities above 1: if x is discrete, log p(x) exceeds 0 only within the errors of draws and rounding."""
    if structure.measure != "mass" or (num_particles == 1 and not (structure.is_exact or structure.is_deterministic)):
        return
    allowed = _MASS_ROUNDING if num_particles == 1 else _MASS_NOISE
    excess = summary.log_px - _MASS_ERRORS * summary.mc_error.nan_to_num(0.0) - allowed
    if bool((excess > 0).any()):
        raise ValueError(
            f"p(x) of discrete data must be at most 1; log p(x) is up to {float(summary.log_px.max()):.3g} for {int((excess > 0).sum())} "
            f"of {len(excess)} data. The model has a factor, or a distribution at {structure.observed} that is not normalized."
        )


def _rounding(rounded: Scorer, full: Scorer, batch: Batch, num_particles: int, seed: int) -> Rounding:
    """Compare estimates from rounded products with those in full precision and the same draws, on a subset of the data."""
    least, most = _ROUNDED_ROWS
    step = -(-len(batch[0]) // min(max(len(batch[0]) // 50, least), most))
    few = tuple(x[::step] for x in batch)
    with workers(1) as each:
        got, wanted = (
            torch.cat([log_w.logsumexp(0) for log_w in row_blocks(each, scorer, few, num_particles, seed)]) for scorer in (rounded, full)
        )
    return Rounding(float((got - wanted).mean()), float((got - wanted).abs().max()))
