"""Options of data, models, fits and scores: typed dataclasses, filled from the command line and from YAML."""

from argparse import SUPPRESS
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from inference.data.columns import Kind
from inference.recipes.parts import codes, encoders, expost, fits, likelihoods, methods, networks, priors, programs, structures
from inference.recipes.parts.methods import Precision, ProposalName
from inference.recipes.registries import DATASETS, EXPOST, FIT_PARTS, METHODS, MODEL_PARTS
from inference.recipes.sizes import Counts, Names
from inference.registry import Registry, accepted, make_options, takers, union
from inference.yardsticks.catalogue import YARDSTICKS

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

# Nothing here imports torch, so that help and refusals take no seconds.
EngineName = Literal["processes", "ray"]
Split = Literal["train", "valid", "test"]
BUILT_IN = (codes, encoders, expost, fits, likelihoods, methods, networks, priors, programs, structures)  # the modules that register parts


@dataclass(frozen=True)
class DataOptions:
    """The data.

    Args:
        source: A published data set, or the path of a .npy, .npz, .csv, .parquet or .txt file, or a folder or quoted glob of .npy and .npz
            files, or a folder of .png and .jpg images.
        binarize: How gray levels are treated; null keeps them.
        dequantize: Spread gray levels over [0, 1] by uniform noise, for a likelihood of continuous data.
        shape: Shape of one datum, such as [1,28,28] for the conv network, or the length of a piece of text; by default, that of the data.
        valid_fraction: Share of rows held out for validation, if the data come without a split.
        test_fraction: Share of rows held out for testing, if the data come without a split.
        seed: Seed of the split and of noise that is drawn once.
        condition: What is given to the pair besides the data: labels of a published data set, columns of a table, or arrays of a .npz file.
        labelled: Number of training labels to keep, as evenly over the categories as possible; all others are missing, those of validation
            and test data included.
        columns: Columns of a table to keep; by default all.
        drop: Columns of a table to leave out, such as identifiers.
        kinds: What the numbers of columns of a table are, such as {age: count, grade: category}, instead of what is found.
    """

    source: str = "digits"
    binarize: Literal["default", "half", "static", "dynamic"] | None = "default"
    dequantize: bool = False
    shape: Counts | None = None
    valid_fraction: float | None = None
    test_fraction: float | None = None
    seed: int = 0
    condition: Names | None = None
    labelled: PositiveInt | None = None
    columns: Names | None = None
    drop: Names | None = None
    kinds: dict[str, Kind] | None = None

    def __hash__(self) -> int:
        return hash(repr(self))  # as a dict has no hash


class _Compared:
    """Options that are equal if all that differ from their defaults are, as plugins add options."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Compared) and changed(self) == changed(other)

    def __hash__(self) -> int:
        return hash(repr(sorted(changed(self).items())))


def changed(options: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults."""
    return {one.name: getattr(options, one.name) for one in fields(options) if getattr(options, one.name) != one.default}


@dataclass(frozen=True, eq=False)
class ModelOptions(_Compared):
    """The model: prior, likelihood, encoder and their networks, by name, and their sizes.

    Args:
        structure: One level of latents (flat), or several: stacked, each with its own networks, as in the VampPrior paper, or ladder,
            where guide and model share a path from the top down (with conv networks, the latents below the top are images); or one level
            with data.condition: conditional, given to prior, encoder and decoder, or semi-supervised, a label that is summed out where
            it is missing.
        prior: p(z), of the top level; dirichlet and logistic-normal are for proportions, sphere is for unit vectors, and uniform,
            independent and autoregressive are for discrete codes.
        encoder: q(z|x), for the same kind of latents as the prior: dirichlet or logistic-normal for proportions, power-spherical for unit
            vectors, vq, fsq, straight-through or gumbel for discrete codes; with several levels, normal at each.
        likelihood: p(x|z); auto is mixed for a table, each column of which has a density of its kind, and bernoulli for other data.
        network: Kind of network of the encoder and the decoder.
        init: Initialization of the layers of mlp and gated networks: torch's own, or with the variance of He or of Glorot.
        seed: Seed of the initial weights and of the choice of pseudo-inputs.
    """

    structure: str = "flat"
    prior: str = "standard"
    encoder: str = "normal"
    likelihood: str = "auto"
    network: str = "mlp"
    init: str = "torch"
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FitOptions(_Compared):
    """Stochastic variational inference.

    Args:
        objective: Bound to maximize.
        epochs: Passes through the training data.
        batch_size: Data in a batch; by default 100, or all of them if there are fewer.
        learning_rate: Learning rate of Adam.
        schedule: Course of the learning rate over the epochs.
        kl_weight: Weight of the KL in training, beta; {z1: 0.5} sets it for some sites. Scores are those of the model as it is.
        warmup_epochs: Epochs over which the weight of the KL rises to 1; {z1: 20, z2: 50} sets them for each level.
        free_bits: Nats of the KL of each latent site that are not penalized; {z1: 2.0} sets them for some sites.
        patience: Stop after this many epochs without a better validation loss; null never stops early.
        clip_norm: Largest norm of the gradient of a step.
        alternating: Update guide and generative parameters in turn.
        seed: Seed of shuffling and draws.
    """

    objective: str = "elbo"
    epochs: PositiveInt = 300
    batch_size: PositiveInt = 100
    learning_rate: PositiveFloat = 3e-3
    schedule: str = "constant"
    kl_weight: NonNegativeFloat | dict[str, NonNegativeFloat] | None = None
    warmup_epochs: NonNegativeInt | dict[str, NonNegativeInt] = 0
    free_bits: NonNegativeFloat | dict[str, NonNegativeFloat] = 0.0
    patience: PositiveInt | None = 30
    clip_norm: PositiveFloat | None = None
    alternating: bool = False
    seed: int = 0


def data_options() -> type[Any]:
    """The class of options of data whose help names all data sets that are registered now."""
    words = (DataOptions.__doc__ or "").replace("A published data set,", f"{', '.join(DATASETS)},")
    return type("DataOptions", (DataOptions,), {"__doc__": words})


def model_options() -> type[Any]:
    """The class of options of a model, and of priors fitted to it, with all parts that are registered now."""
    return make_options("ModelOptions", ModelOptions, MODEL_PARTS, others=(EXPOST,))


def fit_options() -> type[Any]:
    """The class of options of a fit with all objectives that are registered now."""
    return make_options("FitOptions", FitOptions, FIT_PARTS)


def without_effect(options: object, registries: Collection[Registry]) -> dict[str, list[str]]:
    """Options that differ from their defaults although none of the chosen parts takes them, with the parts that would."""
    taken, given = {*accepted(options, registries), *union((EXPOST,))}, changed(options)
    return {name: takers(name, registries) for name in union(registries) if name in given and name not in taken}


@dataclass(frozen=True, eq=False)
class EvaluateOptions(_Compared):
    """Log-likelihood by importance sampling, plain or annealed, or by a method of one's own.

    Args:
        split: Split to score.
        num_particles: Draws of z for each datum, K; by default 1000, or 16 chains.
        seed: Seed of the draws.
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
    method: str = "importance"
    num_steps: PositiveInt | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of draws and of steps, with their defaults; no steps if the method has no chains.

        Raises:
            ValueError: If there is no such method, or an option has no effect on it.
        """
        facts = METHODS.part(self.method).facts
        for name in changed(self):
            if name not in ("split", "method", *METHODS[self.method].options):
                takers_of = " or ".join(takers(name, (METHODS,)))
                raise ValueError(
                    f"{name} has no effect with method={self.method!r}; got {getattr(self, name)}. Leave it out, or use {takers_of}."
                )
        return self.num_particles or facts["num_particles"], self.num_steps or facts["num_steps"]


def evaluate_options() -> type[Any]:
    """The class of options of a score with all methods that are registered now."""
    return make_options("EvaluateOptions", EvaluateOptions, (METHODS,))


@dataclass(frozen=True)
class Recipe:
    """All options of a fitted model.

    Args:
        data: Options of the data.
        model: Options of the model.
        fit: Options of the fit.
        pair: A pair of one's own instead of a model made of parts: ``source``, FILE.py:FUNCTION, and the options of that function.
        plugin: Python files that register parts.
        code: SHA-256 of the user's files, and of what they import from beside them, by name.
    """

    data: DataOptions = field(default_factory=DataOptions)
    model: Any = field(default_factory=lambda: model_options()())  # a ModelOptions with the options of all parts
    fit: Any = field(default_factory=lambda: fit_options()())  # a FitOptions with those of all objectives
    pair: dict[str, Any] | None = None
    plugin: tuple[str, ...] = ()
    code: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What tells the model from others in one word: the prior, or the function that makes the pair."""
        return self.model.prior if self.pair is None else str(self.pair["source"]).rpartition(":")[2]

    def flat(self) -> dict[str, Any]:
        """All options by name, such as ``"model.prior"``."""
        sections = {name: value if isinstance(value, dict) else {} for name, value in asdict(self).items()}
        options = {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}
        return options | {"plugin": self.plugin}

    def kept(self) -> "Recipe":
        """The recipe as a run keeps it, with names of files, which lie beside it, instead of paths."""
        pair = None if self.pair is None else self.pair | {"source": PurePath(self.pair["source"]).name}
        return replace(self, pair=pair, plugin=tuple(PurePath(plugin).name for plugin in self.plugin))


def add_recipe(parser: "ArgumentParser") -> None:
    """Add the options of a recipe to a parser, those of all parts included that are registered now."""
    parser.add_class_arguments(data_options(), "data")
    parser.add_class_arguments(model_options(), "model")
    parser.add_class_arguments(fit_options(), "fit")
    parser.add_argument("--code", type=dict[str, str], default={}, help=SUPPRESS)  # which the YAML file of a run has
    add_plugin(parser)


def add_baselines(parser: "ArgumentParser") -> None:
    """Add the option that names the yardsticks beside the models of a comparison."""
    names: Any = tuple[names_of(YARDSTICKS), ...]  # type: ignore[misc]  # a type that is known when the program runs
    words = (
        "Classical models with exact scores, fitted to the same data, that stand beside the others: auto for all if the data are small "
        "enough (4 million cells), true, false, or names."
    )
    parser.add_argument("--baselines", type=Literal["auto"] | bool | names, default="auto", help=words)


def add_plugin(parser: "ArgumentParser") -> None:
    """Add the option that names files which register parts."""
    parser.add_argument("--plugin", type=list[str], default=[], help="Python files that register parts of one's own.")


def names_of(registry: Registry) -> Any:
    """The type of the names of all parts of a kind that are registered now."""
    return Literal[tuple(registry)]


def recipe_of(args: Any) -> Recipe:
    """The recipe that parsed options describe."""
    pair, plugin = getattr(args, "pair", None), tuple(args.plugin)
    if isinstance(pair, dict):
        raise ValueError(f"--pair must name FILE.py:FUNCTION, before options of that function; got {pair}. Name it.")
    pair = None if pair is None else pair.as_dict()
    for name, value in (pair or {}).items():
        if not _can_be_kept(value):
            raise ValueError(f"--pair.{name} must be a number, a word, or lists or mappings of these, to be kept; got {value!r}.")
    recipe = Recipe(DataOptions(**asdict(args.data)), args.model, args.fit, pair, plugin)
    if pair is None and not plugin:
        return recipe
    from inference.recipes.own_pairs import code_of  # only where there are such files, as they import torch

    return replace(recipe, code=code_of(pair, plugin))


def _can_be_kept(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _can_be_kept(one) for key, one in value.items())
    return (
        all(map(_can_be_kept, value)) if isinstance(value, list | tuple) else value is None or isinstance(value, bool | int | float | str)
    )


def check_extra(package: str, name: str) -> None:
    """Check that a package is installed which is not among the requirements; the extra that installs it has its name.

    Args:
        package: The package.
        name: What needs it.

    Raises:
        ImportError: If it is not.
    """
    if find_spec(package) is None:
        raise ImportError(f"{name} needs {package}, which is not installed: pip install 'pyro-lvm[{package}]'")
