"""Several processes that score and diagnose together: their figures are those of one process, to the last bit."""

from dataclasses import fields

from fits import linear_vae
import pytest
from together import together
import torch

from inference import bidirectional, diagnose, evaluate

X = torch.randn(60, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
QUIET = {"seed": 1, "progress": False}
FIGURES = {
    "guide": lambda pair: evaluate(pair, X, num_particles=40, proposal="guide", **QUIET),
    "refined": lambda pair: evaluate(pair, X, num_particles=100, proposal="refined", **QUIET),
    "ais": lambda pair: evaluate(pair, X[:30], method="ais", num_particles=2, num_steps=3, **QUIET),
    "bidirectional": lambda pair: bidirectional(pair, X[:20], num_particles=2, num_steps=3, **QUIET),
    "diagnosis": lambda pair: diagnose(pair, X, num_draws=50, quantile=0.05, **QUIET),
}


def values(result):
    return {field.name: getattr(result, field.name) for field in fields(result)}


def written(value):
    """A value to the last bit, as text."""
    return repr(value.tolist() if isinstance(value, torch.Tensor) else value)


def all_figures():
    pair = linear_vae()
    return {name: values(figures(pair)) for name, figures in FIGURES.items()} | {"error": refusal(pair)}


def refusal(pair):
    """The error of a score of data of which only those of the second process are wrong."""
    x = X.clone()
    x[40:] = 1e200
    try:
        evaluate(pair, x, num_particles=500, proposal="guide", chunk_size=500, **QUIET)
    except ValueError as error:
        return str(error)


@pytest.fixture(scope="module")
def two():
    return together(all_figures)


@pytest.mark.parametrize("name", FIGURES)
def test_two_processes_have_the_figures_of_one(two, name):
    expected = values(FIGURES[name](linear_vae()))
    for process in two:
        assert {name: written(value) for name, value in process[name].items()} == {name: written(value) for name, value in expected.items()}


def test_an_error_of_one_is_raised_by_all(two):
    assert two[0]["error"] == two[1]["error"] == refusal(linear_vae())
