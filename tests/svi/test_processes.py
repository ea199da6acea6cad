"""Several processes that fit a pair together: they do what one process does."""

import os

import pyro
import pyro.distributions as dist
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
import pytest
from together import together
import torch
from torch import nn

from inference import IWAE, STL, VIMCO, DReG, fit, processes
from inference.checkpoint import pair_tensors
from inference.recipes.build import build_model
from inference.recipes.options import model_options
from pyro_lvm import MLP, VAE, BernoulliLikelihood, NormalEncoder, Pair, VampPrior

X = torch.rand(103, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).round()


def vae(*more):
    torch.manual_seed(3)
    encoder = NormalEncoder(nn.Sequential(MLP(6, [8], 4), *more))
    return VAE(VampPrior(encoder, torch.rand(5, 6)), BernoulliLikelihood(MLP(2, [8], 6)), encoder).double()


def unequal():
    """Every process starts elsewhere, but the first one where :func:`vae` does."""
    torch.manual_seed(processes.rank() + 3)
    encoder = NormalEncoder(nn.Sequential(MLP(6, [8], 4)))
    return VAE(VampPrior(encoder, torch.rand(5, 6)), BernoulliLikelihood(MLP(2, [8], 6)), encoder).double()


def of_parts(**options):
    return build_model(model_options()(hidden=(8,), latent_dim=2, num_codes=5, num_slots=2, **options), X.float()).double()


def with_weights(*, declared):
    """Weights of the model are latents of all data."""
    network = nn.Linear(6, 1).double()
    plate = {"size": len(X)} if declared else {}

    def rows(x):
        return pyro.plate("data", plate.get("size", len(x)), subsample_size=len(x))

    def model(x):
        weights = pyro.sample("weights", dist.Normal(x.new_zeros(6), 1.0).to_event(1))
        with rows(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=weights + z).to_event(1), obs=x)

    def guide(x):
        pyro.module("network", network)
        pyro.sample("weights", dist.Normal(pyro.param("loc", x.new_zeros(6)), 0.1).to_event(1))
        with rows(x):
            pyro.sample("z", dist.Normal(network(x), 0.5).to_event(1))

    return Pair(model, guide)


def with_draws_of_a_class():
    network = nn.Linear(6, 3).double()

    def model(x):
        table = pyro.param("table", lambda: 0.1 * torch.eye(3, 6, dtype=torch.float64))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(logits=x.new_zeros(len(x), 3)))
            pyro.sample("x", dist.Bernoulli(logits=table[z]).to_event(1), obs=x)

    def guide(x):
        pyro.module("network", network)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=network(x)))

    return Pair(model, guide)


def with_repeated_rows():
    """A pair that takes no plate of particles, as it asks for the shape of its latents."""
    torch.manual_seed(3)
    encoder, decoder = nn.Linear(6, 4).double(), nn.Linear(2, 6).double()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z.view(len(x), 2))).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc, log_scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return Pair(model, guide)


EQUAL = {  # of 103 rows: batches of 40, 40 and 23, or of 51 and 52
    "vamp": (vae, {}),
    "odd": (vae, {"batch_size": 51, "valid": X[:20], "patience": 1}),
    "clipped": (vae, {"clip_norm": 0.5, "warmup_epochs": 3, "alternating": True}),
    "dropout": (lambda: vae(nn.Dropout(0.3)), {"transform": torch.bernoulli, "optimizer": torch.optim.SGD, "learning_rate": 0.1}),
    "iwae": (vae, {"elbo": lambda: IWAE(3)}),
    "dreg, repeated rows": (with_repeated_rows, {"elbo": lambda: DReG(3), "warmup_epochs": 2}),
    "stl": (lambda: vae(nn.Dropout(0.3)), {"elbo": lambda: STL(2)}),
    "vimco": (with_draws_of_a_class, {"elbo": lambda: VIMCO(3)}),
    "particles": (vae, {"elbo": lambda: Trace_ELBO(num_particles=3, vectorize_particles=True)}),
    "flow": (lambda: of_parts(encoder="iaf"), {}),
    "levels": (lambda: of_parts(structure="stacked"), {}),
    "codes": (lambda: of_parts(encoder="gumbel", prior="uniform"), {}),
    "classes": (with_draws_of_a_class, {"elbo": lambda: TraceGraph_ELBO()}),
    "global latents": (lambda: with_weights(declared=True), {}),
    "fewer rows than processes": (vae, {"batch_size": 3}),
}
REFUSED = {
    "batch normalization": (lambda: vae(nn.BatchNorm1d(4)), {}, "a buffer is"),
    "codebook": (lambda: of_parts(encoder="vq", prior="uniform"), {}, "a buffer is"),
    "undeclared": (lambda: with_weights(declared=False), {"batch_size": len(X)}, "the loss is"),
    "rejection": (lambda: of_parts(encoder="dirichlet", prior="dirichlet"), {}, "'_sample_dirichlet' takes for a row depends on"),
    "free bits": (vae, {"free_bits": 0.5}, "with free_bits"),
    "compiled": (vae, {"compile": True}, "with compile=True"),
}


def fitted(make, options):
    """History and tensors of a short fit."""
    torch.manual_seed(1)
    pyro.clear_param_store()
    options = {"epochs": 2, "batch_size": 40, "seed": 3, "progress": False, "compile": False} | options
    options |= {"elbo": options["elbo"]()} if "elbo" in options else {}
    pair = make()
    result = fit(pair, X, **options)
    tensors = {name: tensor.detach().clone() for name, tensor in pair_tensors(pair).items()}
    return tensors | {name: torch.tensor(result.history[name]) for name in ("train_loss", "valid_loss") if name in result.history}


def all_fits():
    fits = {name: fitted(*case) for name, case in EQUAL.items()} | {"unequal": fitted(unequal, {})}
    return fits | {name: refusal(make, options) for name, (make, options, _) in REFUSED.items()}


def refusal(make, options):
    try:
        fitted(make, options)
    except ValueError as error:
        return str(error)
    return "not refused"


@pytest.mark.parametrize(("size", "count"), [(100, 2), (103, 4), (7, 3), (6, 3), (5, 3), (1, 2)])
def test_every_row_belongs_to_one_process(size, count, monkeypatch):
    monkeypatch.setattr(processes, "world", lambda: count)
    parts = []
    for rank in range(count):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        parts.append(processes.own_rows(size))
    if size < 2 * count:
        assert parts == [None] * count
        return
    lengths = [part.stop - part.start for part in parts]
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(size))
    assert min(lengths) >= 2 and max(lengths) - min(lengths) <= 1


@pytest.fixture(scope="module")
def two():
    return together(all_fits)


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_fit_as_one_does(two, name):
    expected = fitted(*EQUAL[name])
    for process in two:
        torch.testing.assert_close(process[name], expected, rtol=1e-9, atol=1e-9)


def test_all_start_from_the_weights_of_the_first(two):
    expected = fitted(vae, {})
    for process in two:
        torch.testing.assert_close(process["unequal"], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_divided_is_refused(two, name):
    for process in two:
        assert REFUSED[name][-1] in process[name] and "one process" in process[name]


def resumed(folder):
    """A fit of three epochs, and one that stops after the second and goes on; only the first process has a folder."""
    path = folder / "checkpoint.safetensors" if processes.is_first() else folder / "nowhere" / "checkpoint.safetensors"
    whole = fitted(vae, {"epochs": 3, "valid": X[:20]})
    fitted(vae, {"epochs": 2, "valid": X[:20], "checkpoint": path})
    return whole, fitted(vae, {"epochs": 3, "valid": X[:20], "resume": path})


def test_they_go_on_to_the_same_bits_and_only_the_first_writes(tmp_path):
    for whole, again in together(resumed, tmp_path):
        torch.testing.assert_close(again, whole, rtol=0, atol=0)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.safetensors", "checkpoint.last.safetensors"}


def dying():
    """The second process ends in its third batch."""
    batches = []

    def transform(x):
        batches.append(x)
        if len(batches) > 2 and processes.rank() == 1:
            os._exit(1)
        return x

    try:
        fitted(vae, {"transform": transform})
    except ConnectionError as error:
        return str(error)


def test_a_process_that_dies_leaves_no_other_waiting():
    first, second = together(dying)
    assert "another process of this task has ended" in first and second is None
