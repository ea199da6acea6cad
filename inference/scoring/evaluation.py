"""Estimates of log p(x) for each datum, with their errors and reliability."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log, nan
import os
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from inference.files import replacing_file
from inference.formatting import format_bias, format_error, format_fitted, format_interval, format_share, format_value, format_with_error
from inference.markup import Lines
from inference.scoring import intervals, netcdf
from inference.scoring.intervals import LEVEL, DrawErrors, Interval
from inference.scoring.pareto import MIN_TAIL, pareto_k_threshold, tail_length
from inference.scoring.reduction import standard_error_of_mean
from inference.tracing.precision import Precision

if TYPE_CHECKING:
    from arviz import InferenceData
    from xarray import DataTree

MEASURES = ("mass", "density", "mixed")


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Lines):
    """Held-out log-likelihood of each datum, in nats, with its error and reliability.

    In expectation, an estimate is a lower bound on log p(x) that rises with the number of particles: ``log_px`` is never corrected for
    its bias, which is printed beside it. If ``is_bound``, it is only a bound (one particle, or a deterministic guide), and
    ``mc_error``, ``ess`` and ``pareto_k`` are NaN. If every latent is summed out, it ``is_exact``: there is one weight, with an error
    of zero.

    Attributes:
        log_px: log p-hat(x), shape ``[N]``.
        mc_error: Standard error of ``log_px`` over the draws, by the delta method, shape ``[N]``; too small where k-hat is near 1/2 or
            above, which :meth:`interval` allows for.
        ess: Effective sample size of the weights, shape ``[N]``.
        pareto_k: Pareto shape of the largest weights, shape ``[N]``; NaN if it cannot be fitted.
        elbo: ELBO of the guide, the mean log weight of its draws, shape ``[N]``.
        curve_particles: The J numbers of draws at which ``curve`` is recorded.
        curve: log p-hat(x) from the first draws, shape ``[J, N]``.
        num_particles: Draws per datum, K; each is the end of a chain in annealed importance sampling.
        seed: Seed of the draws.
        measure: ``"mass"`` for discrete x, ``"density"`` for continuous x, ``"mixed"`` for both.
        data_id: Fingerprint of the data; equal for the same data in the same order.
        is_bound: Whether ``log_px`` is only a lower bound.
        num_dims: Number of elements of a datum in all observed sites, without masked ones, for bits per dimension; the mean over the
            data if it differs.
        precision: ``"full"``, or ``"bf16"`` if the model's products were in bfloat16.
        rounding_bias: Mean of ``log_px`` minus its value in full precision with the same draws, measured on a subset of the data.
        rounding_error: Largest absolute value of this difference.
        is_unit_scaled: Whether x has a density and all data lie in [0, 1], as dequantized images do.
        normal_elbo: ELBO of the normal distribution that was fitted to p(z|x) of each datum, before its last update and from its last
            draws, shape ``[N]``; -inf if a draw has no density, as on an edge of the latents' space, and NaN where the guide is the
            proposal. By default, it is NaN everywhere.
        num_steps: Steps of a chain in annealed importance sampling, or 0.
        given_id: Fingerprint of the arguments that are not observed, such as labels, so that p(x) is given them; empty without any.
        num_fitted: How many of the rows are known to be among those that the pair was fitted to, of which other data may differ.

    Raises:
        ValueError: If shapes, dtypes or fields are inconsistent.
    """

    log_px: Tensor
    mc_error: Tensor
    ess: Tensor
    pareto_k: Tensor
    elbo: Tensor
    curve_particles: tuple[int, ...]
    curve: Tensor
    num_particles: int
    seed: int
    measure: str
    data_id: str
    is_bound: bool
    num_dims: float
    precision: Precision = "full"
    rounding_bias: float = 0.0
    rounding_error: float = 0.0
    is_unit_scaled: bool = False
    normal_elbo: Tensor | None = None
    num_steps: int = 0
    given_id: str = ""
    num_fitted: int = 0

    def __post_init__(self) -> None:
        size = self.log_px.numel()
        if self.normal_elbo is None:
            object.__setattr__(self, "normal_elbo", torch.full_like(self.log_px, nan))
        for name in (*netcdf.PER_DATUM, *netcdf.LATER_PER_DATUM):
            _check_tensor(name, getattr(self, name), (size,))
        _check_tensor("curve", self.curve, (len(self.curve_particles), size))
        if self.log_px.isnan().any():
            raise ValueError("log_px must not be NaN; got NaN. Look for log weights that are not finite.")
        if self.measure not in MEASURES:
            raise ValueError(f"measure must be one of {MEASURES}; got {self.measure!r}. Say what p(x) is.")
        if self.is_exact and (self.mc_error != 0).any():
            raise ValueError("is_bound must be True for one draw whose mc_error is not 0; got False. Set is_bound=True.")
        if self.is_bound and not (self.mc_error.isnan() & self.ess.isnan() & self.pareto_k.isnan()).all():
            raise ValueError("mc_error, ess and pareto_k of a bound must be NaN; got numbers. Reduce its weights with is_bound=True.")

    @property
    def method(self) -> str:
        """How ``log_px`` was estimated: ``"importance"``, or ``"ais"`` for annealed importance sampling."""
        return "ais" if self.num_steps else "importance"

    @property
    def is_exact(self) -> bool:
        """Whether ``log_px`` is log p(x) itself, because every latent was summed out."""
        return self.num_particles == 1 and not self.is_bound

    @property
    def is_refined(self) -> Tensor:
        """For which data the proposal was refined, ``[N]``; for the others, it was the guide."""
        return torch.zeros_like(self.log_px, dtype=torch.bool) if self.normal_elbo is None else ~self.normal_elbo.isnan()

    @property
    def mean(self) -> float:
        """Mean log p-hat(x) over the data, in nats."""
        return float(self.log_px.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the data, in nats; it includes the scatter of the draws."""
        return standard_error_of_mean(self.log_px)

    @property
    def mc_standard_error(self) -> float:
        """Standard error of the mean due to the draws alone, sqrt(sum of mc_error^2) / N, in nats; by the delta method."""
        return float(self.mc_error.square().sum().sqrt()) / len(self.mc_error)

    @property
    def bias(self) -> Tensor:
        """Bias of each ``log_px`` by the second order of the delta method, -mc_error^2 / 2, in nats, shape ``[N]``."""
        return -self.mc_error.square() / 2

    @property
    def rise(self) -> Tensor:
        """How far ``log_px`` lies above the mean of the estimates from either half of the draws, in nats, shape ``[N]``.

        It is never negative, and its expectation is by how much the bias shrinks from K/2 draws to K: the bias itself where k-hat is
        below 1/2, and less above. NaN for a single draw, and for files of earlier versions whose ``curve`` lacks K // 2.
        """
        share = intervals.first_half_share(self.curve, self.curve_particles)
        return torch.full_like(self.log_px, nan) if share is None else intervals.halves(share, self.num_particles)[0]

    @property
    def bias_of_mean(self) -> float:
        """Bias of :attr:`mean` due to the draws, in nats, by :func:`~inference.scoring.intervals.errors_of_mean`; NaN for bounds.

        It is an estimate of what is missing, and is not added to any figure.
        """
        return float(self.draw_errors.bias)

    @property
    def draw_errors(self) -> DrawErrors:
        """What the draws do to :attr:`mean`: its bias, the bias's error, and its standard error for weights of any tail."""
        share = intervals.first_half_share(self.curve, self.curve_particles)
        return intervals.errors_of_mean(self.mc_error, self._tail_shape, share, self.num_particles)

    @property
    def _tail_shape(self) -> Tensor:
        return intervals.tail_shape(self.pareto_k, self.ess, self.mc_error, self.num_particles)

    def interval(self, level: float = LEVEL) -> Interval[Tensor]:
        """Return an interval for log p(x) of each datum, by :func:`~inference.scoring.intervals.datum_interval`, ends ``[N]``.

        There is no upper end (inf) where k-hat does not exclude weights without a mean. Bounds have no interval (NaN).
        """
        ends = intervals.datum_interval(self.log_px, self.mc_error, self._tail_shape, num_particles=self.num_particles, level=level)
        return Interval(ends.lower - self.rounding_error, ends.upper + self.rounding_error)

    def data_interval(self, level: float = LEVEL) -> Interval[float]:
        """Return an interval for the mean log p(x) of these data alone: only the draws leave it uncertain. Bounds have none (NaN).

        Its upper end allows for :attr:`bias_of_mean`; see :func:`~inference.scoring.intervals.mean_interval`.
        """
        if len(self.log_px) == 1:
            return Interval(*(float(end) for end in self.interval(level)))
        draws = self.draw_errors
        return self._mean_interval(draws.error, draws.degrees, level)

    def population_interval(self, level: float = LEVEL) -> Interval[float]:
        """Return an interval for the mean log p(x) of the population that the data are from; NaN for a single datum and for bounds.

        It is that of Student's t, as for N values whose mean is normal, with an upper end that allows for :attr:`bias_of_mean`.
        """
        return self._mean_interval(torch.tensor(self.standard_error).double(), torch.tensor(len(self.log_px) - 1), level)

    def _mean_interval(self, standard_error: Tensor, degrees: Tensor, level: float) -> Interval[float]:
        if self.is_bound:
            return Interval(nan, nan)
        ends = intervals.mean_interval(self.log_px.mean(), standard_error, self.draw_errors, degrees=degrees, level=level)
        return Interval(float(ends.lower) - abs(self.rounding_bias), float(ends.upper) + abs(self.rounding_bias))

    @property
    def bits_per_dim(self) -> float:
        r"""Bits per observed element, :math:`-\sum_n \log_2 \hat p(x_n)` over the number of elements of all data.

        For a density, it depends on the units of x, as :attr:`bits_note` says.
        """
        return -self.mean / (self.num_dims * log(2)) if self.num_dims else nan

    @property
    def bits_note(self) -> str:
        """What must be said beside :attr:`bits_per_dim`: nothing of masses, and in which units x is of densities."""
        units = "x in [0, 1]; add log2(L) for L gray levels" if self.is_unit_scaled else "x in its own units"
        return "" if self.measure == "mass" else f"of densities of {units}"

    @property
    def is_unreliable(self) -> Tensor:
        """Which data have a k-hat above :func:`~inference.scoring.pareto.pareto_k_threshold`, ``[N]``.

        A datum whose k-hat cannot be fitted is unreliable if its ESS is below 5. For bounds, and for K <= 20, this has no meaning.
        """
        bad = self.pareto_k > pareto_k_threshold(max(self.num_particles, 2))
        return bad | (self.pareto_k.isnan() & (self.ess < MIN_TAIL))

    @property
    def bad_k_share(self) -> float:
        """Share of the data that are :attr:`is_unreliable`; NaN for bounds, exact values, and K <= 20."""
        if self.is_bound or tail_length(self.num_particles) < MIN_TAIL:
            return nan
        return float(self.is_unreliable.double().mean())

    @property
    def proposal(self) -> str:
        """What the draws came from, in words."""
        share = float(self.is_refined.double().mean())
        if share in (0, 1):
            return "refined for each datum" if share else "the guide's moments" if self.num_steps else "the guide"
        return f"refined for {format_share(share, len(self.log_px))} of the data, else the guide"

    def to_frame(self) -> pd.DataFrame:
        """Return log-likelihood, error, ESS, k-hat, ELBO, bias, rise and the ends of a 95% interval, with one row per datum."""
        tensors = {name: getattr(self, name) for name in (*netcdf.PER_DATUM, "bias", "rise")} | self.interval()._asdict()
        columns = {name: tensor.numpy() for name, tensor in tensors.items()}
        return pd.DataFrame(columns, index=pd.RangeIndex(len(self.log_px), name="datum"))

    def curve_frame(self) -> pd.DataFrame:
        """Return mean log p-hat(x) and its standard error over the data as a data frame with one row per number of draws."""
        rows = [(float(row.mean()), standard_error_of_mean(row)) for row in self.curve]
        index = pd.Index(self.curve_particles, name="num_particles")
        return pd.DataFrame(rows, index=index, columns=["log_px", "se"])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_frame` as CSV; an existing file is replaced completely or not at all."""
        with replacing_file(path) as temporary:
            self.to_frame().to_csv(temporary)

    def to_datatree(self) -> "DataTree":
        """Return an xarray DataTree whose group ``is_stats`` holds all tensors, and all other fields as attributes.

        ArviZ would interpret a group named ``log_likelihood`` as log p(x | z) of posterior draws.
        """
        return netcdf.to_datatree(self)

    def to_arviz(self) -> "InferenceData | DataTree":
        """Return :meth:`to_datatree` in the form that ArviZ accepts: InferenceData before its version 1, a DataTree from then on."""
        return netcdf.for_arviz(self.to_datatree())

    def to_netcdf(self, path: str | os.PathLike[str]) -> None:
        """Write a netCDF file for ArviZ and :meth:`from_netcdf`; an existing file is replaced completely or not at all."""
        netcdf.write(self, path)

    @classmethod
    def from_netcdf(cls, path: str | os.PathLike[str]) -> "Evaluation":
        """Read an evaluation from a file written by :meth:`to_netcdf`.

        Raises:
            FileNotFoundError: If there is no file.
            ValueError: If the file holds no evaluation, is damaged, or has a newer format.
        """
        return netcdf.read(path, cls)[0]

    def _lines(self) -> Iterator[tuple[str, str]]:
        log_px = format_with_error(self.mean, self.standard_error)
        annealed = f"annealed in {self.num_steps} steps, " if self.num_steps else ""
        yield "log p(x)", f"{'>=' if self.is_bound else '='} {log_px} nats per datum ({self.measure})"
        yield "ELBO", format_with_error(float(self.elbo.mean()), standard_error_of_mean(self.elbo))
        yield "", f"{len(self.log_px)} data, K = {self.num_particles}, seed {self.seed}, {annealed}proposal: {self.proposal}"
        if self.num_fitted:
            yield "", f"{format_fitted(self.num_fitted, len(self.log_px))}: other data may score much lower"
        if self.given_id:
            yield "", "p(x) is given the arguments that the pair does not observe"
        if self.precision != "full":
            sign, bias, error = "-" if self.rounding_bias < 0 else "+", *map(format_error, (abs(self.rounding_bias), self.rounding_error))
            off = f"log p(x) is off by {sign}{bias} on average and {error} at most, on a subset of the data"
            yield f"products in {self.precision}:", off
        if not self.is_bound:
            yield from self._reliability()

    def _reliability(self) -> Iterator[tuple[str, str]]:
        population = format_interval(*self.population_interval(), self.standard_error)
        if population and not self.num_fitted:
            yield f"{LEVEL:.0%} interval of the mean in the population:", population
        if self.is_exact:
            yield "", "Exact: every latent is summed out"
            return
        yield f"{LEVEL:.0%} interval of the mean of these data:", format_interval(*self.data_interval(), float(self.draw_errors.error))
        rise = format_bias(float(self.rise.mean()))
        yield "bias", f"{format_bias(self.bias_of_mean)}, not corrected" + (f"; rise from K/2 to K: {rise}" if rise else "")
        ess = format_value(float(self.ess.median()), nan)
        yield "Monte Carlo error", f"{format_error(self.mc_standard_error)}, median ESS {ess}"
        if share := format_share(self.bad_k_share, len(self.log_px)):
            yield f"k-hat above {pareto_k_threshold(self.num_particles):.2f}", f"for {share} of the data"
        else:
            yield "", "too few draws for k-hat: errors and bias hold for weights of finite variance only"


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    expected = (shape, torch.float64, torch.device("cpu"))
    got = (tuple(tensor.shape), tensor.dtype, tensor.device)
    if got != expected or 0 in shape:
        raise ValueError(f"{name} must be {expected}, not empty; got {got}. Make it with reduce_log_weights.")
