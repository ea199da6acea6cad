"""One process of a benchmark: ``python benchmarks/scores.py WHO [--particles K ...]`` scores the number of images that stdin names."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
import functools
from itertools import pairwise
import sys
import time

from by_hand import Perceptron
from contenders import synchronize
import pyro
import torch
from torch import Tensor, nn

from inference.scoring import importance
import pyro_lvm as lvm

PIXELS, HIDDEN = 784, [300, 300]
CHUNK, CHUNK_CUDA = 1000, 20000  # rows at a time in matrix_products
NUM_KNOWN = 512  # different images

Seconds = Callable[[int], float]


def make_vae(prior: str, latents: int, components: int) -> lvm.VAE:
    encoder = lvm.NormalEncoder(lvm.MLP(PIXELS, HIDDEN, 2 * latents))
    priors = {
        "standard": lambda: lvm.StandardNormal(latents),
        "vamp": lambda: lvm.VampPrior(encoder, torch.rand(components, PIXELS)),
        "mixture": lambda: lvm.GaussianMixturePrior(latents, components),
    }
    return lvm.VAE(priors[prior](), lvm.BernoulliLikelihood(lvm.MLP(latents, HIDDEN[::-1], PIXELS)), encoder)


def matrix_products(options: Namespace, dtype: torch.dtype) -> Seconds:
    """The decoder's matrix products for all particles, one chunk of rows at a time."""
    widths = [options.latents, *HIDDEN[::-1], PIXELS]
    chunk = CHUNK if options.device.type == "cpu" else CHUNK_CUDA
    pairs = [(torch.randn(chunk, n).to(dtype), torch.randn(n, m).to(dtype)) for n, m in pairwise(widths)]

    def seconds(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count * options.particles // chunk):
            for left, right in pairs:
                left @ right
        synchronize(options.device)
        return time.perf_counter() - start

    return seconds


def ours(options: Namespace) -> Seconds:
    """This library's ``evaluate``, without what it does once (compiling, measuring the error of bfloat16) unless the whole is requested."""
    prior, *how = options.who.split(", ")
    vae, x = make_vae(prior, options.latents, options.components), torch.rand(NUM_KNOWN, PIXELS).round()
    settings = {"compile": "eager" not in how, "precision": "bf16" if "bf16" in how else "full", "progress": False}
    once = [] if "whole" in how else [timed(importance, "make_scorer"), timed(importance, "_rounding")]

    def seconds(count: int) -> float:
        images = x.repeat(-(-count // NUM_KNOWN), 1)[:count]
        before = sum(map(sum, once))
        start = time.perf_counter()
        importance.evaluate(vae, images, num_particles=options.particles, **settings)
        return time.perf_counter() - start - (sum(map(sum, once)) - before)

    return seconds


def timed(owner: object, name: str) -> list[float]:
    """A list that is filled with the seconds of every call of a function from now on."""
    function, seconds = getattr(owner, name), []

    @functools.wraps(function)
    def run(*args: object, **kwargs: object) -> object:
        start = time.perf_counter()
        result = function(*args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return result

    setattr(owner, name, run)
    return seconds


def by_importance(options: Namespace) -> Seconds:
    """Pyro's ``Importance``, one image and one particle at a time: the time of a hundredth of the particles, multiplied by a hundred."""
    vae, x = make_vae("standard", options.latents, options.components), torch.rand(1, PIXELS).round()
    few = options.particles // 100

    def seconds(count: int) -> float:
        start = time.perf_counter()
        pyro.infer.Importance(vae.model, vae.guide, num_samples=few).run(x)
        synchronize(options.device)
        return 100 * count * (time.perf_counter() - start)

    return seconds


def in_pythae(options: Namespace) -> Seconds:
    """Pythae's ``get_nll``, one image at a time, in its own chunks of 100 particles, or in chunks as large as ours."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = Perceptron([PIXELS, *HIDDEN, 2 * options.latents])

        def forward(self, x: Tensor) -> ModelOutput:
            loc, log_variance = self.network(x).chunk(2, -1)
            return ModelOutput(embedding=loc, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(Perceptron([options.latents, *HIDDEN[::-1], PIXELS]), nn.Sigmoid())

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.network(z))

    vae = VAE(VAEConfig(input_dim=(PIXELS,), latent_dim=options.latents, reconstruction_loss="bce"), Encoder(), Decoder())
    x = torch.rand(NUM_KNOWN, PIXELS).round()
    size = {"batch_size": CHUNK} if "chunks" in options.who else {}

    def seconds(count: int) -> float:
        start = time.perf_counter()
        vae.get_nll(x[:count], n_samples=options.particles, **size)
        return time.perf_counter() - start

    return seconds


CONTENDERS = {
    "matrix products": lambda options: matrix_products(options, torch.float32),
    "matrix products, bf16": lambda options: matrix_products(options, torch.bfloat16),
    "infer.Importance": by_importance,
    "pythae, get_nll": in_pythae,
    "pythae, get_nll, chunks of 1000": in_pythae,
}


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("who")
    for name, default in (("particles", 5000), ("components", 500), ("latents", 40), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", type=torch.device, default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with torch.no_grad():
        with options.device:
            seconds = CONTENDERS.get(options.who, ours)(options)
        seconds(1)
        print("ready", flush=True)
        for line in sys.stdin:
            print(seconds(int(line)), flush=True)


if __name__ == "__main__":
    main()
