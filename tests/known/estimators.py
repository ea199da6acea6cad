"""The estimators of this library, by name: functions of a pair, its data and a seed."""

from functools import partial
import inspect

from inference import evaluate

OPTIONS = inspect.signature(evaluate).parameters
DRAWS = 1000


def score(pair, batch, seed, *, num_particles=DRAWS, **options):
    return evaluate(pair, batch, num_particles=num_particles, seed=seed, compile=False, progress=False, **options)


BY_GUIDE = {"proposal": "guide"} if "proposal" in OPTIONS else {}
ESTIMATORS = {"guide": partial(score, **BY_GUIDE)}
if "proposal" in OPTIONS:
    ESTIMATORS |= {name: partial(score, proposal=name) for name in ("auto", "refined")}
if "method" in OPTIONS:
    ESTIMATORS["ais"] = partial(score, method="ais", num_particles=32, num_steps=25)
