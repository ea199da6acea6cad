"""Options of data, models, fits and scores: typed records, filled from the command line and from YAML."""

from dataclasses import dataclass, field
from typing import Literal

from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from inference.precision import Precision

Shape = tuple[PositiveInt, ...]
PriorName = Literal[
    "standard",
    "mixture",
    "vamp",
    "maf",
    "spline",
    "laplace",
    "student-t",
    "dirichlet",
    "logistic-normal",
    "sphere",
    "uniform",
    "independent",
    "autoregressive",
]
EncoderName = Literal[
    "normal",
    "full-rank",
    "iaf",
    "inverse-spline",
    "laplace",
    "student-t",
    "dirichlet",
    "logistic-normal",
    "power-spherical",
    "vq",
    "fsq",
    "straight-through",
    "gumbel",
]
LikelihoodName = Literal[
    "bernoulli",
    "gaussian",
    "student-t",
    "discretized-logistic",
    "categorical",
    "poisson",
    "negative-binomial",
]
StructureName = Literal["flat", "stacked", "ladder"]
NetworkName = Literal["mlp", "gated", "conv"]
ExpostName = Literal["gaussian", "mixture", "flow", "two-stage", "autoregressive"]
Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class DataOptions:
    """The data.

    Args:
        source: digits, mnist, mnist-static, fashion-mnist, omniglot-rebuilt, frey-faces, tiny-shakespeare, or the path of a
            .npy, .npz, .csv, .parquet or .txt file.
        binarize: What becomes of gray levels; null keeps them.
        dequantize: Spread gray levels over [0, 1] by uniform noise, for a likelihood of real data.
        shape: Shape of one datum, such as [1,28,28] for the conv network, or the length of a piece of text; by default as the set comes.
        valid_fraction: Share of rows held out for validation, where the set has no split.
        test_fraction: Share of rows held out for testing, where the set has no split.
        seed: Seed of the split and of noise that is drawn once.
    """

    source: str = "digits"
    binarize: Literal["default", "half", "static", "dynamic"] | None = "default"
    dequantize: bool = False
    shape: Shape | None = None
    valid_fraction: float | None = None
    test_fraction: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class ModelOptions:
    """The model: prior, likelihood, encoder and their networks.

    Args:
        structure: One level of latents, or several: stacked, each with networks of its own as in the VampPrior paper, or a
            ladder, where guide and model share a path from the top down (conv: the latents below the top are images).
        levels: Number of levels of a stacked or ladder structure.
        prior: p(z), of the top level; dirichlet and logistic-normal are of proportions, sphere of unit vectors, and uniform, independent
            and autoregressive of discrete codes.
        encoder: q(z|x), of the prior's kind: dirichlet or logistic-normal for proportions, power-spherical for unit vectors, vq, fsq,
            straight-through or gumbel for discrete codes; of several levels, each is normal.
        likelihood: p(x|z).
        network: Kind of the encoder's and the decoder's network.
        init: Where the hidden layers of mlp and gated networks start: as torch starts them, or with He's variance.
        latent_dim: Number of latent features of each level, or of a code vector.
        latent_channels: Channels of the latent images of a conv ladder.
        hidden: Widths of the encoder's hidden layers, or channels for conv.
        decoder_hidden: Those of the decoder, from the latents on; by default ``hidden`` in reverse.
        num_components: Components of the mixture prior, or pseudo-inputs of the vamp prior.
        flow_transforms: Steps of a flow, as prior or in the encoder.
        flow_hidden: Widths of the hidden layers of each step of a flow.
        flow_context: Features of x that condition a flow in the encoder.
        num_codes: Codes in a codebook; of fsq, the product of its levels.
        num_slots: Codes of each datum, for mlp and gated networks; of conv, the grid that is left after the halvings by ``hidden``.
        num_groups: Codebooks of a product, for vq; each codes a part of every vector.
        fsq_levels: Levels of each feature of a vector, for fsq; latent_dim has no effect.
        codebook: How the codebook of vq follows the data.
        code_gradient: How the gradient passes the rounding of vq and fsq.
        gumbel_temperature: Of the relaxation, for gumbel.
        logistic_components: Logistics in the mixture of each pixel, for discretized-logistic.
        feature_noise: Learn a noise scale (gaussian, student-t) or dispersion (negative-binomial) for each
            feature, not one for all.
        seed: Seed of the initial weights and of the choice of pseudo-inputs.
    """

    structure: StructureName = "flat"
    levels: PositiveInt = 2
    prior: PriorName = "standard"
    encoder: EncoderName = "normal"
    likelihood: LikelihoodName = "bernoulli"
    network: NetworkName = "mlp"
    init: Literal["torch", "he"] = "torch"
    latent_dim: PositiveInt = 8
    latent_channels: PositiveInt = 2
    hidden: Shape = (256,)
    decoder_hidden: Shape | None = None
    num_components: PositiveInt = 50
    flow_transforms: PositiveInt = 2
    flow_hidden: Shape = (64, 64)
    flow_context: PositiveInt = 32
    num_codes: PositiveInt = 256
    num_slots: PositiveInt = 16
    num_groups: PositiveInt = 1
    fsq_levels: Shape = (8, 6, 5)
    codebook: Literal["averages", "gradient"] = "averages"
    code_gradient: Literal["straight-through", "rotation"] = "straight-through"
    gumbel_temperature: PositiveFloat = 0.67
    logistic_components: PositiveInt = 1
    feature_noise: bool = False
    seed: int = 0


@dataclass(frozen=True)
class FitOptions:
    """Stochastic variational inference.

    Args:
        objective: The bound that is maximized.
        num_particles: Draws of z for each datum in a step.
        epochs: Passes through the training data.
        batch_size: Data in a batch.
        learning_rate: Of Adam.
        schedule: Course of the learning rate over the epochs.
        warmup_epochs: Epochs over which the weight of the KL rises to 1; {z1: 20, z2: 50} for each level.
        free_bits: Nats of the KL of each latent site that cost nothing; {z1: 2.0} for some of them.
        patience: Stop after so many epochs without a better validation loss; null never stops early.
        clip_norm: Largest norm of the gradient of a step.
        alternating: Update guide and generative parameters in turn.
        seed: Seed of shuffling and draws.
    """

    objective: Literal["elbo", "iwae"] = "elbo"
    num_particles: PositiveInt = 1
    epochs: PositiveInt = 300
    batch_size: PositiveInt = 100
    learning_rate: PositiveFloat = 3e-3
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: NonNegativeInt | dict[str, NonNegativeInt] = 0
    free_bits: NonNegativeFloat | dict[str, NonNegativeFloat] = 0.0
    patience: PositiveInt | None = 30
    clip_norm: PositiveFloat | None = None
    alternating: bool = False
    seed: int = 0


@dataclass(frozen=True)
class EvaluateOptions:
    """Importance-sampled log-likelihood.

    Args:
        split: The data that are scored.
        num_particles: Draws of z for each datum, K.
        seed: Seed of the draws.
        precision: Of matrix products: full, or bf16, which takes two thirds of the time where the processor has instructions for it.
    """

    split: Split = "test"
    num_particles: PositiveInt = 1000
    seed: int = 0
    precision: Precision = "full"


@dataclass(frozen=True)
class Recipe:
    """All that a fitted model was made from.

    Args:
        data: The data.
        model: The model.
        fit: The fit.
    """

    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    fit: FitOptions = field(default_factory=FitOptions)
