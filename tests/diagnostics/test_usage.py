"""How latents are used: the quick part of a diagnosis."""

from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import diagnose
from inference.diagnostics.usage import latent_use
from pyro_lvm import Pair


def test_it_is_what_a_diagnosis_says(double, seeded):
    linear = LinearGaussian(4, 2)
    x = linear.sample(150)
    use, whole = latent_use(linear, x), diagnose(linear, x, progress=False)
    torch.testing.assert_close(use.unit_variances["z"], whole.unit_variances["z"])
    assert use.collapsed == whole.collapsed == {"z": ()} and use.levels == {}
    assert use.standard_errors["active_units"] == pytest.approx(whole.standard_errors["active_units"])


def test_unused_units_and_codes(double, seeded):
    """The guide of z takes x in its first unit only, and c takes two of four values."""

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("c", dist.Categorical(torch.ones(4)))
            pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.cat([x[:, :1], 0 * x], 1), 1.0).to_event(1))
            pyro.sample("c", dist.Categorical(torch.tensor([0.5, 0.5, 1e-12, 1e-12])))

    use = latent_use(Pair(model, guide), torch.randn(200, 2), num_data=100)
    assert use.collapsed == {"z": (1, 2)} and use.levels["active_units[z]"] == 1
    assert use.levels["codes_used[c]"] == 0.5 and use.standard_errors["codes_used[c]"] < 0.01 and "100 data" in use.notes["codes_used[c]"]
