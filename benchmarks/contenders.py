"""One process of a benchmark: ``python benchmarks/contenders.py WHO WHAT BATCH`` takes the number of training steps that stdin names."""

from argparse import ArgumentParser
from collections.abc import Callable
import contextlib
import io
from itertools import pairwise
import sys
import tempfile
import time

from by_hand import CODE_DIM, NUM_CODES, NUM_PARTICLES, NUM_PSEUDO_INPUTS, NUM_SLOTS, SEVERAL_DRAWS, Perceptron, make
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

SIZES = {"tiny": (64, [32], 8)}
PIXELS, HIDDEN, LATENTS = 784, [300, 300], 40
NUM_BATCHES = 8

Run = Callable[[int], None]


def batches(what: str, size: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = SIZES.get(what, (PIXELS,))[0]
    return [torch.rand(size, pixels, generator=generator, device="cpu").round().to(torch.get_default_device()) for _ in range(NUM_BATCHES)]


def synchronize(device: torch.device) -> None:
    """Wait until a CUDA device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make_pair(what: str, pixels: int, hidden: list[int], latents: int) -> torch.nn.Module:
    """This library's pair for a table."""
    import pyro_lvm as lvm

    def likelihood(inputs: int | tuple[int, int]) -> torch.nn.Module:
        return lvm.BernoulliLikelihood(lvm.MLP(inputs, hidden[::-1], pixels))

    if what == "hvae":
        return lvm.HierarchicalVAE(lvm.StandardNormal(latents), lvm.stacked(pixels, [latents, latents], hidden), likelihood(2 * latents))
    if what == "vq":
        grid = (NUM_SLOTS, CODE_DIM)
        encoder = lvm.VectorQuantizer(lvm.MLP(pixels, hidden, grid), NUM_CODES, decay=None)
        return lvm.VQVAE(lvm.UniformCodePrior([NUM_SLOTS], NUM_CODES), likelihood(grid), encoder)
    encoder = lvm.NormalEncoder(lvm.MLP(pixels, hidden, 2 * latents))
    if what == "iaf":
        encoder = lvm.FlowEncoder(lvm.MLP(pixels, hidden, 2 * latents + 32), lvm.iaf(latents, 32, hidden=(64, 64)))
    prior = lvm.VampPrior(encoder, torch.rand(NUM_PSEUDO_INPUTS, pixels)) if what == "vamp" else lvm.StandardNormal(latents)
    return lvm.VAE(prior, likelihood(latents), encoder)


def ours(what: str, data: list[Tensor], *, compiled: bool) -> Run:
    from inference.numerics import keep_freed_memory
    from inference.svi.compiled import CompiledSteps
    from inference.svi.messengers import KLWeight
    from inference.svi.objectives.bounds import IWAE, DReG
    from inference.svi.step import Step
    from inference.tracing.patches import no_nan_warnings

    pixels, hidden, latents = SIZES.get(what, (PIXELS, HIDDEN, LATENTS))
    vae = make_pair(what, pixels, hidden, latents)
    elbo = {"iwae": IWAE, "dreg": DReG}[what](NUM_PARTICLES) if what in SEVERAL_DRAWS else pyro.infer.Trace_ELBO()
    step = Step(elbo, vae.model, vae.guide, KLWeight(), None, None)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-4, fused=True)
    pyro.enable_validation(False)  # as fit does after its first step
    keep_freed_memory()
    if compiled:
        step = CompiledSteps(step, list(vae.modules()), is_required=True, has_warmup=False, announce=lambda _: None)

    def run(n: int) -> None:
        with no_nan_warnings():
            for i in range(n):
                step(optimizer, (data[i % NUM_BATCHES],))

    return run


def by_hand(what: str, data: list[Tensor], *, compiled: bool, mode: str | None = None) -> Run:
    model = make(what, *SIZES.get(what, (PIXELS, HIDDEN, LATENTS)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    loss_of = torch.compile(model, dynamic=False, mode=mode) if compiled else model

    def run(n: int) -> None:
        for i in range(n):
            optimizer.zero_grad()
            loss = loss_of(data[i % NUM_BATCHES])
            loss.backward()
            optimizer.step()
            loss.item()

    return run


def tutorial(what: str, data: list[Tensor], *, is_validated: bool) -> Run:
    """Pyro's SVI as in its VAE tutorial."""
    pixels, hidden, latents = SIZES.get(what, (PIXELS, HIDDEN, LATENTS))
    encoder, decoder = Perceptron([pixels, *hidden, 2 * latents]), Perceptron([latents, *hidden[::-1], pixels])

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(x.shape[0], latents), x.new_ones(x.shape[0], latents)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    pyro.enable_validation(is_validated)
    if what == "iwae":
        elbo = pyro.infer.RenyiELBO(alpha=0, num_particles=NUM_PARTICLES, vectorize_particles=True, max_plate_nesting=1)
    else:
        elbo = pyro.infer.Trace_ELBO()
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-4}), elbo)
    return lambda n: [svi.step(data[i % NUM_BATCHES]) for i in range(n)]


def matrix_products(what: str, data: list[Tensor]) -> Run:
    """The matrix products of a step: forward, for the weights' gradients and, except in the encoder's first layer, for the layer below."""
    pixels, hidden, latents = SIZES.get(what, (PIXELS, HIDDEN, LATENTS))
    size = len(data[0])
    rows = {"encoder": size, "decoder": size * (NUM_PARTICLES if what in SEVERAL_DRAWS else 1)}
    widths = {"encoder": [pixels, *hidden, 2 * latents], "decoder": [latents, *hidden[::-1], pixels]}
    layers = [(rows[name], n, m, (name, i) != ("encoder", 0)) for name in rows for i, (n, m) in enumerate(pairwise(widths[name]))]
    tensors = [(torch.randn(r, n), torch.randn(n, m), torch.randn(r, m), passes_on) for r, n, m, passes_on in layers]

    def run(n: int) -> None:
        for _ in range(n):
            for x, w, gradient, passes_on in tensors:
                x @ w
                x.T @ gradient
                if passes_on:
                    gradient @ w.T

    return run


def in_numpyro(what: str, data: list[Tensor], *, scan: bool) -> Run:
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as nd
    from numpyro.infer import SVI, Trace_ELBO

    pixels, hidden, latents = SIZES.get(what, (PIXELS, HIDDEN, LATENTS))

    def initial(widths: list[int], key: Tensor) -> list:
        keys = jax.random.split(key, len(widths))
        return [(jax.random.normal(k, (n, m)) * n**-0.5, jnp.zeros(m)) for k, n, m in zip(keys, widths, widths[1:], strict=False)]

    def apply(parameters: list, h: Tensor) -> Tensor:
        for number, (w, b) in enumerate(parameters):
            h = (h if number == 0 else jax.nn.relu(h)) @ w + b
        return h

    enc = initial([pixels, *hidden, 2 * latents], jax.random.PRNGKey(0))
    dec = initial([latents, *hidden[::-1], pixels], jax.random.PRNGKey(1))

    def model(x: Tensor) -> None:
        parameters = numpyro.param("decoder", dec)
        with numpyro.plate("data", x.shape[0]):
            z = numpyro.sample("z", nd.Normal(jnp.zeros(latents), 1.0).to_event(1))
            numpyro.sample("x", nd.Bernoulli(logits=apply(parameters, z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        parameters = numpyro.param("encoder", enc)
        with numpyro.plate("data", x.shape[0]):
            loc, log_scale = jnp.split(apply(parameters, x), 2, -1)
            numpyro.sample("z", nd.Normal(loc, jnp.exp(log_scale)).to_event(1))

    svi = SVI(model, guide, numpyro.optim.Adam(1e-4), Trace_ELBO())
    arrays = jnp.stack([jnp.asarray(x.numpy()) for x in data])
    state = [svi.init(jax.random.PRNGKey(2), arrays[0])]
    update = jax.jit(svi.update)
    epoch = jax.jit(lambda s, xs: jax.lax.scan(svi.update, s, xs))

    def run(n: int) -> None:
        for i in range(n // NUM_BATCHES if scan else n):
            state[0], loss = epoch(state[0], arrays) if scan else update(state[0], arrays[i % NUM_BATCHES])
            loss.block_until_ready()

    return run


def in_pythae(what: str, data: list[Tensor]) -> Run:
    """Pythae's own trainer, one epoch of ``NUM_BATCHES`` batches at a time."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import IWAE, VAE, VAMP, IWAEConfig, VAEConfig, VAMPConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    pixels, hidden, latents = SIZES.get(what, (PIXELS, HIDDEN, LATENTS))

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = Perceptron([pixels, *hidden, 2 * latents])

        def forward(self, x: Tensor) -> ModelOutput:
            loc, log_variance = self.network(x).chunk(2, -1)
            return ModelOutput(embedding=loc, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = Perceptron([latents, *hidden[::-1], pixels])

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.network(z).sigmoid())

    kind, config, options = {
        "vamp": (VAMP, VAMPConfig, {"number_components": NUM_PSEUDO_INPUTS}),
        "iwae": (IWAE, IWAEConfig, {"number_samples": NUM_PARTICLES}),
    }.get(what, (VAE, VAEConfig, {}))
    model = kind(config(input_dim=(pixels,), latent_dim=latents, reconstruction_loss="bce", **options), Encoder(), Decoder())
    rows = torch.cat(data)
    settings = BaseTrainerConfig(output_dir=tempfile.mkdtemp(), per_device_train_batch_size=len(data[0]), learning_rate=1e-4, no_cuda=True)
    trainer = BaseTrainer(model, BaseDataset(rows, torch.zeros(len(rows))), training_config=settings)
    trainer.prepare_training()
    return lambda n: [trainer.train_step(epoch) for epoch in range(1, n // NUM_BATCHES + 1)]


CONTENDERS = {
    "matrix products": matrix_products,
    "by hand, eager": lambda *a: by_hand(*a, compiled=False),
    "by hand, torch.compile": lambda *a: by_hand(*a, compiled=True),
    "by hand, torch.compile, CUDA graphs": lambda *a: by_hand(*a, compiled=True, mode="reduce-overhead"),
    "Pyro's tutorial": lambda *a: tutorial(*a, is_validated=True),
    "Pyro's tutorial, validation off": lambda *a: tutorial(*a, is_validated=False),
    "ours, eager": lambda *a: ours(*a, compiled=False),
    "ours, compiled": lambda *a: ours(*a, compiled=True),
    "numpyro, jit": lambda *a: in_numpyro(*a, scan=False),
    "numpyro, scan of 8 steps": lambda *a: in_numpyro(*a, scan=True),
    "pythae": in_pythae,
}


def main() -> None:
    parser = ArgumentParser()
    for name, kind in (("who", str), ("what", str), ("batch", int)):
        parser.add_argument(name, type=kind)
    for name, kind, default in (("threads", int, 1), ("device", torch.device, "cpu")):
        parser.add_argument(f"--{name}", type=kind, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with options.device:
            run = CONTENDERS[options.who](options.what, batches(options.what, options.batch))
        run(2 * NUM_BATCHES)
    print("ready", flush=True)
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            start = time.perf_counter()
            run(int(line))
            synchronize(options.device)
            seconds = time.perf_counter() - start
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
