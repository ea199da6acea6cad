"""fit: what it refuses, and what it leaves when something goes wrong."""

from fits import TutorialVAE, linear_vae, quick
from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
from pyro.distributions import constraints
import pytest
import torch
from torch import nn

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
    ],
)
def test_bad_options_change_nothing(options, message, x):
    vae = linear_vae()
    before = [p.detach().clone() for p in vae.parameters()]
    with pytest.raises(ValueError, match=message):
        quick(vae, x, **options)
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
        if len(runs) > 4:
            pyro.param("late", torch.tensor(1.0))
        vae.model(x)

    with pytest.raises(ValueError, match="'late'.*first appeared in epoch 1"):
        quick(Pair(model, vae.guide), x)


def test_a_global_latent_is_refused_for_batches_that_come_as_a_list(x):
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).expand([4]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("loc", dist.Normal(pyro.param("loc_q", torch.zeros(())), 1.0))

    with pytest.raises(ValueError, match="drawn from 600 data"):
        quick(Pair(model, guide), list(x.split(100)), batch_size=None)
