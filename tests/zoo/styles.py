"""One linear model, with its networks and parameters held in every way that a program may reach them."""

from dataclasses import dataclass, field
from functools import partial
import types

import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam, PyroSample
import torch
from torch import nn

from pyro_lvm import Pair
from zoo.registry import D, N, entry, real, scalars


def declare_model(x, decode):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(decode(z), 1.0).to_event(1), obs=x)


def declare_guide(x, encode):
    loc, log_scale = encode(x).chunk(2, -1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, (0.2 * log_scale).exp()).to_event(1))


def networks():
    """A decoder, and an encoder whose mode matters."""
    norm = nn.BatchNorm1d(D)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return nn.Linear(2, D), nn.Sequential(norm, nn.Dropout(0.5), nn.Linear(D, 4))


def pair_of(decode, encode):
    return Pair(lambda x: declare_model(x, decode), lambda x: declare_guide(x, encode))


@entry(real)
def closures():
    return pair_of(*networks())


@entry(real)
def closures_registered():
    decoder, encoder = networks()

    def model(x):
        pyro.module("decoder", decoder)
        declare_model(x, decoder)

    def guide(x):
        pyro.module("encoder", encoder)
        declare_guide(x, encoder)

    return Pair(model, guide)


class Methods:
    def __init__(self):
        self.decoder, self.encoder = networks()

    def model(self, x):
        declare_model(x, self.decoder)

    def guide(self, x):
        declare_guide(x, self.encoder)


@entry(real)
def methods():
    return Methods()


@entry(real)
def bound_methods_in_a_pair():
    owner = Methods()
    return Pair(owner.model, owner.guide)


@dataclass(frozen=True)
class Frozen:
    dim: int
    networks: dict = field(compare=False)

    def model(self, x):
        declare_model(x, self.networks["decoder"])

    def guide(self, x):
        declare_guide(x, self.networks["encoder"])


@entry(real)
def frozen_dataclass():
    return Frozen(D, dict(zip(("decoder", "encoder"), networks(), strict=True)))


@entry(real)
def namespace():
    space = types.SimpleNamespace()
    space.decoder, space.encoder = networks()
    return pair_of(lambda z: space.decoder(z), lambda x: space.encoder(x))


@entry(real)
def dictionary_in_a_list_in_an_object():
    decoder, encoder = networks()
    box = types.SimpleNamespace(inner=[{"nets": {"decoder": decoder}}, {"nets": {"encoder": encoder}}])
    return pair_of(lambda z: box.inner[0]["nets"]["decoder"](z), lambda x: box.inner[1]["nets"]["encoder"](x))


class Late:
    """Networks behind a property and a method that makes the other one on demand."""

    def __init__(self):
        self._made = networks()

    @property
    def decoder(self):
        return self._made[0]

    def get(self, name):
        return {"encoder": self._made[1]}[name]


@entry(real)
def behind_a_property():
    late = Late()
    return pair_of(lambda z: late.decoder(z), lambda x: late.get("encoder")(x))


class Slots:
    __slots__ = ("decoder", "encoder")

    def __call__(self, x):
        declare_model(x, self.decoder)


@entry(real)
def callable_object_with_slots():
    box = Slots()
    box.decoder, box.encoder = networks()
    return Pair(box, lambda x: declare_guide(x, box.encoder))


GLOBAL = types.SimpleNamespace(decoder=None, encoder=None)


def model_of_globals(x):
    declare_model(x, GLOBAL.decoder)


def guide_of_globals(x):
    declare_guide(x, GLOBAL.encoder)


@entry(real)
def module_globals():
    GLOBAL.decoder, GLOBAL.encoder = networks()
    return Pair(model_of_globals, guide_of_globals)


def model_of_arguments(x, *, decoder):
    declare_model(x, decoder)


@entry(real)
def partials():
    decoder, encoder = networks()
    return Pair(partial(model_of_arguments, decoder=decoder), partial(declare_guide, encode=encoder))


@entry(real)
def default_arguments():
    decoder, encoder = networks()

    def model(x, decoder=decoder):
        declare_model(x, decoder)

    def guide(x, *, encoder=encoder):
        declare_guide(x, encoder)

    return Pair(model, guide)


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = networks()

    def model(self, x):
        pyro.module("decoder", self.decoder)
        declare_model(x, self.decoder)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        declare_guide(x, self.encoder)


@entry(real)
def module_with_methods():
    return Module()


class Generative(PyroModule):
    def __init__(self):
        super().__init__()
        self.weight = PyroParam(torch.randn(D, 2))
        self.scale = PyroParam(torch.tensor(0.8), constraint=dist.constraints.positive)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T, self.scale).to_event(1), obs=x)


class Recognition(PyroModule):
    def __init__(self):
        super().__init__()
        self.encoder = networks()[1]

    def forward(self, x):
        declare_guide(x, self.encoder)


@entry(real)
def pyro_modules():
    return Pair(Generative(), Recognition())


class LocalPriors(PyroModule):
    """Latents of each datum as attributes."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2, D)
        self.z = PyroSample(lambda self: dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.decoder(self.z), 1.0).to_event(1), obs=x)


@entry(real)
def pyro_sample_of_each_datum():
    encoder = networks()[1]
    return Pair(LocalPriors(), lambda x: declare_guide(x, encoder))


@entry(real, double=False)
def parameters_only():
    weight, loc = torch.randn(2, D), torch.randn(D, 2) / 3

    def model(x):
        w, s = pyro.param("w", weight), pyro.param("s", torch.tensor(0.8), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ w, s).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ pyro.param("loc", loc), 0.6).to_event(1))

    return Pair(model, guide)


@entry(real)
def network_applied_twice():
    layer, (decoder, encoder) = nn.Linear(2, 2), networks()
    return pair_of(lambda z: decoder(layer(layer(z).tanh())), encoder)


@entry(real)
def network_shared_by_model_and_guide():
    shared, (decoder, encoder) = nn.Linear(2, 2), networks()
    return pair_of(lambda z: decoder(shared(z)), lambda x: torch.cat([shared(encoder(x)[:, :2]), encoder(x)[:, 2:]], -1))


@entry(real, double=False)
def functional_calls_of_a_state():
    decoder, encoder = networks()
    state = dict(decoder.named_parameters())
    return pair_of(lambda z: torch.func.functional_call(decoder, state, (z,)), encoder)


@entry(real, double=False)
def weights_tied_by_hand():
    decoder, encoder = networks()
    return pair_of(lambda z: z @ decoder.weight.T, lambda x: torch.cat([x @ decoder.weight, 0 * x[:, :2]], -1) + 0 * encoder(x))


@entry(scalars, whole=True)
def parameters_of_each_datum():
    start = torch.randn(N)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        loc, scale = pyro.param("loc", start), pyro.param("scale", torch.full((N,), 0.8), constraint=dist.constraints.positive)
        with pyro.plate("data", N):
            pyro.sample("z", dist.Normal(loc, scale))

    return Pair(model, guide)


@entry(real, whole=True)
def autoguide_of_each_datum():
    decoder = networks()[0]
    model = partial(declare_model, decode=decoder)
    return Pair(model, AutoNormal(model, init_scale=0.7))
