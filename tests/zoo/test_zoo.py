"""Every pair of the zoo is scored as by loops over single data and particles, or refused with a word of why."""

import pytest

from inference import evaluate, log_weights
from zoo.comparison import compare_estimates, compare_with_draws, compare_with_possible, possible_by_row, two_valued
from zoo.entries import REFUSED, SCORED
from zoo.reference import num_possible

ROWS = [0, 3, 7]
QUIET = {"progress": False}


@pytest.mark.parametrize("name", SCORED)
def test_log_weights_are_those_of_loops(name):
    entry = SCORED[name]
    pair, batch = entry.pair(), entry.batch()
    few = batch if entry.whole else tuple(x[:8] for x in batch)
    if num_possible(two_valued(pair), few) > 32:
        compare_with_draws(pair, tuple(x[:4] for x in batch), num_particles=3, tolerance=1e-4, rows=[0, 3])
        return
    pair = two_valued(pair)
    possible = possible_by_row(pair, few, ROWS, whole=entry.whole)
    for options in ({"num_particles": 3}, {"num_particles": 7, "chunk_size": 5}, {"num_particles": 1}, {"num_particles": 1000}):
        compare_with_possible(pair, few, possible, tolerance=1e-4, seed=0, **options)


@pytest.mark.parametrize("name", [name for name, entry in SCORED.items() if not entry.whole])
def test_estimates_are_those_of_loops(name):
    entry = SCORED[name]
    compare_estimates(entry.pair(), tuple(x[:9] for x in entry.batch()), rows=[8], num_particles=120)


@pytest.mark.parametrize("name", REFUSED)
def test_a_pair_without_a_likelihood_per_datum_is_refused(name):
    entry = REFUSED[name]
    for score in (
        lambda: evaluate(entry.pair(), entry.batch(), **QUIET),
        lambda: log_weights(entry.pair(), *entry.batch(), num_particles=2),
    ):
        with pytest.raises((ValueError, TypeError), match=entry.refusal):
            score()
