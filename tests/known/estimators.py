"""The estimators of this library, by name: functions of a pair, its data and a seed."""

from functools import partial

from inference import evaluate

DRAWS = 1000


def score(pair, batch, seed, *, num_particles=DRAWS, **options):
    return evaluate(pair, batch, num_particles=num_particles, seed=seed, compile=False, progress=False, **options)


ESTIMATORS = {name: partial(score, proposal=name) for name in ("guide", "auto", "refined")}
ESTIMATORS["ais"] = partial(score, method="ais", num_particles=32, num_steps=25)
