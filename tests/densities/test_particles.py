"""Log densities are those of one run for each particle, however a program treats the dimensions of its latents."""

import math

from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
from pyro.infer import Trace_ELBO
import pytest
import torch
from torch import nn

from inference import IWAE, evaluate, fit, log_weights
from inference.densities.broadcasting import choose_layout
from inference.densities.trials import distinct_rows
from pyro_lvm import Pair, check_pair
from pyro_lvm.pair import param_scope

QUIET = {"progress": False}
COUNTS = [1, 2, 3, 50, 1000]


def linear_pair(read, plate=lambda x: pyro.plate("data", len(x))):
    """x ~ Normal(z, 1) under the exact posterior; ``read`` makes numbers ``[B]`` of a latent ``[B, 1]``."""

    def model(x):
        with plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(read(z), 1.0), obs=x)

    def guide(x):
        with plate(x):
            pyro.sample("z", dist.Normal(x[:, None] / 2, 0.5**0.5).to_event(1))

    return Pair(model, guide)


READS = {
    "squeeze": lambda z: z.squeeze(),
    "squeeze of a dimension": lambda z: z.squeeze(1),
    "column": lambda z: z[:, 0],
    "slice": lambda z: z[:, :1].sum(1),
    "view": lambda z: z.view(-1),
    "reshape": lambda z: z.reshape(len(z)),
    "product": lambda z: torch.mm(z, torch.ones(1, 1))[:, 0],
    "network of a view": lambda z: nn.functional.linear(z.view(-1, 1), torch.ones(1, 1)).view(*z.shape[:-1]),
    "any": lambda z: z[..., 0],
}
PLATES = {
    "as many as data": lambda x: pyro.plate("data", len(x)),
    "subsampling all": lambda x: pyro.plate("data", 37, subsample_size=len(x)),
    "of more data": lambda x: pyro.plate("data", 1000, subsample_size=len(x)),
    "of given rows": lambda x: pyro.plate("data", 1000, subsample=torch.arange(len(x))),
    "of the size of all data": lambda x: pyro.plate("data", 37),
}


def check_against_normal(pair, x, num_particles, **options):
    expected = dist.Normal(0.0, 2**0.5).log_prob(x)
    log_w = log_weights(pair, x, num_particles=num_particles, **options)
    torch.testing.assert_close(log_w, expected.expand(num_particles, len(x)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_data", [2, 3, 37])
@pytest.mark.parametrize("read", READS)
def test_a_latent_may_be_read_in_any_way(read, num_data, double):
    pair, x = linear_pair(READS[read]), torch.randn(num_data)
    for num_particles in COUNTS:
        check_against_normal(pair, x, num_particles)
    check_against_normal(pair, x, 5, chunk_size=1)


@pytest.mark.parametrize("read", [read for read in READS if read != "squeeze"])
def test_a_single_datum_may_be_read_in_any_way(read, double):
    for num_particles in COUNTS:
        check_against_normal(linear_pair(READS[read]), torch.randn(1), num_particles)


def test_a_squeeze_that_takes_the_only_row_of_the_data_with_it(double):
    """A number for a datum is as good as ``[1]``."""
    for num_particles in COUNTS:
        check_against_normal(linear_pair(READS["squeeze"]), torch.randn(1), num_particles)


@pytest.mark.parametrize("read", ["column", "any"])
@pytest.mark.parametrize("plate", PLATES)
def test_any_plate_of_the_data_takes_particles(plate, read, double):
    pair, x = linear_pair(READS[read], PLATES[plate]), torch.randn(37)
    for num_particles in (1, 3, 100):
        check_against_normal(pair, x, num_particles, chunk_size=200)
    score = evaluate(pair, x, num_particles=20, **QUIET)
    torch.testing.assert_close(score.log_px, dist.Normal(0.0, 2**0.5).log_prob(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("read", "plate", "style"),
    [("any", "as many as data", "broadcast"), ("column", "of more data", "tiled"), ("column", "of the size of all data", "looped")],
)
def test_the_fastest_of_the_right_layouts_is_chosen(read, plate, style, double):
    pair, x = linear_pair(READS[read], PLATES[plate]), torch.randn(37)
    check_pair(pair, x)
    assert choose_layout(pair, (x,)).style == style


def test_rows_that_are_alike_at_first_do_not_hide_a_wrong_slice(double):
    """For equal rows and a guide that is certain, z[:, :1] takes the codes of other particles, which are the same."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(2, 3)).to_event(1))
            pyro.sample("x", dist.Normal(z[:, :1] * torch.ones(2), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta((x > 0).long(), event_dim=1))

    x = torch.cat([torch.ones(3, 2), torch.tensor([[2.0, -2.0], [-2.0, 2.0]]).repeat(50, 1)])
    first = (x[:, :1] > 0).double()
    expected = dist.Normal(first, 1.0).log_prob(x).sum(1) - 2 * math.log(3)
    torch.testing.assert_close(evaluate(Pair(model, guide), x, **QUIET).log_px, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("first", [1, 3, 100, 497])
def test_layouts_are_compared_on_rows_that_differ(first):
    """Wherever in the data these are."""
    x = torch.cat([torch.zeros(first, 2), torch.arange(1.0, 501.0 - first)[:, None].expand(-1, 2)])
    rows, labels = distinct_rows((x, torch.zeros(500, dtype=torch.long)))
    assert rows.shape == (5, 2) and labels.shape == (5,)
    assert len(rows.unique(dim=0)) >= min(5, 501 - first) - 2 * (first > 490)
    assert distinct_rows((x[:1],))[0].shape == (1, 2) and distinct_rows((torch.zeros(9),))[0].shape == (5,)


def factor_pair():
    """One factor of two features, whose weight is zero at first, so that no latent shows in a density of the data."""

    positive = dist.constraints.positive

    def model(x):
        weight, scale = pyro.param("weight", torch.tensor(0.0)), pyro.param("scale", torch.tensor(1.0), constraint=positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            for i in (0, 1):
                pyro.sample(f"x{i}", dist.Normal(weight * z[:, 0], scale), obs=x[:, i])

    def guide(x):
        slope, width = pyro.param("slope", torch.tensor(0.1)), pyro.param("width", torch.tensor(1.0), constraint=positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((slope * x.sum(1))[:, None], width).to_event(1))

    return Pair(model, guide)


@pytest.mark.parametrize("elbo", [IWAE(5), Trace_ELBO(num_particles=5)], ids=["IWAE", "Trace_ELBO"])
def test_parameters_of_zero_do_not_hide_a_wrong_slice(elbo, double):
    """Fits reach the likelihood of the covariance of the data, although the layout is chosen where weights are zero."""
    torch.manual_seed(0)
    x = 2 * torch.randn(400, 1) + 0.5 * torch.randn(400, 2)
    pair = factor_pair()
    check_pair(pair, x)
    with param_scope(pair):
        assert choose_layout(pair, (x,)).style == "tiled" and pyro.param("weight") == 0
    fit(pair, x, elbo=elbo, epochs=25, learning_rate=0.1, batch_size=100, compile=False, **QUIET)
    best = dist.MultivariateNormal(torch.zeros(2), x.T @ x / len(x)).log_prob(x).mean()
    assert evaluate(pair, x, num_particles=300, **QUIET).mean > best - 0.05


@pytest.mark.parametrize("read", ["any", "column"])
def test_gradients_of_iwae_under_a_plate_of_more_data_are_those_of_the_bound_written_out(read, double):
    """A plate that declares 300 data and is given 3: also where these are tiled, so that it is given 3 K of them."""
    x, num_particles = torch.tensor([0.3, -1.2, 2.0]), 4
    slope = torch.tensor(0.4).requires_grad_()

    def plate(x):
        return pyro.plate("data", 300, subsample_size=len(x))

    def model(x):
        w = pyro.param("slope", slope)
        with plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(w * READS[read](z), 1.0), obs=x)

    def guide(x):
        with plate(x):
            pyro.sample("z", dist.Normal(x[:, None] / 2, 0.8).to_event(1))

    elbo = IWAE(num_particles)
    torch.manual_seed(1)
    loss = elbo.loss_and_grads(model, guide, x)
    torch.manual_seed(1)
    IWAE(num_particles)._layout(model, guide, (x,))
    w = slope.detach().clone().requires_grad_()
    q = dist.Normal(x / 2, 0.8)
    z = q.mean + 0.8 * torch.randn(num_particles, 3)  # one row of noise for each particle, in either layout
    log_w = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(w * z, 1.0).log_prob(x) - q.log_prob(z)
    bound = 100 * (log_w.logsumexp(0) - math.log(num_particles)).sum()
    (-bound).backward()
    assert loss == pytest.approx(-bound.item(), rel=1e-10)
    torch.testing.assert_close(slope.grad, w.grad, rtol=1e-10, atol=1e-10)


def walk(x, markov=True):
    with pyro.plate("data", len(x)):
        z = torch.zeros(len(x))
        for t in pyro.markov(range(x.shape[1])) if markov else range(x.shape[1]):
            z = pyro.sample(f"z{t}", dist.Normal(0.9 * z, 1.0))
            pyro.sample(f"x{t}", dist.Normal(z, 1.0), obs=x[:, t])


def test_markov_around_continuous_latents_changes_nothing(double):
    x = torch.randn(4, 3)

    def guide(x):
        with pyro.plate("data", len(x)):
            for t in range(x.shape[1]):
                pyro.sample(f"z{t}", dist.Normal(x[:, t] / 2, 0.8))

    steps = torch.tensor([[1.0, 0.0, 0.0], [0.9, 1.0, 0.0], [0.81, 0.9, 1.0]])
    exact = dist.MultivariateNormal(torch.zeros(3), steps @ steps.T + torch.eye(3)).log_prob(x)
    score = evaluate(Pair(walk, guide), x, num_particles=10_000, **QUIET)
    assert ((score.log_px - exact).abs() < 5 * score.mc_error).all() and score.mc_error.max() < 0.03
    plain = log_weights(Pair(lambda x: walk(x, markov=False), guide), x, num_particles=5, seed=0)
    torch.testing.assert_close(log_weights(Pair(walk, guide), x, num_particles=5, seed=0), plain, rtol=0, atol=1e-10)


START = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
STEP = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
STATES, LENGTH = 3, 6


def hidden_markov(x, mask, offset):
    """Declare states that are summed out, and data that are their numbers and an offset with noise; masks may differ by datum."""
    state = None
    for t in pyro.markov(range(LENGTH)):
        with pyro.poutine.mask(mask=mask[:, t]):
            chances = START if state is None else STEP[state]
            state = pyro.sample(f"c{t}", dist.Categorical(chances), infer={"enumerate": "parallel"})
            pyro.sample(f"x{t}", dist.Normal(state + offset, 1.0), obs=x[:, t])


def forward(x, mask, offset):
    """The forward algorithm, step by step, for data ``[B, T]`` and an offset ``[K, B]``."""
    alpha = START.log()
    for t in range(LENGTH):
        seen = dist.Normal(torch.arange(3.0) + offset[..., None], 1.0).log_prob(x[:, t, None])  # [K, B, C]
        moved = alpha if t == 0 else (alpha[..., None] + STEP.log()).logsumexp(-2)
        alpha = torch.where(mask[:, t, None], moved + seen, moved)
    return alpha.logsumexp(-1)


LENGTHS = {"equal": [6, 6, 6, 6], "different": [6, 1, 3, 5]}


@pytest.mark.parametrize("lengths", LENGTHS)
def test_hidden_states_are_summed_out_as_by_the_forward_algorithm(lengths, double):
    torch.manual_seed(0)
    x = 2 * torch.rand(4, LENGTH)
    mask = torch.arange(LENGTH) < torch.tensor(LENGTHS[lengths])[:, None]

    def model(x, mask):
        with pyro.plate("data", len(x)):
            hidden_markov(x, mask, 0.0)

    log_w = log_weights(Pair(model, lambda x, mask: None), x, mask, num_particles=3)
    torch.testing.assert_close(log_w, forward(x, mask, torch.zeros(3, 4)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("read", ["any", "column"])
def test_hidden_states_are_summed_out_for_every_draw_of_another_latent(read, lengths, double):
    torch.manual_seed(0)
    x, drawn = 2 * torch.rand(4, LENGTH), []
    mask = torch.arange(LENGTH) < torch.tensor(LENGTHS[lengths])[:, None]

    def model(x, mask):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            hidden_markov(x, mask, READS[read](z))

    def guide(x, mask):
        with pyro.plate("data", len(x)):
            drawn.append(pyro.sample("z", dist.Normal(x[:, :1] / 2, 0.7).to_event(1)))

    log_w = log_weights(Pair(model, guide), x, mask, num_particles=5)
    z = drawn[-1].reshape(5, 4)
    expected = forward(x, mask, z) + dist.Normal(0.0, 1.0).log_prob(z) - dist.Normal(x[:, 0] / 2, 0.7).log_prob(z)
    torch.testing.assert_close(log_w, expected, rtol=0, atol=1e-10)


def test_a_program_of_all_rows_is_run_once_for_each_particle(double):
    """The plate has a fixed size, so that the program takes neither fewer rows nor more."""
    oracle = LinearGaussian()
    x = oracle.sample(9)

    def model(x):
        with pyro.plate("data", 9):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = z[:, :1] * oracle.weight[:, 0] + z[:, 1:] * oracle.weight[:, 1] + oracle.offset
            pyro.sample("x", dist.Normal(loc, oracle.noise.sqrt()).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", 9):
            pyro.sample("z", oracle.posterior(x))

    pair = Pair(model, guide)
    for num_particles in (1, 9, 40):
        log_w = log_weights(pair, x, num_particles=num_particles)
        torch.testing.assert_close(log_w, oracle.log_px(x).expand(num_particles, 9), rtol=0, atol=1e-10)
    check_pair(pair, x)
    layout = choose_layout(pair, (x,))
    assert layout.style == "looped" and layout.needs_all_rows
