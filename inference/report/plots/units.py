"""Plots of the units of latents: how well each fits the prior, and how much it varies with the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np
from torch import Tensor

from inference.drawing import DPI, save

ACTIVE, UNUSED, ERROR = "#0072B2", "#E69F00", "0.35"
_LEAST = 1e-5  # variance at which bars end; estimates of zero may be below


class UnitUse(NamedTuple):
    """The D units of a latent.

    Attributes:
        variance: Variance over the data of the mean of q(z|x), ``[D]``.
        unused: The units that hardly vary with the data.
        kl: KL(q(z_d) || p(z_d)) in nats, ``[D]``; None where it has no closed form.
        kl_error: Its standard error.
    """

    variance: Tensor
    unused: Sequence[int]
    kl: Tensor | None = None
    kl_error: Tensor | None = None


def draw_units(units: Mapping[str, UnitUse], path: Path) -> None:
    """Draw, for each latent, the KL of its units on the left and their variance on the right, most used units first.

    Args:
        units: Latents by name.
        path: File to write.
    """
    figure = Figure(figsize=(7.2, 1.5 * len(units) + 0.8), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(units), 2, squeeze=False)
    for (name, own), (left, right) in zip(units.items(), panels, strict=True):
        order = own.variance.argsort(descending=True).numpy()
        colors = [UNUSED if unit in set(own.unused) else ACTIVE for unit in order]
        places = np.arange(1, len(order) + 1)
        _draw_kl(left, own, order, places, colors)
        right.bar(places, own.variance.numpy()[order].clip(_LEAST) - _LEAST / 10, bottom=_LEAST / 10, color=colors)
        right.set_yscale("log")
        left.set_title(name, loc="left", fontsize="medium")
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlim(0.3, len(order) + 0.7)
    panels[0, 1].set_title("variance of the mean of q(z|x)", loc="right", fontsize="medium")
    panels[0, 0].set_title("KL to the prior (nats)", loc="right", fontsize="medium")
    for axes in panels[-1]:
        axes.set_xlabel("unit, most used first")
    save(figure, path)


def _draw_kl(axes: Axes, own: UnitUse, order: np.ndarray, places: np.ndarray, colors: Sequence[str]) -> None:
    if own.kl is None or own.kl_error is None:
        axes.text(0.5, 0.5, "not known for single units", transform=axes.transAxes, ha="center", color="0.4")
        axes.set_yticks([])
        return
    axes.bar(places, own.kl.numpy()[order], yerr=own.kl_error.numpy()[order], color=colors, error_kw={"ecolor": ERROR, "elinewidth": 1})
