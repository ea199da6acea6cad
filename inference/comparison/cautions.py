"""What a comparison must not hide: fits that have not converged, unused latents, and poor samples beside a good likelihood."""

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Protocol

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, linregress
from torch import Tensor

from inference.formatting import format_count, format_share, format_value, format_with_error
from inference.predictive.quality import SampleQuality, quality_differences
from inference.scoring.evaluation import Evaluation

_SHARE, _FEWEST = 10, 5  # the last tenth of the epochs, and at least five: fewer fall by chance more often than once in a hundred fits
_CHANCE = 0.01  # that a fit which has converged is said to fall still
_ERRORS = 3.0  # by which samples must be worse: halvings estimate the errors from ten differences, and two figures are compared
_MOST_UNUSED_CODES = 0.1
_POOR = 0.5  # of the coverage that real data have
_MOST_NAMED = 8
# Both are best for samples distributed like the data. Precision and density also reward a model that draws nothing but typical data.
_TWO_SIDED = {"coverage": ("coverage", 1), "frechet": ("Fréchet distance", -1)}


class LatentUse(Protocol):
    """How latents are used, as in :class:`~inference.diagnostics.diagnosis.Diagnosis`."""

    @property
    def unit_variances(self) -> Mapping[str, Tensor]: ...

    @property
    def collapsed(self) -> Mapping[str, Sequence[int]]: ...

    @property
    def levels(self) -> Mapping[str, float]: ...

    @property
    def standard_errors(self) -> Mapping[str, float]: ...


def convergence(
    name: str,
    history: pd.DataFrame,
    best_epoch: int,
    *,
    epochs: int,
    patience: int | None = None,
    is_scheduled: bool = False,
) -> Iterator[str]:
    """Warn of a fit that has not converged: its best epoch is the last, or its validation loss still fell beyond its scatter.

    Whether it fell is asked of the last tenth of the epochs by Kendall's test, which takes no form of the curve for granted. Under a
    schedule whose learning rate ends near zero, the last epoch is often the best, so that only a fall counts.

    Args:
        name: Name of the fit.
        history: One row per epoch, with ``epoch`` and ``valid_loss`` in nats per datum.
        best_epoch: The epoch with the lowest validation loss; 0 for the weights before training.
        epochs: The epochs that were asked for.
        patience: Epochs without a better validation loss after which the fit was to stop.
        is_scheduled: Whether the learning rate followed a schedule that ends with the epochs, so that the fit cannot go on.

    Yields:
        Sentences with the evidence and a remedy.
    """
    if "valid_loss" not in history:
        yield f"{name} was fitted without validation data, so that nothing says whether it has converged or is overfitted."
        return
    last = int(history["epoch"].iloc[-1]) if len(history) else 0
    is_patience_over = patience is not None and last - best_epoch >= patience
    if last < epochs and not is_patience_over:
        yield f"{name} stopped after {last} of {epochs} epochs, as its loss was no longer finite. Take a smaller --fit.learning_rate."
    if best_epoch == 0:
        yield f"{name} is as it was before training: no epoch had a lower validation loss. Take a smaller --fit.learning_rate."
        return
    is_finite = np.isfinite(history["valid_loss"])
    if missing := int((~is_finite).sum()):
        yield f"{name} has a validation loss that is not finite in {missing} of {last} epochs. Take a smaller --fit.learning_rate."
    window = history[is_finite].tail(max(_FEWEST, last // _SHARE))
    is_falling = len(window) > 1 and bool(kendalltau(window["epoch"], window["valid_loss"], alternative="less").pvalue < _CHANCE)
    if not (is_falling or (best_epoch == last and not is_scheduled)):
        return
    best = f"the best epoch is the last of {last}" if best_epoch == last else f"the best epoch is {best_epoch} of {last}"
    verb = "has not converged" if is_falling else "may not have converged"
    longer = _longer(last, epochs, is_patience_over=is_patience_over, is_scheduled=is_scheduled)
    yield f"{name} {verb}: {best}{_fall(window, is_falling)}. Train {longer}."


def _fall(window: pd.DataFrame, is_falling: bool) -> str:
    """By how many nats the validation loss fell over some epochs, by a line through them, in words."""
    size = len(window)
    if size < 2:
        return ""
    line, span = linregress(window["epoch"], window["valid_loss"]), window["epoch"].iloc[-1] - window["epoch"].iloc[0]
    amount = f"{format_value(abs(line.slope) * span, nan)} nats"
    if is_falling:
        return f", and the validation loss still fell by {amount} over the last {size}"
    verb = "fell" if line.slope < 0 else "rose"
    doubt = "no more than its scatter" if size >= _FEWEST else "too few to tell from scatter"
    return f", and the validation loss {verb} by {amount} over the last {size}, {doubt}"


def _longer(last: int, epochs: int, *, is_patience_over: bool, is_scheduled: bool) -> str:
    """How to train for twice as many epochs: with more of them, more patience, or both, or with a loss that stays finite."""
    if last < epochs and not is_patience_over:
        return "with a smaller --fit.learning_rate"
    more = 2 * last > epochs
    if not is_patience_over:
        return f"anew with --fit.epochs {2 * last}" if is_scheduled else f"longer: --resume --fit.epochs {2 * last}"
    anew = "anew " if more and is_scheduled else ""
    return f"{anew}with a larger --fit.patience" + (f" and --fit.epochs {2 * last}" if more else "")


def unused_latents(name: str, use: LatentUse) -> Iterator[str]:
    """Warn of units whose posterior mean does not vary with the data, and of code values that do not occur.

    Args:
        name: Name of the model.
        use: A diagnosis, or the part of it that says how latents are used.

    Yields:
        Sentences with the evidence and a remedy.
    """
    for site, units in use.collapsed.items():
        variances = use.unit_variances[site]
        error = use.standard_errors.get(f"active_units[{site}]", use.standard_errors.get("active_units", 0.0))
        if len(units) > 2 * error:
            largest = format_value(float(variances[list(units)].max().clamp_min(0)), nan)
            yield _collapsed(name, site, units, error, len(variances), largest)
    for figure, share in use.levels.items():
        error = use.standard_errors.get(figure, 0.0)
        if figure.startswith("codes_used[") and 1 - share - 2 * error > _MOST_UNUSED_CODES:
            missing = format_with_error(100 * (1 - share), 100 * error)
            yield (
                f"{name} leaves {missing}% of the code values of {figure[11:-1]} unused. They cost nothing; fewer (--model.num_codes) "
                "would serve as well."
            )


def _collapsed(name: str, site: str, units: Sequence[int], error: float, total: int, largest: str) -> str:
    varies = f"the mean of q(z|x) hardly varies over the data (its variance is at most {largest})"
    remedy = "--fit.warmup_epochs or --fit.free_bits"
    if len(units) == total:
        collapsed = f"{name} does not use its latent {site}: in all {total} units, {varies}."
        less_noise = "gradients with less noise (--fit.objective stl, --fit.analytic_kl true)"
        return f"{collapsed} Keep it from collapsing by {remedy}, or by {less_noise}."
    named = ", ".join(map(str, units[:_MOST_NAMED])) + (", ..." if len(units) > _MOST_NAMED else "")
    verb, count = "is unused" if len(units) == 1 else "are unused", format_count(len(units), error)
    return f"{name}: {count} of {total} units of {site} {verb}, as {varies}: {named}. Use fewer units, or {remedy}."


def poor_samples(
    scores: Mapping[str, Evaluation], qualities: Mapping[str, SampleQuality], real: SampleQuality | None = None
) -> Iterator[str]:
    """Warn if the model with the best log p(x) has worse samples than one with a lower log p(x), or poor ones.

    Samples are worse if coverage or Fréchet distance, which only samples distributed like the data have at their best, is worse by
    more than three errors, and neither is better by as much; they are poor if they cover less than half as many data as real data do.

    Args:
        scores: Evaluations by the names of the models.
        qualities: Quality of their prior samples, by the same names; some may lack.
        real: Quality of real data.

    Yields:
        Sentences with the evidence and a remedy.
    """
    ranked = sorted((name for name in scores if name in qualities), key=lambda name: scores[name].mean, reverse=True)
    if not ranked:
        return
    best, *others = ranked
    for other in others:
        if scores[other].is_bound:
            continue  # its log p(x) may be the higher one
        if worse := _worse(qualities[best], qualities[other]):
            yield (
                f"{best} has a higher log p(x) than {other}, but worse samples: {worse}. Likelihood and samples measure different things: "
                "choose by what the model is for."
            )
    own = qualities[best]
    if real is not None and own.coverage + _ERRORS * own.standard_errors["coverage"] < _POOR * real.coverage:
        reached = " and ".join(format_share(quality.coverage, quality.num_real) for quality in (own, real))
        yield (
            f"{best} has the best log p(x), but its samples are poor: samples and real data come near {reached} of the test data. Where "
            "reconstructions are better, another prior, or one fitted after training (--expost), helps."
        )


def _worse(quality: SampleQuality, other: SampleQuality) -> str:
    """In which figures samples are worse than others, in words; an empty string if they are not, or are better in another."""
    difference = quality_differences({"": (quality, other)}).iloc[0]
    gains = {metric: sign * difference[metric] / max(difference[f"{metric}_se"], 1e-12) for metric, (_, sign) in _TWO_SIDED.items()}
    if max(gains.values()) > _ERRORS:
        return ""
    worse = [metric for metric, gain in gains.items() if gain < -_ERRORS]
    return ", and ".join(_difference(metric, quality, other, difference) for metric in worse)


def _difference(metric: str, quality: SampleQuality, other: SampleQuality, difference: pd.Series) -> str:
    own, others = (format_with_error(getattr(one, metric), one.standard_errors[metric]) for one in (quality, other))
    amount = format_with_error(abs(difference[metric]), difference[f"{metric}_se"])
    return f"their {_TWO_SIDED[metric][0]} is {own} instead of {others}, worse by {amount}"
