"""Checks of priors, encoders and likelihoods: densities, draws, shapes, gradients, dtypes, devices, copies, files, seeds."""

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from pyro_lvm.testing.agreement import check_agreement
from pyro_lvm.testing.coding import check_codes
from pyro_lvm.testing.forms import check_shapes
from pyro_lvm.testing.moves import check_moves, check_purity
from pyro_lvm.testing.slopes import check_gradients
from pyro_lvm.testing.subjects import Subject, subject_of

TOLERANCE = 1e-4


def check_prior(build: Callable[[], nn.Module], *, spread: float = 0.1, seed: int = 0, tolerance: float = TOLERANCE) -> tuple[str, ...]:
    r"""Check a prior: a module whose call returns a distribution with batch shape [] and the event shape of the latent.

    The part is built anew for each check, and noise is added to its parameters. Checked are, in float64:

    - the density integrates to one: by quadrature in one or two dimensions, by importance sampling otherwise, whose standard error is
      stated; masses of discrete values are summed over all of them. Independent elements are each examined by itself;
    - 20,000 draws agree with the density: in means of waves (that is, in the characteristic function) of its coordinates, or in the
      frequencies of discrete values; and so does a mean, if there is one. A correct part fails such a comparison in 1e-6 of all trials,
      over all waves together; draws that are a tenth of a standard deviation too wide, or out of place, are found out;
    - gradients of log densities, and of draws if these have any, are right;
    - shapes of draws and densities, alone, expanded and in plates; float32 and float64; constants that follow the module to a device
      (a graphics card too, if there is one); files, copies, seeds; and nothing is changed in place.

    Args:
        build: Builds the part, such as ``lambda: MyPrior(2)``; small ones with random initial weights are best.
        spread: Standard deviation of the noise.
        seed: Seed of weights, noise and draws.
        tolerance: By how much totals and means may be off, besides the errors of their estimates; more for a part that itself estimates
            its normalizer.

    Returns:
        What was found, in one sentence each.

    Raises:
        AssertionError: If the part fails; the error says what was expected, what was got, and the remedy.
        TypeError: If ``build`` does not build a module.
        ValueError: If the part cannot be examined, such as a discrete one of too many values.

    Example:
        >>> from pyro_lvm import StandardNormal
        >>> check_prior(lambda: StandardNormal(1))[1]
        'batch shape (), event shape (1,)'
    """
    subject = subject_of(build, (), spread, seed, tolerance)
    return tuple(_checked(subject, reparameterized=False))


def check_encoder(
    build: Callable[[], nn.Module],
    x: Tensor,
    *,
    reparameterized: bool = True,
    spread: float = 0.1,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> tuple[str, ...]:
    """Check an encoder: a module that maps data ``[*lead, *X]`` to a distribution with batch shape ``[*lead]``.

    What is checked is what :func:`check_prior` checks, for each row; that rows are independent; and that a guide of discrete codes has
    code vectors through which all of its parameters learn.

    Args:
        build: Builds the part, such as ``lambda: MyEncoder(MLP(3, [8], 4))``.
        x: A few data, ``[B, *X]``.
        reparameterized: Whether draws must have gradients.
        spread: Standard deviation of the noise that is added to the parameters.
        seed: Seed of weights, noise and draws.
        tolerance: By how much totals and means may be off, besides the errors of their estimates; more for a part that itself estimates
            its normalizer.

    Returns:
        What was found, in one sentence each.

    Raises:
        AssertionError: If the part fails; the error says what was expected, what was got, and the remedy.
        TypeError: If ``build`` does not build a module.
        ValueError: If the part cannot be examined, such as a discrete one of too many values, or there are fewer than two data.
    """
    subject = subject_of(build, (x,), spread, seed, tolerance)
    return (*_checked(subject, reparameterized=reparameterized), *check_codes(subject))


def check_likelihood(
    build: Callable[[], nn.Module], z: Tensor, *, spread: float = 0.1, seed: int = 0, tolerance: float = TOLERANCE
) -> tuple[str, ...]:
    """Check a likelihood: a module that maps latents ``[*lead, *Z]`` to a distribution with batch shape ``[*lead]`` and the data's shape.

    What is checked is what :func:`check_prior` checks, for each row, and that rows are independent.

    Args:
        build: Builds the part, such as ``lambda: MyLikelihood(MLP(2, [8], 5))``.
        z: A few latents, ``[B, *Z]``.
        spread: Standard deviation of the noise that is added to the parameters.
        seed: Seed of weights, noise and draws.
        tolerance: By how much totals and means may be off, besides the errors of their estimates; more for a part that itself estimates
            its normalizer.

    Returns:
        What was found, in one sentence each.

    Raises:
        AssertionError: If the part fails; the error says what was expected, what was got, and the remedy.
        TypeError: If ``build`` does not build a module.
        ValueError: If the part cannot be examined, such as a discrete one of too many values, or there are fewer than two latents.
    """
    return tuple(_checked(subject_of(build, (z,), spread, seed, tolerance), reparameterized=False))


def _checked(subject: Subject, *, reparameterized: bool) -> Iterator[str]:
    yield from check_purity(subject)
    yield from check_shapes(subject)
    yield from check_moves(subject)
    yield from check_agreement(subject)
    yield from check_gradients(subject, reparameterized=reparameterized)
