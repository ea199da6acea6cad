"""Plots of curves: losses by epoch, and estimates of log p(x) against the number of draws."""

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
import numpy as np
import pandas as pd

from inference.comparison.table import check_evaluations
from inference.drawing import colors_of, label, new_axes
from inference.plots.marks import marked, with_note
from inference.scoring.evaluation import Evaluation
from inference.svi.loop import FitResult


def plot_history(
    fits: FitResult | pd.DataFrame | Mapping[str, FitResult | pd.DataFrame],
    *,
    best_epochs: Mapping[str, int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the losses of fits by epoch, in nats per datum.

    A single fit has two curves, of its validation loss and of its training loss. The latter has the weight of the KL with which each epoch
    was trained, and so lies lower during a warm-up. Several fits have one curve each: the validation loss, or without validation data the
    training loss. The first epochs are cut off where they would make the rest of the curves look flat.

    Args:
        fits: What :func:`~inference.svi.fitting.fit` returns, or its ``history``; or a dict of these by the names of the fits.
        best_epochs: The epochs whose weights are kept, by the same names, which dots mark; those of what ``fit`` returns are known.
        ax: Axes to draw on; by default, those of a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If something else is given than fits or histories.

    Example::

        result = fit(pair, data, epochs=100)
        plot_history(result)
        plot_history({"standard": standard, "vamp": vamp})
    """
    named = dict(fits) if isinstance(fits, Mapping) else {"": fits}
    _check_kind("fits", named, FitResult, pd.DataFrame)
    histories = {name: fit if isinstance(fit, pd.DataFrame) else fit.history for name, fit in named.items()}
    histories = {name: history for name, history in histories.items() if len(history)}  # a fit may have stopped in its first epoch
    kept = {name: (fit.best_epoch, fit.best_loss) for name, fit in named.items() if isinstance(fit, FitResult)}
    kept |= {name: (epoch, np.nan) for name, epoch in (best_epochs or {}).items()}
    is_single = len(histories) == 1
    is_validated = all("valid_loss" in history for history in histories.values())
    what = "loss" if is_single or not is_validated else "validation loss"
    axes = label(new_axes() if ax is None else ax, "epoch", f"{what} (nats per datum)")
    dots = [
        _draw_history(axes, history, kept.get(name), color, name="" if is_single else name)
        for (name, history), color in zip(histories.items(), colors_of(histories), strict=True)
    ]
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if histories:
        axes.set_ylim(top=_loss_limit(histories))
        axes.legend(handles=[*axes.get_legend_handles_labels()[0], *_handle(dots, is_known=set(histories) <= set(kept))], frameon=False)
    return axes


def plot_curve(scores: Evaluation | Mapping[str, Evaluation], *, ax: Axes | None = None) -> Axes:
    r"""Plot mean estimates of log p(x) against the number of draws that they are computed from, in nats per datum.

    .. math:: \frac{1}{N} \sum_n \log \frac{1}{K} \sum_{k=1}^K w_{nk}

    In expectation, a curve rises towards the mean log p(x) and begins, at K = 1, with the ELBO of the proposal: an estimate that still
    rises at its right end is too low. A bound is one hollow point, an exact value a full one, and a star marks scores that k-hat calls
    unreliable for most data. Curves have no errors, as those over the data are the same
    along a curve: :func:`~inference.plots.differences.plot_comparison` has those of differences.

    Args:
        scores: What :func:`~inference.scoring.importance.evaluate` returns, or a dict of these by the names of the models.
        ax: Axes to draw on; by default, those of a new figure.

    Returns:
        The axes, with a line for each score: the values of :meth:`~inference.scoring.evaluation.Evaluation.curve_frame`.

    Raises:
        TypeError: If something else is given than evaluations.
        ValueError: If there are none, or they are not of the same data and measure.

    Example::

        plot_curve(evaluate(pair, data))
    """
    named = dict(scores) if isinstance(scores, Mapping) else {"": scores}
    _check_kind("scores", named, Evaluation)
    check_evaluations(named)
    axes = label(new_axes() if ax is None else ax, "draws per datum, K", "mean estimate of log p(x) (nats per datum)")
    for (name, score), color in zip(named.items(), colors_of(named), strict=True):
        curve = score.curve_frame()
        face = "white" if score.is_bound else color
        axes.plot(
            curve.index, curve["log_px"], "o-", color=color, markersize=3, markerfacecolor=face, label=marked(name, score.bad_k_share)
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    title = with_note("Rises towards log p(x); at K = 1, an ELBO", (score.bad_k_share for score in named.values()))
    axes.set_title(title, loc="left", fontsize="medium")
    if isinstance(scores, Mapping):
        axes.legend(frameon=False)
    return axes


def _draw_history(axes: Axes, history: pd.DataFrame, kept: tuple[int, float] | None, color: str, *, name: str) -> bool:
    """Draw the losses of a fit and return whether the epoch whose weights are kept could be marked."""
    losses, is_validated = _losses(history), "valid_loss" in history
    axes.plot(history["epoch"], losses, color=color, label=name or ("validation" if is_validated else "training"))
    if is_validated and not name:
        axes.plot(history["epoch"], history["train_loss"], color="0.6", label="training")
    epoch, loss = kept or (0, np.nan)
    loss = dict(zip(history["epoch"], losses, strict=True)).get(epoch, loss)
    if not np.isfinite(loss):
        return False
    axes.plot([epoch], [loss], "o", color=color, markersize=5)
    return True


def _handle(dots: Sequence[bool], *, is_known: bool) -> list[Artist]:
    """What the dots mean, if there are any; fits without one may have kept the weights that they had before training."""
    words = "weights kept" + (" (no dot: those before training)" if is_known and not all(dots) else "")
    return [Line2D([], [], color="0.35", marker="o", linestyle="", markersize=5, label=words)] if any(dots) else []


def _losses(history: pd.DataFrame) -> pd.Series:
    """The validation losses, or the training losses of a fit without validation data."""
    return history["valid_loss" if "valid_loss" in history else "train_loss"]


def _loss_limit(histories: Mapping[str, pd.DataFrame]) -> float:
    """An upper limit that the first epochs may exceed, as otherwise the rest of the curves would look flat; the best are below it."""
    losses = np.concatenate([_losses(history) for history in histories.values()])
    losses = losses[np.isfinite(losses)]
    best = max(_losses(history).min() for history in histories.values())
    limit = max(losses.min() + 4 * (np.median(losses) - losses.min()), best + 0.05 * (best - losses.min()))
    return min(losses.max(), limit) + 0.1


def _check_kind(name: str, things: Mapping[str, object], *kinds: type) -> None:
    for key, thing in things.items():
        if not isinstance(thing, kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            where = f"{name}[{key!r}]" if key else name
            raise TypeError(f"{where} must be of type {expected}, or {name} a dict of these; got {type(thing).__name__}.")
