"""Programs that do not broadcast over particles are noticed, and tiled."""

from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
import torch

from inference import evaluate, log_weights
from inference.densities.broadcasting import choose_layout
from pyro_lvm import Pair, check_pair


def test_a_program_that_slices_the_latent_is_tiled():
    oracle = LinearGaussian()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            loc = z[:, :1] * oracle.weight[:, 0] + z[:, 1:] * oracle.weight[:, 1] + oracle.offset
            pyro.sample("x", dist.Normal(loc, oracle.noise.sqrt()).to_event(1), obs=x)

    x = oracle.sample(9)
    log_w = log_weights(Pair(model, oracle.guide), x, num_particles=50)
    torch.testing.assert_close(log_w, oracle.log_px(x).expand(50, 9), rtol=0, atol=1e-10)


def test_a_guide_that_slices_its_own_latent_is_tiled():
    oracle = LinearGaussian()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            y = pyro.sample("y", dist.Normal(z[..., 0], 1.0))
            pyro.sample("x", dist.Normal(y, 1.0), obs=x[..., 0])

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("y", dist.Normal((z[:, 0] + x[:, 0]) / 2, 0.5**0.5))

    x = oracle.sample(6)
    score = evaluate(Pair(model, guide), x, num_particles=4000)
    exact = torch.distributions.Normal(0.0, 3**0.5).log_prob(x[:, 0])
    assert ((score.log_px - exact).abs() < 5 * score.mc_error).all()


def test_a_wrong_slice_is_noticed_below_large_densities():
    """The rounding that is allowed must not grow with the density of the data."""
    scale = 1e-3

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[:, :1] * scale, scale).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))

    x = torch.full((5, 1), 0.5)  # 500 scales away: log p near -1e5
    pair = Pair(model, guide)
    check_pair(pair, x)
    assert choose_layout(pair, (x,)).style == "tiled"
