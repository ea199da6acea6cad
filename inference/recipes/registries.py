"""The registries of all kinds of parts. A file of one's own registers a part with the same decorator, and ``--plugin FILE`` names it."""

from inference.data.published.catalogue import DATASETS
from inference.registry import Registry
from inference.yardsticks.catalogue import YARDSTICKS

REAL, SIMPLEX, SPHERE, CODES = "the whole space", "the simplex", "the sphere", "discrete codes"
_DATA = "the training data as the model sees them, [N, *X]"
_GRID = "a function that makes, of a size and a number of vectors, a network from data to a grid of them and its shape [*S, d]"
_NETWORK = "a function that makes a network with the given shape of its output"

PRIORS = Registry("prior", given={"encoder": "the guide that goes with it", "train": _DATA}, facts={"latents": REAL, "of_encoder": False})
"""Priors p(z). Facts: the space of the ``latents``; whether the prior is made ``of_encoder``'s distributions, whatever their space."""

ENCODERS = Registry(
    "encoder",
    given={
        "network": _NETWORK,
        "grid": _GRID,
    },
    facts={"latents": REAL},
)
"""Guides q(z|x). Facts: the space of the ``latents``."""

LIKELIHOODS = Registry(
    "likelihood",
    given={
        "network": _NETWORK,
        "train": _DATA,
        "columns": "what the numbers of each column are, or None if the data are no table",
        "given": "the values of each condition, by name, [N] or [N, *C]",
    },
    facts={"is_categorical": False, "is_counts": False, "takes_columns": False},
)
"""Likelihoods p(x|z). Facts: whether the data are codes of categories (``is_categorical``), which enter networks as indicators; or
counts (``is_counts``), which enter them as logarithms; whether it ``takes_columns`` of a table, whose kinds and gaps it knows of."""

NETWORKS = Registry("network", given={}, facts={"is_conv": False})
"""Networks: a builder returns the class for encoders and that for decoders. Facts: whether they are made for images (``is_conv``)."""

INITS = Registry("init", given={"pair": "the model, whose weights are changed in place"})
"""Initializations of the hidden layers."""

NOTHING, CONDITIONS, LABEL = "nothing", "conditions", "a label"
STRUCTURES = Registry("structure", given={"parts": "the other parts that the options name"}, facts={"is_flat": False, "takes": NOTHING})
"""Pairs made of parts. Facts: whether there is one level of latents (``is_flat``), whose guide is the encoder; what the pair ``takes``
besides the observations."""

OBJECTIVES = Registry("objective", given={"structure": "what the pair declares, such as latents that are summed out"})
"""Objectives of a fit: a builder returns an ELBO of Pyro."""

SCHEDULES = Registry("schedule", given={"epochs": "the number of epochs"})
"""Courses of the learning rate: a builder returns a function from an optimizer to a scheduler, or None."""

METHODS = Registry(
    "method",
    given={
        "pair": "the fitted pair",
        "batch": "what it is called with, for all rows that are scored",
        "progress": "whether to show a progress bar",
    },
    facts={"num_particles": 1000, "num_steps": 0},
)
"""Evaluators: a builder returns an Evaluation. Facts: ``num_particles`` and ``num_steps`` by default; no steps if there are no chains."""

EXPOST = Registry("expost", given={}, facts={"is_of_codes": False})
"""Priors fitted after training: a builder returns an Expost. Facts: whether latents are discrete codes (``is_of_codes``), or vectors."""

TRACKERS = Registry("track", given={"folder": "a folder of its own"}, facts={"package": None, "files": r".+"})
"""Programs that show histories: a builder returns a callback with ``close``. Facts: the ``package`` of the same extra that it needs, and
the names of its ``files``, as a regular expression."""

MODEL_PARTS = (STRUCTURES, PRIORS, ENCODERS, LIKELIHOODS, NETWORKS, INITS)
FIT_PARTS = (OBJECTIVES, SCHEDULES)
ALL = (DATASETS, *MODEL_PARTS, *FIT_PARTS, METHODS, EXPOST, TRACKERS, YARDSTICKS)
