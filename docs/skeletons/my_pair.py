"""A model and a guide as plain Pyro functions: everything in `inference` takes them, and `Pair` gives them parameters of their own."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from inference import evaluate, fit, load_data
from pyro_lvm import Pair, check_pair

torch.manual_seed(0)
data = load_data("digits")
decoder, encoder = torch.nn.Linear(2, 64), torch.nn.Linear(64, 4)


def model(x: Tensor) -> None:
    pyro.module("decoder", decoder)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)


def guide(x: Tensor) -> None:
    pyro.module("encoder", encoder)
    with pyro.plate("data", len(x)):
        loc, log_scale = encoder(x).chunk(2, -1)
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


pair = Pair(model, guide)
print(check_pair(pair, data.train[:10]))
fit(pair, data.train, valid=data.valid, epochs=3, learning_rate=3e-3, progress=False)
print(evaluate(pair, data.test, num_particles=50, progress=False))
