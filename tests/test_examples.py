"""The programs of docs/examples run, alone and as pairs of the shell, and their figures are those of independent calculations."""

from functools import partial
import importlib.util
from inspect import signature
from itertools import product
from pathlib import Path
import re

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
import pandas as pd
from pyro import poutine
import pytest
from scipy import stats
from scipy.special import gammaln, logsumexp
from shell import say
from sklearn.metrics import mutual_info_score
import torch

from inference import evaluate, fit, load_run

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
SIZES = ("num_series", "num_documents", "num_cells", "num_people")
GRAY = "--data.binarize null"
SHELL = {
    "deep_markov": f"--data.shape [8,8] --data.dequantize true {GRAY} --pair.linear true",
    "topics": f"{GRAY} --pair.prior logistic-normal --pair.product true",
    "single_cells": f"{GRAY} --pair.zero_inflation false",
    "disentanglement": "--pair.latent_dim 3 --fit.kl_weight 4",
    "semi_supervised": "--pair.latent_dim 3",
    "not_at_random": f"{GRAY} --pair.latent_dim 3 --pair.reason either --fit.objective iwae",
}


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_within_error(score, exact, *, least=1e-6):
    """Each datum within five errors of its draws, and the mean as well."""
    difference = score.log_px.double() - torch.as_tensor(exact)
    assert (difference.abs() <= 5 * score.mc_error + least).all()
    assert difference.mean().abs() <= 5 * score.mc_error.square().sum().sqrt() / len(difference) + least


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, monkeypatch, capsys):
    module = example(name)
    monkeypatch.setattr(module, "fit", lambda *args, epochs, **options: fit(*args, epochs=1, **options))
    monkeypatch.setattr(module, "evaluate", lambda *args, num_particles=20, **options: evaluate(*args, num_particles=20, **options))
    if hasattr(module, "simulate"):
        monkeypatch.setattr(
            module, "simulate", partial(module.simulate, **{name: 120 for name in signature(module.simulate).parameters if name in SIZES})
        )
    module.main(**({"betas": (2.0,), "num_seeds": 2} if name == "disentanglement" else {}))
    assert re.search(r"log_px|log p\(x\)", capsys.readouterr().out)
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) < 120


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_pair_of_the_shell(name, capsys, tmp_path):
    run = tmp_path / name
    say(capsys, f"train --pair {FOLDER}/{name}.py:make_pair {SHELL[name]} --fit.epochs 1 --fit.batch_size 400 --out {{}}", run)
    assert "log p(x)" in say(capsys, "evaluate {} --num_particles 5", run)
    history = load_run(run).history
    assert name != "disentanglement" or (history["kl_weight"] == 4).all()


def test_the_index_has_every_example():
    text = (FOLDER / "README.md").read_text()
    assert all(f"[{name}.py]({name}.py)" in text for name in EXAMPLES) and set(SHELL) == set(EXAMPLES)


def joint_log_density(pair, x):
    """log p(x) of a linear deep Markov model: all of x is one normal vector, whose covariance is put together time by time."""
    w = {name: value.detach().numpy() for name, value in pair.named_parameters()}
    step, emission, steps = w["transition.weight"], w["emission.weight"], x.shape[1]
    noise = np.diag(np.exp(2 * w["log_scales.noise"]))
    means, spreads = [w["first"]], [np.diag(np.exp(2 * w["log_scales.first"]))]
    for _ in range(steps - 1):
        means.append(step @ means[-1] + w["transition.bias"])
        spreads.append(step @ spreads[-1] @ step.T + np.diag(np.exp(2 * w["log_scales.step"])))
    blocks = [[None] * steps for _ in range(steps)]
    for s, t in product(range(steps), repeat=2):
        latent = np.linalg.matrix_power(step, max(t - s, 0)) @ spreads[min(s, t)] @ np.linalg.matrix_power(step, max(s - t, 0)).T
        blocks[t][s] = emission @ latent @ emission.T + (noise if s == t else 0)
    mean = np.concatenate([emission @ mean + w["emission.bias"] for mean in means])
    return stats.multivariate_normal(mean, np.block(blocks)).logpdf(x.flatten(1).numpy())


def test_a_linear_deep_markov_model_has_the_likelihood_of_the_kalman_filter(double):
    module = example("deep_markov")
    data = module.simulate(150, 5)
    torch.manual_seed(0)
    pair, x = module.make_pair(data, linear=True, hidden=8), data.test.double()
    scores = []
    for epochs in (1, 25):
        fit(pair, data.train.double(), epochs=epochs, batch_size=20, learning_rate=2e-2, progress=False)
        exact = module.kalman_filter(pair, x)
        np.testing.assert_allclose(exact, joint_log_density(pair, x), rtol=1e-10)
        scores.append(evaluate(pair, x, num_particles=400, proposal="refined", progress=False))
        assert_within_error(scores[-1], exact)
    assert scores[1].elbo.mean() > scores[0].elbo.mean() + 1


def counts_of(documents, num_words):
    return torch.stack([torch.bincount(torch.tensor(words), minlength=num_words) for words in documents]).double()


def log_p_by_assignments(words, topics, concentration):
    """log p of words in their order under LDA with two topics: the sum over all assignments of words to topics."""
    terms = []
    for topic in product(range(2), repeat=len(words)):
        counts = np.bincount(topic, minlength=2)
        log_polya = gammaln(2 * concentration) - gammaln(len(words) + 2 * concentration)
        log_polya += (gammaln(counts + concentration) - gammaln(concentration)).sum()
        terms.append(log_polya + np.log(topics[words, topic]).sum())
    return logsumexp(terms)


def log_p_by_quadrature(words, probs, scale):
    """The same under a logistic-normal prior of two shares, whose logit is N(0, 2 scale^2); ``probs`` are those of words given theta."""
    nodes, weights = hermegauss(80)
    theta = 1 / (1 + np.exp(-(2**0.5) * scale * nodes))
    log_p = np.log(probs(np.stack([theta, 1 - theta], -1))[:, words]).sum(-1)
    return logsumexp(log_p + np.log(weights / weights.sum()))


def softmax(logits, axis):
    return np.exp(logits - logsumexp(logits, axis, keepdims=True))


@pytest.mark.parametrize(("prior", "product"), [("dirichlet", False), ("logistic-normal", False), ("logistic-normal", True)])
def test_perplexity_of_a_topic_model_is_that_of_the_sum_over_topics(prior, product, double):
    module = example("topics")
    documents = [[0, 1, 1, 3], [2, 2, 2, 0, 4], [4], [3, 3, 0, 1, 2, 2]]
    counts = counts_of(documents, 5)
    torch.manual_seed(0)
    data = module.Data("words", "four documents", counts, counts, counts)
    options = {"latent_dim": 2, "prior": prior, "product": product, "concentration": 0.8, "scale": 1.3}
    pair = module.make_pair(data, **options)
    fit(pair, counts, epochs=30, learning_rate=0.1, progress=False)
    beta = pair.param_store["topics$$$weight"].detach().numpy()  # [V, K]
    topics = softmax(beta, 0)
    mixed = (lambda theta: softmax(theta @ beta.T, -1)) if product else (lambda theta: theta @ topics.T)
    if prior == "dirichlet":
        exact = np.array([log_p_by_assignments(words, topics, 0.8) for words in documents])
    else:
        exact = np.array([log_p_by_quadrature(words, mixed, 1.3) for words in documents])
    orders = module.log_coefficient(counts)
    np.testing.assert_allclose(orders.exp(), [12, 20, 1, 180])
    score = evaluate(pair, counts, num_particles=4000, progress=False)
    assert_within_error(score, exact + orders.numpy())
    value, error = module.perplexity(score, counts)
    assert value == pytest.approx(np.exp(-exact.sum() / 16), abs=0.02) and 0 < error < value


def test_the_error_of_a_perplexity_is_that_over_documents():
    """The spread of the perplexities of many samples of documents of one word, under one topic."""
    module, draw = example("topics"), np.random.default_rng(0)
    lengths = 1 + draw.poisson(5, size=(400, 200))
    log_p = np.log(0.2) * draw.binomial(lengths, 0.5) + np.log(0.05) * lengths
    perplexities = np.exp(-log_p.sum(1) / lengths.sum(1))
    counts = torch.tensor(lengths[0])[:, None].double()
    score = type("Score", (), {"log_px": torch.tensor(log_p[0]), "mc_error": torch.zeros(200)})
    assert module.perplexity(score, counts)[1] == pytest.approx(perplexities.std(), rel=0.2)


def test_cells_are_scored_as_by_a_sum_over_states_and_sizes(double):
    module = example("single_cells")
    torch.manual_seed(0)
    data = module.simulate(0.3, 60)
    x = data.test[:, :4].double()
    pair = module.make_pair(module.Data("cells", "four genes", x, x, x), latent_dim=1, hidden=4)
    nodes, weights = hermegauss(60)
    z, s = (torch.tensor(grid).flatten() for grid in np.meshgrid(nodes, nodes))
    log_weight = np.log(np.outer(weights, weights) / weights.sum() ** 2).flatten()
    with torch.no_grad():
        p = pair.likelihood(torch.stack([z, pair.loc + pair.log_scale.exp() * s], -1))
        exact = logsumexp(p.log_prob(x[:, None]).numpy() + log_weight, -1)
    assert_within_error(evaluate(pair, x, num_particles=4000, progress=False), exact, least=1e-3)


@pytest.mark.parametrize("gate", [0.4, 0.0])
def test_zero_inflation_is_found_where_it_is(gate):
    module = example("single_cells")
    data, scores = module.simulate(gate, 600), {}
    for is_inflated in (False, True):
        torch.manual_seed(0)
        pair = module.make_pair(data, zero_inflation=is_inflated)
        fit(pair, data, epochs=25, learning_rate=3e-2, progress=False)
        scores[str(is_inflated)] = evaluate(pair, data, num_particles=100, progress=False)
    gain = scores["True"].log_px - scores["False"].log_px
    error = gain.std() / len(gain) ** 0.5
    assert (gain.mean() > 5 * error) == (gate > 0)
    assert pair.likelihood.gate.mean().item() == pytest.approx(gate, abs=0.1)


def test_informations_are_those_of_scikit_learn(double):
    """Latents that know a factor, a part of it, and nothing; scikit-learn's figure is of codes in a hundred bins."""
    module = example("disentanglement")
    _, factors = module.images()
    x, size = factors[:, 1], factors[:, 2]
    loc = torch.tensor(np.stack([x, size / 2, 0 * x], -1)).double()
    scale = torch.tensor([0.01, 0.7, 1.0]).expand(len(x), 3).double()
    draw = torch.Generator().manual_seed(0)
    z = loc + scale * torch.randn(300, *loc.shape, generator=draw, dtype=torch.float64)
    for factor in (x, size):
        own = module.informations(loc, scale, z[:60], factor).numpy()
        binned = [np.digitize(codes.flatten(), np.linspace(codes.min(), codes.max(), 100)) for codes in z.numpy().transpose(2, 0, 1)]
        np.testing.assert_allclose(own, [mutual_info_score(np.tile(factor, 300), codes) for codes in binned], atol=0.02)
    assert module.gap(module.informations(loc, scale, z[:60], x), x) == pytest.approx(1, abs=0.01)


def test_a_weight_of_the_kl_lowers_what_codes_know():
    module, known = example("disentanglement"), []
    data, factors = module.images()
    for beta in (0.1, 8.0):
        torch.manual_seed(0)
        pair = module.make_pair(data)
        fit(pair, data.train, kl_weight=beta, epochs=60, batch_size=26, learning_rate=1e-2, progress=False)
        with torch.no_grad():
            q = pair.encoder(data.train).base_dist
            known.append(module.informations(q.loc, q.scale, q.sample((20,)), factors[:, 0]).max())
        assert 0 <= module.mutual_information_gap(pair, data.train, factors, num_draws=5) <= 1
    assert known[0] > 0.2 > 0.05 > known[1]


def test_labels_are_summed_out_as_by_hand(double):
    module = example("semi_supervised")
    torch.manual_seed(0)
    x = (torch.rand(6, 5) < 0.5).double()
    pair = module.make_pair(module.Data("bits", "five bits", x, x, x), latent_dim=1, hidden=6, classes=3)
    nodes, weights = hermegauss(40)
    log_weight = torch.tensor(np.log(weights / weights.sum()) + nodes**2 / 2 + 0.5 * np.log(2 * np.pi))  # of p(z) in the model
    rows, z = x.repeat_interleave(40, 0), torch.tensor(nodes).repeat(6)[:, None]
    exact = []
    for label in torch.eye(3):
        model = poutine.block(poutine.condition(pair.model, {"z": z}), hide=["classifier"])
        trace = poutine.trace(model).get_trace(rows, label.expand(240, 3))
        trace.compute_log_prob()
        terms = sum(trace.nodes[name]["log_prob"] for name in ("z", "y", "x"))
        exact.append((terms.reshape(6, 40) + log_weight).logsumexp(-1))
    exact = torch.stack(exact).detach()  # log p(x, y), [3, 6]
    assert_within_error(evaluate(pair, x, num_particles=4000, progress=False), exact.logsumexp(0))
    np.testing.assert_allclose(module.joint(pair, x, classes=3, num_particles=4000), exact, atol=0.05)


@pytest.mark.parametrize("reason", ["larger", "either", "none"])
def test_rows_with_gaps_are_scored_and_imputed_as_by_quadrature(reason, double):
    """Over z, and over each missing cell given z."""
    module = example("not_at_random")
    torch.manual_seed(0)
    x = torch.randn(6, 3)
    x[0, 0], x[1, :2], x[2, 1:] = torch.nan, torch.nan, torch.nan
    pair = module.make_pair(module.Data("table", "three columns", x, x, x), latent_dim=1, hidden=6, reason=reason)
    pair.slope.data, pair.middle.data = torch.tensor([1.5, -0.7, 2.0]), torch.tensor([0.2, 0.0, -0.5])
    nodes, weights = (torch.tensor(values) for values in hermegauss(60))
    weights /= weights.sum()
    gaps = x.isnan()[:, None]  # [6, 1, 3]
    with torch.no_grad():
        cells = pair.cells(nodes[:, None])
        values = cells.loc + cells.scale * nodes[:, None, None]  # of missing cells, [60, 60, 3]
        told = torch.ones(60, 60, 3) * 0.5 if reason == "none" else pair.is_told(values).probs
        is_told = torch.ones(6, 3) * 0.5 if reason == "none" else pair.is_told(x.nan_to_num()).probs
        missing = weights[:, None, None] * (1 - told)
        means = (missing * values).sum(0) / missing.sum(0)  # of missing cells given z, [60, 3]
        log_p = torch.where(gaps, missing.sum(0).log(), cells.log_prob(x.nan_to_num()[:, None]) + is_told.log()[:, None])  # [6, 60, 3]
    log_joint = log_p.sum(-1) + weights.log()
    exact = log_joint.logsumexp(-1) + (3 * np.log(2) if reason == "none" else 0.0)
    assert_within_error(evaluate(pair, x, num_particles=4000, progress=False), exact)
    drawn = module.impute(pair, x, site="missing", num_draws=4000, num_particles=8000, seed=0)
    expected = log_joint.softmax(-1) @ means  # [6, 3]
    spread = drawn.draws.std(0) * (1 / 4000 + 1 / drawn.ess[:, None]).sqrt()
    assert not drawn.is_poor.any() and ((drawn.mean - expected).abs() <= 5 * spread)[x.isnan()].all()
    assert torch.equal(drawn.draws[:, ~x.isnan()], x[~x.isnan()].expand(4000, -1))


def test_the_shell_fills_in_cells_that_are_missing_for_a_reason(capsys, tmp_path):
    data, _ = example("not_at_random").simulate(100)
    table = pd.DataFrame(data.train.numpy(), columns=list("abcde")).round(3)
    table.to_csv(tmp_path / "gaps.csv", index=False)
    options = f"--pair {FOLDER}/not_at_random.py:make_pair --pair.latent_dim 2 --pair.hidden 8 --fit.epochs 1 --fit.batch_size 50"
    say(capsys, f"train {options} --data.source {{}} --out {{}}", tmp_path / "gaps.csv", tmp_path / "run")
    options = "--site missing --draws 20 --num_particles 100"
    say(capsys, f"impute {{}} --data.source {{}} --out {{}} {options}", tmp_path / "run", tmp_path / "gaps.csv", tmp_path / "filled.csv")
    filled = pd.read_csv(tmp_path / "filled.csv").groupby("row")[list("abcde")].mean()
    assert not filled.isna().any(axis=None) and np.allclose(filled.to_numpy()[table.notna()], table.to_numpy()[table.notna()])
    assert filled["a"][table["a"].isna()].mean() > table["a"].mean()  # larger values are the missing ones
