"""Saving and loading pairs: exact, atomic, and harmless when something is wrong."""

import pyro
import pyro.distributions as dist
from pyro.distributions import constraints
import pytest
import torch
from torch import nn

from inference import evaluate, fit, load_checkpoint, save_checkpoint
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

    def fail(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("inference.checkpoint.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(vamp_vae(1), path)
    assert path.read_bytes() == content
