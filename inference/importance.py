"""Importance-sampled log-likelihoods with the guide as proposal: ``log_weights`` and ``evaluate``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from typing import Literal
import warnings

import numpy as np
import pyro
import torch
from torch import Tensor
from tqdm.auto import tqdm

from inference.densities import choose_layout
from inference.evaluation import Evaluation, Rounding, curve_particles, reduce_log_weights
from inference.numerics import flushed_denormals, keep_freed_memory
from inference.precision import PRECISIONS, Precision, has_bfloat16
from inference.scorer import Block, Scorer, even_part
from pyro_lvm.contract import Structure, check_batch, check_pair
from pyro_lvm.pair import eval_mode, param_scope

_BLOCK_PARTICLES = 1024
_BLOCK_ROWS = 4096  # particles times data of one block of noise
_BLOCK_ROWS_ACCELERATOR = 65536
_REDUCED_WEIGHTS = 32768  # reduced at once, at least: the calls for fewer take longer than their arithmetic
_CHECKED_ROWS = 1024
_ROUNDED_ROWS = (8, 32)  # at least and at most so many data show the error of a lower precision; between, one in 50
EARNS_BACK = 5_000_000  # particles times data: compiling takes some 20 s, and saves about 15 ms for every 1024


def log_weights(
    pair: object, *batch: Tensor, num_particles: int, seed: int | None = None, chunk_size: int | None = None
) -> Tensor:
    r"""Log importance weights with the guide as proposal.

    .. math:: \log w_k = \log p(x, z_k) - \log q(z_k \mid x), \quad z_k \sim q(z \mid x)

    Exactly K draws for each datum, in evaluation mode and without gradients; warm-up, subsampling scales and penalties do not
    enter. Noise is drawn in blocks of fixed shape, each with a seed of its own, so that the figures depend on the seed
    and on K, not on ``chunk_size``.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        batch: Observations ``[B, *X]`` first, then whatever else the pair takes, each batch-first.
        num_particles: Draws per datum, :math:`K`.
        seed: Seed of the draws; by default one is drawn from torch's generator.
        chunk_size: At most so many particles times data in one call of the model; by default a whole block.

    Returns:
        Log weights in nats, float64, shape ``[K, B]``.

    Raises:
        ValueError: If the pair breaks the contract of a pair, or has no likelihood per datum; see :func:`~pyro_lvm.contract.check_pair`.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders. https://arxiv.org/abs/1509.00519
    """
    seed = int(torch.randint(2**31, ())) if seed is None else seed
    check_counts(num_particles=num_particles, chunk_size=chunk_size)
    check_batch(*batch)
    with scoring(pair, batch[0].device):
        structure = check_scorable(pair, batch)
        scorer = Scorer(pair, choose_layout(pair, batch), chunk_size, num_states=structure.num_states)
        return torch.cat(list(_row_blocks(scorer, batch, num_particles, seed)), dim=1)  # [K, B]


def evaluate(
    pair: object,
    data: Tensor | Sequence[Tensor],
    *,
    num_particles: int = 1000,
    seed: int = 0,
    chunk_size: int | None = None,
    compile: Literal["auto"] | bool = "auto",
    precision: Precision = "full",
    progress: bool = True,
) -> Evaluation:
    r"""Per-datum log-likelihood by importance sampling, with its error and reliability.

    .. math:: \log \hat p(x) = \log \frac{1}{K} \sum_{k=1}^K w_k

    whose expectation is at most log p(x) and rises with K. Memory does not grow with the number of data times K.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        data: Observations ``[N, *X]``, or a tuple of tensors with these first.
        num_particles: Draws per datum, :math:`K`; one is made where the guide is certain of its codes, and where every latent is summed
            out, as more would be the same.
        seed: Seed of the draws.
        chunk_size: At most so many particles times data in one call of the model.
        compile: Whether the pair is compiled: where that earns its time back, always (and a pair that cannot be is refused), or never.
        precision: Of the model's float32 matrix products and convolutions: ``"full"``, or ``"bf16"`` for bfloat16, which takes two thirds of the time
            on processors with instructions for it. The eighth of the weights that are largest are then computed again in full,
            their mean error is taken from the others, and what error remains is measured on some of the data.
        progress: Whether to show a progress bar.

    Returns:
        An :class:`~inference.evaluation.Evaluation`, all in nats.

    Raises:
        ValueError: As :func:`log_weights`; also when a log weight is NaN.
    """
    batch = (data,) if isinstance(data, Tensor) else tuple(data)
    check_counts(num_particles=num_particles, chunk_size=chunk_size)
    size = check_batch(*batch)
    if compile not in ("auto", True, False):
        raise ValueError(f"compile must be 'auto', True or False; got {compile!r}.")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}; got {precision!r}.")
    if precision == "bf16" and not has_bfloat16(batch[0].device):
        warnings.warn("this processor has no instructions for bfloat16: precision='bf16' takes far longer than 'full'.", stacklevel=2)
    parts = []
    with scoring(pair, batch[0].device), tqdm(total=size, desc="evaluate", disable=not progress, leave=False) as bar:
        structure = check_scorable(pair, batch)
        num_particles = 1 if structure.is_deterministic or structure.is_exact else num_particles
        is_bound = num_particles == 1 and not structure.is_exact
        scorer = Scorer(pair, choose_layout(pair, batch), chunk_size, precision, structure.num_states)
        particles, rows = _block_shape(num_particles, batch[0].device)
        is_compiled = size * num_particles >= EARNS_BACK if compile == "auto" else compile
        if is_compiled:
            scorer.compile(tuple(x[:rows].contiguous() for x in batch), particles, is_required=compile is True)
        rounding = Rounding() if precision == "full" else _measured_rounding(scorer, pair, batch, num_particles, seed)
        num_blocks = -(-_REDUCED_WEIGHTS // (num_particles * rows))
        with scorer.workers():
            for blocks in _batched(_row_blocks(scorer, batch, num_particles, seed), num_blocks):
                log_w = torch.cat(blocks, dim=1)
                parts.append(reduce_log_weights(log_w, is_bound=is_bound))
                bar.update(log_w.shape[1])
    columns = {name: torch.cat([getattr(part, name) for part in parts], dim=-1) for name in parts[0]._fields}
    return Evaluation(
        **columns,
        curve_particles=curve_particles(num_particles),
        num_particles=num_particles,
        seed=seed,
        measure=structure.measure,
        data_id=data_id(*batch),
        is_bound=is_bound,
        num_dims=batch[0][0].numel(),
        precision=precision,
        **rounding._asdict(),
    )


def _measured_rounding(scorer: Scorer, pair: object, batch: tuple[Tensor, ...], num_particles: int, seed: int) -> Rounding:
    """How far a scorer's estimates for some of the data are from those in full precision with the same draws."""
    least, most = _ROUNDED_ROWS
    step = -(-len(batch[0]) // min(max(len(batch[0]) // 50, least), most))
    few = tuple(x[::step] for x in batch)
    full = Scorer(pair, scorer.layout, scorer.chunk_size, num_states=scorer.num_states)
    got, wanted = (
        torch.cat([log_w.logsumexp(0) for log_w in _row_blocks(each, few, num_particles, seed)]) for each in (scorer, full)
    )
    return Rounding(float((got - wanted).mean()), float((got - wanted).abs().max()))


def data_id(*batch: Tensor) -> str:
    """A fingerprint of the values of a data set, whatever its dtype, device and the shape of one datum."""
    digest = sha256()
    for tensor in batch:
        digest.update(f"{len(tensor)}x{tensor[0].numel()};".encode())
        for rows in tensor.detach().reshape(len(tensor), -1).split(4096):
            digest.update(rows.double().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def scoring(pair: object, device: torch.device) -> Iterator[None]:
    """No gradients, no validation but that of :func:`check_scorable`, the pair's own parameters, evaluation mode, and random numbers that
    leave the caller's as they were.
    """
    keep_freed_memory()
    devices = [] if device.type == "cpu" else [device]
    random_state = torch.random.fork_rng(devices, device_type=_rng_type(device))
    with torch.no_grad(), pyro.validation_enabled(False), flushed_denormals(), param_scope(pair), eval_mode(pair), random_state:
        yield


def _rng_type(device: torch.device) -> str:
    return "cuda" if device.type == "cpu" else device.type


def check_scorable(pair: object, batch: tuple[Tensor, ...]) -> Structure:
    """Checks all data against the pair before any is scored.

    Raises:
        ValueError: As :func:`log_weights`.
    """
    for start in range(0, len(batch[0]), _CHECKED_ROWS):
        structure = check_pair(pair, *(x[start : start + _CHECKED_ROWS] for x in batch))
        if structure.refusal is not None:
            raise ValueError(structure.refusal)
    return structure


def _row_blocks(scorer: Scorer, batch: tuple[Tensor, ...], num_particles: int, seed: int) -> Iterator[Tensor]:
    """Log weights ``[K, R]`` of one block of rows after the other."""
    particles, _ = _block_shape(num_particles, batch[0].device)
    num_parts = len(range(0, num_particles, particles))
    for parts in _batched(scorer(_blocks(batch, num_particles, seed)), num_parts):
        yield torch.cat(parts)  # [K, R]


def _batched(values: Iterator[Tensor], count: int) -> Iterator[list[Tensor]]:
    """So many values at a time, fewer at the end."""
    while batch := list(islice(values, count)):
        yield batch


def _blocks(batch: tuple[Tensor, ...], num_particles: int, seed: int) -> Iterator[Block]:
    """For one block of rows after the other, its blocks of draws."""
    particles, rows = _block_shape(num_particles, batch[0].device)
    for index, start in enumerate(range(0, len(batch[0]), rows)):
        block, parts = tuple(x[start : start + rows].contiguous() for x in batch), range(0, num_particles, particles)
        seeds = [block_seed(seed, index, number) for number in range(len(parts))]  # at once: each between long operations takes far longer
        for done, own_seed in zip(parts, seeds):
            yield block, min(particles, num_particles - done), own_seed


def check_counts(**counts: int | None) -> None:
    """Checks that each count is a whole number of at least 1, or None."""
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be an integer of at least 1; got {value!r}.")


def _block_shape(num_particles: int, device: torch.device) -> tuple[int, int]:
    particles = even_part(num_particles, _BLOCK_PARTICLES)
    return particles, max(1, (_BLOCK_ROWS if device.type == "cpu" else _BLOCK_ROWS_ACCELERATOR) // particles)


def block_seed(*path: int) -> int:
    """A seed for the noise of one block, from the seed of the whole and the block's place."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> np.uint64(1))
