"""Importance-sampled log-likelihoods: ``log_weights`` and ``evaluate``."""

from typing import Any, Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from inference.data.fingerprint import data_id, num_fitted
from inference.densities.broadcasting import choose_layout
from inference.densities.scope import check_scorable, scoring
from inference.processes import is_first, join
from inference.scoring.annealed.score import MethodName, num_densities, read_counts, score_by_chains
from inference.scoring.blocks import row_blocks
from inference.scoring.chunks import Chunks
from inference.scoring.eager import Eager
from inference.scoring.evaluation import Evaluation
from inference.scoring.proposals.assembly import LEAST, Assembly, ProposalName, coordinates_for
from inference.scoring.proposals.guided import Task, needs_compiling, score_by_guide
from inference.scoring.proposals.marks import mark_alike, mark_unreached
from inference.scoring.proposals.score import row_jobs, score_by_refined
from inference.scoring.reduction import WeightSummary, curve_particles
from inference.scoring.scorer import Scorer
from inference.scoring.workers import workers
from inference.tracing.codegen import check_compile
from inference.tracing.precision import PRECISIONS, Precision, has_bfloat16
from pyro_lvm.checks import check_counts, check_seeds, warn_caller
from pyro_lvm.contract import check_batch
from pyro_lvm.dtypes import suited
from pyro_lvm.pair import Batch
from pyro_lvm.reading import read_batch, read_rows
from pyro_lvm.structure import Structure

VERSION = 1  # of the figures: raised when evaluate gives others for the same arguments, so that kept scores are made anew
_MANY_PARTICLES, _FEW_CHECKED = 500, 1024  # draws from which on the layout is tried on all rows, and else on this many
_MASS_ERRORS, _MASS_NOISE = 6.0, 0.5  # standard errors, and nats, by which an estimate of log p(x) may exceed 0
_MASS_ROUNDING = 1e-2  # nats by which an exact value may


def log_weights(
    pair: object,
    *data: Any,
    num_particles: int,
    seed: int | None = None,
    chunk_size: int | None = None,
    proposal: ProposalName = "guide",
) -> Tensor:
    r"""Compute log importance weights.

    .. math:: \log w_k = \log p(x, z_k) - \log q(z_k \mid x), \quad z_k \sim q(z \mid x)

    Here q is the guide or, if asked for, a proposal refined for each datum; see :func:`evaluate`.

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
        proposal: ``"guide"``, ``"refined"`` or ``"auto"``, as for :func:`evaluate`.

    Returns:
        Log weights in nats, float64, shape ``[K, B]``.

    Raises:
        ValueError: If the pair breaks the contract of a pair, or has no likelihood per datum; see :func:`~pyro_lvm.contract.check_pair`.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders. https://arxiv.org/abs/1509.00519
    """
    seed = int(torch.randint(2**31, ())) if seed is None else seed
    check_seeds(seed=seed)
    check_counts(num_particles=num_particles, chunk_size=chunk_size)
    batch = read_batch(pair, data)
    check_batch(*batch)
    with scoring(pair, batch[0].device):
        structure = check_scorable(pair, batch)
        layout = choose_layout(pair, batch, bool(structure.row_parameters), _num_checked(num_particles, len(batch[0])))
        eager, chunks = Eager(pair, layout), Chunks(chunk_size, layout)
        coordinates = coordinates_for(proposal, pair, structure, batch, num_particles)
        if coordinates is not None:
            assembly = Assembly(eager, coordinates, chunks, "full", batch, num_particles)
            refiner = assembly.interpreted(is_forced=proposal == "refined")
            jobs = row_jobs(batch, assembly.rows(), seed)
            blocks = [refiner.log_weights(x, refiner.fit(x, own), num_particles, own) for x, own in jobs]
            return torch.cat(blocks, dim=1)  # [K, B]
        with workers(1) as each:
            return torch.cat(list(row_blocks(each, Scorer.eager(eager, chunks), batch, num_particles, seed)), dim=1)  # [K, B]


def evaluate(
    pair: object,
    data: Any,
    *,
    method: MethodName = "importance",
    num_particles: int | None = None,
    num_steps: int | None = None,
    seed: int = 0,
    chunk_size: int | None = None,
    compile: Literal["auto"] | bool = "auto",
    precision: Precision = "full",
    progress: bool = True,
    proposal: ProposalName = "auto",
) -> Evaluation:
    r"""Estimate the log-likelihood of each datum by importance sampling, plain or annealed, with its error and reliability.

    .. math:: \log \hat p(x) = \log \frac{1}{K} \sum_{k=1}^K w_k

    The expectation of this estimate is at most log p(x) and rises with K. Memory does not grow with the number of data times K.

    An encoder's q(z|x) is often too narrow for this, or misses a part of p(z|x). A refined proposal is fitted to each datum: from the
    guide's moments, a normal distribution of all latents, in unconstrained space, moves towards p(z|x). Its covariance is full up to 256
    dimensions; above, its precision is diagonal but for a part of low rank. The K draws then come from a Student's t distribution around
    it, mixed with wider ones; see :class:`~inference.scoring.proposals.refined.Refiner`. Draws that fit or judge a proposal are never part
    of the figure.

    Annealed importance sampling is a second opinion that takes more time. Each draw is then the end of a chain, which moves in
    ``num_steps`` steps from the proposal towards p(z|x); see :class:`~inference.scoring.annealed.annealer.Annealer`. A schedule and step
    sizes are found by other chains first, so that the expectation of :math:`\hat p(x)` is p(x). In float32, rounding that differs, as with
    another ``chunk_size``, can turn a decision of a chain and so change a figure within its error.

    Processes that torchrun has started, or that share a process group of torch, divide the blocks of data. All of them must call this with
    the same pair, data and options, and all get the evaluation of one process, to the last bit if it has as many threads.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        data: A tensor, an array or a table ``[N, *X]``, a tuple of these with the observations first, a torch Dataset, a loader or
            another iterable of batches, or what :func:`~inference.data.load.load_data` returns, of which the test data are scored.
        method: ``"importance"``, or ``"ais"`` for annealed importance sampling.
        num_particles: Draws per datum, :math:`K`: by default 1000, or 16 chains. Only one is made if the guide is deterministic or every
            latent is summed out, as more would be identical.
        num_steps: Steps of each chain of ``"ais"``; by default 50.
        seed: Seed of the draws.
        chunk_size: Maximum number of particles times data in one call of the model; by default, what fits the cache.
        compile: Whether to compile the pair: ``"auto"`` does so if the time saved exceeds the time that compiling takes, and warns if the
            pair cannot be compiled; ``True`` always does so, and refuses a pair that cannot be compiled; ``False`` never does so.
        precision: Precision of the model's float32 matrix products and convolutions: ``"full"``, or ``"bf16"`` for bfloat16, which takes
            two thirds of the time on processors with instructions for it. The largest eighth of the weights is then recomputed in full
            precision, its mean error is subtracted from all other weights, and the remaining error is measured on a subset of the data.
        progress: Whether to show a progress bar.
        proposal: ``"guide"``; ``"refined"``, which refuses latents that are discrete and drawn, have no unconstrained coordinates, or more
            than 4096 of them; or ``"auto"``, which refines where that is possible, K is at least 100, and draws of a pilot show that the
            guide does not suffice.
            Chains start at the refined proposal or, with ``"guide"``, at a Student's t distribution with the moments of the guide's draws.

    Returns:
        An :class:`~inference.scoring.evaluation.Evaluation`, with log-likelihoods in nats.

    Raises:
        ValueError: As for :func:`log_weights`; also if a log weight is NaN, if the probability of discrete data exceeds 1, or if chains
            are asked for that cannot move in the latents, or in a lower precision.

    References:
        Neal (2001), Annealed importance sampling. https://arxiv.org/abs/physics/9803008

        Wu, Burda, Salakhutdinov, Grosse (2017), On the quantitative analysis of decoder-based generative models.
        https://arxiv.org/abs/1611.04273
    """
    num_particles, num_steps = read_counts(method, num_particles, num_steps)
    check_counts(chunk_size=chunk_size)
    check_seeds(seed=seed)
    check_compile(compile)
    rows = read_rows(data, pair=pair)
    batch = suited(pair, rows)
    size = check_batch(*batch)
    join(batch[0].device)
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}; got {precision!r}.")
    if precision != "full" and method == "ais":
        raise ValueError(f"precision must be 'full' with method='ais', whose weights sum many densities; got {precision!r}.")
    if precision == "bf16" and not has_bfloat16(batch[0].device):
        warn_caller("this processor has no instructions for bfloat16: precision='bf16' takes far longer than 'full'.")
    with scoring(pair, batch[0].device), tqdm(total=size, desc="evaluate", disable=not (progress and is_first()), leave=False) as bar:
        structure = check_scorable(pair, batch)
        num_particles = 1 if structure.is_deterministic or structure.is_exact else num_particles
        is_bound = structure.is_bound or (num_particles == 1 and not structure.is_exact)
        layout = choose_layout(pair, batch, bool(structure.row_parameters), _num_checked(num_particles, len(batch[0])))
        eager, chunks = Eager(pair, layout), Chunks(chunk_size, layout)
        num_steps = 0 if structure.is_exact else num_steps
        is_compiled = needs_compiling(compile, size * num_densities(num_particles, num_steps))
        task = Task(eager, chunks, batch, num_particles, seed, precision, is_compiled, compile is True)
        coordinates = None if num_steps else coordinates_for(proposal, pair, structure, batch, num_particles)
        if num_steps:
            result = score_by_chains(task, pair, structure, bar, proposal=proposal, num_steps=num_steps)
        elif coordinates is None:
            result = score_by_guide(task, bar, is_bound=is_bound)
        else:
            assembly = Assembly(eager, coordinates, chunks, precision, batch, num_particles)
            result = score_by_refined(task, assembly, bar, is_forced=proposal == "refined")
        summary = result.summary
        if not is_bound and num_particles > 1:
            summary = mark_alike(summary, eager, structure, batch, num_particles, seed)
            if coordinates is None and not num_steps and proposal == "auto" and num_particles >= LEAST:
                summary = mark_unreached(summary, eager, structure, batch, seed)
    _check_masses(summary, structure, num_particles)
    return Evaluation(
        **summary._asdict(),
        curve_particles=curve_particles(num_particles),
        num_particles=num_particles,
        seed=seed,
        measure=structure.measure,
        data_id=id_of_observed(structure, rows),
        given_id=_id_of_given(structure, rows),
        is_bound=is_bound,
        num_dims=_per_datum(structure.num_elements, size),
        is_unit_scaled=structure.is_unit_scaled,
        precision=precision,
        normal_elbo=result.normal_elbo,
        num_steps=num_steps,
        num_fitted=num_fitted(pair, *rows),
        **result.rounding._asdict(),
    )


def _num_checked(num_particles: int, size: int) -> int:
    """Return on how many rows the layout is tried: all of them where this takes little of the time of a score."""
    return size if num_particles >= _MANY_PARTICLES else min(size, _FEW_CHECKED)


def id_of_observed(structure: Structure, rows: Batch) -> str:
    """Return the fingerprint of what is observed: of arguments as given, and also of observations that the programs compute from them.

    An argument of which every row is masked, such as labels that are all missing, is not observed.
    """
    if structure.computed:
        return "~".join([data_id(*rows), *(f"{total:.6g}" for total in structure.computed)])
    sites = zip(structure.observed, structure.observed_arguments, strict=True)
    return data_id(
        *(rows[place] for place in sorted({place for name, place in sites if place is not None and name not in structure.missing}))
    )


def _id_of_given(structure: Structure, rows: Batch) -> str:
    """Return the fingerprint of the arguments that no site observes, such as conditions and masks, or nothing if there are none."""
    others = [x for place, x in enumerate(rows) if place not in structure.observed_arguments]
    return data_id(*others) if others and not structure.computed else ""


def _per_datum(total: int, size: int) -> float:
    """Return the mean number of a datum, an integer if it is one."""
    whole, rest = divmod(total, size)
    return total / size if rest else whole


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
