"""The pair and the data that a generated program describes, built as closures."""

from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
import types

import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.nn import PyroModule, PyroParam
import torch
from torch import nn
import torch.nn.functional as F

from pyro_lvm import Pair, penalty
from zoo.grammar import STATES, is_enumerated
from zoo.noise import TwoValuedNoise
from zoo.reads import OUTPUT, READ, STATE

X, H = 4, 3


class Box:
    """An object that holds networks, as people write it."""

    def __init__(self, **networks):
        self.nets = networks


def layer_sizes(program):
    """Return the input and output sizes of all linear layers, by name."""
    read = {i: READ[z.reader](torch.zeros(2, *z.shape, dtype=torch.float64)).shape[-1] for i, z in enumerate(program.latents)}
    sizes = {f"read{i}": (size, H) for i, size in read.items()}
    for i, latent in enumerate(program.latents):
        out = STATES if latent.kind in ("categorical", "enumerated") else torch.Size(latent.shape).numel()
        sizes |= {f"prior{i}": (H, out), f"encode{i}": (H, out)}
    for i, seen in enumerate(program.observations):
        sizes[f"out{i}"] = (H, STATES if seen.kind == "categorical" else torch.Size(seen.shape).numel())
    inputs = 2 if program.encoder == "first columns" else X
    return sizes | {"encoder": (inputs, H), "twice": (H, H), "cat": (H * len(read), H), "label": (STATES, H), "vector": (2, H)}


def networks(program):
    """Return a linear layer for each name, with BatchNorm and Dropout in the encoder where asked for."""
    with torch.random.fork_rng():
        torch.manual_seed(program.seed)
        layers = {name: nn.Linear(*size, dtype=torch.float64) for name, size in layer_sizes(program).items()}
        if program.encoder == "batch norm":
            norm = nn.BatchNorm1d(X, dtype=torch.float64)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            layers["encoder"] = nn.Sequential(norm, layers["encoder"])
        if program.encoder == "dropout":
            layers["encoder"] = nn.Sequential(nn.Dropout(0.5), layers["encoder"])
    return layers


def held(program, layers):
    """Return a function that applies a layer by name, and the object that holds the layers, in the program's style."""
    style = program.holder
    if style == "module":
        nets = nn.ModuleDict(layers)
        return lambda name, h: (pyro.module("nets", nets), nets[name](h))[1]
    if style == "namespace":
        space = types.SimpleNamespace(**layers)
        return lambda name, h: getattr(space, name)(h)
    if style == "list in a class":
        names, box = list(layers), Box(layers=list(layers.values()))
        return lambda name, h: box.nets["layers"][names.index(name)](h)
    if style == "class":
        box = Box(**layers)
        return lambda name, h: box.nets[name](h)
    if style == "pyro module":
        return pyro_modules(layers)
    if style in ("param", "closure") and all(isinstance(layer, nn.Linear) for layer in layers.values()):
        return (
            as_parameters(layers) if style == "param" else (lambda name, h: h @ layers[name].weight.detach().T + layers[name].bias.detach())
        )
    if style == "default argument":
        return lambda name, h, layers=layers: layers[name](h)
    return lambda name, h: layers[name](h)


def as_parameters(layers):
    def apply(name, h):
        weight = pyro.param(f"{name}.weight", lambda: layers[name].weight.detach().clone())
        return F.linear(h, weight, pyro.param(f"{name}.bias", lambda: layers[name].bias.detach().clone()))

    return apply


def pyro_modules(layers):
    class Layer(PyroModule):
        def __init__(self, layer):
            super().__init__()
            self.inner = layer if isinstance(layer, nn.Sequential) else None
            self.weight = PyroParam(layer.weight.detach().clone()) if self.inner is None else None
            self.bias = nn.Parameter(layer.bias.detach().clone()) if self.inner is None else None

        def forward(self, h):
            return F.linear(h, self.weight, self.bias) if self.inner is None else self.inner(h)

    root = PyroModule("root")  # one for all, as Pyro names the parameters of modules without a name alike
    for name, layer in layers.items():
        setattr(root, name, Layer(layer))
    return lambda name, h: getattr(root, name)(h)


def plate(style, size, name, num_data):
    return {
        "sized": lambda: pyro.plate("data", size),
        "unsized": lambda: pyro.plate("data"),
        "subsampling": lambda: pyro.plate("data", num_data, subsample_size=size),
        "dim": lambda: pyro.plate("data", size, dim=-1),
        "own name": lambda: pyro.plate(name, size),
    }[style]()


def distribution(latent, h):
    """Return the density of a latent with the parameters ``[..., out]``."""
    if latent.kind in ("categorical", "enumerated"):
        return dist.Categorical(logits=h)
    loc = h.reshape(*h.shape[:-1], *latent.shape)
    loc = loc if latent.shape else h[..., 0]
    return (dist.Normal(loc, 0.7) if latent.kind == "normal" else dist.Bernoulli(logits=loc)).to_event(len(latent.shape))


def observed(kind, shape, h):
    if kind == "categorical":
        return dist.Categorical(logits=h)
    fn = {"normal": lambda: dist.Normal(h, 0.8), "bernoulli": lambda: dist.Bernoulli(logits=h), "poisson": lambda: dist.Poisson(h.exp())}[
        kind
    ]()
    return fn.to_event(len(shape))


def data_of(program):
    """Return the batch: x, the labels or vector of a condition, the mask, and the data of sites that do not read x, by name."""
    g, n = torch.Generator().manual_seed(program.seed + 7), program.num_rows
    batch = {"x": torch.randn(n, X, generator=g, dtype=torch.float64)}
    if program.condition in ("labels", "tolist"):
        batch["labels"] = torch.randint(STATES, (n,), generator=g)
    if program.condition == "vector":
        batch["vector"] = torch.randn(n, 2, generator=g, dtype=torch.float64)
    if any(seen.masked for seen in program.observations):
        batch["mask"] = torch.rand(n, generator=g) < 0.6
    for i, seen in enumerate(program.observations):
        if seen.source == "own":
            counts = torch.randint(2 if seen.kind == "bernoulli" else STATES, (n, *seen.shape), generator=g)
            batch[f"y{i}"] = counts if seen.kind == "categorical" else counts.double()
    for tensor in batch.values():
        tensor[1 : program.equal_rows] = tensor[0].clone()
    return dict(sorted(batch.items(), reverse=True)) if "x last" in program.extras and len(batch) > 1 else batch


class Programs:
    """Model and guide of a generated program; ``net(name, h)`` applies a layer."""

    def __init__(self, program, net, names):
        self.program, self.net, self.names = program, net, names

    def condition(self, data):
        if self.program.condition == "tolist":
            return torch.stack([STATE.flatten()[i : i + H] for i in data["labels"].tolist()])
        if "labels" in data:
            return self.net("label", F.one_hot(data["labels"], STATES).double())
        return self.net("vector", data["vector"]) if "vector" in data else 0.0

    def features(self, i, z):
        return self.net(f"read{i}", READ[self.program.latents[i].reader](z.double() if z.dtype != torch.int64 else z))

    def hidden(self, values, data):
        features = [self.features(i, z) for i, z in sorted(values.items())]
        joined = sum(features) if self.program.join == "sum" else self.net("cat", torch.cat(features, -1))
        return torch.tanh(joined + self.condition(data))

    def model(self, *batch):
        data, program = dict(zip(self.names, batch, strict=True)), self.program
        rows = plate(program.plate, len(batch[0]), "rows", program.num_rows + 3)
        with rows:
            values = self.drawn(data)
            if "plate entered again" not in program.extras:
                self.observe_all(values, data)
        if "plate entered again" in program.extras:
            with rows:
                self.observe_all(values, data)

    def drawn(self, data):
        program, values = self.program, {}
        for i, latent in self.steps(enumerate(program.latents)):
            h = self.features(i - 1, values[i - 1]) if latent.follows else torch.zeros(len(data["x"]), H, dtype=torch.float64)
            infer = {"enumerate": "parallel"} if latent.kind.startswith("enumerated") else {}
            with self.weighed(latent, data):
                values[i] = pyro.sample(f"z{i}", distribution(latent, self.net(f"prior{i}", h)), infer=infer)
        return values

    @contextmanager
    def weighed(self, latent, data):
        """Masks of latents as in padded sequences, and scales as in warm-ups."""
        is_masked = "masked latents" in self.program.extras and not latent.kind.startswith("enumerated")
        with ExitStack() as stack:
            if is_masked:
                stack.enter_context(poutine.mask(mask=data["x"][:, 3] > 0))
            if "scaled" in self.program.extras:
                stack.enter_context(poutine.scale(scale=0.1))
            yield

    def observe_all(self, values, data):
        h = self.hidden(values, data)
        if "deterministic" in self.program.extras:
            h = pyro.deterministic("h", h, event_dim=1)
        if "penalty" in self.program.extras:
            penalty("steering", data["x"].square().sum(-1))
        for i, seen in enumerate(self.program.observations):
            self.observe(i, seen, h, data)
        if self.program.accident != "none":
            self.observe_by_accident(h[..., 0], data["x"])

    def observe_by_accident(self, h, x):
        fn, obs = {
            "column against scalars": lambda: (dist.Normal(h, 1.0), x[:, :1]),
            "scalars against a column": lambda: (dist.Normal(h[..., None], 1.0).to_event(1), x[:, 0]),
            "one parameter for several features": lambda: (dist.Normal(h[..., None], 1.0).to_event(1), x),
            "row of parameters": lambda: (dist.Normal(h[..., None, None].expand(*h.shape, 1, X), 1.0).to_event(2), x),
        }[self.program.accident]()
        pyro.sample("accident", fn, obs=obs)

    def steps(self, sites):
        return pyro.markov(list(sites)) if "markov" in self.program.extras and not is_enumerated(self.program.latents) else sites

    def observe(self, i, seen, h, data):
        h = self.net(f"out{i}", h)
        if seen.shape == () and seen.kind != "categorical":
            h = OUTPUT[seen.output](h)
        obs = data[f"y{i}"] if seen.source == "own" else data["x"][:, :3] if seen.shape else data["x"][:, i]
        with poutine.mask(mask=data["mask"]) if seen.masked else nullcontext():
            pyro.sample(f"x{i}", observed(seen.kind, seen.shape, h), obs=obs)

    def encoded(self, data):
        x, program = data["x"], self.program
        h = self.net("encoder", x[:, :2] if program.encoder == "first columns" else x)
        if program.encoder == "twice":
            h = self.net("twice", self.net("twice", h))
        return torch.tanh(h + self.condition(data))

    def guide(self, *batch):
        data, program = dict(zip(self.names, batch, strict=True)), self.program
        h = self.encoded(data)
        sites = [(i, latent) for i, latent in enumerate(program.latents) if not latent.kind.startswith("enumerated")]
        if "guide in another order" in program.extras and not any(latent.guided for _, latent in sites):
            sites = sites[::-1]
        with TwoValuedNoise(), plate(program.guide_plate, len(batch[0]), "guide_rows", program.num_rows + 3):
            values = {}
            for i, latent in self.steps(sites):
                own = h + self.features(i - 1, values[i - 1]) if latent.guided else h
                with self.weighed(latent, data):
                    values[i] = pyro.sample(f"z{i}", distribution(latent, self.net(f"encode{i}", own)))
            if "factor in the guide" in program.extras:
                pyro.factor("aux", 5 * torch.ones(len(batch[0]), dtype=torch.float64), has_rsample=False)


class Methods:
    """A pair that is an object with methods."""

    def __init__(self, programs):
        self.programs = programs

    def model(self, *batch):
        return self.programs.model(*batch)

    def guide(self, *batch):
        return self.programs.guide(*batch)


def build(program):
    """Return the pair, its batch, and the layers that it was built from."""
    layers, batch = networks(program), data_of(program)
    programs = Programs(program, held(program, layers), tuple(batch))
    if program.holder == "class":
        return Methods(programs), tuple(batch.values()), layers
    if program.holder == "partial":
        return Pair(partial(Programs.model, programs), partial(Programs.guide, programs)), tuple(batch.values()), layers
    if program.holder == "closure":
        return Pair(lambda *b: programs.model(*b), lambda *b: programs.guide(*b)), tuple(batch.values()), layers
    return Pair(programs.model, programs.guide), tuple(batch.values()), layers
