"""fit: optimizers, learning rates and schedulers, and those that it cannot use."""

from functools import partial

from fits import linear_vae, quick
import pyro
import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau


def weights(vae):
    return torch.cat([p.detach().flatten() for p in vae.parameters()])


def test_a_learning_rate_is_that_of_any_optimizer(x):
    """One step of gradient descent is proportional to its rate; without one, the optimizer has its own."""
    moved = {}
    for rate in (1e-3, 2e-3, None):
        vae = linear_vae()
        before = weights(vae)
        options = {"optimizer": torch.optim.SGD, "learning_rate": rate, "compile": False}
        history = quick(vae, x, epochs=1, batch_size=600, **options).history
        assert history.learning_rate.iloc[0] == (rate or 1e-3)
        moved[rate] = weights(vae) - before
    torch.testing.assert_close(moved[2e-3], 2 * moved[1e-3], rtol=1e-9, atol=1e-12)
    assert torch.equal(moved[None], moved[1e-3])


OPTIMIZERS = [torch.optim.Adagrad, partial(torch.optim.SGD, momentum=0.9), lambda p, lr: torch.optim.Adam(p, lr=lr)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_takes_a_rate_is_given_it(optimizer, x):
    assert quick(linear_vae(), x, optimizer=optimizer, learning_rate=0.007, epochs=1).history.learning_rate.iloc[0] == 0.007


def instance():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimizer": pyro.optim.Adam({"lr": 1e-3})}, TypeError, "got Pyro's PyroOptim.*optimizer=torch.optim.Adam"),
        ({"optimizer": pyro.optim.ClippedAdam({"lr": 1e-3})}, TypeError, "got Pyro's"),
        ({"optimizer": instance()}, TypeError, "got a SGD of given parameters. Pass optimizer=torch.optim.SGD"),
        ({"optimizer": torch.optim.LBFGS}, TypeError, "LBFGS evaluates the loss several times.*first-order optimizer"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be callable; got str"),
        ({"optimizer": lambda p: None}, TypeError, "must return a torch.optim.Optimizer; got a NoneType"),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=0.1), "learning_rate": 0.1}, ValueError, "learning_rate=0.1 has no effect"),
        ({"scheduler": 0.5}, TypeError, "scheduler must be callable; got float"),
        ({"scheduler": lambda o: 3}, TypeError, "scheduler must return a torch scheduler; got a int"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(options, error, message, x):
    vae = linear_vae()
    before = weights(vae)
    with pytest.raises(error, match=message):
        quick(vae, x, **options)
    assert torch.equal(weights(vae), before)


@pytest.mark.parametrize("has_valid", [True, False])
def test_a_plateau_lowers_the_rate(has_valid, x):
    """The loss never falls by more than its threshold, so that every epoch after the first counts."""

    def scheduler(optimizer):
        return ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=1e9, threshold_mode="abs")

    valid = {"valid": x[:50]} if has_valid else {}
    rates = quick(linear_vae(), x, epochs=4, learning_rate=0.1, scheduler=scheduler, **valid).history.learning_rate
    assert rates.tolist() == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_a_plateau_is_that_of_the_validation_loss_where_there_is_one(x):
    losses = []

    class Watch(ReduceLROnPlateau):
        def step(self, metrics):
            losses.append(float(metrics))
            super().step(metrics)

    history = quick(linear_vae(), x, valid=x[:50], epochs=3, scheduler=Watch).history
    assert losses == history.valid_loss.tolist()
    losses.clear()
    history = quick(linear_vae(), x, epochs=3, scheduler=Watch).history
    assert losses == history.train_loss.tolist()


def test_other_schedulers_step_once_an_epoch(x):
    rates = quick(linear_vae(), x, epochs=3, learning_rate=0.1, scheduler=lambda o: ExponentialLR(o, 0.5)).history.learning_rate
    assert rates.tolist() == pytest.approx([0.1, 0.05, 0.025])
