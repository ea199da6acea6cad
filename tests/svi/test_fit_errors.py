"""fit: what it refuses, and what it leaves when something goes wrong."""

from fits import TutorialVAE, linear_vae, quick
from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
from pyro.distributions import constraints
from pyro.infer import (
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceTailAdaptive_ELBO,
)
import pytest
import torch
from torch import nn

from inference import IWAE, evaluate, fit
from pyro_lvm import Pair


@pytest.mark.parametrize("part", ["encoder", "likelihood"])
def test_a_loss_that_is_not_finite_stops_with_epoch_batch_and_site(part, x, tmp_path):
    vae = linear_vae()
    calls = []

    def transform(batch):
        calls.append(1)
        if len(calls) == 10:  # the check, 6 batches of the first epoch, the third of the second
            with torch.no_grad():
                next(getattr(vae, part).parameters()).fill_(float("nan"))
        return batch

    file = tmp_path / "best.safetensors"
    site = "site 'z' of the guide" if part == "encoder" else "site 'x' of the model"
    with pytest.raises(FloatingPointError, match=f"epoch 2, batch 3: {site}"):
        quick(vae, x, epochs=5, transform=transform, checkpoint=file)
    assert all(p.isfinite().all() for p in vae.parameters()) and file.is_file()


def test_an_interrupted_fit_leaves_the_best_weights(x):
    vae = linear_vae()
    seen = []

    def transform(batch):
        seen.append(vae.encoder.network.layers[0].weight.detach().clone())
        if len(seen) == 10:
            raise KeyboardInterrupt
        return batch

    with pytest.raises(KeyboardInterrupt):
        quick(vae, x, epochs=5, transform=transform)
    assert torch.equal(vae.encoder.network.layers[0].weight, seen[7])  # as after the first epoch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 601}, "batch_size must be between 1 and the number of rows, 600; got 601"),
        ({"epochs": 0}, "epochs must be"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"patience": 3}, "patience needs validation data"),
        ({"free_bits": -1.0}, "free_bits must be"),
        ({"warmup_epochs": -1}, "warmup_epochs must be"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"epochs": 2.0}, "epochs must be an integer of at least 1; got 2.0"),
        ({"learning_rate": "fast"}, "learning_rate must be positive and finite; got 'fast'"),
        ({"free_bits": "two"}, "free_bits must be at least 0 nats; got 'two'"),
        ({"warmup_epochs": 1.5}, "warmup_epochs must be an integer"),
        ({"patience": "long", "valid": torch.zeros(3, 4).double()}, "patience must be an integer"),
        ({"seed": "zero"}, "seed must be an integer; got 'zero'"),
        ({"seed": True}, "seed must be an integer; got True"),
        ({"alternating": 1}, "alternating must be True or False; got 1"),
        ({"progress": None}, "progress must be True or False; got None"),
        ({"compile": "always"}, "compile must be"),
        ({"transform": 0.5}, "transform must be callable; got float"),
        ({"on_epoch": "print"}, "on_epoch must be callable; got str"),
        ({"elbo": "ELBO"}, r"elbo must be a pyro.infer.ELBO, such as Trace_ELBO\(\); got a str"),
        ({"elbo": Trace_ELBO}, r"elbo must be a pyro.infer.ELBO, such as Trace_ELBO\(\); got the class Trace_ELBO"),
        ({"elbo": IWAE}, "got the class IWAE"),
        ({"elbo": JitTrace_ELBO()}, "JitTrace_ELBO is none.*use the ELBO without Jit, and compile=True"),
        ({"elbo": JitTraceGraph_ELBO()}, "JitTraceGraph_ELBO is none.*use the ELBO without Jit"),
        ({"elbo": JitTraceEnum_ELBO()}, "JitTraceEnum_ELBO is none.*use the ELBO without Jit"),
        ({"elbo": JitTraceMeanField_ELBO()}, "JitTraceMeanField_ELBO is none.*use the ELBO without Jit"),
        ({"elbo": TraceTailAdaptive_ELBO(2)}, "TraceTailAdaptive_ELBO is none.*no loss"),
        ({"elbo": ReweightedWakeSleep(2)}, "ReweightedWakeSleep is none.*use inference.IWAE, or Pyro's own loop"),
    ],
)
def test_bad_options_change_nothing(options, message, x):
    vae = linear_vae()
    before = [p.detach().clone() for p in vae.parameters()]
    with pytest.raises((ValueError, TypeError), match=message):
        fit(vae, x, **{"progress": False} | options)
    assert all(torch.equal(p, b) for p, b in zip(vae.parameters(), before, strict=True))


def test_bad_data_change_nothing(x):
    vae = linear_vae()
    spoilt = x.clone()
    spoilt[3, 1] = float("nan")
    for data, message in (
        (spoilt, "1 of .* rows hold NaN"),
        (x[:0], "at least one row"),
        ((x, x[:5]), "as many rows"),
        (x[:, :3], "expects an input of shape .*4"),
    ):
        with pytest.raises(ValueError, match=message):
            quick(vae, data)
    with pytest.raises(TypeError, match="iterated over more than once"):
        quick(vae, iter([x]))


def test_values_outside_the_support_are_found_wherever_they_are():
    torch.manual_seed(0)
    x = (torch.rand(400, 4) > 0.5).float()
    x[357, 2] = 255.0
    with pytest.raises(ValueError, match="site 'obs': data must lie in the support.*0 to 255"):
        quick(TutorialVAE(), x, batch_size=50)


def test_nothing_to_train_is_an_error(x):
    oracle = LinearGaussian(4, 2, seed=3)
    with pytest.raises(ValueError, match="must have parameters to train"):
        quick(oracle, x)


def test_a_network_that_was_not_registered_is_named(x):
    network = nn.Linear(4, 2).double()

    def model(x):
        noise = pyro.param("noise", torch.ones(4).double(), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), noise).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(network(x), 1.0).to_event(1))

    with pytest.warns(UserWarning, match="uses a Linear that is not registered.*Call pyro.module"):
        quick(Pair(model, guide), x)


def test_validation_that_is_not_finite_and_late_parameters_are_errors(x):
    with pytest.raises(ValueError, match="rows hold NaN"):
        quick(linear_vae(), x, valid=torch.full((3, 4), float("nan")).double())
    vae, runs = linear_vae(), []

    def model(x):
        runs.append(1)
        if len(runs) > 60:  # after the checks that come first
            pyro.param("late", torch.tensor(1.0))
        vae.model(x)

    with pytest.raises(ValueError, match="'late'.*first appeared in epoch"):
        quick(Pair(model, vae.guide), x, epochs=40)


def test_a_global_latent_is_refused_for_batches_that_come_as_a_list(x):
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).expand([4]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("loc", dist.Normal(pyro.param("loc_q", torch.zeros(())), 1.0))

    with pytest.raises(ValueError, match="drawn from 600 data"):
        quick(Pair(model, guide), list(x.split(100)), batch_size=None)


def test_a_scaled_plate_is_refused_under_a_renyi_bound_and_fitted_under_iwae():
    """Whose loss at the exact posterior is log p(x), although batches of 10 stand for 300 data."""
    x, slope = torch.linspace(-2, 2, 30).double(), torch.ones(()).double()

    def plate(x):
        return pyro.plate("data", 300, subsample_size=len(x))

    def model(x):
        with plate(x):
            z = pyro.sample("z", dist.Normal(0 * pyro.param("slope", slope), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with plate(x):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    with pytest.raises(ValueError, match="RenyiELBO multiplies log weights by the plate's scale, 300 / 10.*Use inference.IWAE"):
        quick(Pair(model, guide), x, elbo=RenyiELBO(0.5), batch_size=10)
    history = quick(Pair(model, guide), x, elbo=IWAE(3), batch_size=10, epochs=1).history
    exact = dist.Normal(torch.zeros(()).double(), 2**0.5).log_prob(x).mean().item()
    assert history.train_loss.iloc[0] == pytest.approx(-exact, abs=1e-6)


def test_weights_before_a_fit_compete_as_epoch_zero(x):
    vae = linear_vae()
    quick(vae, x, epochs=20, learning_rate=0.05)
    before, score = [p.detach().clone() for p in vae.parameters()], evaluate(vae, x[:50], num_particles=3)
    result = quick(vae, x, valid=x[:50], learning_rate=3.0)
    assert result.best_epoch == 0 and result.history.valid_loss.min() > result.best_loss + 1
    assert all(torch.equal(p, b) for p, b in zip(vae.parameters(), before, strict=True))
    assert torch.equal(evaluate(vae, x[:50], num_particles=3).log_px, score.log_px)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_fit_that_diverges_keeps_the_best_weights_if_there_are_validation_data(epoch, x, tmp_path):
    vae, calls = linear_vae(), []
    kept = [[p.detach().clone() for p in vae.parameters()]]

    def transform(batch):
        calls.append(1)
        if len(calls) == 1 + 6 * (epoch - 1) + 2:  # the two first looks at the data, and all batches before this epoch
            with torch.no_grad():
                vae.encoder.network.layers[0].weight.fill_(float("nan"))
        return batch

    def on_epoch(history):
        kept.append([p.detach().clone() for p in vae.parameters()])

    options = {"epochs": 5, "valid": x[:50], "learning_rate": 0.05, "checkpoint": tmp_path / "best.safetensors"}
    message = rf"training stopped early: the loss is nan in epoch {epoch}, .*keeps the weights of epoch {epoch - 1}"
    with pytest.warns(UserWarning, match=message):
        result = quick(vae, x, transform=transform, on_epoch=on_epoch, **options)
    assert result.stopped_early and result.best_epoch == epoch - 1 and len(result.history) == epoch - 1
    assert all(torch.equal(p, b) for p, b in zip(vae.parameters(), kept[epoch - 1], strict=True))
    assert evaluate(vae, x[:50], num_particles=3).log_px.isfinite().all()
