"""Options of data, models, fits and scores: typed dataclasses, filled from the command line and from YAML."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from inference.recipes.sizes import Counts, Sizes

# Nothing here imports torch, so that help and refusals take no seconds. Tests hold these names to those of the registries.
if TYPE_CHECKING:
    PriorName = str
    EncoderName = str
    LikelihoodName = str
    NetworkName = str
    InitName = str
    ObjectiveName = str
    ScheduleName = str
    ExpostName = str
else:
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
    LikelihoodName = Literal["bernoulli", "gaussian", "student-t", "discretized-logistic", "categorical", "poisson", "negative-binomial"]
    NetworkName = Literal["mlp", "gated", "conv"]
    InitName = Literal["torch", "he"]
    ObjectiveName = Literal["elbo", "iwae"]
    ScheduleName = Literal["constant", "cosine"]
    ExpostName = Literal["gaussian", "mixture", "flow", "two-stage", "autoregressive"]
Precision = Literal["full", "bf16"]
ProposalName = Literal["auto", "guide", "refined"]
MethodName = Literal["importance", "ais"]
StructureName = Literal["flat", "stacked", "ladder"]
Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class DataOptions:
    """The data.

    Args:
        source: digits, mnist, mnist-static, fashion-mnist, omniglot-rebuilt, frey-faces, tiny-shakespeare, or the path of a
            .npy, .npz, .csv, .parquet or .txt file, or a folder or quoted glob of .npy and .npz files.
        binarize: How gray levels are treated; null keeps them.
        dequantize: Spread gray levels over [0, 1] by uniform noise, for a likelihood of continuous data.
        shape: Shape of one datum, such as [1,28,28] for the conv network, or the length of a piece of text; by default, that of the data.
        valid_fraction: Share of rows held out for validation, if the data come without a split.
        test_fraction: Share of rows held out for testing, if the data come without a split.
        seed: int of the split and of noise that is drawn once.
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
        structure: One level of latents (flat), or several: stacked, each with its own networks, as in the VampPrior paper, or ladder,
            where guide and model share a path from the top down (with conv networks, the latents below the top are images).
        prior: p(z), of the top level; dirichlet and logistic-normal are for proportions, sphere is for unit vectors, and uniform,
            independent and autoregressive are for discrete codes.
        encoder: q(z|x), for the same kind of latents as the prior: dirichlet or logistic-normal for proportions, power-spherical for unit
            vectors, vq, fsq, straight-through or gumbel for discrete codes; with several levels, normal at each.
        likelihood: p(x|z).
        network: Kind of network of the encoder and the decoder.
        init: Initialization of the hidden layers of mlp and gated networks: torch's own, or with He's variance.
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
        objective: Bound to maximize.
        num_particles: Draws of z for each datum in a step.
        epochs: Passes through the training data.
        batch_size: Data in a batch.
        learning_rate: Learning rate of Adam.
        schedule: Course of the learning rate over the epochs.
        warmup_epochs: Epochs over which the weight of the KL rises to 1; {z1: 20, z2: 50} sets them for each level.
        free_bits: Nats of the KL of each latent site that are not penalized; {z1: 2.0} sets them for some sites.
        patience: Stop after this many epochs without a better validation loss; null never stops early.
        clip_norm: Largest norm of the gradient of a step.
        alternating: Update guide and generative parameters in turn.
        seed: int of shuffling and draws.
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
    """Log-likelihood by importance sampling, plain or annealed.

    Args:
        split: Split to score.
        num_particles: Draws of z for each datum, K; by default 1000, or 16 chains.
        seed: int of the draws.
        precision: Precision of matrix products: full, or bf16, which takes two thirds of the time on processors with instructions for it.
        proposal: What z is drawn from: the guide, refined for each datum, or auto, which refines where the guide does not suffice.
        method: Importance sampling, or ais for annealed importance sampling, a second opinion whose draws are ends of chains.
        num_steps: Steps of each chain of ais; by default 50.
    """

    split: Split = "test"
    num_particles: PositiveInt | None = None
    seed: int = 0
    precision: Precision = "full"
    proposal: ProposalName = "auto"
    method: MethodName = "importance"
    num_steps: PositiveInt | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of draws and of steps, with their defaults; no steps for importance sampling."""
        from inference.scoring.annealed.score import read_counts

        return read_counts(self.method, self.num_particles, self.num_steps)


@dataclass(frozen=True)
class Recipe:
    """All options of a fitted model.

    Args:
        data: Options of the data.
        model: Options of the model.
        fit: Options of the fit.
    """

    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    fit: FitOptions = field(default_factory=FitOptions)
