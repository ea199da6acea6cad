"""Fits that go on where they were: to the same bits as fits that were never stopped."""

from fits import TutorialVAE
import pyro
import pyro.distributions as dist
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
import pytest
from safetensors.torch import load_file, save_file
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, ReduceLROnPlateau

from inference import IWAE, fit
from inference.checkpoint import pair_tensors
from inference.recipes.build import build_model
from inference.recipes.options import model_options
from inference.svi import compiled, state, traced
from inference.svi.state import last_path
from pyro_lvm import Pair

X = (torch.rand(60, 4, generator=torch.Generator().manual_seed(0)) < 0.4).float()


@pytest.fixture(autouse=True)
def kept_after_every_epoch(monkeypatch):
    monkeypatch.setattr(state, "_EVERY", 0.0)


def tutorial():
    torch.manual_seed(3)
    return TutorialVAE()


def with_codebook():
    torch.manual_seed(3)
    options = model_options()(encoder="vq", prior="uniform", hidden=(8,), latent_dim=2, num_codes=5, num_slots=2)
    return build_model(options, X)


def functions():
    def model(x):
        weight = pyro.param("weight", lambda: 0.1 * torch.ones(1, 4))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z @ weight).to_event(1), obs=x)

    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(4, 1), nn.BatchNorm1d(1))

    def guide(x):
        pyro.module("network", network)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(network(x), 0.7).to_event(1))

    return Pair(model, guide)


def of_rows():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).expand((*z.shape, 4)).to_event(1), obs=x)

    return Pair(model, AutoNormal(model))


class StoppedError(Exception):
    pass


def stopped_after(epochs):
    def on_epoch(history):
        if len(history) > epochs:
            raise StoppedError

    return on_epoch


def in_two_runs(make, folder, first=3, **options):
    path = folder / "checkpoint.safetensors"
    with pytest.raises(StoppedError):
        fit(make(), X, checkpoint=path, on_epoch=stopped_after(first), progress=False, **options)
    pair = make()
    return fit(pair, X, resume=folder, on_epoch=stopped_after(99), progress=False, **options), load_file(path)


def assert_same(got, expected, file):
    states = [pair_tensors(result.pair) for result in (got, expected)]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
        assert torch.equal(tensor.detach(), file[name]), name
    assert got.history.drop(columns="seconds").equals(expected.history.drop(columns="seconds"))
    assert (got.best_epoch, got.stopped_early) == (expected.best_epoch, expected.stopped_early)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (tutorial, {}),
        (tutorial, {"valid": X[:20], "patience": 3, "learning_rate": 0.05}),
        (tutorial, {"elbo": IWAE(3), "scheduler": lambda optimizer: CosineAnnealingLR(optimizer, 7), "clip_norm": 5.0}),
        (tutorial, {"valid": X[:20], "scheduler": lambda optimizer: ReduceLROnPlateau(optimizer, patience=1), "alternating": True}),
        (tutorial, {"warmup_epochs": 5, "free_bits": 0.3, "transform": torch.bernoulli}),
        (tutorial, {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)}),
        (with_codebook, {"valid": X[:20]}),
        (functions, {"valid": X[:20]}),
        (of_rows, {"learning_rate": 0.05}),
    ],
    ids=["plain", "patience", "cosine", "plateau", "transform", "momentum", "codebook", "functions", "rows"],
)
def test_a_resumed_fit_ends_with_the_same_bits(make, options, tmp_path):
    options = {"epochs": 7, "compile": False, **options}
    if make is not of_rows:
        options["batch_size"] = 25
    expected = fit(make(), X, progress=False, **options)
    assert_same(*(lambda got, file: (got, expected, file))(*in_two_runs(make, tmp_path, **options)))


@pytest.mark.parametrize(("compile", "first", "code"), [(True, 1, "machine"), (True, 5, "interpreted"), ("auto", 2, "interpreted")])
def test_compiled_steps_go_on_as_they_were(compile, first, code, tmp_path, monkeypatch, request):
    if code == "interpreted":
        request.getfixturevalue("interpreted")
    monkeypatch.setattr(compiled, "EARNS_BACK", 1)
    monkeypatch.setattr(traced, "CHECK_EVERY", 6)
    options = {"epochs": 8, "batch_size": 10, "compile": compile, "warmup_epochs": 4, "valid": X[:20]}
    expected = fit(tutorial(), X, on_epoch=stopped_after(9), progress=False, **options)
    got, file = in_two_runs(tutorial, tmp_path, first, **options)
    assert got.compile_seconds > 0
    assert_same(got, expected, file)


def test_a_finished_fit_goes_on_for_more_epochs(tmp_path):
    path, options = tmp_path / "weights.safetensors", {"batch_size": 25, "compile": False, "valid": X[:20], "progress": False}
    expected = fit(tutorial(), X, epochs=9, **options)
    fit(tutorial(), X, epochs=4, checkpoint=path, **options)
    got = fit(tutorial(), X, epochs=9, resume=path, **options)
    assert_same(got, expected, load_file(path))
    again = fit(tutorial(), X, epochs=9, resume=path, **options)
    assert_same(again, expected, load_file(path))


def test_a_fit_is_resumed_as_it_was_begun(tmp_path):
    path, options = tmp_path / "checkpoint.safetensors", {"epochs": 2, "batch_size": 25, "progress": False}
    fit(tutorial(), X, checkpoint=path, **options)
    for changed in ({"seed": 1}, {"batch_size": 20}, {"learning_rate": 0.1}, {"elbo": IWAE(2)}, {"free_bits": 1.0}):
        (name,) = changed
        with pytest.raises(ValueError, match="data" if name == "batch_size" else name.replace("learning_rate", "optimizer")):
            fit(tutorial(), X, resume=tmp_path, **{**options, **changed})
    with pytest.raises(ValueError, match=r"the elbo's options must be .*'num_particles': 1.* got .*'num_particles': 2"):
        fit(tutorial(), X, resume=tmp_path, elbo=Trace_ELBO(num_particles=2), **options)
    with pytest.raises(ValueError, match="data must be"):
        fit(tutorial(), 1 - X, resume=tmp_path, **options)
    with pytest.raises(ValueError, match="tensors of the fit"):
        fit(with_codebook(), X, resume=tmp_path, **options)


def test_no_fit_to_resume_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no fit to resume"):
        fit(tutorial(), X, resume=tmp_path, progress=False)
    last_path(tmp_path / "checkpoint.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"checkpoint\.last\.safetensors holds no readable state"):
        fit(tutorial(), X, resume=tmp_path, progress=False)
    save_file({"x": X}, last_path(tmp_path / "checkpoint.safetensors"))
    with pytest.raises(ValueError, match="holds no readable state"):
        fit(tutorial(), X, resume=tmp_path, progress=False)


def test_a_state_of_unknown_objects_is_not_kept_and_this_is_said(tmp_path):
    class Rate:
        def __init__(self):
            self.part = object()

        def __call__(self, epoch):
            return 1.0

    with pytest.warns(UserWarning, match="cannot be resumed: a part of its state is a object"):
        fit(tutorial(), X, epochs=2, checkpoint=tmp_path / "a.safetensors", scheduler=lambda o: LambdaLR(o, Rate()), progress=False)
