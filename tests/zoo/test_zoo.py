"""Every pair of the zoo is scored as by loops over single data and particles, or refused with a word of why."""

import pytest
import torch

from inference import evaluate, log_weights
from zoo.comparison import compare_estimates, compare_with_draws, compare_with_possible, possible_by_row, two_valued
from zoo.entries import REFUSED, SCORED
from zoo.reference import num_possible
from zoo.variants import Holder, modules_run, renamed

ROWS = [0, 3, 7]
ORDER = [7, 2, 4, 0, 6, 1, 3, 5]
QUIET = {"progress": False}
FLOAT32 = 1e-4  # relative; a wrong figure differs by far more


@pytest.mark.parametrize("name", SCORED)
def test_log_weights_are_those_of_loops(name):
    entry = SCORED[name]
    pair, batch = entry.pair(), entry.batch()
    few = batch if entry.whole else tuple(x[:8] for x in batch)
    if num_possible(two_valued(pair), few) > 32:
        compare_with_draws(pair, tuple(x[:4] for x in batch), num_particles=3, tolerance=FLOAT32, rows=[0, 3])
        return
    possible = possible_by_row(two_valued(pair), few, ROWS, whole=entry.whole)
    for options in ({"num_particles": 3}, {"num_particles": 7, "chunk_size": 5}, {"num_particles": 1}, {"num_particles": 1000}):
        compare_with_possible(two_valued(pair), few, possible, tolerance=FLOAT32, **options)
    for variant in (renamed(pair), Holder(pair)):
        compare_with_possible(two_valued(variant), few, possible, tolerance=FLOAT32, num_particles=3)
    if not entry.whole:
        compare_elsewhere(two_valued(pair), few, possible)
    if entry.double:
        compare_in_double(entry, few, possible)


def compare_elsewhere(pair, few, possible):
    """The same rows in another order, and in a batch of their own."""
    permuted = {ORDER.index(i): weights for i, weights in possible.items()}
    compare_with_possible(pair, tuple(x[ORDER] for x in few), permuted, tolerance=FLOAT32, num_particles=3)
    compare_with_possible(pair, tuple(x[7:] for x in few), {0: possible[7]}, tolerance=FLOAT32, num_particles=3)


def compare_in_double(entry, few, possible):
    pair = entry.pair()
    for module in modules_run(pair, few):
        module.double()
    doubles = tuple(x.double() if x.is_floating_point() else x for x in few)
    compare_with_possible(two_valued(pair), doubles, possible, tolerance=FLOAT32, num_particles=3)


@pytest.mark.parametrize("name", [name for name, entry in SCORED.items() if not entry.whole])
def test_estimates_are_those_of_loops(name):
    entry = SCORED[name]
    compare_estimates(entry.pair(), tuple(x[:9] for x in entry.batch()), row=8)


@pytest.mark.parametrize("name", REFUSED)
def test_a_pair_without_a_likelihood_per_datum_is_refused(name):
    pair, batch = REFUSED[name].pair(), REFUSED[name].batch()
    for score in (lambda: evaluate(pair, batch, **QUIET), lambda: log_weights(pair, *batch, num_particles=2)):
        with pytest.raises((ValueError, TypeError), match=REFUSED[name].refusal):
            score()


@pytest.mark.parametrize("name", ["closures", "mixture_of_features", "masked_by_a_handler"])
def test_compiled_figures_are_those_of_eager_ones(name):
    pair, batch = SCORED[name].pair(), SCORED[name].batch()
    eager, compiled = (evaluate(pair, batch, num_particles=500, compile=compile, **QUIET) for compile in (False, True))
    error = (eager.mc_error**2 + compiled.mc_error**2).sqrt()
    assert ((eager.log_px - compiled.log_px).abs() < 5 * error + 1e-4).all()
    assert torch.equal(eager.log_px, evaluate(pair, batch, num_particles=500, compile=False, **QUIET).log_px)
