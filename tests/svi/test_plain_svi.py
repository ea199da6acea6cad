"""Our models under Pyro's own SVI."""

import copy as copy_module

from fits import linear_vae, quick
import numpy as np
import pyro
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
import torch

from inference import evaluate, fit
from pyro_lvm import MLP, VAE, GaussianLikelihood, NormalEncoder, VampPrior


def test_our_models_train_under_plain_svi(x):
    vae, other = linear_vae(), linear_vae()
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.03}), Trace_ELBO())
    untouched = {name: p.detach().clone() for name, p in other.named_parameters()}
    before = evaluate(vae, x, num_particles=10).mean
    losses = [svi.step(x) for _ in range(100)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 100
    assert evaluate(vae, x, num_particles=10).mean > before + 0.1
    assert all(torch.equal(p, untouched[name]) for name, p in other.named_parameters())
    pyro.clear_param_store()


def test_parts_are_registered_before_the_first_epoch_and_again_under_plain_svi(x, monkeypatch):
    counts, original = [0], pyro.module

    def module(*args, **options):
        counts[-1] += 1
        return original(*args, **options)

    monkeypatch.setattr(pyro, "module", module)
    vae = linear_vae()
    fit(vae, x, epochs=3, progress=False, compile=False, on_epoch=lambda history: counts.append(0))
    first, *rest = counts
    assert first > 0 and rest == [0, 0, 0]
    names = {name for name, value in poutine.trace(vae.guide).get_trace(x).nodes.items() if value["type"] == "param"}
    assert len(names) == len(list(vae.encoder.parameters()))


def test_plain_svi_updates_an_encoder_that_the_prior_shares_once_a_step(x):
    """Model and guide both register it, under names of their own."""
    encoder = NormalEncoder(MLP(x.shape[1], [5], 4))
    vae = VAE(VampPrior(encoder, x[:7]), GaussianLikelihood(MLP(2, [5], x.shape[1])), encoder).double()
    parameters = list(vae.parameters())
    torch.manual_seed(0)
    loss = Trace_ELBO().differentiable_loss(vae.model, vae.guide, x)
    expected = [p.detach() - 1e-4 * gradient for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True)]
    torch.manual_seed(0)
    SVI(vae.model, vae.guide, pyro.optim.SGD({"lr": 1e-4}), Trace_ELBO()).step(x)
    torch.testing.assert_close([p.detach() for p in parameters], expected)
    pyro.clear_param_store()


def test_a_deep_copy_is_another_model_to_plain_svi(x):
    vae = linear_vae()
    quick(vae, x, epochs=1)
    copy = copy_module.deepcopy(vae)
    before = copy.likelihood.network.layers[0].weight.detach().clone()
    for model in (vae, copy):
        SVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO()).step(x)
    assert not torch.equal(copy.likelihood.network.layers[0].weight, before)
    pyro.clear_param_store()
