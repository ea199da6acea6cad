"""Options of data, models, fits and scores: typed records, filled from the command line and from YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from inference.recipes.codes import CODE_ENCODERS, CODE_PRIORS
from inference.recipes.encoders import ENCODERS
from inference.recipes.fits import OBJECTIVES, SCHEDULES
from inference.recipes.likelihoods import LIKELIHOODS
from inference.recipes.networks import INITS, NETWORKS
from inference.recipes.priors import PRIORS
from inference.recipes.sizes import Counts, Sizes
from inference.tracing.precision import Precision


def names(*registries: Mapping[str, object]) -> Any:
    """The type of the names in some registries."""
    return Literal[tuple(name for registry in registries for name in registry)]


PriorName = str if TYPE_CHECKING else names(PRIORS, CODE_PRIORS)
EncoderName = str if TYPE_CHECKING else names(ENCODERS, CODE_ENCODERS)
LikelihoodName = str if TYPE_CHECKING else names(LIKELIHOODS)
NetworkName = str if TYPE_CHECKING else names(NETWORKS)
InitName = str if TYPE_CHECKING else names(INITS)
ObjectiveName = str if TYPE_CHECKING else names(OBJECTIVES)
ScheduleName = str if TYPE_CHECKING else names(SCHEDULES)
StructureName = Literal["flat", "stacked", "ladder"]
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
    shape: Counts | None = None
    valid_fraction: float | None = None
    test_fraction: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class _Names:
    """Names of a model's parts.

    Args:
        structure: One level of latents, or several: stacked, each with networks of its own as in the VampPrior paper, or a
            ladder, where guide and model share a path from the top down (conv: the latents below the top are images).
        prior: p(z), of the top level; dirichlet and logistic-normal are of proportions, sphere of unit vectors, and uniform, independent
            and autoregressive of discrete codes.
        encoder: q(z|x), of the prior's kind: dirichlet or logistic-normal for proportions, power-spherical for unit vectors, vq, fsq,
            straight-through or gumbel for discrete codes; of several levels, each is normal.
        likelihood: p(x|z).
        network: Kind of the encoder's and the decoder's network.
        init: Where the hidden layers of mlp and gated networks start: as torch starts them, or with He's variance.
    """

    structure: StructureName = "flat"
    prior: PriorName = "standard"
    encoder: EncoderName = "normal"
    likelihood: LikelihoodName = "bernoulli"
    network: NetworkName = "mlp"
    init: InitName = "torch"


@dataclass(frozen=True)
class ModelOptions(Sizes, _Names):
    """The model: prior, likelihood, encoder and their networks, by name, and their sizes."""


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

    objective: ObjectiveName = "elbo"
    num_particles: PositiveInt = 1
    epochs: PositiveInt = 300
    batch_size: PositiveInt = 100
    learning_rate: PositiveFloat = 3e-3
    schedule: ScheduleName = "constant"
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
