"""Plots of learning curves and of the convergence of estimates."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.ticker import MaxNLocator
import numpy as np
import pandas as pd

from inference.drawing import colors_of, make_axes, save
from inference.scoring.evaluation import Evaluation


def draw_history(histories: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draw the validation loss of each fit by epoch, or its training loss if it has no other, and for a single fit both.

    Args:
        histories: Histories by the names of the fits, as in :class:`inference.svi.fitting.FitResult`.
        path: File to write.
    """
    histories = {name: history for name, history in histories.items() if len(history)}  # a fit may have stopped in its first epoch
    is_single = len(histories) == 1
    figure, axes = make_axes("epoch", f"{'' if is_single else 'validation '}loss (nats per datum)")
    for (name, history), color in zip(histories.items(), colors_of(histories), strict=True):
        epoch, loss, is_validated = history["epoch"], _losses(history), "valid_loss" in history
        best = loss.idxmin() if is_validated else loss.index[-1]
        axes.plot(epoch, loss, color=color, label=("validation" if is_validated else "training") if is_single else name)
        axes.plot(epoch[best], loss[best], "o", color=color, markersize=5)
        if is_single and is_validated:
            axes.plot(epoch, history["train_loss"], color="0.6", label="training")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if histories:
        axes.set_ylim(top=_loss_limit(histories))
        axes.legend(frameon=False)
    axes.set_title("The dot marks the epoch whose weights are kept", loc="left", fontsize="medium")
    save(figure, path)


def draw_estimates(scores: Mapping[str, Evaluation], path: Path) -> None:
    """Draw the mean estimate of log p(x) against the number of draws it is computed from.

    Args:
        scores: Evaluations by the names of the models.
        path: File to write.
    """
    figure, axes = make_axes("draws per datum, K", "mean estimate of log p(x) (nats per datum)")
    for (name, score), color in zip(scores.items(), colors_of(scores), strict=True):
        curve = score.curve_frame()
        axes.plot(curve.index, curve["log_px"], "o-", color=color, markersize=3, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title("Estimates rise towards log p(x); K = 1 estimates the ELBO", loc="left", fontsize="medium")
    axes.legend(frameon=False, loc="lower right")
    save(figure, path)


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
