"""Diagnoses of discrete codes against enumeration, and the use of a codebook."""

import math

from posteriors import QUIET, close
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import diagnose
from inference.diagnostics.codebook_use import codebook_use
from pyro_lvm import Pair


def discrete_pair(prior, posterior):
    """Data hold logits of their own q(z|x), [N, V]."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            index = z.argmax(-1) if prior.event_shape else z
            pyro.sample("x", dist.Normal(index[:, None].expand(x.shape).to(x), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    return Pair(model, guide)


LOGITS = 2 * torch.randn(500, 5, generator=torch.Generator().manual_seed(0)).double()
P = torch.tensor([0.1, 0.2, 0.1, 0.25, 0.35]).double()
CATEGORIES = {
    "index": (dist.Categorical(P), lambda x: dist.Categorical(logits=x)),
    "one-hot": (dist.OneHotCategorical(P), lambda x: dist.OneHotCategorical(logits=x)),
}


@pytest.mark.parametrize("kind", CATEGORIES)
def test_a_discrete_code_has_masses_for_densities(kind):
    diagnosis = diagnose(discrete_pair(*CATEGORIES[kind]), LOGITS, num_draws=1000, **QUIET)
    each, q = LOGITS.softmax(1), LOGITS.softmax(1).mean(0)
    information = float((each * (each / q).log()).sum(1).mean())
    assert close(diagnosis, "mutual_information", information) < 0.1
    assert close(diagnosis, "marginal_kl", float((q * (q / P).log()).sum())) < 0.1
    assert close(diagnosis, "reverse_kl", float((P * (P / q).log()).sum())) < 0.1
    perplexity = float(torch.distributions.Categorical(q).entropy().exp())
    assert abs(diagnosis.levels["perplexity[z]"] - perplexity) < 4 * diagnosis.standard_errors["perplexity[z]"] < 0.5
    assert diagnosis.levels["codes_used[z]"] == 1 and diagnosis.active_units == 0
    assert diagnosis.notes["active_units"] == "no latent is continuous"
    assert math.isnan(diagnosis.dimension_kl) == (kind == "one-hot")


def test_a_hard_code_shows_the_values_that_it_never_uses():
    x = LOGITS.clone()
    x[:, 1:3] = -50  # values 1 and 2, of prior mass .3

    def nearest(x):
        return dist.Delta(torch.nn.functional.one_hot(x.argmax(1), 5).double(), event_dim=1)

    diagnosis = diagnose(discrete_pair(dist.OneHotCategorical(P), nearest), x, num_draws=500, **QUIET)
    frequencies = torch.bincount(x.argmax(1)) / 500
    entropy = float(torch.distributions.Categorical(frequencies).entropy())
    assert diagnosis.mutual_information == pytest.approx(entropy, abs=1e-6)
    assert diagnosis.levels["perplexity[z]"] == pytest.approx(math.exp(entropy))
    assert diagnosis.levels["codes_used[z]"] == 0.6
    close(diagnosis, "holes_prior", 0.3)
    assert diagnosis.reverse_kl == math.inf and diagnosis.holes_codes == 0 and "inf" in repr(diagnosis)


def test_use_of_a_codebook_with_slots_pools_them():
    codes = torch.tensor([[0, 1], [0, 1], [0, 2], [0, 0]])
    use = codebook_use(dist.Categorical(torch.ones(4, 2, 6)).to_event(1), codes)
    entropy = -sum(f * math.log(f) for f in (5 / 8, 2 / 8, 1 / 8))
    assert (use.share, use.perplexity) == pytest.approx((3 / 6, math.exp(entropy)))
    assert use.share_error == pytest.approx((7 / 8) ** 0.5 / 6)
    assert math.isnan(codebook_use(dist.Poisson(torch.ones(4)), torch.tensor([0, 1, 1, 3])).share)
