"""KL warm-up and free bits for each level of a hierarchy."""

from hierarchies import images, ladder_vae
import pyro
from pyro.infer import Trace_ELBO
import pytest
import torch

from inference import FreeBits, KLWeight, fit
from pyro_lvm.pair import param_scope


def elbo_terms(vae, x):
    """log p(x|z), and the KL at the same draws of each level, both summed over the data."""
    torch.manual_seed(0)
    with param_scope(vae):
        guide = pyro.poutine.trace(vae.guide).get_trace(x)
        model = pyro.poutine.trace(pyro.poutine.replay(vae.model, trace=guide)).get_trace(x)
    log_q, log_p = (
        {name: site["fn"].log_prob(site["value"]).sum().item() for name, site in trace.nodes.items() if name in ("z1", "z2", "x")}
        for trace in (guide, model)
    )
    return log_p["x"], {name: log_q[name] - log_p[name] for name in log_q}


def test_warm_up_and_free_bits_by_level():
    vae, x = ladder_vae(L=2), images(6)[:, 0, 0]
    log_px, kl = elbo_terms(vae, x)

    def loss(weights, nats):
        torch.manual_seed(0)
        weight = KLWeight(weights)
        bits = FreeBits(nats, weight)
        with param_scope(vae):
            return Trace_ELBO().loss(bits.model(weight(vae.model)), bits.guide(weight(vae.guide)), x)

    assert loss({"z1": 0.25}, {}) == pytest.approx(0.25 * kl["z1"] + kl["z2"] - log_px)
    assert loss({"z1": 0.25, "z2": 0.5}, {"z2": 50.0}) == pytest.approx(0.25 * kl["z1"] + 0.5 * 50 * len(x) - log_px)
    assert loss(1.0, {"z2": 50.0}) == pytest.approx(kl["z1"] + 50 * len(x) - log_px)


def test_fit_warms_each_level_up_on_its_own():
    x = images(6)[:, 0, 0]
    history = fit(
        ladder_vae(L=2), x, valid=x, epochs=5, warmup_epochs={"z1": 2, "z2": 4}, free_bits={"z2": 1.0}, patience=1, progress=False
    ).history
    assert history.kl_weight_z1.tolist() == [0.5, 1.0, 1.0, 1.0, 1.0]
    assert history.kl_weight_z2.tolist() == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"free_bits": {"z": 1.0}}, r"free_bits must name latent sites, some of \('z2', 'z1'\); got \['z'\]"),
        ({"warmup_epochs": {"z1": 2, "x": 1}}, r"warmup_epochs must name latent sites"),
        ({"warmup_epochs": {"z1": -2}}, "warmup_epochs must be an integer of at least 0"),
        ({"free_bits": {"z1": -0.1}}, "free_bits must be at least 0"),
    ],
)
def test_options_by_level_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        fit(ladder_vae(L=2), images(6)[:, 0, 0], epochs=1, progress=False, **options)
