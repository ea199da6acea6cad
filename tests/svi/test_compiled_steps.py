"""Traced and compiled steps of a fit against the eager ones, on the same noise."""

import warnings

from pairs import NUM_LATENTS, NUM_PIXELS, STEPS, Reads, binary, enumerated, make_vae, score_function
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO
import pytest
import torch
from torch import nn

from inference import evaluate, fit
from inference.svi import compiled, traced

pytestmark = pytest.mark.usefixtures("double")


def fitted(make, compile, **options):
    torch.manual_seed(1)
    options = {"epochs": 4, "batch_size": 35, "learning_rate": 1e-2, "progress": False} | options
    return fit(make(), binary().to(torch.get_default_dtype()), compile=compile, **options)


@pytest.mark.parametrize("name", STEPS)
def test_traced_steps_are_the_eager_ones(name, interpreted):
    make, options = STEPS[name]
    expected, got = fitted(make, False, **options), fitted(make, True, **options)
    assert got.compile_seconds > 0
    # Adam moves a parameter whose gradient is mere rounding by its whole rate, hence not to the last digit.
    torch.testing.assert_close(
        torch.tensor(got.history.train_loss.values), torch.tensor(expected.history.train_loss.values), rtol=0, atol=1e-9
    )


class Replaces(Reads):
    """A network that puts a new tensor in the place of its buffer, as a graph cannot."""

    def __init__(self):
        super().__init__()
        self.register_buffer("average", torch.zeros(2 * NUM_LATENTS))

    def forward(self, x):
        y = self.linear(x)
        self.average = 0.9 * self.average + 0.1 * y.detach().mean(0)
        return y - self.average


class Counts(Reads):
    """A network that counts its calls in Python."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.linear(x) * (1 + self.calls % 7)


class ReadsUnseen(Reads):
    """A network that reads a value in a way that tracing cannot see."""

    def forward(self, x):
        return self.linear(x) * (1 + float(x.detach().numpy().max() > 0))


REFUSED = {
    "control flow": (lambda: make_vae(layers=Reads()), {}, "value is read"),
    "replaced buffer": (lambda: make_vae(layers=Replaces()), {}, "'average' of a Replaces is replaced by a new tensor"),
    "Python state": (lambda: make_vae(layers=Counts()), {}, "differs from an eager one"),
    "unseen value": (lambda: make_vae(layers=ReadsUnseen()), {"batch_size": 10}, "value is read in Python by 'numpy'"),
    "objective": (score_function, {"elbo": TraceGraph_ELBO()}, "TraceGraph_ELBO has no differentiable_loss"),
    "enumerated": (enumerated, {"elbo": TraceEnum_ELBO(max_plate_nesting=1)}, "value is read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compiled_is_refused_or_runs_eagerly(name, interpreted, monkeypatch):
    make, options, reason = REFUSED[name]
    with pytest.raises(ValueError, match=f"compile=True.*{reason}"):
        fitted(make, True, **options)
    monkeypatch.setattr(compiled, "EARNS_BACK", 1)
    expected = fitted(make, False, **options)
    with pytest.warns(UserWarning, match=f"without compiled steps.*{reason}") as warned:
        got = fitted(make, "auto", **options)
    assert len(warned) == 1
    if name != "Python state":  # which a trace changes too
        assert got.history.train_loss.tolist() == expected.history.train_loss.tolist()


def test_a_compiler_that_gives_nan_is_found_out(monkeypatch):
    monkeypatch.setattr(traced, "compile_graph", lambda graph, *inputs: lambda *i: tuple(t * torch.nan for t in graph(*i)))
    monkeypatch.setattr(compiled, "EARNS_BACK", 1)
    expected = fitted(make_vae, False)
    with pytest.warns(UserWarning, match="the loss is nan, not"):
        got = fitted(make_vae, "auto")
    assert got.history.train_loss.tolist() == expected.history.train_loss.tolist()


def test_a_missing_compiler_is_said_in_one_warning(monkeypatch):
    import torch._inductor

    def fails(*_, **__):
        raise RuntimeError("no C++ compiler\nand much more")

    monkeypatch.setattr(torch._inductor, "standalone_compile", fails)
    monkeypatch.setattr(compiled, "EARNS_BACK", 1)
    with pytest.warns(UserWarning, match="torch's compiler fails: no C.. compiler") as warned:
        fitted(make_vae, "auto")
    assert len(warned) == 1


def test_what_changes_later_is_found_out(interpreted, monkeypatch):
    """No hook tells of the change, so a check does that comes now and then; a fit that has begun goes on."""
    monkeypatch.setattr(traced, "CHECK_EVERY", 4)

    def changing():
        vae = make_vae(layers=Counts())
        network = vae.encoder.network
        network.forward = lambda x: network.linear(x) * (1 if vae.likelihood.updates < 9 else 3)
        vae.likelihood.updates = 0
        vae.likelihood.after_step = lambda: setattr(vae.likelihood, "updates", vae.likelihood.updates + 1)
        return vae

    expected = fitted(changing, False, epochs=8)
    with pytest.warns(UserWarning, match="differs from an eager one.*such as an attribute of a module") as warned:
        got = fitted(changing, True, epochs=8)
    assert len(warned) == 1
    assert abs(got.history.train_loss - expected.history.train_loss).iloc[:4].max() < 1e-9


class Cools(Reads):
    """A network with numbers and a tensor that are attributes."""

    temperature, shift, dropped = 1.0, torch.tensor(0.0), 0.1
    numbers = (0.5, 1.0)

    def forward(self, x):
        scale = torch.tensor(self.numbers).sum().to(x) / self.temperature
        return nn.functional.dropout(self.linear(x) * scale + self.shift, self.dropped)


CHANGES = {
    "number": {"temperature": 0.99},
    "probability": {"dropped": 0.11},
    "list": {"numbers": (0.5, 1.01)},
    "replaced tensor": {"shift": torch.tensor(0.01)},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_one_percent_between_epochs_is_found_in_float32(name, interpreted):
    torch.set_default_dtype(torch.float32)

    def with_change(compile):
        torch.manual_seed(0)
        vae = make_vae(layers=Cools())

        def on_epoch(history):
            if len(history) == 5:
                vars(vae.encoder.network).update(CHANGES[name])

        return fitted(lambda: vae, compile, epochs=8, batch_size=10, on_epoch=on_epoch).history.train_loss

    with pytest.warns(UserWarning, match="differs from an eager one.*has changed") as warned:
        got = with_change(True)
    assert len(warned) == 1
    assert abs(got - with_change(False)).max() < 1e-5


def test_every_epoch_begins_with_a_check_if_it_may_have_changed(interpreted, monkeypatch):
    checked, epochs = [], []
    original = compiled.CompiledStep.dry_run
    monkeypatch.setattr(compiled.CompiledStep, "dry_run", lambda self, *args: checked.append(len(epochs)) or original(self, *args))
    for on_epoch in (epochs.append, None):
        checked.clear()
        epochs.clear()
        fitted(make_vae, True, epochs=12, batch_size=10, on_epoch=on_epoch)
        if on_epoch is not None:
            assert set(checked) == set(range(12)) and checked.count(11) == 1
    # After 0, 1, 2, 4, ... of 82 steps
    assert len(checked) == 7


def test_the_objective_is_told_of_epochs():
    class Follows(Trace_ELBO):
        epochs = 0

        def begin_epoch(self):
            self.epochs += 1

    for compile in (False, "auto"):
        elbo = Follows()
        fitted(make_vae, compile, epochs=3, elbo=elbo)
        assert elbo.epochs == 3


@pytest.mark.parametrize("place", ["parameter", "exp_avg", "exp_avg_sq", "step"])
def test_a_compiler_that_spoils_the_update_is_found_out(place, monkeypatch):
    """Loss and gradients are right."""

    def spoiling(graph, *inputs):
        def run(*inputs):
            results = graph(*inputs)
            target = weight if place == "parameter" else optimizers[0].state[weight][place]
            target.mul_(1.001)
            return results

        weight = vae.encoder.network.layers[0].weight
        return run

    optimizers = []

    def make_optimizer(parameters, lr):
        optimizers.append(torch.optim.Adam(parameters, lr=lr))
        return optimizers[-1]

    monkeypatch.setattr(traced, "compile_graph", spoiling)
    vae = make_vae()
    with pytest.raises(ValueError, match=f"a {'parameter' if place == 'parameter' else 'running average'} becomes"):
        fitted(lambda: vae, True, optimizer=make_optimizer)


def scheduled(change):
    """A scheduler that calls a function with the optimizer and the epoch."""

    class Scheduler(torch.optim.lr_scheduler.LRScheduler):
        def get_lr(self):
            change(self.optimizer, self.last_epoch)
            return [group["lr"] for group in self.optimizer.param_groups]

    return Scheduler


def setting(name, value):
    return scheduled(lambda optimizer, epoch: optimizer.param_groups[0].update({name: value(epoch)}))


SCHEDULES = {
    "one cycle": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=9, pct_start=0.3),
    "second beta": setting("betas", lambda epoch: (0.9, 0.99 + 0.001 * epoch)),
    "epsilon": setting("eps", lambda epoch: 10.0 ** (epoch - 8)),
    "weight decay": setting("weight_decay", lambda epoch: 0.1 * (epoch > 3)),
    "maximize": setting("maximize", lambda epoch: epoch > 3),
    "new group": scheduled(lambda optimizer, epoch: epoch == 4 and optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})),
    "new state": scheduled(lambda optimizer, epoch: optimizer.load_state_dict(optimizer.state_dict())),
    "no state": scheduled(lambda optimizer, epoch: epoch == 4 and optimizer.state.clear()),
}


@pytest.mark.filterwarnings("ignore:fit runs without compiled steps. the optimizer's options")
@pytest.mark.parametrize("name", SCHEDULES)
def test_whatever_a_schedule_changes_is_followed(name, interpreted):
    def with_schedule(compile):
        return fitted(make_vae, compile, epochs=8, scheduler=SCHEDULES[name]).history.train_loss

    assert abs(with_schedule(True) - with_schedule(False)).max() < 1e-9


def test_parameters_may_be_frozen_between_epochs(interpreted):
    def frozen_later(compile):
        vae = make_vae()

        def on_epoch(history):
            vae.encoder.network.layers[0].requires_grad_(len(history) < 3)

        weight = vae.encoder.network.layers[0].weight
        losses = fitted(lambda: vae, compile, epochs=6, batch_size=10, on_epoch=on_epoch).history.train_loss
        return losses, weight.detach()

    expected, got = frozen_later(False), frozen_later(True)
    assert abs(got[0] - expected[0]).max() < 1e-9 and (got[1] - expected[1]).abs().max() < 1e-9


def test_auto_leaves_short_runs_alone(monkeypatch):
    monkeypatch.setattr(traced, "compile_graph", lambda *_: pytest.fail("compiled a short run"))
    assert fitted(make_vae, "auto").compile_seconds == 0


def test_auto_compiles_the_shapes_that_come_often(interpreted, monkeypatch):
    monkeypatch.setattr(compiled, "EARNS_BACK", 9)
    shapes = []
    original = compiled.CompiledStep.__init__
    monkeypatch.setattr(
        compiled.CompiledStep, "__init__", lambda self, *args, **kw: shapes.append(args[2][0].shape) or original(self, *args, **kw)
    )
    fitted(make_vae, "auto", batch_size=20)
    assert shapes == [(20, NUM_PIXELS)]  # three times in each of three epochs; the remaining ten rows only once


def test_a_loss_that_is_not_finite_leaves_the_parameters_for_the_report(interpreted):
    vae = make_vae()
    vae.likelihood.network.layers.append(scale := Scale())

    def spoil(history):
        if len(history) == 2:
            scale.value.fill_(torch.inf)

    with pytest.raises(FloatingPointError, match="epoch 3, batch 1: site 'x'"):
        fitted(lambda: vae, True, on_epoch=spoil)
    assert all(p.isfinite().all() for p in vae.parameters())


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("value", torch.ones(()))

    def forward(self, x):
        return self.value * x


def test_unknown_option():
    with pytest.raises(ValueError, match="compile must be 'auto', True or False; got 'yes'"):
        fit(make_vae(), binary(), compile="yes", progress=False)


def test_machine_code_does_what_the_eager_step_does():
    make, _ = STEPS["vamp"]
    expected, got = (fitted(make, c, epochs=150, learning_rate=3e-3, warmup_epochs=3) for c in (False, True))
    assert len(got.history) * 2 == 300  # steps
    assert abs(got.history.train_loss - expected.history.train_loss).max() < 1e-3
    scores = [
        evaluate(result.pair, binary(), num_particles=20, compile=c, progress=False) for result, c in ((expected, False), (got, True))
    ]
    torch.testing.assert_close(scores[0].log_px, scores[1].log_px, rtol=0, atol=0.1)


def test_machine_code_of_batch_norm_and_dropout_is_right_or_not_used(monkeypatch):
    monkeypatch.setattr(compiled, "EARNS_BACK", 1)
    torch.set_default_dtype(torch.float32)

    def layers():
        return nn.Sequential(nn.Linear(NUM_PIXELS, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2 * NUM_LATENTS))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, got = (fitted(lambda: make_vae(layers=layers()), c, epochs=10) for c in (False, "auto"))
    assert abs(got.history.train_loss - expected.history.train_loss).max() < 1e-2
