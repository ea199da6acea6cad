"""Whether densities are normalized, and draws and means agree with them."""

from collections.abc import Iterator
import math

from scipy import stats
import torch
from torch import Tensor

from pyro_lvm.testing.failures import require
from pyro_lvm.testing.laws import Coordinates, Law, Points, features, flat, law_of, points_of, states_of
from pyro_lvm.testing.subjects import Subject, has_masses, is_certain

SIZE = 1e-6  # probability that a correct part fails a comparison of draws
NUM_DRAWS = 20_000
_DRAWN = "Draw in sample (and rsample) what log_prob is the density of."
_CONSTANT = "Look for a missing constant, scale or Jacobian in log_prob."


@torch.no_grad()
def check_agreement(subject: Subject) -> Iterator[str]:
    """Check that densities add up to one, and that draws and the mean agree with them."""
    with torch.random.fork_rng():
        torch.manual_seed(subject.seed)
        p = subject.call(subject.fresh(), *(x[:2] for x in subject.inputs))
        if is_certain(p):
            yield _check_certain(subject)
            return
        law = law_of(p)
        draws = law.of_rows(subject.draws(law.p, NUM_DRAWS))
        yield from (_check_masses if has_masses(p) else _check_density)(subject, law, draws)


def _check_certain(subject: Subject) -> str:
    p = subject.call(subject.fresh())
    z = subject.draws(p)
    log_mass = subject.log_prob(p, z)
    require(not z.is_floating_point(), f"{subject.name}.log_prob", "a density", "a point mass at a real number", "Give it a scale.")
    require((log_mass == 0).all(), f"{subject.name}.log_prob", "mass 1 at the only value", log_mass.exp().min().item(), _CONSTANT)
    return "a single value has all the mass"


def _check_density(subject: Subject, law: Law, draws: Tensor) -> Iterator[str]:
    name = subject.name
    require((draws != draws[:1]).any(0).all(), f"draws of {name}", "draws that differ", "copies of one draw", _DRAWN)
    coordinates = Coordinates(law, draws)
    points = points_of(law, draws, coordinates)
    log_density = subject.log_prob(law, points.z)  # type: ignore[arg-type]  # a law has log_prob
    require(not log_density.isnan().any(), f"{name}.log_prob", "densities of all values of the support", "NaN", "Correct log_prob.")
    yield _check_total(subject, *points.integral(log_density, torch.ones_like(points.v[..., :1])), points)
    expected, error = points.integral(log_density, features(points.v))  # [R, F]
    drawn = features(coordinates.of(draws))  # [N, R, F]
    standard_error = drawn.std(0) / math.sqrt(len(drawn))
    _compare(f"draws of {name}", drawn.mean(0), standard_error, expected, error, points, subject.tolerance, _DRAWN)
    trials = f"a correct part fails in {SIZE:g} of all trials"
    yield f"means of {expected.numel()} features of {len(draws)} draws agree with the density; {trials}"
    mean = _mean_of(law)
    if mean is not None:
        z = flat(points.z)
        expected, error = points.integral(log_density, z)
        scale = (points.integral(log_density, z.square())[0] - expected.square()).clamp_min(0).sqrt()
        slack = subject.tolerance * scale
        _compare(f"the mean of {name}", mean, slack, expected, error, points, subject.tolerance, "Correct mean of its distribution.")
        yield "its mean is that of the density"


def _check_total(subject: Subject, total: Tensor, error: Tensor, points: Points) -> str:
    if (error > 0.05).any():
        raise ValueError(
            f"the density of {subject.name} must be integrated to within .05; got an error of {error.max():.2g} by {points.how}. "
            "Check a smaller part, or one with a smaller spread."
        )
    name = subject.name
    off = (total - 1).abs() - (subject.tolerance + _critical(total.numel()) * error)
    worst = int(off.argmax())
    said = f"{total.flatten()[worst]:.5g} +- {error.flatten()[worst]:.2g} by {points.how}"
    require((off < 0).all(), f"{name}.log_prob", "a density that integrates to 1", said, _CONSTANT)
    return f"the density integrates to {said}"


def _compare(
    name: str, got: Tensor, got_error: Tensor, expected: Tensor, error: Tensor, points: Points, tolerance: float, remedy: str
) -> None:
    """Check that estimates agree with integrals within their errors."""
    is_random = points.parts > 2
    slack = _critical(got.numel()) * (got_error**2 + (error if is_random else 0 * error) ** 2).sqrt()
    off = (got - expected).abs() - (slack + tolerance + (0 if is_random else 10) * error)
    worst = int(off.argmax())
    said = f"{got.flatten()[worst]:.4g} (critical difference {slack.flatten()[worst]:.2g})"
    require((off < 0).all(), name, f"{expected.flatten()[worst]:.4g}, as by {points.how}", said, remedy)


def _critical(num: int) -> float:
    return float(stats.norm.isf(SIZE / 2 / num))


def _mean_of(law: Law) -> Tensor | None:
    """Means ``[R, E]``, or None without a closed form or a finite mean."""
    try:
        mean = law.p.mean.expand(law.p.batch_shape + law.p.event_shape)
    except NotImplementedError:
        return None
    mean = flat(law.of_rows(mean[None]))[0]
    return mean.double() if mean.isfinite().all() else None


def _check_masses(subject: Subject, law: Law, draws: Tensor) -> Iterator[str]:
    name, states = subject.name, states_of(law, draws)  # [n, R, *E]
    mass = subject.log_prob(law, states).exp()  # type: ignore[arg-type]  # a law has log_prob
    total = mass.sum(0)  # [R]
    worst = int((total - 1).abs().argmax())
    said = f"{total[worst]:.8g} over {len(states)} values"
    require(((total - 1).abs() < 1e-6).all(), f"{name}.log_prob", "masses that add up to 1", said, _CONSTANT)
    yield f"masses add up to {said}"
    values = [_p_value(states[:, row], draws[:, row], mass[:, row], name) for row in range(len(law.rows))]
    require(
        min(values) > SIZE / len(values),
        f"draws of {name}",
        "the frequencies of the masses",
        f"a chi-square statistic of which {min(values):.1g} of all trials exceed, in {len(values)} rows",
        _DRAWN,
    )
    yield f"frequencies of {len(draws)} draws agree with the masses; a correct part fails in {SIZE:g} of all trials"
    mean = None if law.p.event_shape else _mean_of(law)
    if mean is not None:
        expected = torch.einsum("nr,nr->r", states.double(), mass)[:, None]
        gap, close = (mean - expected).abs().max().item(), torch.allclose(mean, expected, rtol=1e-5, atol=1e-6)
        require(close, f"the mean of {name}", "that of the masses", f"one that is off by {gap:.3g}", "Correct mean of its distribution.")
        yield "its mean is that of the masses"


def _p_value(states: Tensor, draws: Tensor, mass: Tensor, name: str) -> float:
    """Probability of frequencies of draws ``[N, *E]`` at least as far from masses ``[n]``; values seldom expected are joined."""
    joined = torch.cat([states, draws.to(states.dtype)]).reshape(len(states) + len(draws), -1)
    unique, place = joined.unique(dim=0, return_inverse=True)
    outside = len(unique) - len(states)
    remedy = "Correct its support, or sample."
    require(outside == 0, f"draws of {name}", "values of its support", f"{outside} others", remedy)
    cell = _cells(len(draws) * mass)  # [n]
    num = int(cell.max()) + 1
    counts = torch.bincount(place[len(states) :], minlength=len(states))[place[: len(states)]].double()
    observed, expected = (torch.zeros(num).double().index_add_(0, cell, x.double()) for x in (counts, len(draws) * mass))
    statistic = ((observed - expected) ** 2 / expected).sum().item()
    return float(stats.chi2.sf(statistic, num - 1)) if num > 1 else 1.0


def _cells(expected: Tensor) -> Tensor:
    """Cells of values, such that each is expected at least about 20 times: those that are seldom expected are joined at random."""
    often = expected >= 20
    num_joined = max(1, min(50, int(expected[~often].sum() / 40)))
    joined = torch.randint(num_joined, expected.shape)
    return torch.where(often, often.cumsum(0) + num_joined - 1, joined).unique(return_inverse=True)[1]
