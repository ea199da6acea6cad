"""Saving and loading pairs: exact, atomic, and harmless when something is wrong."""

import json
from pathlib import Path

import pyro
import pyro.distributions as dist
from pyro.distributions import constraints
import pytest
from safetensors import safe_open
from safetensors.torch import save_file
import torch
from torch import nn

from inference import evaluate, fit, load_checkpoint, log_weights, save_checkpoint
from inference.checkpoint import pair_tensors
from pyro_lvm import MLP, VAE, BernoulliLikelihood, NormalEncoder, Pair, VampPrior, check_pair


def vamp_vae(seed, hidden=6):
    torch.manual_seed(seed)
    encoder = NormalEncoder(MLP(4, [hidden], 4))
    return VAE(VampPrior(encoder, torch.rand(3, 4)), BernoulliLikelihood(MLP(2, [hidden], 4)), encoder)


def function_pair(seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    def model(x):
        scale = pyro.param("scale", torch.tensor(1.0 + seed), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True).expand(*z.shape[:-1], 4), scale).to_event(1), obs=x)

    def guide(x):
        pyro.module("network", network)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(network(x), 0.5).to_event(1))

    return Pair(model, guide)


@pytest.fixture
def x():
    return (torch.rand(30, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float()


@pytest.mark.parametrize("make", [vamp_vae, function_pair])
def test_a_loaded_pair_scores_as_the_saved_one(make, x, tmp_path):
    saved, loaded = make(0), make(1)
    fit(saved, x, epochs=2, batch_size=10, progress=False)
    check_pair(loaded, x)
    save_checkpoint(saved, tmp_path / "new" / "a.safetensors")
    load_checkpoint(loaded, tmp_path / "new" / "a.safetensors")
    expected = evaluate(saved, x, num_particles=20).log_px
    assert torch.equal(evaluate(loaded, x, num_particles=20).log_px, expected)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_a_pair_of_functions_has_the_names_that_it_gives_to_pyro(x):
    pair = function_pair(0)
    with pytest.raises(ValueError, match="the pair has not run yet"):
        save_checkpoint(pair, "nowhere")
    check_pair(pair, x)
    names = list(pair_tensors(pair))
    assert names[:2] == ["network$$$0.weight", "network$$$0.bias"] and names[-1] == "scale"
    assert "network$$$1.running_mean" in names


def test_a_shared_encoder_is_saved_once():
    names = list(pair_tensors(vamp_vae(0)))
    assert sum("network.layers.0.weight" in name for name in names) == 2  # encoder and decoder


def test_bad_files_leave_the_pair_as_it_was(x, tmp_path):
    vae, path = vamp_vae(0), tmp_path / "a.safetensors"
    before = {name: tensor.clone() for name, tensor in pair_tensors(vae).items()}
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_checkpoint(vae, path)
    path.write_bytes(b"no such format")
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        load_checkpoint(vae, path)
    save_checkpoint(vamp_vae(1, hidden=7), path)
    with pytest.raises(ValueError, match=r"must have shape .*6.*; the state has .*7"):
        load_checkpoint(vae, path)
    other = function_pair(0)
    check_pair(other, x)
    save_checkpoint(other, path)
    with pytest.raises(ValueError, match="it lacks .* and has the unknown"):
        load_checkpoint(vae, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair_tensors(vae).items())


def test_a_failed_save_keeps_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_checkpoint(vamp_vae(0), path)
    content = path.read_bytes()

    original = Path.write_bytes

    def fail(file, content):
        original(file, b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(vamp_vae(1), path)
    assert path.read_bytes() == content


def square_pair(seed, order="first-second", *, registers=True):
    """A pair whose two networks have the same shapes, and run or are registered in either order."""
    torch.manual_seed(seed)
    nets = {name: nn.Linear(4, 4) for name in ("first", "second")}

    def model(x):
        for name in order.split("-") if registers else ():
            pyro.module(name, nets[name])
        if order == "second-first":
            nets["second"](torch.zeros(1, 4))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(nets["second"](nets["first"](z)), 1.0).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(4))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0).expand([len(x), 4]).to_event(1))

    return Pair(model, guide), nets


def checked(x, *args, **options):
    pair, nets = square_pair(*args, **options)
    check_pair(pair, x)
    return pair, nets


def test_networks_keep_their_names_in_whatever_order_a_program_takes_them(x, tmp_path):
    (saved, nets), (loaded, others) = checked(x, 0), checked(x, 1, "second-first")
    for pair, file in ((saved, "a"), (loaded, "b")):
        save_checkpoint(pair, tmp_path / file)
    with safe_open(tmp_path / "a", "pt") as a, safe_open(tmp_path / "b", "pt") as b:
        assert set(a.keys()) == set(b.keys())
    load_checkpoint(loaded, tmp_path / "a")
    assert all(torch.equal(nets[name].weight, others[name].weight) for name in nets)
    assert torch.equal(log_weights(loaded, x, num_particles=3, seed=0), log_weights(saved, x, num_particles=3, seed=0))


@pytest.mark.parametrize("order", ["first-second", "second-first"])
def test_networks_without_a_name_must_be_those_with_which_a_file_was_saved(order, x, tmp_path):
    """They are not in the file; a fingerprint of them is."""
    saved, _ = checked(x, 0, registers=False)
    with pytest.warns(UserWarning, match="Linear, Linear of the pair are not saved"):
        save_checkpoint(saved, tmp_path / "a")
    with safe_open(tmp_path / "a", "pt") as file:
        assert list(file.keys()) == ["loc"] and json.loads(file.metadata()["pyro_lvm"])["fixed"]
    equal, nets = checked(x, 0, order, registers=False)
    with torch.no_grad():
        equal.param_store["loc"] = torch.ones(4)
        check_pair(equal, x)
    load_checkpoint(equal, tmp_path / "a")
    assert torch.equal(log_weights(equal, x, num_particles=3, seed=0), log_weights(saved, x, num_particles=3, seed=0))
    with torch.no_grad():
        nets["second"].bias[0] += 1e-3
    message = "runs modules or tensors that are not registered with Pyro and differ from those with which"
    for other in (equal, checked(x, 1, registers=False)[0]):
        with pytest.raises(ValueError, match=message):
            load_checkpoint(other, tmp_path / "a")
    with pytest.raises(ValueError, match="runs modules or tensors that are not registered|it lacks"):
        load_checkpoint(checked(x, 0)[0], tmp_path / "a")


def test_a_file_of_a_later_format_is_refused(x, tmp_path):
    vae = vamp_vae(0)
    save_checkpoint(vae, tmp_path / "a")
    with safe_open(tmp_path / "a", "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    facts = json.loads(metadata["pyro_lvm"]) | {"format": "3"}
    save_file(tensors, tmp_path / "b", metadata={"pyro_lvm": json.dumps(facts)})
    with pytest.raises(ValueError, match="b has the format 3; this version reads formats up to 2. Install a newer version"):
        load_checkpoint(vae, tmp_path / "b")


def test_modules_of_a_first_format_are_told_apart_by_their_shapes(x, tmp_path):
    """Files of version 0.1 number them and have no metadata."""
    saved = function_pair(0)
    fit(saved, x, epochs=1, progress=False)
    tensors = {former_name(name): tensor.detach().clone() for name, tensor in pair_tensors(saved).items()}
    save_file(tensors, tmp_path / "a")
    loaded = function_pair(1)
    check_pair(loaded, x)
    load_checkpoint(loaded, tmp_path / "a")
    assert torch.equal(log_weights(loaded, x, num_particles=3, seed=0), log_weights(saved, x, num_particles=3, seed=0))


def former_name(name):
    return name.replace("network$$$", "module0.") if "$$$" in name else f"param.{name}"


def test_modules_of_a_first_format_with_the_same_shapes_are_refused(x, tmp_path):
    pair, nets = checked(x, 0)
    tensors = {f"module{i}.{name}": tensor for i, net in enumerate(nets.values()) for name, tensor in net.state_dict().items()}
    save_file(tensors | {"param.loc": torch.zeros(4)}, tmp_path / "a")
    before = {name: tensor.clone() for name, tensor in pair_tensors(pair).items()}
    with pytest.raises(ValueError, match="module0 of the file may be any of the modules .*first.*second.*version 0.1 does not name them"):
        load_checkpoint(pair, tmp_path / "a")
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair_tensors(pair).items())
