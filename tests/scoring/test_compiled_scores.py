"""Traced scores against the eager ones, on the same noise, in one thread and in several."""

import threading

from pairs import STEPS, Reads, binary, enumerated, make_vae
import pyro
from pyro.infer import TraceEnum_ELBO
import pytest
import torch
from torch import nn

from inference import evaluate, fit
from inference.scoring import scorer
import pyro_lvm as lvm

pytestmark = pytest.mark.usefixtures("double")

SCORES = {
    name: STEPS[name][0]
    for name in (
        *("standard", "mixture", "vamp", "maf", "iaf", "full-rank", "plain functions", "score function", "batch norm"),
        *("hierarchy", "ladder", "stacked", "laplace", "student-t", "dirichlet", "logistic-normal", "sphere"),
    )
} | {"enumerated": enumerated}


@pytest.mark.parametrize("name", SCORES)
def test_traced_scores_are_the_eager_ones(name, interpreted):
    pair = SCORES[name]()
    fit(pair, binary(), epochs=1, progress=False, elbo=TraceEnum_ELBO(max_plate_nesting=1) if name == "enumerated" else None)
    expected, got = (evaluate(pair, binary(), num_particles=60, compile=c, progress=False) for c in (False, True))
    torch.testing.assert_close(got.log_px, expected.log_px, rtol=0, atol=1e-10)
    torch.testing.assert_close(got.ess, expected.ess, rtol=1e-9, atol=0)


def test_scores_follow_changed_parameters(interpreted):
    vae = make_vae("vamp")
    options = {"num_particles": 20, "progress": False, "compile": True}
    before = evaluate(vae, binary(), **options)
    with torch.no_grad():
        vae.prior.pseudo_inputs.add_(0.5)
    after, expected = evaluate(vae, binary(), **options), evaluate(vae, binary(), **options | {"compile": False})
    assert (before.log_px - after.log_px).abs().max() > 1e-6
    torch.testing.assert_close(after.log_px, expected.log_px, rtol=0, atol=1e-10)


def test_scores_of_what_cannot_be_compiled(interpreted, monkeypatch):
    vae = make_vae(layers=Reads())
    with pytest.raises(ValueError, match="compile=True.*value is read"):
        evaluate(vae, binary(), num_particles=5, compile=True, progress=False)
    monkeypatch.setattr("inference.scoring.proposals.guided.EARNS_BACK", 1)
    with pytest.warns(UserWarning, match="evaluate runs without compiled programs.*value is read"):
        got = evaluate(vae, binary(), num_particles=5, progress=False)
    assert got.log_px.tolist() == evaluate(vae, binary(), num_particles=5, compile=False, progress=False).log_px.tolist()


def through_memory(y):
    """Read values in a way that tracing cannot see."""
    return torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(y))


@pytest.mark.parametrize("place", ["model", "guide"])
def test_sorted_data_do_not_hide_what_a_graph_fixes(place, interpreted):
    """All labels of the first block are alike."""
    shifts, labels = torch.tensor([0.0, 3.0]), torch.arange(4000) // 2000
    x = shifts[labels] + torch.randn(4000, generator=torch.Generator().manual_seed(0))

    def loc(y, part):
        return shifts[through_memory(y) if part == place else y]

    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", pyro.distributions.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", pyro.distributions.Normal(z + loc(y, "model"), 1.0), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Normal((x - loc(y, "guide")) / 2, 0.5**0.5))

    with pytest.raises(ValueError, match=f"the {place} differs by"):
        evaluate(lvm.Pair(model, guide), (x, labels), num_particles=64, compile=True, progress=False)


@pytest.mark.parametrize("error", [KeyError, TypeError, NotImplementedError])
def test_a_compiler_that_fails_is_said_in_one_warning(error, monkeypatch):
    def fails(*_):
        raise error("a compiler's fault")

    monkeypatch.setattr("inference.scoring.compiled.compile_graph", fails)
    monkeypatch.setattr("inference.scoring.proposals.guided.EARNS_BACK", 1)
    with pytest.warns(UserWarning, match="evaluate runs without compiled programs: .*a compiler's fault") as warned:
        evaluate(make_vae(), binary(), num_particles=5, progress=False)
    assert len(warned) == 1


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["full", "bf16"])
@pytest.mark.parametrize("chunk_size", [None, 101])
def test_workers_score_as_one_thread_does(precision, chunk_size, interpreted, two_threads):
    """Five whole blocks of rows and a smaller one, two blocks of draws each; with chunks of 101 some are smaller too, hence eager."""
    vae, x = make_vae("mixture"), binary()[:23]
    options = {"num_particles": 2000, "chunk_size": chunk_size, "precision": precision, "progress": False}
    torch.manual_seed(1)
    got = evaluate(vae, x, compile=True, **options)
    assert torch.get_num_threads() == 2 and torch.initial_seed() == 1
    expected = evaluate(vae, x, compile=False, **options)
    torch.testing.assert_close(got.log_px, expected.log_px, rtol=0, atol=1e-10)
    torch.testing.assert_close(got.pareto_k, expected.pareto_k, rtol=1e-6, atol=1e-9)


class DeclaresMoreData(nn.Module):
    """A plate of more data than a batch has makes Pyro draw which; and a model may draw for itself."""

    def __init__(self, draws):
        super().__init__()
        self.vae, self.draws = make_vae(), draws

    def model(self, x):
        with pyro.plate("data", 1000, subsample_size=len(x)):
            z = pyro.sample("z", self.vae.prior())
            noise = torch.rand_like(z) if self.draws else 0.0
            pyro.sample("x", self.vae.likelihood(z + 1e-12 * noise), obs=x)

    def guide(self, x):
        with pyro.plate("data", 1000, subsample_size=len(x)):
            pyro.sample("z", self.vae.encoder(x))


@pytest.mark.parametrize("draws", [False, True])
def test_a_model_that_draws_has_no_workers(draws, interpreted, two_threads, monkeypatch):
    threads = set()
    original = scorer.Scorer.log_weights
    monkeypatch.setattr(scorer.Scorer, "log_weights", lambda *args: threads.add(threading.current_thread()) or original(*args))
    pair, x = DeclaresMoreData(draws), binary()[:23]  # the last rows, and the last draws of each, are scored eagerly
    options = {"num_particles": 2000, "chunk_size": 101, "proposal": "guide", "progress": False}
    first, second, eager = (evaluate(pair, x, compile=c, **options) for c in (True, True, False))
    assert torch.equal(first.log_px, second.log_px)
    torch.testing.assert_close(first.log_px, eager.log_px, rtol=0, atol=1e-9)
    assert (threads == {threading.main_thread()}) == draws


def test_an_error_of_a_worker_is_raised_and_leaves_no_trace(interpreted, two_threads, monkeypatch):
    vae = make_vae()
    original = scorer.Scorer.log_weights
    started = []

    def fail_late(self, *args):
        started.append(threading.current_thread())
        if len(started) == 5:
            raise RuntimeError("a worker fails")
        return original(self, *args)

    monkeypatch.setattr(scorer.Scorer, "log_weights", fail_late)
    is_validated = pyro.settings.get("validate_distributions_pyro")
    with pytest.raises(RuntimeError, match="a worker fails"):
        evaluate(vae, binary(), num_particles=2000, proposal="guide", compile=True, progress=False)
    assert threading.main_thread() not in started and not any(thread.is_alive() for thread in started)
    assert torch.get_num_threads() == 2 and pyro.settings.get("validate_distributions_pyro") == is_validated


def test_unknown_option():
    with pytest.raises(ValueError, match="compile must be 'auto', True or False; got 'yes'"):
        evaluate(make_vae(), binary(), compile="yes", progress=False)
