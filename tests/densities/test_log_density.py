"""What enters a log density: enumerated sites are summed out, masks count, scales and penalties do not."""

from oracles import LinearGaussian, LinearMixture
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import log_weights
from pyro_lvm import Pair, penalty


def test_enumerated_sites_are_summed_out_exactly():
    oracle = LinearMixture()

    x = oracle.sample(8)
    log_w = log_weights(Pair(oracle.enumerated_model, oracle.guide), x, num_particles=5)
    torch.testing.assert_close(log_w, oracle.log_px(x).expand(5, 8), rtol=0, atol=1e-10)


def test_scales_and_penalties_do_not_enter_but_masks_do():
    oracle = LinearGaussian()
    x = oracle.sample(4)
    kept = torch.tensor([True, False, True, True])

    def model(x):
        with pyro.poutine.scale(scale=0.01):
            oracle.model(x)
        with pyro.plate("more", len(x)):
            penalty("cost", torch.full((len(x),), 5.0))

    def masked(x, kept):
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=kept):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ oracle.weight.T + oracle.offset, oracle.noise.sqrt()).to_event(1), obs=x)

    def masked_guide(x, kept):
        with pyro.poutine.mask(mask=kept):
            oracle.guide(x)

    log_w = log_weights(Pair(model, oracle.guide), x, num_particles=3)
    torch.testing.assert_close(log_w, oracle.log_px(x).expand(3, 4), rtol=0, atol=1e-10)
    log_w = log_weights(Pair(masked, masked_guide), x, kept, num_particles=1)
    torch.testing.assert_close(log_w[0], oracle.log_px(x) * kept, rtol=0, atol=1e-10)


def test_enumeration_beyond_pyro_markov_and_of_masked_distributions_is_refused():
    def markov(x):
        with pyro.plate("data", len(x)):
            c = torch.zeros(len(x)).long()
            for t in pyro.markov(range(3)):
                c = pyro.sample(f"c{t}", dist.Categorical(torch.tensor([[0.8, 0.2], [0.3, 0.7]])[c]), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(c.float(), 1.0), obs=x)

    def masked(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(3)).mask(x > 0), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(c.float(), 1.0), obs=x)

    with pytest.raises(ValueError, match="site 'x' depends on an enumerated latent beyond the reach of pyro.markov"):
        log_weights(Pair(markov, lambda x: None), torch.ones(3), num_particles=2)
    with pytest.raises(ValueError, match="'c' has a masked distribution"):
        log_weights(Pair(masked, lambda x: None), torch.ones(3), num_particles=2)
