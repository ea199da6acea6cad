"""Counts with default options: heavy tails, independent columns as yardstick, totals that are given."""

from dataclasses import replace

from drawn import SMALL
import numpy as np
import pytest
from scipy import stats
import torch

from inference import evaluate, load_data
from inference.comparison.table import compare
from inference.data.load import Data
from inference.recipes.build import build_model, fit_pair
from inference.recipes.combinations import check_given
from inference.recipes.options import fit_options, model_options
from inference.recipes.registries import LIKELIHOODS
import pyro_lvm as lvm

COUNTS = [name for name in LIKELIHOODS if LIKELIHOODS[name].facts["is_counts"]]
GIVEN = {"structure": "conditional", "offset": "total"}


def heavy_counts(**words: object) -> Data:
    """Counts ``[400, 12]`` up to thousands, which depend on two latents and a length that differs by orders of magnitude."""
    draw = np.random.default_rng(0)
    z, weights = draw.normal(size=(400, 2)), 1.2 * draw.normal(size=(2, 12))
    rates = np.exp(z @ weights + 1.2 * draw.normal(size=(400, 1)) + draw.uniform(-1, 3, 12))
    return load_data((draw.poisson(rates) + 1).astype(np.float32), test_fraction=0.25, **words)  # type: ignore[arg-type]


def model_of(data: Data, options: object) -> object:
    train, *given = data.batch("train")
    return build_model(options, train, given, [data.num_categories.get(name) for name in data.given], names=list(data.given))  # type: ignore[arg-type]


@pytest.mark.parametrize("likelihood", COUNTS)
def test_default_options_beat_independent_columns(likelihood: str) -> None:
    data = heavy_counts()
    assert data.train.max() > 1000
    pair = model_of(data, model_options()(likelihood=likelihood, hidden=(32,)))
    fit_pair(pair, data, fit_options()(epochs=25), progress=False)
    score = evaluate(pair, data.test, num_particles=50, progress=False)
    assert score.mean > without_latents(likelihood, data.train.numpy(), data.test.numpy()).mean()


def without_latents(likelihood: str, train: np.ndarray, x: np.ndarray) -> np.ndarray:
    """log p(x) of independent columns, or of one multinomial with its total, by their moments."""
    if likelihood == "poisson":
        return stats.poisson.logpmf(x, train.mean(0)).sum(1)
    if likelihood == "multinomial":
        n, shares = x.sum(1).astype(float), train.sum(0, dtype=float) / train.sum(dtype=float)
        return negative_binomial(train.sum(1), n) + stats.multinomial.logpmf(x, n, shares)
    return negative_binomial(train, x).sum(1)


def negative_binomial(train: np.ndarray, x: np.ndarray) -> np.ndarray:
    mean, variance = train.mean(0, dtype=float), train.var(0, dtype=float)
    return stats.nbinom.logpmf(x, mean**2 / (variance - mean), mean / variance)


def test_encoders_see_logarithms_of_counts_and_of_totals() -> None:
    data = heavy_counts(condition="total")
    pair = model_of(data, replace(SMALL, likelihood="poisson", **GIVEN))
    layers = [module for module in pair.modules() if type(module) is lvm.LogCounts]  # type: ignore[attr-defined]
    assert {tuple(layer.loc.shape) for layer in layers} == {(12,), (1,)}


@pytest.mark.parametrize("likelihood", COUNTS)
def test_figures_with_an_offset_are_given_the_total(likelihood: str) -> None:
    data = heavy_counts(condition="total")
    x, total = data.batch("test")
    pair = model_of(data, replace(SMALL, likelihood=likelihood, hidden=(), **GIVEN)).double()  # type: ignore[attr-defined]
    for parameter in pair.likelihood.network.parameters():
        if parameter.dim() == 2:
            torch.nn.init.zeros_(parameter)  # so that x does not depend on z, and its shares are those of all training data
    shares = ((data.train.sum(0) + 1) / data.train.sum()).double()
    n, rates = total[:, 0].double(), total.double() * shares
    expected = {
        "poisson": lambda: stats.poisson.logpmf(x, rates).sum(1),
        "negative-binomial": lambda: stats.nbinom.logpmf(x, 1, 1 / (1 + rates)).sum(1),
        "zero-inflated-negative-binomial": lambda: (np.log(0.9) + stats.nbinom.logpmf(x, 1, 1 / (1 + rates))).sum(1),  # there are no zeros
        "multinomial": lambda: stats.multinomial.logpmf(x.double().numpy(), n.numpy(), (shares / shares.sum()).numpy()),
    }[likelihood]()
    score = evaluate(pair, (x.double(), total.double()), num_particles=200, progress=False)
    error = 5 * score.mc_error + 1e-4  # of the part of z, whose guide is not its prior
    assert ((score.log_px - torch.as_tensor(expected)).abs() <= error).all()
    plain = evaluate(build_model(replace(SMALL, likelihood="poisson"), data.train), x, num_particles=10, progress=False)
    assert "such as labels or totals" in str(compare({"given": score, "plain": plain}))


def test_offsets_that_are_none_are_refused() -> None:
    data = heavy_counts(condition="total")
    train, total = data.batch("train")
    options = replace(SMALL, likelihood="multinomial", **GIVEN)
    with pytest.raises(ValueError, match="offset must name a condition, of which there are none; got 'total'. Give data.condition total"):
        build_model(replace(options, structure="flat"), train)
    with pytest.raises(ValueError, match="must be the total of each row; got 'total'"):
        build_model(options, train, [total + 1], [None], names=["total"])
    with pytest.raises(ValueError, match="offset 'total' must be one positive number for each row"):
        build_model(options, train, [total * 0], [None], names=["total"])
    with pytest.raises(ValueError, match="takes nothing besides the data"):
        check_given(replace(options, structure="flat"), 1)
