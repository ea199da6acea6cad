"""Fit yardsticks to a data set, and score them beside the models of a comparison."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from inference.checkpoint import device_of
from inference.data.fingerprint import FittedRows
from inference.data.load import Data
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate
from inference.yardsticks.catalogue import YARDSTICKS
from inference.yardsticks.pairs import Yardstick
from inference.yardsticks.rows import NotApplicable, num_cells, table_of
from pyro_lvm.checks import check_counts, check_seeds
from pyro_lvm.dtypes import suited
from pyro_lvm.pair import Batch
from pyro_lvm.scopes import belongings
from pyro_lvm.structure import run_pair

Asked = Literal["auto"] | bool | Sequence[str]
MOST_CELLS = 2**22  # rows times columns of the training data up to which yardsticks take seconds
_SAME = ("data_id", "measure", "num_dims")  # of scores that can be compared


class Baselines(dict[str, Yardstick]):
    """Fitted yardsticks by name.

    Attributes:
        left_out: Why others were not fitted, by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, str] = {}

    @property
    def sizes(self) -> dict[str, str]:
        """What each was fitted with, in words such as ``"with 8 latents"``; empty if there is nothing to say."""
        return {name: yardstick.size for name, yardstick in self.items()}


def baselines(
    data: Data,
    *,
    latent_dim: int | None = None,
    measure: str | None = None,
    names: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Baselines:
    """Fit classical models to a data set, as pairs whose log p(x) is exact: what a deep model has to beat.

    They are fitted to the training rows; numbers of components and smoothing are chosen on the validation rows. Each is given whatever
    :func:`~inference.evaluate` takes. Which of them there are depends on the data: real columns have normal distributions, factor analysis,
    probabilistic PCA and mixtures; columns of counts and codes have latent classes; text has n-grams.

    Args:
        data: What :func:`~inference.data.load.load_data` returns, without conditions.
        latent_dim: Number of latents of factor analysis and probabilistic PCA; without one, these are left out.
        measure: What p(x) of the models is beside which they stand, ``"mass"`` or ``"density"``: whole numbers may be taken for counts or
            for real numbers. By default, binary data and columns of a known kind have what goes with these, and others a density.
        names: Names of the yardsticks to fit; by default, all that can be.
        options: Options of the yardsticks by name, such as ``num_components=(3,)``.
        seed: Seed of starts that are drawn.

    Returns:
        Pairs by name, with the reasons why others are ``left_out``.

    Raises:
        TypeError: If ``data`` is no data set in splits.
        ValueError: If a name is unknown, or rows are given labels or other conditions.

    Example:
        >>> import numpy as np
        >>> from inference import baselines, evaluate, load_data
        >>> rows = np.random.default_rng(0).normal(size=(200, 3)) @ np.array([[1.0, 0.9, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 2.0]])
        >>> data = load_data(rows)
        >>> scores = {name: evaluate(pair, data) for name, pair in baselines(data, latent_dim=1).items()}
        >>> scores["full-normal"].is_exact
        True
    """
    if not isinstance(data, Data):
        raise TypeError(f"data must be a data set in splits; got {type(data).__name__}. Make one with load_data(array).")
    check_counts(latent_dim=latent_dim)
    check_seeds(seed=seed)
    if data.given:
        given = ", ".join(data.given)
        raise ValueError(f"yardsticks are of rows by themselves; these are given {given}. Load the data without conditions.")
    found = Baselines()
    usual = [name for name, part in YARDSTICKS.items() if part.facts["is_of_text"] == (data.alphabet is not None)]
    asked = [YARDSTICKS.part(name).name for name in (usual if names is None else names)]
    try:
        table = table_of(data, measure=measure, latent_dim=latent_dim, seed=seed)
    except NotApplicable as reason:
        found.left_out = dict.fromkeys(asked, str(reason))
        return found
    rows = FittedRows.of(*data.batch("train"))
    for name in asked:
        try:
            found[name] = YARDSTICKS.build(name, options or {}, data=table)
            belongings(found[name]).fitted = rows
        except NotApplicable as reason:
            found.left_out[name] = str(reason)
    return found


class Beside(NamedTuple):
    """Yardsticks beside the models of a comparison.

    Attributes:
        scores: Their evaluations, of the data on which the models were scored, by name.
        sizes: What each was fitted with, in words.
        notes: Sentences on what was left out.
    """

    scores: Mapping[str, Evaluation]
    sizes: Mapping[str, str]
    notes: Sequence[str]


NOTHING_BESIDE = Beside({}, {}, ())


def score_beside(data: Data, split: str, pairs: Mapping[str, object], scores: Mapping[str, Evaluation], asked: Asked = "auto") -> Beside:
    """Fit and score the yardsticks for models that have been scored.

    Args:
        data: The data of the models.
        split: The split on which they were scored.
        pairs: The models by name; factor analysis has as many latents as the one with the most real latents.
        scores: Their evaluations, by the same names.
        asked: Names of yardsticks; ``True`` for all, ``False`` for none, and ``"auto"`` for all if the data are small enough.
    """
    if asked is False:
        return NOTHING_BESIDE
    if reason := _reason_for_none(data, scores, asked):
        return NOTHING_BESIDE._replace(notes=[reason])
    batch, model = data.batch(split), next(iter(scores.values()))
    latent_dim = max(num_latents(pair, data.batch("train")) for pair in pairs.values()) or None
    names = None if isinstance(asked, str | bool) else asked
    fitted = baselines(data, latent_dim=latent_dim, measure=model.measure, names=names)
    found: dict[str, Evaluation] = {}
    for name, yardstick in fitted.items():
        score = evaluate(yardstick, batch, progress=False)
        if reason := _difference(name, score, model, scores):
            fitted.left_out[name] = reason
        else:
            found[name] = score
    return Beside(found, {name: fitted.sizes[name] for name in found}, list(_left_out(fitted.left_out)))


def num_latents(pair: object, batch: Batch) -> int:
    """Return the number of real latents of a datum, over all sites of the model."""
    sites = run_pair(pair, suited(pair, tuple(x[:2].to(device_of(pair)) for x in batch))).model.values()
    return sum(site["value"][0].numel() for site in sites if not site["is_observed"] and site["value"].is_floating_point())


def _reason_for_none(data: Data, scores: Mapping[str, Evaluation], asked: Asked) -> str:
    """Why there are no yardsticks at all, in a sentence, or nothing."""
    if data.given or any(score.given_id for score in scores.values()):
        given = ", ".join(data.given) or "other arguments"
        return f"No yardsticks stand beside these scores: they are of p(x) with {given}, and those would be of p(x) alone."
    if asked == "auto" and num_cells(data) > MOST_CELLS:
        return (
            f"No yardsticks stand beside these scores: {num_cells(data):,} cells of training data are more than the {MOST_CELLS:,} up to "
            "which they take seconds. --baselines true fits them nevertheless."
        )
    return ""


def _difference(name: str, score: Evaluation, model: Evaluation, scores: Mapping[str, Evaluation]) -> str:
    """Why the score of a yardstick cannot be compared with those of the models, or nothing."""
    if name in scores:
        return "a model has its name"
    fields = [field for field in _SAME if getattr(score, field) != getattr(model, field)]
    return f"its {fields[0]} is {getattr(score, fields[0])}, and that of the models {getattr(model, fields[0])}" if fields else ""


def _left_out(reasons: Mapping[str, str]) -> Iterator[str]:
    """Sentences that name the yardsticks which are left out, those with the same reason together."""
    for reason in dict.fromkeys(reasons.values()):
        names = ", ".join(name for name, own in reasons.items() if own == reason)
        yield f"Yardsticks left out: {names}, as {reason}."
