"""The library's log weights against those of the plain scorer."""

import torch

from inference import evaluate, log_weights
from zoo.noise import Recorder, TwoValuedNoise, with_handler
from zoo.reference import estimate, log_weight, num_possible, plain_scoring, possible_log_weights


def one_row(batch, i):
    return tuple(tensor[i : i + 1] for tensor in batch)


def deviation(got, possible):
    """Return the largest distance of the weights ``[K]`` to the nearest of the possible ones ``[S]``, relative to their size."""
    scale = possible[possible.isfinite()].abs().max().clamp(min=1)
    distances = torch.where(got[:, None] == possible, 0.0, (got[:, None] - possible).abs())
    return float((distances.nan_to_num(nan=torch.inf).amin(1) / scale).max())


def two_valued(pair):
    return with_handler(pair, TwoValuedNoise())


def possible_by_row(pair, batch, rows, *, whole=False):
    """Return the possible log weights ``[S]`` of each of the rows of a pair whose guide has few draws."""
    if whole:
        return dict(zip(rows, possible_log_weights(pair, batch).T[rows], strict=True))
    return {i: possible_log_weights(pair, one_row(batch, i))[:, 0] for i in rows}


def compare_with_possible(pair, batch, possible, *, tolerance, **options):
    """Check that each weight is a possible one of its row, and, given enough draws, that none is rarer or more frequent than it should."""
    got = log_weights(pair, *batch, **options)
    assert got.shape == (options["num_particles"], len(batch[0])) and got.dtype == torch.float64
    for i, expected in possible.items():
        error = deviation(got[:, i], expected)
        assert error < tolerance, (
            f"row {i}: log weights differ by {error:.3g} (relative): {got[:4, i].tolist()}, not in {expected[:8].tolist()}"
        )
    return got


def compare_with_draws(pair, batch, *, num_particles, tolerance, rows):
    """Check the log weights against those at the draws that the guide made."""
    recorder = Recorder()
    recording = with_handler(pair, recorder)
    got = log_weights(recording, *batch, num_particles=num_particles, seed=0)
    draws = drawn(recorder, num_particles * len(batch[0]))
    with plain_scoring():
        for i in rows:
            possible = torch.cat([log_weight(pair, one_row(batch, i), latents) for latents in draws]).double()
            error = deviation(got[:, i], possible)
            assert error < tolerance, f"row {i}: log weights differ by {error:.3g} (relative) from those at all of the guide's draws"


def drawn(recorder, count):
    """Return the latents of one datum and particle each, from all runs that drew ``count`` of them."""
    found = []
    for run in recorder.runs:
        flat = {name: value.reshape(-1, 1, *fn.event_shape) for name, (fn, value) in run.items()}  # [K * B, 1, *E]
        if all(len(value) == count for value in flat.values()):
            found += [{name: value[j] for name, value in flat.items()} for j in range(count)]
    return found


def compare_estimates(pair, batch, *, row, num_particles=100):
    """Check an estimate of log p(x) within 5 standard errors, or the figure itself if only one is possible."""
    score = evaluate(pair, batch, num_particles=1000, seed=1, proposal="guide", compile=False, progress=False)
    if num_possible(pair, one_row(batch, row)) == 1:
        expected, error = possible_log_weights(pair, one_row(batch, row))[:, 0], torch.tensor([1e-5])
        assert score.num_particles == 1
    else:
        expected, error = estimate(pair, one_row(batch, row), num_particles)
    is_tame = error < 0.3 and not score.pareto_k[row] > 0.7
    if is_tame:  # otherwise a few large weights have not been drawn yet, and their standard error is too small
        z = float((score.log_px[row] - expected).abs() / (score.mc_error[row].nan_to_num() ** 2 + error**2).sqrt())
        assert z < 5, f"{float(score.log_px[row]):.4f}, not {float(expected):.4f}, {z:.1f} standard errors apart"
