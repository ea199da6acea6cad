"""fit: the weight of the KL as a number, by site, and as a function of the epoch."""

from fits import linear_vae, quick
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_lvm import Pair


def two_latents():
    """x = z1 + z2 and noise, under a guide that does not see the data."""

    def model(x):
        with pyro.plate("data", len(x)):
            z1, z2 = (pyro.sample(name, dist.Normal(torch.zeros(()).to(x), 1.0)) for name in ("z1", "z2"))
            pyro.sample("x", dist.Normal(z1 + z2, 1.0), obs=x[:, 0])

    def guide(x):
        with pyro.plate("data", len(x)):
            for name in ("z1", "z2"):
                pyro.sample(name, dist.Normal(pyro.param(f"loc_{name}", torch.zeros(()).to(x)).expand(len(x)), 0.5))

    return Pair(model, guide)


def locs(x, **options):
    """The means after a fit, and the history of the weight of the KL."""
    pair = two_latents()
    history = quick(pair, 3 + x[:50], epochs=3, batch_size=50, learning_rate=0.1, **options).history
    return torch.stack([pair.param_store[f"loc_{name}"].detach() for name in ("z1", "z2")]), history.filter(like="kl_weight")


@pytest.mark.parametrize(
    ("kl_weight", "warmup_epochs", "compile"),
    [
        (lambda epoch: min(1.0, epoch / 3), 3, False),
        (lambda epoch: min(1.0, epoch / 3), 3, True),
        (lambda epoch: {"z1": min(1.0, epoch / 2)}, {"z1": 2}, False),
        (lambda epoch: {"z1": min(1.0, epoch / 2)}, {"z1": 2}, True),
        (1.0, 0, False),
    ],
    ids=["rising", "rising, compiled", "of a site", "of a site, compiled", "one"],
)
def test_a_weight_is_the_warm_up_that_means_the_same(kl_weight, warmup_epochs, compile, x, interpreted):
    got, history = locs(x, kl_weight=kl_weight, compile=compile)
    expected, other = locs(x, warmup_epochs=warmup_epochs, compile=compile)
    plain, _ = locs(x, compile=False)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
    assert history.equals(other) and torch.allclose(got, plain, rtol=0, atol=1e-9) == (warmup_epochs == 0)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0])
def test_a_constant_weight_moves_the_optimum(weight):
    """The best mean of both latents minimizes weight * (m1^2 + m2^2) / 2 + (x - m1 - m2)^2 / 2: for equal data x, m = x / (2 + weight)."""
    pair = two_latents()
    options = {"epochs": 200, "optimizer": torch.optim.SGD, "learning_rate": 0.2, "compile": False}
    quick(pair, torch.full((40, 1), 3.0).double(), kl_weight=weight, batch_size=40, **options)
    locs = [pair.param_store[f"loc_{name}"].item() for name in ("z1", "z2")]
    assert sum(locs) == pytest.approx(6 / (2 + weight), abs=0.3)


def test_the_history_has_the_weight_of_every_epoch(x):
    _, history = locs(x, kl_weight=lambda epoch: 0.1 * epoch)
    assert history.kl_weight.tolist() == pytest.approx([0.1, 0.2, 0.3])
    _, history = locs(x, kl_weight={"z2": 0.3})
    assert history.kl_weight_z2.tolist() == [0.3] * 3


def test_patience_and_validation_are_at_full_weight(x):
    """A weight of zero changes the training loss alone, here that of the start."""
    losses = [
        quick(linear_vae(), x, valid=x[:50], kl_weight=w, epochs=1, optimizer=lambda p: torch.optim.SGD(p, lr=0.0)).history
        for w in (0.0, 1.0)
    ]
    assert losses[0].valid_loss.equals(losses[1].valid_loss) and losses[0].train_loss.iloc[0] < losses[1].train_loss.iloc[0] - 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_weight": -0.1}, "kl_weight must be"),
        ({"kl_weight": float("nan")}, "kl_weight must be"),
        ({"kl_weight": "small"}, "kl_weight must be"),
        ({"kl_weight": lambda epoch: -1.0}, "kl_weight must be"),
        ({"kl_weight": lambda epoch: None}, "kl_weight must be"),
        ({"kl_weight": {"w": 0.5}}, r"kl_weight must name latent sites, some of \('z',\); got \['w'\]"),
        ({"kl_weight": lambda epoch: {"w": 0.5}}, r"kl_weight must name latent sites"),
        ({"kl_weight": lambda epoch: {"z": 0.5} if epoch == 1 else 1.0}, "kl_weight must name the same sites in every epoch"),
        ({"kl_weight": 0.5, "warmup_epochs": 3}, "kl_weight must be left out with warmup_epochs"),
    ],
)
def test_weights_that_are_none_are_refused(options, message, x):
    with pytest.raises((ValueError, TypeError), match=message):
        quick(linear_vae(), x, **options)
