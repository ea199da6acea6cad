"""The estimators of other libraries on the bench of known likelihoods: functions of an entry that return log p-hat, and marks.

pythae's ``get_nll`` is called if it is installed; otherwise its formula is written down here, as is that of scvi-tools, whose models
need annotated count matrices. Both were read in their sources: https://github.com/clementchadebec/benchmark_VAE (vae_model.py of
July 2024) and https://github.com/scverse/scvi-tools (module/_vae.py, ``marginal_ll``).
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from math import ceil, log, pi
from typing import NamedTuple
import warnings

from known.registry import Entry
import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.infer import Importance, RenyiELBO
from pyro.infer.importance import psis_diagnostic
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, mse_loss

DRAWS = 1000
LOOPED = 2  # data for which draws are made one at a time
MARK = 0.7  # k-hat above which Pyro's documentation calls a guide poor
CHUNK = 100  # draws of pythae at a time
SEED = 0


WRONG = 0.1  # nats


class CannotError(ValueError):
    """A library has no model of this kind."""


class Scored(NamedTuple):
    """Estimates for the first data of an entry, which are called unreliable (None: it is not said), and whether there was a warning."""

    log_px: Tensor
    marked: Tensor | None = None
    warned: bool = False


class Parts(NamedTuple):
    """One datum of a VAE with a standard normal prior and a diagonal normal guide: q's parameters ``[1, D]``, and p(x | z)."""

    x: Tensor
    loc: Tensor
    scale: Tensor
    likelihood: Callable[[Tensor], dist.TorchDistribution]


def rows(entry: Entry) -> Iterator[tuple[Tensor, ...]]:
    """The data of an entry as batches of one."""
    return zip(*(x.split(1) for x in entry.known.batch), strict=True)


def renyi(entry: Entry) -> Scored:
    """Pyro's ``RenyiELBO(alpha=0)`` with vectorized particles, and its ``psis_diagnostic`` from draws of its own."""
    pair, log_px, marked = entry.known.pair, [], []
    objective = RenyiELBO(alpha=0, num_particles=DRAWS, vectorize_particles=True, max_plate_nesting=1)
    for row in rows(entry):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            log_px.append(-objective.loss(pair.model, pair.guide, *row))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the tail is too short: k-hat is infinite then
            k_hat = psis_diagnostic(pair.model, pair.guide, *row, num_particles=DRAWS, max_plate_nesting=1)
        marked.append(not float(k_hat) <= MARK)
    return Scored(torch.tensor(log_px).double(), torch.tensor(marked), bool(caught))


def importance(entry: Entry) -> Scored:
    """Pyro's ``Importance``, which makes one draw at a time."""
    pair, few = entry.known.pair, list(rows(entry))[:LOOPED]
    scored = [Importance(pair.model, pair.guide, num_samples=DRAWS).run(*row).get_log_normalizer() for row in few]
    return Scored(torch.stack(scored).double())


def parts_of(entry: Entry, row: tuple[Tensor, ...]) -> Parts:
    """Take a pair apart; z is in units of the prior.

    Raises:
        CannotError: If it is no VAE with one latent, a normal prior and a diagonal normal guide.
    """
    pair = entry.known.pair
    guide = poutine.trace(pair.guide).get_trace(*row)
    model = poutine.trace(poutine.replay(pair.model, guide)).get_trace(*row)
    latents = {name for name in model.stochastic_nodes if model.nodes[name]["type"] == "sample" and name != "data"}
    if latents != {"z"} or not all(isinstance(base(trace.nodes["z"]["fn"]), dist.Normal) for trace in (guide, model)):
        raise CannotError(f"{entry.name} is no VAE with a normal z")
    shape = model.nodes["z"]["value"].shape[1:]  # [D], or [] of a single latent
    prior, q = (base(trace.nodes["z"]["fn"]) for trace in (model, guide))
    shift, width = (part.reshape(-1, shape.numel())[:1] for part in (prior.loc, prior.scale))

    def likelihood(z: Tensor) -> dist.TorchDistribution:
        many = tuple(x.expand(len(z), *x.shape[1:]) for x in row)
        conditioned = poutine.condition(pair.model, {"z": (shift + width * z).reshape(-1, *shape)})
        return poutine.trace(conditioned).get_trace(*many).nodes["x"]["fn"]

    loc, scale = (part.reshape(1, -1) for part in (q.loc, q.scale))
    return Parts(row[0], (loc - shift) / width, scale / width, likelihood)


def base(distribution: dist.TorchDistribution) -> dist.TorchDistribution:
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return distribution


def in_parts(score: Callable[[Parts], Tensor | float], entry: Entry) -> Scored:
    """An estimator that needs encoder, prior and decoder apart."""
    return Scored(torch.tensor([float(score(parts_of(entry, row))) for row in rows(entry)]).double())


def kind_of(parts: Parts) -> str:
    """Name the reconstruction loss of pythae that is this likelihood.

    Raises:
        CannotError: If it has none.
    """
    likelihood = base(parts.likelihood(parts.loc))
    if isinstance(likelihood, dist.Bernoulli):
        return "bce"
    if isinstance(likelihood, dist.Normal) and bool((likelihood.scale == 1).all()):
        return "mse"
    raise CannotError("the likelihood is neither Bernoulli nor normal with variance 1")


def pythae_formula(parts: Parts) -> Tensor:
    """``VAE.get_nll``: whole chunks of 100 draws."""
    kind, log_w = kind_of(parts), []
    for _ in range(max(DRAWS // CHUNK, 1)):
        loc, scale = parts.loc.expand(CHUNK, -1), parts.scale.expand(CHUNK, -1)
        z = loc + scale * torch.randn_like(loc)
        log_q = -0.5 * (2 * scale.log() + (z - loc) ** 2 / scale**2).sum(1)
        log_p = -0.5 * (z**2).sum(1)
        x, mean = parts.x.expand(CHUNK, -1), parts.likelihood(z).mean
        if kind == "mse":
            log_px = -0.5 * mse_loss(mean, x, reduction="none").sum(1) - x.shape[1] / 2 * log(2 * pi)
        else:
            log_px = -binary_cross_entropy(mean, x, reduction="none").sum(1)
        log_w.append(log_px + log_p - log_q)
    weights = torch.cat(log_w)
    return weights.logsumexp(0) - log(len(weights))


def in_pythae(parts: Parts) -> float:
    """``VAE.get_nll`` of pythae itself, which returns the mean of log p-hat, not of its negative."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def forward(self, x: Tensor) -> ModelOutput:
            loc, scale = (part.expand(len(x), -1) for part in (parts.loc, parts.scale))
            return ModelOutput(embedding=loc, log_covariance=2 * scale.log())

    class Decoder(BaseDecoder):
        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=parts.likelihood(z).mean)

    config = VAEConfig(input_dim=tuple(parts.x.shape[1:]), latent_dim=parts.loc.shape[1], reconstruction_loss=kind_of(parts))
    return VAE(config, Encoder(), Decoder()).get_nll(parts.x, n_samples=DRAWS, batch_size=CHUNK)


def scvi_formula(parts: Parts, *, per_pass: int) -> Tensor:
    """``VAE.marginal_ll``: whole passes of draws, divided by the number of draws that was asked for."""
    log_w = []
    for _ in range(ceil(DRAWS / per_pass)):
        q = torch.distributions.Normal(parts.loc, parts.scale)
        z = q.sample((per_pass,)).squeeze(1)  # [S, D]
        log_px = parts.likelihood(z).log_prob(parts.x)
        log_w.append(log_px + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) - q.log_prob(z).sum(1))
    return torch.cat(log_w).logsumexp(0) - log(DRAWS)


PYTHAE = in_pythae if find_spec("pythae") else pythae_formula
LIBRARIES = {
    "Pyro, RenyiELBO(alpha=0)": renyi,
    "Pyro, Importance": importance,
    "pythae, get_nll" if find_spec("pythae") else "formula of pythae's get_nll": partial(in_parts, PYTHAE),
    "formula of scvi-tools' marginal_ll": partial(in_parts, partial(scvi_formula, per_pass=100)),
    "the same, 300 draws a pass": partial(in_parts, partial(scvi_formula, per_pass=300)),
}


def score(library: str, entry: Entry) -> Scored:
    """Score an entry as a library does.

    Raises:
        CannotError: If the library cannot take it.
    """
    pyro.set_rng_seed(SEED)
    with torch.no_grad():
        return LIBRARIES[library](entry)


ENTRIES = (
    "normal-1, exact",
    "normal-1, narrow, k 0.75",
    "normal-4, narrow, k 0.84",
    "normal-4, shifted 3",
    "factors-30, factorized",
    "nile, exact",
    "nile, factorized",
    "lsat rasch, moments",
    "lsat 2pl, narrow",
    "poisson log-normal, moments",
    "gamma-poisson, exact",
    "beta-binomial, uniform",
    "two modes, one",
    "256 modes, one",
    "bent, flow, narrow",
    "binary causes, blind to one",
    "classes of factors, exact",
    "carcinoma, 3 classes",
    "hidden markov",
)


def remarks() -> Iterator[str]:
    """What is not run, and what else must be known."""
    if not find_spec("pythae"):
        yield "pythae is not installed; its formula is run instead. It makes whole chunks of 100 draws, also where fewer are asked for."
    yield "scvi-tools' models need annotated count matrices; its formula is run instead, once with 100 draws a pass, once with 300."
    yield "numpyro's models are JAX programs, so it can take no entry; by its source, `RenyiELBO(alpha=0)` has the formula of Pyro's."
    yield "Sites that are marked for enumeration: Pyro's two estimators draw them from the prior and count its density nevertheless."
