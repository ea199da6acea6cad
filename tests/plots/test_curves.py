"""Curves of losses and of estimates: the lines have the numbers of histories and scores."""

from evaluations import evaluation_of, lognormal
import numpy as np
import pandas as pd
import pytest

from inference import FitResult, plot_curve, plot_history
from inference.plots.curves import _loss_limit

HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [9.0, 7.0, 6.0], "valid_loss": [8.0, 7.5, 7.9]})
EMPTY = HISTORY.head(0)


def result(history=HISTORY, best_epoch=2, best_loss=7.5):
    return FitResult(object(), history, best_epoch, best_loss, False, 0)


def lines(axes):
    return {line.get_label(): np.array(line.get_data()).T.tolist() for line in axes.lines}


def dots(axes):
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o"]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_fit_has_both_losses_and_a_dot_where_its_weights_are_kept():
    axes = plot_history(result())
    own = lines(axes)
    assert own["validation"] == [[1, 8.0], [2, 7.5], [3, 7.9]] and own["training"] == [[1, 9.0], [2, 7.0], [3, 6.0]]
    assert dots(axes) == [(2, 7.5)] and legend(axes) == ["validation", "training", "weights kept"]
    assert axes.get_ylabel() == "loss (nats per datum)"
    assert not dots(plot_history(HISTORY)) and legend(plot_history(HISTORY)) == ["validation", "training"]


def test_weights_before_training_are_marked_at_epoch_zero_if_their_loss_is_known():
    assert dots(plot_history(result(best_epoch=0, best_loss=5.0))) == [(0, 5.0)]
    axes = plot_history({"a": HISTORY, "b": HISTORY}, best_epochs={"a": 0, "b": 2})
    assert dots(axes) == [(2, 7.5)] and legend(axes) == ["a", "b", "weights kept (no dot: those before training)"]


def test_several_fits_have_one_curve_each():
    unvalidated = HISTORY.drop(columns="valid_loss")
    axes = plot_history({"a": result(), "b": HISTORY + 1, "stopped": EMPTY})
    assert {name: line for name, line in lines(axes).items() if not name.startswith("_")} == {
        "a": [[1, 8.0], [2, 7.5], [3, 7.9]],
        "b": [[2, 9.0], [3, 8.5], [4, 8.9]],
    }
    assert axes.get_ylabel() == "validation loss (nats per datum)"
    assert plot_history({"a": unvalidated, "b": HISTORY}).get_ylabel() == "loss (nats per datum)"
    assert dots(plot_history(result(unvalidated, best_epoch=3, best_loss=np.nan))) == [(3, 6.0)]
    assert not plot_history(EMPTY).lines


def test_no_fit_is_outside_the_picture_of_losses():
    histories = {
        "steep": pd.DataFrame({"valid_loss": [900.0, 24.0, 23.0, 22.5, 22.0, 21.9]}),
        "poor": pd.DataFrame({"valid_loss": [120.0, 110.0, np.nan]}),
    }
    assert 110 < _loss_limit(histories) < 120
    assert 21.9 < _loss_limit({"steep": histories["steep"]}) < 40


def test_curves_are_the_estimates_from_the_first_draws():
    weights = lognormal(64)
    scores = {"many": evaluation_of(weights), "few": evaluation_of(weights[:16])}
    axes = plot_curve(scores)
    for line, score in zip(axes.lines, scores.values(), strict=True):
        assert line.get_xdata().tolist() == list(score.curve_particles)
        expected = [float((weights[:k].logsumexp(0) - np.log(k)).mean()) for k in score.curve_particles]
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)
    assert legend(axes) == ["many", "few"] and axes.get_xscale() == "log"
    assert plot_curve(scores["few"]).get_legend() is None


@pytest.mark.parametrize(("plot", "thing"), [(plot_history, "runs/vamp"), (plot_curve, HISTORY), (plot_history, {"a": [1.0]})])
def test_other_things_are_refused(plot, thing):
    with pytest.raises(TypeError, match="must be of type"):
        plot(thing)


def test_scores_of_other_data_are_not_drawn_together_and_bounds_are_hollow():
    density = evaluation_of(lognormal(20), measure="density")
    with pytest.raises(ValueError, match="measure must be the same everywhere"):
        plot_curve({"mass": evaluation_of(lognormal(20)), "density": density})
    axes = plot_curve({"estimate": evaluation_of(lognormal(20)), "bound": evaluation_of(lognormal(1))})
    assert [line.get_markerfacecolor() == "white" for line in axes.lines] == [False, True]
