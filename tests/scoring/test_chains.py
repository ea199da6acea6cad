"""Parts of annealed importance sampling: slopes, transitions, schedules, and weights whose expectations are known."""

import math

import pytest
import torch

from inference.densities.unconstrained import Coordinates, Part
from inference.scoring.annealed.annealer import Prepared, forward, in_groups, log_mean
from inference.scoring.annealed.annealer import backward as chains_back
from inference.scoring.annealed.course import Course, equidistant, log_conditional_ess, piloted
from inference.scoring.annealed.hamiltonian import moved
from inference.scoring.annealed.path import Path
from inference.scoring.annealed.shares import after_pilot, for_pilot
from inference.scoring.proposals.normal import DiagonalNormal, FullNormal
from inference.scoring.proposals.student import Mixture, StudentT

DIM = 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def student(dof, *, loc=0.0, scale=1.0, rows=1):
    """A Student's t distribution with correlated coordinates."""
    root = scale * torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64).expand(rows, DIM, DIM)
    return StudentT(FullNormal(torch.full((rows, DIM), loc).double(), root @ root.mT, root), dof)


def alone(component):
    return Mixture((component,), torch.ones_like(component.normal.loc[None, :, 0]))


def mixture(rows=3):
    wide = StudentT(DiagonalNormal(torch.full((rows, DIM), 2.0).double(), torch.tensor([0.5, 3.0]).double().expand(rows, DIM)), 5.0)
    shares = torch.tensor([[0.7, 1.0, 0.5], [0.2, 0.0, 0.0], [0.1, 0.0, 0.5]], dtype=torch.float64)[:, :rows]
    return Mixture((student(6.0, rows=rows), student(4.0, loc=-1.0, scale=2.0, rows=rows), wide), shares)


def target_of(component, log_mass=0.0):
    """The density of a Student's t distribution, times a mass, which is then what weights estimate."""
    return lambda vector: (component.log_prob(vector) + log_mass, component.slope(vector))


def test_the_gradient_of_a_mixture_is_autograds():
    mix, value = mixture(), torch.randn(5, 3, DIM, generator=generator(), dtype=torch.float64, requires_grad=True)
    log_q, slope = mix.scored(value)
    torch.testing.assert_close(log_q, mix.log_prob(value), rtol=0, atol=1e-12)
    (expected,) = torch.autograd.grad(mix.log_prob(value).sum(), value)
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_a_transition_leaves_its_distribution_invariant(beta):
    """Both ends of the path are one distribution, so that all of it is, and its draws are exact. At these coarse steps, leapfrogs alone
    would spread the states by a factor of 1 / (1 - (size / 2)^2) in variance."""
    size, count = 1.4, 20_000
    component = student(1e6)
    path = Path(alone(component), target_of(component))
    point, noise = path.at(alone(component).sample(count, generator(1))), generator(2)
    for _ in range(3):
        point, acceptance = moved(path, point, torch.tensor([beta]).double(), torch.tensor([size]).double(), noise)
    assert 0.3 < acceptance.mean() < 0.9
    squares = component.normal.whitened(point.vector).square().sum(2)  # chi-squared with two degrees of freedom
    assert abs(squares.mean() - DIM) < 4 * (2 * DIM / count) ** 0.5
    assert abs((squares > DIM * 2).double().mean() - math.exp(-DIM)) < 4 * (math.exp(-DIM) / count) ** 0.5


def test_states_whose_density_is_not_a_number_are_never_accepted():
    component = student(8.0)

    def broken(vector):
        log_p, slope = target_of(component)(vector)
        return log_p.where(vector[..., 0] < 0.5, torch.nan), slope

    path = Path(alone(component), broken)
    point = path.at(torch.zeros(500, 1, DIM).double())
    for _ in range(5):
        point, acceptance = moved(path, point, torch.ones(1).double(), torch.full((1,), 0.5).double(), generator(3))
    assert forward(prepared(path, Course(torch.tensor([[0.0], [1.0]]).double(), torch.ones(1).double())), 50).isnan().any()  # never hidden
    assert (point.vector[..., 0] < 0.5).all() and point.log_p.isfinite().all() and acceptance.isfinite().all()


@pytest.mark.parametrize("num_steps", [1, 2, 6])
@pytest.mark.parametrize("size", [None, 1.3], ids=["piloted", "coarse"])
def test_weights_are_unbiased_however_coarse_the_steps(num_steps, size):
    """Of tails lighter than the proposal's, so that weights are bounded; and of heavier ones for chains back, whose inverse weights are."""
    count, log_mass = 8_000, -3.0
    for dof, is_back in ((50.0, False), (2.5, True)):
        exact, q = student(dof), alone(student(6.0, loc=0.4, scale=1.4))
        path = Path(q, target_of(exact, log_mass))
        course = piloted(path, num_steps, generator(4)).course
        course = course if size is None else course._replace(size=torch.full((1,), size).double())
        if is_back:
            start = alone(exact).sample(count, generator(5)).transpose(0, 1)  # [1, count, D]: one chain for each exact draw
            rows = Mixture((student(6.0, loc=0.4, scale=1.4, rows=count),), torch.ones(1, count).double())
            wide = Path(rows, target_of(student(dof, rows=count), log_mass))
            course = Course(course.betas.expand(-1, count), course.size.expand(count))
            log_ratios = -chains_back(prepared(wide, course), start[0], 1)[0] + log_mass  # of 1/w to 1/p(x)
        else:
            log_ratios = forward(prepared(path, course), count)[:, 0] - log_mass
        ratios = log_ratios.exp()
        assert abs(ratios.mean() - 1) < 4 * ratios.std() / count**0.5
        assert ratios.std() < 2


def prepared(path, course, seed=6):
    return Prepared(None, None, path, course, seed)


def test_more_steps_bring_weights_together():
    q, exact = alone(student(6.0, loc=1.0, scale=2.0)), student(20.0)
    path = Path(q, target_of(exact))
    spreads = [forward(prepared(path, piloted(path, count, generator()).course), 500).std() for count in (1, 10, 100)]
    assert spreads[0] > 2 * spreads[1] > 4 * spreads[2]


def test_the_loss_of_sample_size_is_that_of_log_normal_weights():
    """log E[v]^2 / E[v^2] = -s^2 for log v ~ N(m, s^2), whatever the weights before, if these say nothing of v."""
    noise = torch.randn(2, 400_000, 1, generator=generator(7), dtype=torch.float64)
    for scale in (0.1, 0.5):
        found = log_conditional_ess(noise[0], 3 + scale * noise[1])
        assert abs(found + scale**2) < 0.02 * scale


def test_places_are_equally_far_apart():
    """A density of length 2 t, so that the cumulated length is t^2, and equal pieces end at the roots of 0, 1/T, ..., 1."""
    grid = torch.linspace(0, 1, 401, dtype=torch.float64)
    lengths = grid.square().diff()[:, None] * 1e6
    betas = equidistant(grid, lengths.expand(-1, 2), 10)
    assert betas.shape == (11, 2)
    torch.testing.assert_close(betas[:, 0], torch.linspace(0, 1, 11, dtype=torch.float64).sqrt(), rtol=0, atol=1e-3)
    assert (betas[0] == 0).all() and (betas[-1] == 1).all() and (betas.diff(dim=0) > 0).all()


def test_a_pilot_finds_where_the_path_is_steep():
    """At its start for a proposal that is too wide, at its end for one that is too narrow; and step sizes follow the target's scale."""
    wide, narrow, same = (Path(alone(student(30.0, scale=scale)), target_of(student(30.0))) for scale in (10.0, 0.3, 1.0))
    courses = [piloted(path, 10, generator(8)).course for path in (wide, narrow, same)]
    assert courses[0].betas[5] < 0.3 and courses[1].betas[5] > 0.4
    assert courses[0].size < 0.6 * courses[2].size


def test_chains_are_spread_evenly_over_components():
    path = Path(mixture(), target_of(student(6.0, rows=3)))
    for count, seed in ((10, 9), (16, 10)):
        point, chosen = path.start(count, generator(seed))
        for c in range(3):
            assert ((chosen == c).sum(0) - count * path.proposal.shares[c]).abs().max() < 1
        assert point.vector.shape == (count, 3, DIM)
    many = torch.stack([path.start(10, generator(seed))[1] for seed in range(400)])  # the first chain is a draw from q like any other
    shares = torch.stack([(many[:, 0] == c).double().mean(0) for c in range(3)])
    assert (shares - path.proposal.shares).abs().max() < 5 * 0.5 / 400**0.5


def test_safe_components_are_used_where_a_pilot_needs_them():
    mix = mixture()
    pilot = for_pilot(mix, 1)
    torch.testing.assert_close(pilot.shares[:, 0], torch.tensor([0.5, 0.25, 0.25]).double())
    torch.testing.assert_close(pilot.shares[:, 1], mix.shares[:, 1])  # none where there was none
    weights = torch.tensor([[0.69, 1.0, 0.1], [0.3, 0.0, 0.0], [0.01, 0.0, 0.9]], dtype=torch.float64)
    final = after_pilot(mix, weights, 1)
    torch.testing.assert_close(final.shares, torch.tensor([[0.7, 1.0, 0.6], [0.3, 0.0, 0.0], [0.0, 0.0, 0.4]]).double())


def one_site(dtype=torch.float64, transform=None):
    return Coordinates((Part("z", torch.Size([DIM]), torch.Size([DIM]), dtype, transform),))


def test_groups_of_chains_give_what_all_give_at_once():
    component, sizes = student(5.0, rows=4), []

    def scores(batch, vector):
        sizes.append(len(vector))
        return target_of(component)(vector)

    vector = torch.randn(13, 4, DIM, generator=generator(), dtype=torch.float64)
    got = in_groups(scores, one_site(), (), 8)(vector)
    assert sizes == [8, 8]
    for value, expected in zip(got, target_of(component)(vector), strict=True):
        assert torch.equal(value, expected)


def test_the_density_is_zero_where_latents_are_rounded_to_their_boundary():
    positive = one_site(torch.float32, torch.distributions.biject_to(torch.distributions.constraints.positive))
    vector = torch.tensor([[[0.0, -3.0]], [[0.0, -120.0]]], dtype=torch.float64)
    log_p, _ = in_groups(lambda batch, vector: target_of(student(5.0))(vector), positive, (), 8)(vector)
    assert log_p[0].isfinite() and log_p[1] == -torch.inf


def test_the_logarithm_of_a_mean():
    weights = torch.tensor([[1.0, 0.0], [3.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(log_mean(weights.log()), weights.mean(0).log())
