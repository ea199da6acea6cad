"""Models and fits by name: the registries that turn the words of the options into objects."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyro
from pandas import DataFrame
from pyro.infer import ELBO, Trace_ELBO
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from inference.code_recipes import CODE_ENCODERS, CODE_PRIORS, build_coded, start_codebook
from inference.data import Data, load_data
from inference.evaluation import Evaluation
from inference.importance import evaluate
from inference.objectives import IWAE
from inference.options import DataOptions, EvaluateOptions, FitOptions, ModelOptions, Shape
from inference.recipe_parts import LIKELIHOODS, NETWORKS, MakeNetwork, decoder_hidden, encoder_network, inputs_of
from inference.svi import FitResult, MakeScheduler, fit
from pyro_lvm.contract import check_pair
from pyro_lvm.encoders import (
    DirichletEncoder,
    FlowEncoder,
    FullRankNormalEncoder,
    LaplaceEncoder,
    LogisticNormalEncoder,
    NormalEncoder,
    PowerSphericalEncoder,
    StudentTEncoder,
)
from pyro_lvm.flows import iaf, inverse_spline, maf, spline
from pyro_lvm.hierarchical import HierarchicalVAE
from pyro_lvm.levels import Levels, conv_ladder, ladder, stacked
from pyro_lvm.models import VAE
from pyro_lvm.networks import ConvDecoder, he_normal_
from pyro_lvm.nongaussian import DirichletPrior, LaplacePrior, LogisticNormalPrior, StudentTPrior, UniformSpherePrior
from pyro_lvm.priors import FlowPrior, GaussianMixturePrior, StandardNormal, VampPrior
from pyro_lvm.vqvae import VQVAE

AnyVAE = VAE | HierarchicalVAE | VQVAE
MakeLevels = Callable[[ModelOptions, nn.Module | None, Shape], tuple[Levels, MakeNetwork]]


def load(options: DataOptions) -> Data:
    """The data that the options name; see :func:`inference.data.load_data`."""
    return load_data(**asdict(options))


def build_vae(options: ModelOptions, train: Tensor) -> AnyVAE:
    """A VAE by name, its output biases, noise scales and pseudo-inputs started from the data.

    Args:
        options: Names and sizes of the parts.
        train: Training data as the model sees them, ``[N, *X]``: binarized or dequantized if they are to be.

    Returns:
        The VAE, not yet fitted.

    Raises:
        ValueError: If a size is wrong, a part does not fit the data's shape, or the data lie outside the
            likelihood's support.
    """
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        vae = STRUCTURES[options.structure](options, train)
        INITS[options.init](vae)
        start_codebook(vae, train, seed=options.seed)
    _check_likelihood(options, vae.likelihood, train)
    _check_scorable(vae, train)
    return vae


def seen_by_model(data: Data, *, seed: int = 0) -> Tensor:
    """The training data after one draw of their transform's noise, ``[N, *X]``."""
    if data.transform is None:
        return data.train
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return data.transform(data.train)


def fit_vae(
    vae: AnyVAE,
    data: Data,
    options: FitOptions,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[DataFrame], None] | None = None,
    device: str | None = None,
    progress: bool = True,
) -> FitResult:
    """Fits a VAE as the options say; see :func:`inference.svi.fit`."""
    named = ("objective", "num_particles", "schedule")
    return fit(
        vae,
        data.train,
        valid=data.valid,
        elbo=OBJECTIVES[options.objective](options.num_particles),
        scheduler=SCHEDULES[options.schedule](options.epochs),
        transform=data.transform,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        device=device,
        progress=progress,
        **{name: value for name, value in asdict(options).items() if name not in named},
    )


def evaluate_vae(
    vae: AnyVAE, data: Data, options: EvaluateOptions, *, device: str | None = None, progress: bool = False
) -> Evaluation:
    """Scores a split of the data; see :func:`inference.importance.evaluate`."""
    x, K = getattr(data, options.split).to(device), options.num_particles
    return evaluate(vae.to(device), x, num_particles=K, seed=options.seed, precision=options.precision, progress=progress)


def _flat(options: ModelOptions, train: Tensor) -> VAE | VQVAE:
    if options.encoder in CODE_ENCODERS:
        return build_coded(options, train)
    if options.prior in CODE_PRIORS:
        encoders = ", ".join(CODE_ENCODERS)
        raise ValueError(f"prior {options.prior!r} is one of codes; got encoder {options.encoder!r}. Choose model.encoder {encoders}.")
    encoder = ENCODERS[options.encoder](options, partial(encoder_network, options, train))
    network = partial(NETWORKS[options.network][1], options.latent_dim, decoder_hidden(options))
    likelihood = LIKELIHOODS[options.likelihood](options, network, train)
    return VAE(PRIORS[options.prior](options, encoder, train), likelihood, encoder)


def _hierarchy(make_levels: MakeLevels, options: ModelOptions, train: Tensor) -> HierarchicalVAE:
    if options.encoder != "normal":
        raise ValueError(
            f"a {options.structure} structure has normal guides; got encoder {options.encoder!r}. Leave model.encoder out, or take "
            "model.structure flat."
        )
    levels, network = make_levels(options, *inputs_of(options, train))
    likelihood = LIKELIHOODS[options.likelihood](options, network, train)
    return HierarchicalVAE(PRIORS[options.prior](options, levels.top(), train), levels, likelihood)


def _stacked(options: ModelOptions, inputs: nn.Module | None, shape: Shape) -> tuple[Levels, MakeNetwork]:
    if options.network == "conv":
        raise ValueError("a stacked structure has mlp or gated networks; got network 'conv'. Take model.structure ladder.")
    make, dims = NETWORKS[options.network][0], [options.latent_dim] * options.levels
    levels = stacked(shape, dims, options.hidden, network=make, inputs=inputs)
    return levels, partial(make, sum(dims), decoder_hidden(options))


def _ladder(options: ModelOptions, inputs: nn.Module | None, shape: Shape) -> tuple[Levels, MakeNetwork]:
    if options.network == "conv":
        return _conv_ladder(options, inputs, shape)
    make, dims = NETWORKS[options.network][0], [options.latent_dim] * options.levels
    levels = ladder(shape, dims, options.hidden, network=make, inputs=inputs)
    return levels, partial(make, options.hidden[-1], decoder_hidden(options))


def _conv_ladder(options: ModelOptions, inputs: nn.Module | None, shape: Shape) -> tuple[Levels, MakeNetwork]:
    channels = options.hidden
    if len(channels) != options.levels:
        raise ValueError(f"hidden must hold the channels of each of {options.levels} levels; got {channels}. Set model.hidden.")
    levels = conv_ladder(shape, options.latent_dim, channels, latent_channels=options.latent_channels, inputs=inputs)
    state = (channels[0], shape[-2] // 2, shape[-1] // 2)
    return levels, partial(ConvDecoder, state, options.decoder_hidden or channels[:1])


def _plain_prior(prior: Callable[[int], nn.Module]) -> Callable[[ModelOptions, nn.Module, Tensor], nn.Module]:
    return lambda options, encoder, train: prior(options.latent_dim)


def _mixture(options: ModelOptions, encoder: nn.Module, train: Tensor) -> GaussianMixturePrior:
    return GaussianMixturePrior(options.latent_dim, options.num_components)


def _vamp(options: ModelOptions, encoder: nn.Module, train: Tensor) -> VampPrior:
    if not 1 <= options.num_components <= len(train):
        raise ValueError(
            f"num_components must be between 1 and {len(train)}, the number of training data, as each "
            f"pseudo-input starts as one of them; got {options.num_components}. Take fewer."
        )
    rows = torch.randperm(len(train))[: options.num_components]
    bounds = (0.0, float(train.max())) if train.min() >= 0 else None
    return VampPrior(encoder, train[rows], bounds=bounds)


def _flow_prior(flow: Callable, options: ModelOptions, encoder: nn.Module, train: Tensor) -> FlowPrior:
    return FlowPrior(flow(options.latent_dim, transforms=options.flow_transforms, hidden=options.flow_hidden))


def _full_rank(options: ModelOptions, network: MakeNetwork) -> FullRankNormalEncoder:
    D = options.latent_dim
    return FullRankNormalEncoder(network(D + D * (D + 1) // 2), D)


def _flow_encoder(flow: Callable, options: ModelOptions, network: MakeNetwork) -> FlowEncoder:
    D, H = options.latent_dim, options.flow_context
    steps = flow(D, H, transforms=options.flow_transforms, hidden=options.flow_hidden)
    return FlowEncoder(network(2 * D + H), steps)


def _check_likelihood(options: ModelOptions, likelihood: nn.Module, train: Tensor) -> None:
    # Without validation: from data outside the support the output biases may be NaN.
    with torch.no_grad(), pyro.validation_enabled(False):
        support = likelihood(train.new_zeros(1, *likelihood.network.in_shape)).support
    if not support.check(train).all():
        raise ValueError(
            f"likelihood {options.likelihood!r} cannot have made the data, whose values go from "
            f"{train.min():g} to {train.max():g}: its support is {support}. Choose another model.likelihood, "
            "or change data.binarize or data.dequantize."
        )


def _check_scorable(vae: AnyVAE, train: Tensor) -> None:
    refusal = check_pair(vae, train[:2]).refusal
    if refusal is not None:
        raise ValueError(refusal)


STRUCTURES: dict[str, Callable[[ModelOptions, Tensor], AnyVAE]] = {
    "flat": _flat,
    "stacked": partial(_hierarchy, _stacked),
    "ladder": partial(_hierarchy, _ladder),
}
INITS: dict[str, Callable[[nn.Module], None]] = {"torch": lambda vae: None, "he": he_normal_}
PRIORS: dict[str, Callable[[ModelOptions, nn.Module, Tensor], nn.Module]] = {
    "standard": _plain_prior(StandardNormal),
    "mixture": _mixture,
    "vamp": _vamp,
    "maf": partial(_flow_prior, maf),
    "spline": partial(_flow_prior, spline),
    "laplace": _plain_prior(LaplacePrior),
    "student-t": _plain_prior(StudentTPrior),
    "dirichlet": _plain_prior(DirichletPrior),
    "logistic-normal": _plain_prior(LogisticNormalPrior),
    "sphere": _plain_prior(UniformSpherePrior),
}
ENCODERS: dict[str, Callable[[ModelOptions, MakeNetwork], nn.Module]] = {
    "normal": lambda options, network: NormalEncoder(network(2 * options.latent_dim)),
    "full-rank": _full_rank,
    "iaf": partial(_flow_encoder, iaf),
    "inverse-spline": partial(_flow_encoder, inverse_spline),
    "laplace": lambda options, network: LaplaceEncoder(network(2 * options.latent_dim)),
    "student-t": lambda options, network: StudentTEncoder(network(2 * options.latent_dim)),
    "dirichlet": lambda options, network: DirichletEncoder(network(options.latent_dim)),
    "logistic-normal": lambda options, network: LogisticNormalEncoder(network(2 * options.latent_dim)),
    "power-spherical": lambda options, network: PowerSphericalEncoder(network(options.latent_dim + 1)),
}
OBJECTIVES: dict[str, Callable[[int], ELBO]] = {
    "elbo": lambda num_particles: Trace_ELBO(
        num_particles=num_particles, vectorize_particles=num_particles > 1, max_plate_nesting=1
    ),
    "iwae": IWAE,
}
SCHEDULES: dict[str, Callable[[int], MakeScheduler | None]] = {
    "constant": lambda epochs: None,
    "cosine": lambda epochs: lambda optimizer: CosineAnnealingLR(optimizer, epochs),
}
