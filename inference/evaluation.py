"""What is known of log p(x) of each datum: estimates, their errors, and how far they can be trusted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import log, nan, sqrt
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
import warnings

import pandas as pd
import torch
from torch import Tensor

from inference.precision import Precision
from inference.psis import MIN_TAIL, check_log_weights, pareto_k, pareto_k_threshold, tail_length
from inference.tables import format_error, format_share, format_value, format_with_error

if TYPE_CHECKING:
    from arviz import InferenceData
    from xarray import DataTree

MEASURES = ("mass", "density", "mixed")
_PER_DATUM = ("log_px", "mc_error", "ess", "pareto_k", "elbo")
_ATTRIBUTES = ("num_particles", "seed", "measure", "data_id", "is_bound", "num_dims")
_LATER_ATTRIBUTES = ("precision", "rounding_bias", "rounding_error")  # which older files lack


class WeightSummary(NamedTuple):
    """What :func:`reduce_log_weights` keeps of the weights; float64, on the CPU."""

    log_px: Tensor
    mc_error: Tensor
    ess: Tensor
    pareto_k: Tensor
    elbo: Tensor
    curve: Tensor


class Rounding(NamedTuple):
    """What products in a lower precision do to log p-hat, in nats, on the data on which it was measured: mean and largest difference."""

    rounding_bias: float = 0.0
    rounding_error: float = 0.0


def curve_particles(num_particles: int) -> tuple[int, ...]:
    """The numbers of draws 1, 2, 5, 10, 20, 50, ... at which a curve is kept, and K itself."""
    steps = (digit * 10**power for power in range(len(str(num_particles))) for digit in (1, 2, 5))
    return (*(step for step in steps if step < num_particles), num_particles)


def reduce_log_weights(log_weights: Tensor, *, is_bound: bool | None = None) -> WeightSummary:
    r"""Reduce log weights over the particles to log-likelihood, ELBO and diagnostics of each datum.

    .. math::
        \log \hat p = \log \frac{1}{K} \sum_k w_k, \quad
        \mathrm{ESS} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2}, \quad
        \mathrm{mc\_error} = \sqrt{\frac{K}{K - 1} \left( \frac{1}{\mathrm{ESS}} - \frac{1}{K} \right)}

    The error is that of the logarithm, by the delta method. If all weights of a datum are zero, its
    log-likelihood is -inf, its ESS 0 and its error infinite.

    Args:
        log_weights: Log weights in nats, shape ``[K, B]``.
        is_bound: Whether log p(x) is only bounded, as by a deterministic guide; by default, if there is but one particle. One
            that is no bound is exact, with an error of zero.

    Returns:
        ``log_px``, ``mc_error``, ``ess``, ``pareto_k`` and ``elbo`` (the mean log weight), each ``[B]``, and
        ``curve`` ``[J, B]``, the log-likelihood from the first :func:`curve_particles` draws. Error, ESS and
        k-hat of a bound are NaN.

    Raises:
        ValueError: If ``log_weights`` is not ``[K, B]`` or contains NaN or +inf.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders.
        https://arxiv.org/abs/1509.00519
    """
    check_log_weights(log_weights)
    log_weights = log_weights.detach().double()
    num_particles = len(log_weights)
    is_bound = num_particles == 1 if is_bound is None else is_bound
    curve = _running_log_mean(log_weights)
    mc_error = ess = k_hat = torch.full_like(curve[-1], nan)
    if not is_bound:
        ess = _effective_sample_size(log_weights)
        k_hat = pareto_k(log_weights)
        mc_error = _error_of_logarithm(ess, num_particles)
    reduced = (curve[-1], mc_error, ess, k_hat, log_weights.mean(dim=0), curve)
    return WeightSummary(*(tensor.cpu() for tensor in reduced))


def _running_log_mean(log_weights: Tensor) -> Tensor:
    """log p-hat from the first 1, 2, 5, ... draws, shape ``[J, B]``."""
    counts = torch.tensor(curve_particles(len(log_weights)))
    blocks = log_weights.split(counts.diff(prepend=counts.new_zeros(1)).tolist())
    log_sums = torch.stack([block.logsumexp(dim=0) for block in blocks]).logcumsumexp(dim=0)  # [J, B]
    return log_sums - counts.to(log_sums).log()[:, None]


def _effective_sample_size(log_weights: Tensor) -> Tensor:
    log_sum = log_weights.logsumexp(dim=0)  # [B]
    ess = (2 * log_sum - (2 * log_weights).logsumexp(dim=0)).exp()
    return torch.where(log_sum == -torch.inf, 0.0, ess)


def _error_of_logarithm(ess: Tensor, num_particles: int) -> Tensor:
    if num_particles == 1:
        return torch.zeros_like(ess)
    # rounding lets the ESS of equal weights exceed K
    excess = (1 / ess - 1 / num_particles).clamp_min(0)
    return (excess * num_particles / (num_particles - 1)).sqrt()


def standard_error_of_mean(values: Tensor) -> float:
    """Standard error of a mean over data, std / sqrt(N); NaN for a single datum or infinite values."""
    return float(values.std()) / sqrt(len(values)) if len(values) > 1 else nan


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Held-out log-likelihood of each datum, in nats, with its error and reliability.

    An estimate is a lower bound on log p(x) in expectation, and rises with the number of particles. If
    ``is_bound``, it is only a bound (one particle, or a deterministic guide) and ``mc_error``, ``ess`` and
    ``pareto_k`` are NaN. If every latent is summed out, it ``is_exact``: one weight, with an error of zero.

    Attributes:
        log_px: log p-hat(x), shape ``[N]``.
        mc_error: Standard error of ``log_px`` over the draws, by the delta method, shape ``[N]``.
        ess: Effective sample size of the weights, shape ``[N]``.
        pareto_k: Pareto shape of the largest weights, shape ``[N]``; NaN where nothing can be fitted.
        elbo: Mean log weight, shape ``[N]``.
        curve_particles: The numbers of draws at which ``curve`` is kept, J of them.
        curve: log p-hat(x) from the first draws, shape ``[J, N]``.
        num_particles: Draws per datum, K.
        seed: Seed of the draws.
        measure: ``"mass"`` for discrete x, ``"density"`` for continuous x, ``"mixed"`` for both.
        data_id: Fingerprint of the data; equal for the same data in the same order.
        is_bound: Whether ``log_px`` is only a lower bound.
        num_dims: Number of dimensions of x, for bits per dimension.
        precision: ``"full"``, or ``"bf16"`` if the model's products were in bfloat16.
        rounding_bias: Mean difference of ``log_px`` from that of full precision with the same draws, on some of the data.
        rounding_error: Largest such difference.

    Raises:
        ValueError: If shapes, dtypes or fields do not fit together.
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
    num_dims: int
    precision: Precision = "full"
    rounding_bias: float = 0.0
    rounding_error: float = 0.0

    def __post_init__(self) -> None:
        size = self.log_px.numel()
        for name in _PER_DATUM:
            _check_tensor(name, getattr(self, name), (size,))
        _check_tensor("curve", self.curve, (len(self.curve_particles), size))
        if self.log_px.isnan().any():
            raise ValueError("log_px must not be NaN; got NaN. Look for log weights that are not finite.")
        if self.measure not in MEASURES:
            raise ValueError(f"measure must be one of {MEASURES}; got {self.measure!r}. Say what p(x) is.")
        if self.is_exact and (self.mc_error != 0).any():
            raise ValueError("is_bound must be True of one draw whose mc_error is not 0; got False. Set is_bound=True.")
        if self.is_bound and not (self.mc_error.isnan() & self.ess.isnan() & self.pareto_k.isnan()).all():
            raise ValueError(
                "mc_error, ess and pareto_k of a bound must be NaN; got numbers. "
                "Reduce its weights with is_bound=True."
            )

    @property
    def is_exact(self) -> bool:
        """Whether ``log_px`` is log p(x) itself, because every latent was summed out."""
        return self.num_particles == 1 and not self.is_bound

    @property
    def mean(self) -> float:
        """Mean log p-hat(x) over the data, in nats."""
        return float(self.log_px.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the data, in nats; the scatter of the draws is part of it."""
        return standard_error_of_mean(self.log_px)

    @property
    def mc_standard_error(self) -> float:
        """Standard error of the mean over the draws alone, sqrt(sum of mc_error^2) / N, in nats."""
        return float(self.mc_error.square().sum().sqrt()) / len(self.mc_error)

    @property
    def bits_per_dim(self) -> float:
        r"""Mean :math:`-\log_2 \hat p(x)` per dimension of x."""
        return -self.mean / (self.num_dims * log(2))

    @property
    def is_unreliable(self) -> Tensor:
        """Which data have a k-hat above :func:`~inference.psis.pareto_k_threshold`, ``[N]``.

        A datum whose k-hat cannot be fitted counts if its ESS is below 5. Without meaning for bounds, and for K <= 20.
        """
        bad = self.pareto_k > pareto_k_threshold(max(self.num_particles, 2))
        return bad | (self.pareto_k.isnan() & (self.ess < MIN_TAIL))

    @property
    def bad_k_share(self) -> float:
        """Share of the data that are :attr:`is_unreliable`. NaN for bounds, exact values, and for K <= 20."""
        if self.is_bound or tail_length(self.num_particles) < MIN_TAIL:
            return nan
        return float(self.is_unreliable.double().mean())

    def to_frame(self) -> pd.DataFrame:
        """Log-likelihood, error, ESS, k-hat and ELBO, one row per datum."""
        columns = {name: getattr(self, name).numpy() for name in _PER_DATUM}
        return pd.DataFrame(columns, index=pd.RangeIndex(len(self.log_px), name="datum"))

    def curve_frame(self) -> pd.DataFrame:
        """Mean log p-hat(x) and its standard error over the data, one row per number of draws."""
        rows = [(float(row.mean()), standard_error_of_mean(row)) for row in self.curve]
        index = pd.Index(self.curve_particles, name="num_particles")
        return pd.DataFrame(rows, index=index, columns=["log_px", "se"])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_frame` as CSV; an existing file is replaced at once or not at all."""
        with _replacing(path) as temporary:
            self.to_frame().to_csv(temporary)

    def to_datatree(self) -> "DataTree":
        """An xarray DataTree whose group ``is_stats`` holds all tensors, and all else as its attributes.

        ArviZ would take a group named ``log_likelihood`` for log p(x | z) of posterior draws.
        """
        from xarray import Dataset, DataTree

        variables = {name: ("datum", getattr(self, name).numpy()) for name in _PER_DATUM}
        variables["curve"] = (("curve_particles", "datum"), self.curve.numpy())
        coordinates = {"datum": range(len(self.log_px)), "curve_particles": list(self.curve_particles)}
        attributes = {name: getattr(self, name) for name in (*_ATTRIBUTES, *_LATER_ATTRIBUTES)} | {"is_bound": int(self.is_bound)}
        return DataTree.from_dict({"/is_stats": Dataset(variables, coordinates, attributes)})

    def to_arviz(self) -> "InferenceData | DataTree":
        """:meth:`to_datatree` as ArviZ takes it: InferenceData before its version 1, a DataTree since."""
        with warnings.catch_warnings():
            # ArviZ 0.23 announces its version 1 on every import
            warnings.simplefilter("ignore", FutureWarning)
            import arviz
        convert = getattr(getattr(arviz, "InferenceData", None), "from_datatree", None)
        return convert(self.to_datatree()) if convert else self.to_datatree()

    def to_netcdf(self, path: str | os.PathLike[str]) -> None:
        """Write a netCDF file for ArviZ and :meth:`from_netcdf`; replaced at once or not at all."""
        with _replacing(path) as temporary:
            self.to_datatree().to_netcdf(temporary, engine="h5netcdf")

    @classmethod
    def from_netcdf(cls, path: str | os.PathLike[str]) -> "Evaluation":
        """Read what :meth:`to_netcdf` has written.

        Raises:
            ValueError: If the file holds no evaluation.
        """
        from xarray import open_datatree

        with open_datatree(path, engine="h5netcdf") as tree:
            if "is_stats" not in tree.children or not set(_ATTRIBUTES) <= tree["is_stats"].attrs.keys():
                got = f"groups {list(tree.children)}"
                raise ValueError(f"{path} must hold an evaluation; got {got}. Write it with to_netcdf.")
            stats = tree["is_stats"].to_dataset().load()
        tensors = {name: torch.from_numpy(stats[name].to_numpy()) for name in (*_PER_DATUM, "curve")}
        counts = tuple(stats["curve_particles"].to_numpy().tolist())
        names = (*_ATTRIBUTES, *(name for name in _LATER_ATTRIBUTES if name in stats.attrs))
        attributes = {name: _plain(stats.attrs[name]) for name in names}
        attributes["is_bound"] = bool(attributes["is_bound"])
        return cls(**tensors, curve_particles=counts, **attributes)

    def __repr__(self) -> str:
        log_px = format_with_error(self.mean, self.standard_error)
        lines = [
            f"log p(x) {'>=' if self.is_bound else '='} {log_px} nats per datum ({self.measure})",
            f"ELBO {format_with_error(float(self.elbo.mean()), standard_error_of_mean(self.elbo))}",
            f"{len(self.log_px)} data, K = {self.num_particles}, seed {self.seed}",
        ]
        if self.precision != "full":
            bias, error = (format_error(abs(value)) for value in (self.rounding_bias, self.rounding_error))
            sign = "-" if self.rounding_bias < 0 else "+"
            lines.append(f"products in {self.precision}: log p(x) is off by {sign}{bias} on average and {error} at most, on some of the data")
        return "\n".join(lines if self.is_bound else [*lines, *self._reliability()])

    def _reliability(self) -> Iterator[str]:
        if self.is_exact:
            yield "Exact: every latent is summed out"
            return
        ess = format_value(float(self.ess.median()), nan)
        yield f"Monte Carlo error {format_error(self.mc_standard_error)}, median ESS {ess}"
        if share := format_share(self.bad_k_share, len(self.log_px)):
            yield f"k-hat above {pareto_k_threshold(self.num_particles):.2f} for {share} of the data"


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    expected = (shape, torch.float64, torch.device("cpu"))
    got = (tuple(tensor.shape), tensor.dtype, tensor.device)
    if got != expected or 0 in shape:
        raise ValueError(f"{name} must be {expected}, not empty; got {got}. Make it with reduce_log_weights.")


def _plain(attribute: object) -> object:
    return attribute.item() if hasattr(attribute, "item") else attribute


@contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place once it is complete."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
