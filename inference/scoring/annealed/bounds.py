"""Bidirectional Monte Carlo: bounds on log p(x) from both sides, on data simulated from the model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from inference.densities.broadcasting import choose_layout
from inference.densities.scope import check_scorable, scoring
from inference.formatting import format_value, format_with_error
from inference.markup import Lines
from inference.processes import is_first, join
from inference.scoring.annealed.annealer import Annealer, backward, forward, log_mean
from inference.scoring.annealed.score import NUM_CHAINS, NUM_STEPS, chain_assembly, make_annealer, num_densities
from inference.scoring.annealed.simulation import simulate
from inference.scoring.chunks import Chunks
from inference.scoring.eager import Eager
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import id_of_observed
from inference.scoring.pareto import check_log_weights
from inference.scoring.proposals.assembly import ProposalName
from inference.scoring.proposals.guided import Task, needs_compiling
from inference.scoring.proposals.score import row_jobs
from inference.scoring.reduction import standard_error_of_mean
from inference.scoring.workers import all_workers
from inference.tracing.codegen import check_compile
from pyro_lvm.checks import check_counts, check_seeds
from pyro_lvm.pair import Batch

_LAYOUT_ROWS = 1024  # on which the layout of particles is tried


@dataclass(frozen=True, eq=False, repr=False)
class BidirectionalBounds(Lines):
    """Bounds on log p(x) of simulated data, in nats: in expectation, log p(x) lies between them.

    Attributes:
        lower: log p-hat(x) of chains from the proposal to the posterior, float64, shape ``[N]``.
        upper: The same of chains in reverse, from exact draws, ``[N]``.
        data: The simulated arguments of the pair, observations ``[N, *X]`` among them.
        data_id: Fingerprint of the observations.
        num_particles: Chains per datum each way, K.
        num_steps: Steps of a chain.
        seed: Seed of data and chains.
        proposal: What the chains start at, in words.
    """

    lower: Tensor
    upper: Tensor
    data: Batch
    data_id: str
    num_particles: int
    num_steps: int
    seed: int
    proposal: str

    @property
    def gap(self) -> float:
        """Mean of ``upper - lower``, in nats: on average, neither is farther than this from log p(x)."""
        return float((self.upper - self.lower).mean())

    @property
    def gap_error(self) -> float:
        """Standard error of :attr:`gap` over the data, in nats; it includes the scatter of the chains."""
        return standard_error_of_mean(self.upper - self.lower)

    def shortfall(self, score: Evaluation) -> tuple[float, float]:
        """Bound by how many nats a score of the simulated data is too low on average.

        Args:
            score: Any evaluation of ``data`` under the same pair.

        Returns:
            The mean of ``upper - score.log_px``, and its standard error over the data.

        Raises:
            ValueError: If the score is of other data.
        """
        if score.data_id != self.data_id:
            raise ValueError(f"score must be of the simulated data, {self.data_id}; got {score.data_id}. Use evaluate(pair, bounds.data).")
        return float((self.upper - score.log_px).mean()), standard_error_of_mean(self.upper - score.log_px)

    def to_frame(self) -> pd.DataFrame:
        """Return both bounds and their difference as a data frame with one row per datum."""
        columns = {"lower": self.lower.numpy(), "upper": self.upper.numpy(), "gap": (self.upper - self.lower).numpy()}
        return pd.DataFrame(columns, index=pd.RangeIndex(len(self.lower), name="datum"))

    def _lines(self) -> Iterator[tuple[str, str]]:
        low, high = (format_value(float(bound.mean()), self.gap_error) for bound in (self.lower, self.upper))
        yield "", f"{low} <= log p(x) <= {high} nats per datum, on average over {len(self.lower)} simulated data"
        yield "gap", format_with_error(self.gap, self.gap_error)
        yield "", f"K = {self.num_particles} chains of {self.num_steps} steps each way, seed {self.seed}, proposal: {self.proposal}"


def bidirectional(
    pair: object,
    *data: Any,
    num_particles: int = NUM_CHAINS,
    num_steps: int = NUM_STEPS,
    seed: int = 0,
    chunk_size: int | None = None,
    compile: Literal["auto"] | bool = "auto",
    progress: bool = True,
    proposal: ProposalName = "auto",
) -> BidirectionalBounds:
    r"""Bound log p(x) from both sides on data simulated from the model, and so the error of any estimate of it.

    With (z, x) drawn from the model, z is an exact draw from p(z|x). Annealed importance sampling from the proposal gives weights w whose
    expectation is p(x); the same transitions in reverse order, from z to the proposal, give weights w' with :math:`E[1/w'] = 1/p(x)`. So

    .. math::
        E \log \frac{1}{K} \sum_k w_k \le \log p(x) \le E \Big[ -\log \frac{1}{K} \sum_k \frac{1}{w'_k} \Big]

    where the chains of a datum start at the same z. A gap near zero says that :func:`~inference.scoring.importance.evaluate` with
    ``method="ais"`` and the same settings is right on data like these; :meth:`BidirectionalBounds.shortfall` bounds the error of any other
    score. Data that the model does not resemble may be harder.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``, whose sampled latents are continuous.
        data: A batch as for training, or data in any other form that :func:`~inference.scoring.importance.evaluate` takes; the observations
            set the number and shape of the simulated data, and their values are ignored. Other arguments, such as conditions, count. Or a
            number of data, if the pair has been fitted, scored or checked before and takes no other arguments.
        num_particles: Chains per datum each way, :math:`K`.
        num_steps: Steps of each chain.
        seed: Seed of data and chains.
        chunk_size: Maximum number of particles times data in one call of the model; by default, what fits the cache.
        compile: Whether to compile the pair, as for :func:`~inference.scoring.importance.evaluate`.
        progress: Whether to show a progress bar.
        proposal: What chains start at: ``"guide"``, for a Student's t distribution with the moments of the guide's draws; otherwise, the
            refined proposal.

    Returns:
        A :class:`BidirectionalBounds`, in nats.

    Raises:
        ValueError: If chains cannot move in the latents, in an error that names the latent; if the model cannot simulate what the pair
            observes; or as for :func:`~inference.scoring.importance.log_weights`.

    References:
        Grosse, Ghahramani, Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo.
        https://arxiv.org/abs/1511.02543

        Wu, Burda, Salakhutdinov, Grosse (2017), On the quantitative analysis of decoder-based generative models.
        https://arxiv.org/abs/1611.04273
    """
    check_counts(num_particles=num_particles, num_steps=num_steps, chunk_size=chunk_size)
    check_seeds(seed=seed)
    check_compile(compile)
    with scoring(pair, torch.device("cpu")):
        batch, latents = simulate(pair, data, seed)
    size = len(batch[0])
    join(batch[0].device)
    with scoring(pair, batch[0].device), tqdm(total=size, desc="bidirectional", disable=not (progress and is_first()), leave=False) as bar:
        structure = check_scorable(pair, batch)
        layout = choose_layout(pair, batch, bool(structure.row_parameters), min(size, _LAYOUT_ROWS))
        is_compiled = needs_compiling(compile, 2 * size * num_densities(num_particles, num_steps))
        task = Task(Eager(pair, layout), Chunks(chunk_size, layout), batch, num_particles, seed, "full", is_compiled, compile is True)
        assembly = chain_assembly(task, pair, structure, proposal)
        vector = _exact(assembly.coordinates.vector({name: value[None] for name, value in latents.items()})[0])
        annealer, count = make_annealer(task, assembly, proposal, num_steps)
        parts = []
        with all_workers(count) as each:
            jobs = ((annealer, block, num_particles, own) for block, own in row_jobs((*batch, vector), assembly.rows(), seed))
            for part in each(_block_bounds, jobs):
                parts.append(part)
                bar.update(len(part[0]))
    lower, upper = (torch.cat(bound) for bound in zip(*parts, strict=True))
    return BidirectionalBounds(lower, upper, batch, id_of_observed(structure, batch), num_particles, num_steps, seed, annealer.proposal)


def _exact(vector: Tensor) -> Tensor:
    """Check that exact draws ``[N, D]`` are finite in unconstrained coordinates."""
    is_outside = ~vector.isfinite().all(1)
    if is_outside.any():
        raise ValueError(
            f"latents drawn from the model must lie inside their supports; {int(is_outside.sum())} of {len(vector)} are on a bound. "
            "Use float64, or another seed."
        )
    return vector


def _block_bounds(annealer: Annealer, batch: Batch, num_particles: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return both bounds of a block of data, whose last tensor holds the exact draws."""
    prepared = annealer.prepare(batch[:-1], seed)
    there, back = forward(prepared, num_particles), -backward(prepared, batch[-1], num_particles)
    check_log_weights(there)
    check_log_weights(back)
    return log_mean(there).cpu(), -log_mean(back).cpu()
