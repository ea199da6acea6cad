"""What is different on a CUDA device; skipped where there is none."""

from copy import deepcopy

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import evaluate, fit
import pyro_lvm as lvm

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def make_vae():
    torch.manual_seed(0)
    encoder = lvm.NormalEncoder(lvm.MLP(20, [16], 6))
    return lvm.VAE(lvm.VampPrior(encoder, torch.rand(5, 20)), lvm.BernoulliLikelihood(lvm.MLP(3, [16], 20)), encoder).double()


def data():
    return torch.rand(90, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).round()


def test_a_replayed_training_run_is_the_eager_one():
    """Two shapes of batches, hence two CUDA graphs, on the same noise; the rate and the weight of the KL change."""
    options = dict(epochs=20, batch_size=40, warmup_epochs=5, device="cuda", progress=False)
    options["scheduler"] = lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    results = [fit(make_vae(), data(), compile=compile, **options) for compile in (False, True)]
    losses = [torch.tensor(result.history["train_loss"].to_numpy()) for result in results]
    torch.testing.assert_close(*losses, rtol=1e-6, atol=1e-6)


def test_the_noise_of_a_step_that_failed_is_drawn_again_to_name_the_site():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, torch.where(z.abs() > 3, torch.nan, 1.0)), obs=x)

    def guide(x):
        loc = pyro.param("loc", x.new_zeros(()))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc.expand(len(x)), 1.0))

    with pytest.raises(FloatingPointError, match="site 'x' of the model"):
        fit(lvm.Pair(model, guide), torch.randn(90), epochs=100, device="cuda", progress=False)


@pytest.mark.parametrize("compile", [False, True])
def test_scores_on_the_device_agree_with_the_processors(compile):
    vae = make_vae()
    expected = evaluate(vae, data(), num_particles=2000, progress=False)
    got = evaluate(deepcopy(vae).cuda(), data().cuda(), num_particles=2000, compile=compile, progress=False)
    difference = (got.log_px.cpu() - expected.log_px).mean()
    assert difference.abs() < 5 * (2 / len(data())) ** 0.5 * float(expected.mc_error.mean())
