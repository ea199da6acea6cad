"""The result of a calibration: ranks, p-values, a table, a picture and a verdict in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor

from inference.diagnostics.calibration.pictures import draw_calibration
from inference.diagnostics.calibration.ranks import JOINT, LIKELIHOOD
from inference.diagnostics.calibration.uniformity import detectable_scales, normal_scores
from inference.formatting import format_value
from inference.markup import Record, Shown

TESTS = ("shift", "scale", "shape")
_MOST_ROWS, _MOST_NAMES = 12, 6
_LEAST_P = 1e-9  # below it, p-values are rounding errors of sums
_OF_ELEMENTS = ("shifted down", "shifted up", "too narrow", "too wide", "another shape")
_OF_DENSITIES = ("too low", "too high", "spread too little", "spread too far", "otherwise distributed")
_SENTENCES = {
    "too narrow": "The guide is too narrow in",
    "too wide": "The guide is too wide in",
    "shifted down": "The guide is shifted down in",
    "shifted up": "The guide is shifted up in",
    "another shape": "The guide has another shape than the posterior in",
}


@dataclass(frozen=True, eq=False, repr=False)
class Calibration(Record):
    r"""How the latents that made simulated data rank among draws from the guide given these data.

    Where the guide is the posterior, all ranks are uniform. Every quantity is tested three times, for a shift, a scale and any other
    departure, and a finding counts if its p-value, times the number of all tests, is at most ``level``. So an exact guide has a finding
    with a probability of at most ``level``.

    Attributes:
        names: The Q quantities: elements of latents, such as ``"z[3]"``, then ``"log p(x|z)"`` and ``"log p(x, z)"``.
        ranks: Number of draws below the truth, from 0 to L, ``[N, Q]``; ties are broken at random.
        positions: The ranks as points in (0, 1), uniform within each of the L + 1 parts, ``[N, Q]``.
        p_values: Of the tests for shift, scale and shape, not corrected for their number, ``[Q, 3]``.
        left_out: Latents that are summed out, and so have no guide.
        num_draws: Draws from the guide for each datum, L.
        level: Largest probability of any finding about an exact guide.
        seed: Seed of data and draws.
    """

    names: tuple[str, ...]
    ranks: Tensor
    positions: Tensor
    p_values: Tensor
    left_out: tuple[str, ...]
    num_draws: int
    level: float
    seed: int

    @property
    def num_data(self) -> int:
        """Number of simulated data, N."""
        return len(self.ranks)

    @property
    def threshold(self) -> float:
        """The p-value up to which a test counts, ``level`` divided by the number of tests."""
        return self.level / self.p_values.numel()

    @property
    def findings(self) -> dict[str, tuple[str, ...]]:
        """What is wrong with each quantity in which something is found, such as ``{"z[3]": ("too narrow",)}``."""
        frame = self.to_frame()
        found = {name: tuple(words.split(", ")) for name, words in frame["finding"].items() if words}
        return {str(name): words for name, words in found.items()}

    @property
    def is_calibrated(self) -> bool:
        """Whether nothing is found; departures that are small for N data may remain."""
        return not self.findings

    @property
    def verdict(self) -> str:
        """What is found, in a sentence or two."""
        if self.is_calibrated:
            return f"No departure from the posterior is found. {self._power}"
        sentences = [*_about_elements(self.findings), *_about_densities(self.findings)]
        return " ".join(f"{sentence}." for sentence in sentences)

    @property
    def _power(self) -> str:
        scales = detectable_scales(self.num_data, self.num_draws, self.threshold)
        if not scales:
            return "No scale of a guide would be found with a probability of 95%: take more data, or more draws."
        numbers = " or ".join(f"{scale:.2f}" for scale in scales)
        return f"Of a normal posterior, a guide with a scale of {numbers} times the right one would be found with a probability of 95%."

    def to_frame(self) -> pd.DataFrame:
        """One row per quantity.

        ``shift`` is how far the guide lies above the posterior, in its own standard deviations, and ``scale`` its standard deviation
        divided by the posterior's, if both are normal and the same holds for all data. Both are estimated from the normal scores of
        positions, with standard errors ``shift_se`` and ``scale_se``. Finitely many draws pull scales towards 1: with L = 99, scales of
        0.5, 0.8, 1.2 and 2 show as 0.60, 0.82, 1.19 and 1.94 on average. ``p_shift``, ``p_scale`` and ``p_shape`` are p-values times the
        number of all tests, at most 1; ``finding`` is what is found, in words.
        """
        scores = normal_scores(self.positions.numpy())
        mean, sd, size = scores.mean(0), scores.std(0, ddof=1), self.num_data
        frame = pd.DataFrame(
            {"shift": -mean, "shift_se": sd / size**0.5, "scale": 1 / sd, "scale_se": 1 / sd / (2 * size) ** 0.5},
            index=pd.Index(self.names, name="quantity"),
        )
        for number, test in enumerate(TESTS):
            frame[f"p_{test}"] = (self.p_values[:, number] * self.p_values.numel()).clamp(max=1).numpy()
        frame["finding"] = [", ".join(_words(str(name), row, self.level)) for name, row in frame.iterrows()]
        return frame

    def plot(self, path: str | Path) -> None:
        """Draw the distribution functions of the positions minus that of uniform ones, and the band in which these stay.

        Args:
            path: PNG file to write.
        """
        draw_calibration(self.positions.numpy(), self.names, set(self.findings), self.threshold, Path(path))

    def __repr__(self) -> str:
        texts, notes, _ = self._shown()
        width = max(map(len, map(str, texts.index)))
        rows = texts.itertuples(name=None)
        lines = [f"{name:<{width}}  {shift:>7}  {scale:>7}  {p:>7}  {finding}".rstrip() for name, shift, scale, p, finding in rows]
        return "\n".join([f"{'':<{width}}  {'shift':>7}  {'scale':>7}  {'p':>7}", *lines, *notes])

    def _shown(self) -> Shown:
        frame = self.to_frame()
        rows = frame if len(frame) <= _MOST_ROWS else _foremost(frame)
        texts = {
            "shift": map(format_value, rows["shift"], rows["shift_se"]),
            "scale": map(format_value, rows["scale"], rows["scale_se"]),
            "p": map(_p_text, rows[[f"p_{test}" for test in TESTS]].min(axis=1)),
            "finding": rows["finding"],
        }
        rest = [f"... {len(frame) - len(rows)} more quantities, with larger p"] if len(rows) < len(frame) else []
        out = [f"Left out, as they are summed out: {', '.join(self.left_out)}."] if self.left_out else []
        sizes = (
            f"{self.num_data} data simulated from the model, {self.num_draws} draws of the guide for each, seed {self.seed}; p is "
            f"corrected for {self.p_values.numel()} tests, and counts up to {self.level:g}. Finitely many draws pull scales towards 1."
        )
        table = pd.DataFrame({name: list(column) for name, column in texts.items()}, index=rows.index)
        return Shown(table, [*rest, sizes, *out, self.verdict], prose=["finding"])


def _p_text(p: float) -> str:
    return f"{p:.2g}" if p >= _LEAST_P else f"<{_LEAST_P:g}"


def _foremost(frame: pd.DataFrame) -> pd.DataFrame:
    """The log densities, and those of the other quantities that have the smallest p-values."""
    smallest = frame[[f"p_{test}" for test in TESTS]].min(axis=1).drop([LIKELIHOOD, JOINT]).sort_values(kind="stable")
    return frame.loc[[*smallest.index[: _MOST_ROWS - 2], LIKELIHOOD, JOINT]]


def _words(name: str, row: pd.Series, level: float) -> list[str]:
    """What is found about one quantity: for each test, what a negative and a positive departure mean."""
    kinds = _OF_DENSITIES if name in (LIKELIHOOD, JOINT) else _OF_ELEMENTS
    low, high, narrow, wide, other = kinds
    found = [narrow if row["scale"] < 1 else wide] if row["p_scale"] <= level else []
    found += [low if row["shift"] < 0 else high] if row["p_shift"] <= level else []
    return found or ([other] if row["p_shape"] <= level else [])


def _about_elements(findings: Mapping[str, Sequence[str]]) -> list[str]:
    latents = {name: words for name, words in findings.items() if name not in (LIKELIHOOD, JOINT)}
    sentences = []
    for word, beginning in _SENTENCES.items():
        names = [name for name, words in latents.items() if word in words]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        sentences += [f"{beginning} {', '.join(names[:_MOST_NAMES])}{more}"] if names else []
    return sentences


def _about_densities(findings: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"Of the guide's draws, {name} is {' and '.join(findings[name])}" for name in (LIKELIHOOD, JOINT) if name in findings]
