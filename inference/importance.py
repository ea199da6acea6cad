"""Importance-sampled log-likelihoods with the guide as proposal: ``log_weights`` and ``evaluate``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

import numpy as np
import pyro
import torch
from torch import Tensor
from tqdm.auto import tqdm

from inference.densities import Layout, choose_layout, latents_of, log_density, run_guide, run_model
from inference.evaluation import Evaluation, curve_particles, reduce_log_weights
from inference.numerics import flushed_denormals
from pyro_lvm.contract import Structure, check_batch, check_pair
from pyro_lvm.pair import eval_mode, param_scope, programs

_BLOCK_PARTICLES = 256
_BLOCK_ROWS = {"cpu": 1024}  # what fits a core's cache; an accelerator wants many more
_BLOCK_ROWS_ACCELERATOR = 65536


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
        blocks = [log_w for _, log_w in _row_blocks(pair, batch, num_particles, seed, chunk_size)]
    return torch.cat(blocks, dim=1)  # [K, B]


def evaluate(
    pair: object,
    data: Tensor | Sequence[Tensor],
    *,
    num_particles: int = 1000,
    seed: int = 0,
    chunk_size: int | None = None,
    progress: bool = True,
) -> Evaluation:
    r"""Per-datum log-likelihood by importance sampling, with its error and reliability.

    .. math:: \log \hat p(x) = \log \frac{1}{K} \sum_{k=1}^K w_k

    whose expectation is at most log p(x) and rises with K. Memory does not grow with the number of data times K.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``.
        data: Observations ``[N, *X]``, or a tuple of tensors with these first.
        num_particles: Draws per datum, :math:`K`.
        seed: Seed of the draws.
        chunk_size: At most so many particles times data in one call of the model.
        progress: Whether to show a progress bar.

    Returns:
        An :class:`~inference.evaluation.Evaluation`, all in nats.

    Raises:
        ValueError: As :func:`log_weights`; also when a log weight is NaN.
    """
    batch = (data,) if isinstance(data, Tensor) else tuple(data)
    check_counts(num_particles=num_particles, chunk_size=chunk_size)
    size = check_batch(*batch)
    parts = []
    with scoring(pair, batch[0].device), tqdm(total=size, desc="evaluate", disable=not progress, leave=False) as bar:
        for structure, log_w in _row_blocks(pair, batch, num_particles, seed, chunk_size):
            parts.append(reduce_log_weights(log_w, is_bound=structure.is_deterministic))
            bar.update(log_w.shape[1])
    columns = {name: torch.cat([getattr(part, name) for part in parts], dim=-1) for name in parts[0]._fields}
    return Evaluation(
        **columns,
        curve_particles=curve_particles(num_particles),
        num_particles=num_particles,
        seed=seed,
        measure=structure.measure,
        data_id=data_id(*batch),
        is_bound=num_particles == 1 or structure.is_deterministic,
        num_dims=batch[0][0].numel(),
    )


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
    """No gradients, the pair's own parameters, evaluation mode, and random numbers that leave the caller's as they were."""
    devices = [] if device.type == "cpu" else [device]
    random_state = torch.random.fork_rng(devices, device_type=_rng_type(device))
    with torch.no_grad(), flushed_denormals(), param_scope(pair), eval_mode(pair), random_state:
        yield


def _rng_type(device: torch.device) -> str:
    return "cuda" if device.type == "cpu" else device.type


def _row_blocks(
    pair: object, batch: tuple[Tensor, ...], num_particles: int, seed: int, chunk_size: int | None
) -> Iterator[tuple[Structure, Tensor]]:
    """Structure, and log weights ``[K, R]``, of one block of rows after the other."""
    particles, rows = _block_shape(num_particles, batch[0].device)
    layout = None
    for index, start in enumerate(range(0, len(batch[0]), rows)):
        block = tuple(x[start : start + rows] for x in batch)
        structure = check_pair(pair, *block)
        if structure.refusal is not None:
            raise ValueError(structure.refusal)
        layout = layout or choose_layout(pair, batch)
        with pyro.validation_enabled(False):
            parts = []
            for number, done in enumerate(range(0, num_particles, particles)):
                torch.manual_seed(block_seed(seed, index, number))
                parts.append(_block(pair, block, min(particles, num_particles - done), layout, chunk_size))
        yield structure, torch.cat(parts)  # [K, R]


def check_counts(**counts: int | None) -> None:
    """Checks that each count is a whole number of at least 1, or None."""
    for name, value in counts.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be an integer of at least 1; got {value!r}.")


def _block_shape(num_particles: int, device: torch.device) -> tuple[int, int]:
    particles = min(num_particles, _BLOCK_PARTICLES)
    return particles, max(1, _BLOCK_ROWS.get(device.type, _BLOCK_ROWS_ACCELERATOR) // particles)


def block_seed(*path: int) -> int:
    """A seed for the noise of one block, from the seed of the whole and the block's place."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _block(pair: object, batch: tuple[Tensor, ...], num_particles: int, layout: Layout, chunk_size: int | None) -> Tensor:
    """Log weights ``[K, B]`` of one block of noise; the model sees it in chunks."""
    model, guide = programs(pair)
    size = len(batch[0])
    trace = run_guide(guide, batch, num_particles, layout)
    log_q = log_density(trace, num_particles, size, layout)  # [K, B]
    latents = latents_of(trace, num_particles, size, layout)
    log_p = torch.empty_like(log_q, dtype=torch.float64)
    rows = size if chunk_size is None else min(size, chunk_size)
    particles = num_particles if chunk_size is None else max(1, chunk_size // rows)
    for i in range(0, size, rows):
        part = tuple(x[i : i + rows] for x in batch)
        for k in range(0, num_particles, particles):
            z = {name: value[k : k + particles, i : i + rows] for name, value in latents.items()}
            count = min(particles, num_particles - k)
            trace = run_model(model, part, z, count, layout)
            log_p[k : k + count, i : i + rows] = log_density(trace, count, len(part[0]), layout)
    return log_p - log_q
