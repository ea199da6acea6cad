"""The models of the benchmarks as a PyTorch user would write them: the loss of a batch in one function."""

from itertools import pairwise

import torch
from torch import Tensor, nn
import torch.nn.functional as F

NUM_PSEUDO_INPUTS, NUM_PARTICLES = 500, 5
NUM_SLOTS, CODE_DIM, NUM_CODES = 8, 16, 512
SEVERAL_DRAWS = ("iwae", "dreg")


class Perceptron(nn.Sequential):
    def __init__(self, widths: list[int]) -> None:
        layers = [part for n, m in pairwise(widths) for part in (nn.Linear(n, m), nn.ReLU())]
        super().__init__(*layers[:-1])


class OneLevel(nn.Module):
    """VAE, optionally with a VampPrior, the IWAE bound, with doubly reparameterized gradients (dreg) or without, or an IAF guide."""

    def __init__(self, what: str, pixels: int, hidden: list[int], latents: int) -> None:
        super().__init__()
        self.what, self.context = what, 32 if what == "iaf" else 0
        self.encoder = Perceptron([pixels, *hidden, 2 * latents + self.context])
        self.decoder = Perceptron([latents, *hidden[::-1], pixels])
        self.latents = latents
        if what == "vamp":
            self.pseudo_inputs, self.weights = (
                nn.Parameter(torch.rand(NUM_PSEUDO_INPUTS, pixels)),
                nn.Parameter(torch.zeros(NUM_PSEUDO_INPUTS)),
            )
        if what == "iaf":
            self.steps = nn.ModuleList(Masked(latents, 32, [64, 64], is_reversed=bool(i % 2)) for i in range(2))

    def forward(self, x: Tensor) -> Tensor:
        loc, log_scale, context = self.encoder(x).split([self.latents, self.latents, self.context], -1)
        shape = (NUM_PARTICLES, *loc.shape) if self.what in SEVERAL_DRAWS else loc.shape
        noise = torch.randn(shape, device=loc.device)
        log_q = (-0.5 * noise**2 - log_scale - 0.9189385).sum(-1)
        z = noise
        if self.what == "iaf":
            for step in self.steps:
                shift, log_step = step(torch.cat([z, context], -1)).chunk(2, -1)
                z, log_q = z * log_step.exp() + shift, log_q - log_step.sum(-1)
        z = loc + log_scale.exp() * z
        if self.what == "dreg":
            fixed = loc.detach(), log_scale.detach()
            log_q = (-0.5 * ((z - fixed[0]) * (-fixed[1]).exp()) ** 2 - fixed[1] - 0.9189385).sum(-1)
        log_px = -F.binary_cross_entropy_with_logits(self.decoder(z), x.expand(*z.shape[:-1], -1), reduction="none").sum(-1)
        log_w = log_px + self.log_prior(z) - log_q
        if self.what == "dreg":
            weights = log_w.detach().softmax(0)[..., None]
            z.register_hook(lambda gradient: weights * gradient)
        return -(log_w.logsumexp(0) if self.what in SEVERAL_DRAWS else log_w).mean()

    def log_prior(self, z: Tensor) -> Tensor:
        if self.what != "vamp":
            return (-0.5 * z**2 - 0.9189385).sum(-1)
        loc, log_scale = self.encoder(self.pseudo_inputs).chunk(2, -1)
        precision = (-2 * log_scale).exp()
        constant = self.weights.log_softmax(0) - (log_scale + 0.5 * loc**2 * precision + 0.9189385).sum(-1)
        return (z**2 @ (-0.5 * precision).T + z @ (loc * precision).T + constant).logsumexp(-1)


class Masked(nn.Module):
    """A masked autoregressive network whose last layer is masked strictly."""

    def __init__(self, features: int, context: int, hidden: list[int], is_reversed: bool) -> None:
        super().__init__()
        order = torch.arange(features).flip(0) if is_reversed else torch.arange(features)
        degrees = [torch.cat([order, torch.full((context,), -1)]), *(torch.arange(h) % (features - 1) for h in hidden), order.repeat(2)]
        widths = [len(d) for d in degrees]
        self.linears = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(widths))
        for i, (a, b) in enumerate(pairwise(degrees)):
            self.register_buffer(f"mask{i}", ((b[:, None] > a) if i == len(hidden) else (b[:, None] >= a)).float())

    def forward(self, h: Tensor) -> Tensor:
        for i, linear in enumerate(self.linears):
            h = F.linear(h if i == 0 else h.relu(), linear.weight * getattr(self, f"mask{i}"), linear.bias)
        return h


class Hierarchy(nn.Module):
    """Two levels of latents, as in the VampPrior paper."""

    def __init__(self, pixels: int, hidden: list[int], latents: int) -> None:
        super().__init__()
        *outer, width = hidden
        self.top = Perceptron([pixels, *hidden, 2 * latents])
        self.of_x, self.of_z = Perceptron([pixels, *hidden]), Perceptron([latents, *hidden])
        self.joined = Perceptron([2 * width, width, 2 * latents])
        self.conditional = Perceptron([latents, *hidden, 2 * latents])
        self.decoder = Perceptron([2 * latents, *hidden[::-1], pixels])

    def forward(self, x: Tensor) -> Tensor:
        z2, log_q2 = draw(self.top(x))
        z1, log_q1 = draw(self.joined(torch.cat([self.of_x(x), self.of_z(z2)], -1)))
        loc, log_scale = self.conditional(z2).chunk(2, -1)
        log_p1 = (-0.5 * ((z1 - loc) * (-log_scale).exp()) ** 2 - log_scale - 0.9189385).sum(-1)
        log_px = -F.binary_cross_entropy_with_logits(self.decoder(torch.cat([z1, z2], -1)), x, reduction="none").sum(-1)
        return -(log_px + log_p1 + (-0.5 * z2**2 - 0.9189385).sum(-1) - log_q1 - log_q2).mean()


def draw(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """A reparameterized draw from a normal distribution, and its log density."""
    loc, log_scale = parameters.chunk(2, -1)
    noise = torch.randn_like(loc)
    return loc + log_scale.exp() * noise, (-0.5 * noise**2 - log_scale - 0.9189385).sum(-1)


class Quantized(nn.Module):
    """VQ-VAE with a codebook trained by gradient."""

    def __init__(self, pixels: int, hidden: list[int]) -> None:
        super().__init__()
        self.encoder = Perceptron([pixels, *hidden, NUM_SLOTS * CODE_DIM])
        self.decoder = Perceptron([NUM_SLOTS * CODE_DIM, *hidden[::-1], pixels])
        self.codebook = nn.Parameter(torch.randn(NUM_CODES, CODE_DIM))

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x).unflatten(-1, (NUM_SLOTS, CODE_DIM))
        codes = (self.codebook.square().sum(-1) - 2 * h @ self.codebook.T).argmin(-1)
        e = F.embedding(codes, self.codebook)
        penalty = 0.25 * (h - e.detach()).square() + (h.detach() - e).square()
        passed = h + (e - h).detach()
        log_px = -F.binary_cross_entropy_with_logits(self.decoder(passed.flatten(1)), x, reduction="none").sum(-1)
        return (penalty.flatten(1).sum(-1) - log_px).mean()


def make(what: str, pixels: int, hidden: list[int], latents: int) -> nn.Module:
    """The model of a table, by name."""
    if what == "hvae":
        return Hierarchy(pixels, hidden, latents)
    return Quantized(pixels, hidden) if what == "vq" else OneLevel(what, pixels, hidden, latents)
