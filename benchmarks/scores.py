"""One process of a benchmark: ``python benchmarks/scores.py WHO THREADS`` scores images, as many as a line on stdin says, at K = 5000."""

from collections.abc import Callable
import sys
import time

import pyro
import torch

import pyro_lvm as lvm
from inference import evaluate

PIXELS, HIDDEN, LATENTS, NUM_PARTICLES = 784, [300, 300], 40, 5000
NUM_COMPONENTS = 500
CHUNK = 1000
NUM_KNOWN = 4096  # images that are compiled for, and scored one after the other


def make_vae(prior: str) -> lvm.VAE:
    encoder = lvm.NormalEncoder(lvm.MLP(PIXELS, HIDDEN, 2 * LATENTS))
    priors = {
        "vamp": lambda: lvm.VampPrior(encoder, torch.rand(NUM_COMPONENTS, PIXELS)),
        "mixture": lambda: lvm.GaussianMixturePrior(LATENTS, NUM_COMPONENTS),
    }
    prior = priors.get(prior, lambda: lvm.StandardNormal(LATENTS))()
    return lvm.VAE(prior, lvm.BernoulliLikelihood(lvm.MLP(LATENTS, HIDDEN[::-1], PIXELS)), encoder)


def matrix_products() -> Callable[[int], float]:
    widths = [LATENTS, *HIDDEN[::-1], PIXELS]
    pairs = [(torch.randn(CHUNK, n), torch.randn(n, m)) for n, m in zip(widths, widths[1:])]

    def seconds(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count * NUM_PARTICLES // CHUNK):
            for left, right in pairs:
                left @ right
        return time.perf_counter() - start

    return seconds


def scored(prior: str, *, compiled: bool) -> Callable[[int], float]:
    """Compiling is left out: the time of so many more images."""
    vae, x = make_vae(prior), torch.rand(NUM_KNOWN, PIXELS).round()

    def whole(count: int) -> float:
        start = time.perf_counter()
        evaluate(vae, x[:count], num_particles=NUM_PARTICLES, compile=compiled, progress=False)
        return time.perf_counter() - start

    whole(8)
    return lambda count: whole(count + 4) - whole(4)


def by_importance() -> Callable[[int], float]:
    """Pyro's own, one image and one particle at a time; a hundredth of the particles, times a hundred."""
    vae, x = make_vae("standard"), torch.rand(1, PIXELS).round()
    few = NUM_PARTICLES // 100

    def seconds(count: int) -> float:
        start = time.perf_counter()
        pyro.infer.Importance(vae.model, vae.guide, num_samples=few).run(x)
        return 100 * count * (time.perf_counter() - start)

    return seconds


def main() -> None:
    who, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if who == "matrix products":
        seconds = matrix_products()
    elif who == "infer.Importance":
        seconds = by_importance()
    else:
        seconds = scored(who.split(",")[0], compiled="eager" not in who)
    with torch.no_grad():
        seconds(4)
        print("ready", flush=True)
        for line in sys.stdin:
            print(seconds(int(line)), flush=True)


if __name__ == "__main__":
    main()
