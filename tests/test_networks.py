"""What a pair is made of: the networks that it runs, however its programs reach them, and copies of them."""

import copy
from dataclasses import dataclass
import pickle
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
import pytest
import torch
from torch import nn

from inference import evaluate, fit, load_checkpoint, log_weights, save_checkpoint
from inference.checkpoint import pair_tensors
import pyro_lvm as lvm
from pyro_lvm import Pair, check_pair
from pyro_lvm.modules import modules_of

QUIET = {"progress": False}
decoder = nn.Linear(3, 3)  # of no pair, although attributes of pairs have its name


@pytest.fixture
def x():
    return torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) + 3


def make_decoder():
    return nn.Linear(2, 4)


def make_encoder():
    return nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def pair_of(decode, encode, *, names=None):
    """A pair of functions; ``names`` gives the modules that they register."""

    def model(x):
        if names:
            pyro.module("dec", names()[0])
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decode(z), 1.0).to_event(1), obs=x)

    def guide(x):
        if names:
            pyro.module("enc", names()[1])
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encode(x), 0.5).to_event(1))

    return Pair(model, guide)


def in_a_namespace(dec, enc, registers=True):
    nets = SimpleNamespace(decoder=dec, encoder=enc)
    return pair_of(lambda z: nets.decoder(z), lambda x: nets.encoder(x), names=registers and (lambda: (nets.decoder, nets.encoder)))


def behind_a_property(dec, enc, registers=True):
    class Holder:
        @property
        def networks(self):
            return dec, enc

    holder = Holder()
    return pair_of(lambda z: holder.networks[0](z), lambda x: holder.networks[1](x), names=registers and (lambda: holder.networks))


def in_closures_of_closures(dec, enc, registers=True):
    def outer(network):
        def middle():
            def inner(value):
                return network(value)

            return inner

        return middle

    decode, encode = outer(dec), outer(enc)
    return pair_of(lambda z: decode()(z), lambda x: encode()(x), names=registers and (lambda: (dec, enc)))


def in_a_pair_inside_a_pair(dec, enc, registers=True):
    inner = in_a_namespace(dec, enc, registers)

    class Outer:
        def model(self, x):
            inner.model(x)

        def guide(self, x):
            inner.guide(x)

    return Outer()


WAYS = [in_a_namespace, behind_a_property, in_closures_of_closures, in_a_pair_inside_a_pair]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_networks_are_trained_scored_and_saved_however_they_are_reached(way, x, tmp_path):
    torch.manual_seed(0)
    dec, enc = make_decoder(), make_encoder()
    pair, before = way(dec, enc), [p.detach().clone() for p in (*dec.parameters(), *enc.parameters())]
    fit(pair, x, epochs=2, learning_rate=0.05, **QUIET)
    assert not any(torch.equal(p, b) for p, b in zip((*dec.parameters(), *enc.parameters()), before, strict=True))
    mean = enc[0].running_mean.clone()
    assert mean.norm() > 0 and enc[0].training and enc[1].training
    scored = log_weights(pair, x, num_particles=3, seed=0)
    assert torch.equal(enc[0].running_mean, mean) and enc[1].training
    enc.eval()
    assert torch.equal(log_weights(pair, x, num_particles=3, seed=0), scored)
    save_checkpoint(pair, tmp_path / "a.safetensors")
    other = way(make_decoder(), make_encoder())
    check_pair(other, x)
    load_checkpoint(other, tmp_path / "a.safetensors")
    assert torch.equal(log_weights(other, x, num_particles=3, seed=0), scored)
    assert set(pair_tensors(pair)) == {f"dec$$${n}" for n in dec.state_dict()} | {f"enc$$${n}" for n in enc.state_dict()}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_networks_without_a_name_are_scored_in_evaluation_mode_too(way, x):
    torch.manual_seed(0)
    dec, enc = make_decoder(), make_encoder()
    pair, means = way(dec, enc, registers=False), enc[0].running_mean.clone()
    for _ in range(2):  # at first, they are not known yet
        scored = log_weights(pair, x, num_particles=3, seed=0)
        assert torch.equal(enc[0].running_mean, means) and all(module.training for module in enc)
    enc.eval()
    assert torch.equal(log_weights(pair, x, num_particles=3, seed=0), scored)
    assert set(modules_of(pair)) == {dec, enc} and list(pair_tensors(pair)) == []


def test_a_network_that_merely_has_the_name_of_an_attribute_is_no_part(x):
    """Neither saved nor put in another mode."""
    box = SimpleNamespace(decoder=make_decoder(), encoder=nn.Linear(4, 2))
    pair = pair_of(lambda z: box.decoder(z), lambda x: box.encoder(x), names=lambda: (box.decoder, box.encoder))
    seen = []
    decoder.train()
    box.encoder.register_forward_hook(lambda *args: seen.append(decoder.training))
    evaluate(pair, x, num_particles=2, **QUIET)
    assert seen and all(seen) and decoder.training
    assert {tuple(tensor.shape) for tensor in pair_tensors(pair).values()} == {(4, 2), (4,), (2, 4), (2,)}


@pytest.mark.parametrize("says_so", [False, True])
def test_a_network_made_anew_under_an_old_name_is_refused_unless_it_says_so(says_so, x):
    def model(x):
        network = make_decoder()
        pyro.module("network", network, update_module_params=says_so)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(network(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2], 0.5).to_event(1))

    pair = Pair(model, guide)
    if says_so:
        assert torch.equal(log_weights(pair, x, num_particles=2, seed=0), log_weights(pair, x, num_particles=2, seed=0))
        return
    with pytest.raises(ValueError, match="parameters registered as 'network' are those of another module.*another name or make a new Pair"):
        check_pair(pair, x)


def vae():
    likelihood = lvm.GaussianLikelihood(lvm.MLP(2, [5], 4))
    return lvm.VAE(lvm.StandardNormal(2), likelihood, lvm.NormalEncoder(lvm.MLP(4, [5], 4)))


@pytest.mark.parametrize("hidden", [[5], [5, 5], []])
def test_an_exchanged_part_is_trained_and_saved(hidden, x, tmp_path):
    """And the former one is no part any more, although it still exists."""
    torch.manual_seed(0)
    model, other = vae(), vae()
    fit(model, x, epochs=1, **QUIET)
    former = model.likelihood
    model.likelihood, other.likelihood = (lvm.GaussianLikelihood(lvm.MLP(2, hidden, 4)) for _ in range(2))
    kept, before = ([p.detach().clone() for p in part.parameters()] for part in (former, model.likelihood))
    fit(model, x, epochs=1, **QUIET)
    assert all(torch.equal(p, k) for p, k in zip(former.parameters(), kept, strict=True))
    assert not any(torch.equal(p, b) for p, b in zip(model.likelihood.parameters(), before, strict=True) if p.requires_grad)
    save_checkpoint(model, tmp_path / "a.safetensors")
    load_checkpoint(other, tmp_path / "a.safetensors")
    assert torch.equal(log_weights(other, x, num_particles=2, seed=0), log_weights(model, x, num_particles=2, seed=0))


class Shifted:
    """A pair with a parameter of Pyro's and a network."""

    def __init__(self):
        self.encoder = nn.Linear(4, 2)

    def model(self, x):
        shift = pyro.param("shift", torch.zeros(4))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(shift + z.sum(-1, keepdim=True), 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.5).to_event(1))


class ShiftedModule(Shifted, nn.Module):
    def __init__(self):
        nn.Module.__init__(self)
        Shifted.__init__(self)


def owned(make):
    owner = make()
    return Pair(owner.model, owner.guide)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copied", "pickled"])
@pytest.mark.parametrize("make", [Shifted, ShiftedModule, lambda: owned(Shifted), vae], ids=["class", "module", "methods", "vae"])
def test_copies_have_the_parameters_and_are_independent(make, duplicate, x):
    torch.manual_seed(0)
    pair = make()
    fit(pair, x, epochs=2, learning_rate=0.5, **QUIET)
    expected = evaluate(pair, x, num_particles=20, **QUIET).log_px
    other = duplicate(pair)
    assert torch.equal(evaluate(other, x, num_particles=20, **QUIET).log_px, expected)
    fit(other, x, epochs=2, learning_rate=0.5, **QUIET)
    assert not torch.equal(evaluate(other, x, num_particles=20, **QUIET).log_px, expected)
    assert torch.equal(evaluate(pair, x, num_particles=20, **QUIET).log_px, expected)
    fit(pair, x, epochs=1, learning_rate=0.5, **QUIET)
    assert not torch.equal(evaluate(pair, x, num_particles=20, **QUIET).log_px, expected)


@pytest.mark.parametrize("way", WAYS[:3], ids=lambda way: way.__name__)
def test_functions_that_use_networks_are_not_copied(way, x):
    pair = way(make_decoder(), make_encoder())
    with pytest.raises(TypeError, match="'model' has not, so that its networks are unknown"):
        copy.deepcopy(pair)
    fit(pair, x, epochs=1, **QUIET)
    with pytest.raises(TypeError, match="the copy would share, and train, the original's.*Build the pair anew"):
        copy.deepcopy(pair)


def test_functions_without_networks_are_copied(x):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] / 2, 0.5**0.5))

    pair = Pair(model, guide)
    fit(pair, x, epochs=2, learning_rate=0.5, **QUIET)
    other, loc = copy.deepcopy(pair), pair.param_store["loc"].item()
    assert loc != 0 and other.param_store["loc"].item() == loc
    fit(other, x, epochs=2, learning_rate=0.5, **QUIET)
    assert other.param_store["loc"].item() != loc and pair.param_store["loc"].item() == loc


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, pickle.dumps], ids=["deeply", "flatly", "pickled"])
def test_automatic_guides_are_neither_copied_nor_pickled(duplicate, x):
    """Pyro's copy of such a guide has no model."""

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x[:, 0])

    pair = Pair(model, AutoNormal(model))
    fit(pair, x, epochs=1, **QUIET)
    with pytest.raises(TypeError, match="a pair with an AutoGuide cannot be .*copied.*save_checkpoint and load_checkpoint"):
        duplicate(pair)


@dataclass(frozen=True)
class Equal:
    """Pairs of which any two of one number compare as equal."""

    number: int

    def model(self, x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(loc, 1.0)), 1.0), obs=x[:, 0])

    def guide(self, x):
        slope = pyro.param("slope", torch.tensor(0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x[:, 0], 1.0))


@pytest.mark.parametrize("wrapped", [False, True])
def test_equal_pairs_are_two_pairs(wrapped, x):
    first, second = (Pair(pair.model, pair.guide) if wrapped else pair for pair in (Equal(1), Equal(1)))
    before = evaluate(second, x, num_particles=30, **QUIET).log_px
    fit(first, x, epochs=5, learning_rate=0.3, **QUIET)
    assert torch.equal(evaluate(second, x, num_particles=30, **QUIET).log_px, before)
    assert not torch.equal(evaluate(first, x, num_particles=30, **QUIET).log_px, before)


class Doubled(lvm.VAE):
    """A VAE with an attribute of its own, and a likelihood of twice its code."""

    factor = 1.0

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(self.factor * z), obs=x)


class Coded(lvm.VQVAE):
    factor = 1.0

    def model(self, x):
        pyro.deterministic("factor", torch.tensor(self.factor))
        super().model(x)


def doubled():
    parts = vae()
    return Doubled(parts.prior, parts.likelihood, parts.encoder)


def coded():
    quantizer = lvm.VectorQuantizer(lvm.MLP(4, [5], (2, 3)), 4)
    return Coded(lvm.UniformCodePrior((2,), 4), lvm.GaussianLikelihood(lvm.MLP((2, 3), [5], 4)), quantizer)


@pytest.mark.parametrize(
    ("make", "change", "part"),
    [
        (doubled, lambda model: model.with_prior(lvm.StudentTPrior(2)), "prior"),
        (coded, lambda model: model.with_prior(lvm.UniformCodePrior((2,), 4)), "prior"),
        (coded, lambda model: model.soft(0.5), "encoder"),
    ],
    ids=["prior", "prior of codes", "soft"],
)
def test_a_model_with_another_part_keeps_its_class_and_attributes_and_the_first_is_as_it_was(make, change, part, x):
    torch.manual_seed(0)
    model = make()
    model.factor, model.note = 2.0, ["kept"]
    former, before = dict(model.named_children()), log_weights(model, x, num_particles=2, seed=0)
    other = change(model)
    assert type(other) is type(model) and other.factor == 2.0 and other.note is model.note
    assert dict(model.named_children()) == former and torch.equal(log_weights(model, x, num_particles=2, seed=0), before)
    for name, child in former.items():
        assert (getattr(other, name) is child) == (name != part)
    other.factor = 3.0
    assert model.factor == 2.0
    if part == "prior" and isinstance(model, Doubled):
        z = dist.Normal(torch.zeros(2), 1.0).sample((3,))
        expected = other.likelihood(3.0 * z).log_prob(x[:3])
        with pyro.poutine.trace() as traced, pyro.poutine.condition(data={"z": z}):
            other.model(x[:3])
        torch.testing.assert_close(traced.trace.nodes["x"]["fn"].log_prob(x[:3]), expected)
