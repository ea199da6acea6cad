"""Traced and compiled steps and scores against the eager ones, on the same noise."""

import threading
import warnings

import pyro
import pyro.distributions as dist
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
import pytest
import torch
from torch import nn

from inference import IWAE, evaluate, fit
from inference.scoring import compiled as compiled_scores
from inference.scoring import scorer
from inference.svi import compiled
from inference.tracing.graph import UntraceableError
from inference.tracing.passes import precompute
from inference.tracing.trace import trace
import pyro_lvm as lvm

NUM_DATA, NUM_PIXELS, NUM_LATENTS = 70, 12, 3


@pytest.fixture
def interpreted(monkeypatch):
    """Graphs run operation by operation: all of tracing, none of inductor's seconds."""
    monkeypatch.setattr(compiled, "compile_graph", lambda graph, *inputs: graph)
    monkeypatch.setattr(compiled_scores, "compile_graph", lambda graph, *inputs: graph)


@pytest.fixture(autouse=True)
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def binary(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(NUM_DATA, NUM_PIXELS, generator=generator).round()


def make_vae(prior="standard", encoder="normal", layers=None):
    torch.manual_seed(1)
    network = layers or lvm.MLP(NUM_PIXELS, [8], 2 * NUM_LATENTS)
    encoder = {
        "normal": lambda: lvm.NormalEncoder(network),
        "full-rank": lambda: lvm.FullRankNormalEncoder(lvm.MLP(NUM_PIXELS, [8], 9), NUM_LATENTS),
        "iaf": lambda: lvm.FlowEncoder(lvm.MLP(NUM_PIXELS, [8], 2 * NUM_LATENTS + 4), lvm.iaf(NUM_LATENTS, 4)),
    }[encoder]()
    prior = {
        "standard": lambda: lvm.StandardNormal(NUM_LATENTS),
        "mixture": lambda: lvm.GaussianMixturePrior(NUM_LATENTS, 4),
        "vamp": lambda: lvm.VampPrior(encoder, binary()[:5]),
        "maf": lambda: lvm.FlowPrior(lvm.maf(NUM_LATENTS)),
        "spline": lambda: lvm.FlowPrior(lvm.spline(NUM_LATENTS)),
    }[prior]()
    return lvm.VAE(prior, lvm.BernoulliLikelihood(lvm.MLP(NUM_LATENTS, [8], NUM_PIXELS)), encoder)


def plain_functions():
    torch.manual_seed(1)
    decoder = nn.Linear(1, NUM_PIXELS)

    def model(x):
        pyro.module("decoder", decoder)
        scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), scale).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(NUM_PIXELS))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ loc[:, None], 1.0).to_event(1))

    return lvm.Pair(model, guide)


def score_function():
    """A Bernoulli latent without reparameterization beside a normal one."""
    torch.manual_seed(1)
    decoder, encoder = nn.Linear(3, NUM_PIXELS), nn.Linear(NUM_PIXELS, 3)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(torch.full((2,), 0.4)).to_event(1))
            b = pyro.sample("b", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(torch.cat([a, b], -1))).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        code = encoder(x)
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Bernoulli(logits=code[:, :2]).to_event(1))
            pyro.sample("b", dist.Normal(code[:, 2:], 1.0).to_event(1))

    return lvm.Pair(model, guide)


def straight_through():
    torch.manual_seed(1)
    decoder, encoder = nn.Linear(4, NUM_PIXELS), nn.Linear(NUM_PIXELS, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.OneHotCategorical(torch.ones(4)))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.OneHotCategoricalStraightThrough(logits=encoder(x)))

    return lvm.Pair(model, guide)


def enumerated():
    torch.manual_seed(1)
    decoder, encoder = nn.Linear(2, 3 * NUM_PIXELS), nn.Linear(NUM_PIXELS, 4)

    def model(x):
        pyro.module("decoder", decoder)
        weights = pyro.param("weights", torch.ones(3) / 3, constraint=dist.constraints.simplex)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            c = pyro.sample("c", dist.Categorical(weights), infer={"enumerate": "parallel"})
            logits = decoder(z).reshape(*z.shape[:-1], 3, NUM_PIXELS)
            chosen = (nn.functional.one_hot(c, 3)[..., None] * logits).sum(-2)
            pyro.sample("x", dist.Bernoulli(logits=chosen).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        loc, log_scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return lvm.Pair(model, guide)


def autoguide():
    torch.manual_seed(1)
    decoder = nn.Linear(2, NUM_PIXELS)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", NUM_DATA, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    return lvm.Pair(model, AutoNormal(model))


def subsampled():
    """A global latent, and a plate that declares the whole data set."""

    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("data", NUM_DATA, subsample_size=len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).expand([NUM_PIXELS]).to_event(1), obs=x)

    def guide(x):
        loc, scale = pyro.param("l", torch.tensor(0.0)), pyro.param("s", torch.tensor(1.0), constraint=dist.constraints.positive)
        pyro.sample("loc", dist.Normal(loc, scale))
        with pyro.plate("data", NUM_DATA, subsample_size=len(x)):
            pass

    return lvm.Pair(model, guide)


def hierarchy():
    """A pair of functions with two levels, a vector on an image of latents."""
    torch.manual_seed(1)
    encoder, offsets, lower, decoder = nn.Linear(NUM_PIXELS, 4), nn.Linear(NUM_PIXELS, 4), nn.Linear(2, 4), nn.Linear(4, NUM_PIXELS)

    def model(x):
        pyro.module("lower", lower)
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(lower(z2).unflatten(-1, (1, 2, 2)), 1.0).to_event(3))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z1.flatten(-3))).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.module("offsets", offsets)
        loc, log_scale = encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(loc, log_scale.exp()).to_event(1))
            pyro.sample("z1", dist.Normal((offsets(x) + lower(z2)).unflatten(-1, (1, 2, 2)), 0.5).to_event(3))

    return lvm.Pair(model, guide)


def ladder():
    torch.manual_seed(1)
    levels = lvm.ladder(NUM_PIXELS, [2, 3], [8])
    return lvm.HierarchicalVAE(lvm.StandardNormal(2), levels, lvm.BernoulliLikelihood(lvm.MLP(8, [8], NUM_PIXELS)))


def stacked():
    torch.manual_seed(1)
    levels = lvm.stacked(NUM_PIXELS, [2, 3], [8, 8], network=lvm.GatedMLP)
    return lvm.HierarchicalVAE(lvm.VampPrior(levels.top(), binary()[:5]), levels, lvm.BernoulliLikelihood(lvm.MLP(5, [8], NUM_PIXELS)))


def other_latents(prior, encoder, out_features):
    torch.manual_seed(1)
    likelihood = lvm.BernoulliLikelihood(lvm.MLP(NUM_LATENTS, [8], NUM_PIXELS))
    return lvm.VAE(prior(NUM_LATENTS), likelihood, encoder(lvm.MLP(NUM_PIXELS, [8], out_features)))


def codes(encoder=lvm.VectorQuantizer, num_codes=5, prior=lvm.UniformCodePrior, **options):
    torch.manual_seed(1)
    encoder = encoder(lvm.MLP(NUM_PIXELS, [8], (3, 2)), num_codes, **options)
    prior = prior(encoder.code_shape, encoder.num_codes)
    return lvm.VQVAE(prior, lvm.BernoulliLikelihood(lvm.MLP((3, 2), [8], NUM_PIXELS)), encoder)


def relaxed_codes(encoder):
    return codes(lambda network, _: encoder(lvm.MLP(NUM_PIXELS, [8], (3, 5)), 2))


def batch_norm():
    return make_vae(layers=nn.Sequential(nn.Linear(NUM_PIXELS, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2 * NUM_LATENTS)))


def dropout():
    return make_vae(layers=nn.Sequential(nn.Linear(NUM_PIXELS, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2 * NUM_LATENTS)))


STEPS = {
    "standard": (make_vae, {"batch_size": 20}),
    "mixture": (lambda: make_vae("mixture"), {}),
    "vamp": (lambda: make_vae("vamp"), {}),
    "maf": (lambda: make_vae("maf"), {}),
    "spline": (lambda: make_vae("spline"), {}),
    "full-rank": (lambda: make_vae(encoder="full-rank"), {}),
    "iaf": (lambda: make_vae(encoder="iaf"), {}),
    "warm-up": (make_vae, {"warmup_epochs": 4}),
    "free bits": (make_vae, {"free_bits": 0.3, "warmup_epochs": 4}),
    "clipped": (make_vae, {"clip_norm": 0.3}),
    "alternating": (lambda: make_vae("vamp"), {"alternating": True}),
    "sgd": (make_vae, {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1e-2)}),
    "adamw": (make_vae, {"optimizer": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2)}),
    "scheduled": (make_vae, {"scheduler": lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)}),
    "particles": (make_vae, {"elbo": Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)}),
    "mean field": (make_vae, {"elbo": TraceMeanField_ELBO()}),
    "iwae": (make_vae, {"elbo": IWAE(3), "warmup_epochs": 3}),
    "plain functions": (plain_functions, {}),
    "score function": (score_function, {}),
    "straight-through": (straight_through, {}),
    "autoguide": (autoguide, {"batch_size": NUM_DATA}),
    "subsampled": (subsampled, {}),
    "batch norm": (batch_norm, {}),
    "dropout": (dropout, {}),
    "hierarchy": (hierarchy, {"warmup_epochs": {"z1": 3}}),
    "hierarchy, free bits": (hierarchy, {"warmup_epochs": {"z1": 3, "z2": 4}, "free_bits": {"z2": 5.0}}),
    "ladder": (ladder, {}),
    "stacked": (stacked, {"warmup_epochs": {"z2": 3}}),
    "laplace": (lambda: other_latents(lvm.LaplacePrior, lvm.LaplaceEncoder, 2 * NUM_LATENTS), {}),
    "student-t": (lambda: other_latents(lvm.StudentTPrior, lvm.StudentTEncoder, 2 * NUM_LATENTS), {}),
    "dirichlet": (lambda: other_latents(lvm.DirichletPrior, lvm.DirichletEncoder, NUM_LATENTS), {}),
    "logistic-normal": (lambda: other_latents(lvm.LogisticNormalPrior, lvm.LogisticNormalEncoder, 2 * NUM_LATENTS), {}),
    "sphere": (lambda: other_latents(lvm.UniformSpherePrior, lvm.PowerSphericalEncoder, NUM_LATENTS + 1), {}),
    "codes": (codes, {"warmup_epochs": 3}),
    "codes, dead ones": (lambda: codes(restart_below=0.5, decay=0.5), {}),
    "codes by gradient": (lambda: codes(decay=None, pass_gradient=lvm.rotated), {}),
    "codes, product": (lambda: codes(num_groups=2, prior=lvm.TransformerPrior), {}),
    "codes of scalars": (lambda: codes(lvm.FSQ, (3, 2), prior=lvm.CategoricalCodePrior), {"elbo": IWAE(2)}),
    "codes of indicators": (lambda: relaxed_codes(lvm.StraightThroughEncoder), {}),
    "codes, relaxed": (lambda: relaxed_codes(lvm.GumbelEncoder), {"warmup_epochs": 3}),
}


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


class Reads(nn.Module):
    """A network with control flow that depends on data."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(NUM_PIXELS, 2 * NUM_LATENTS)

    def forward(self, x):
        y = self.linear(x)
        return y if y.sum().item() > 0 else 2 * y


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
        return self.linear(x) * (1 + float(x.numpy()[0].sum()))


REFUSED = {
    "control flow": (lambda: make_vae(layers=Reads()), {}, "value is read"),
    "replaced buffer": (lambda: make_vae(layers=Replaces()), {}, "'average' of a Replaces is replaced by a new tensor"),
    "Python state": (lambda: make_vae(layers=Counts()), {}, "differs from an eager one"),
    "unseen value": (lambda: make_vae(layers=ReadsUnseen()), {"batch_size": 10}, "differs from an eager one"),
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
    monkeypatch.setattr(compiled, "compile_graph", lambda graph, *inputs: lambda *i: tuple(t * torch.nan for t in graph(*i)))
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
    monkeypatch.setattr(compiled, "CHECK_EVERY", 4)
    vae = make_vae(layers=Counts())
    network = vae.encoder.network
    network.forward = lambda x: network.linear(x) * (1 if network.calls < 4 else 3)

    def on_epoch(history):
        network.calls = len(history)

    with pytest.raises(ValueError, match="differs from an eager one"):
        fitted(lambda: vae, True, epochs=8, on_epoch=on_epoch)


def test_auto_leaves_short_runs_alone(monkeypatch):
    monkeypatch.setattr(compiled, "compile_graph", lambda *_: pytest.fail("compiled a short run"))
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


SCORES = {
    name: STEPS[name][0]
    for name in (
        *("standard", "mixture", "vamp", "maf", "iaf", "full-rank", "plain functions", "score function", "batch norm"),
        *("hierarchy", "ladder", "stacked", "laplace", "student-t", "dirichlet", "logistic-normal", "sphere"),
    )
} | {"enumerated": enumerated}


@pytest.mark.parametrize("name", SCORES)
def test_traced_scores_are_the_eager_ones(name, interpreted):
    pair = SCORES[name]()
    fit(pair, binary(), epochs=1, progress=False, elbo=TraceEnum_ELBO(max_plate_nesting=1) if name == "enumerated" else None)
    expected, got = (evaluate(pair, binary(), num_particles=60, compile=c, progress=False) for c in (False, True))
    torch.testing.assert_close(got.log_px, expected.log_px, rtol=0, atol=1e-10)
    torch.testing.assert_close(got.ess, expected.ess, rtol=1e-9, atol=0)


def test_scores_know_the_parameters_of_the_day(interpreted):
    vae = make_vae("vamp")
    options = {"num_particles": 20, "progress": False, "compile": True}
    before = evaluate(vae, binary(), **options)
    with torch.no_grad():
        vae.prior.pseudo_inputs.add_(0.5)
    after, expected = evaluate(vae, binary(), **options), evaluate(vae, binary(), **options | {"compile": False})
    assert (before.log_px - after.log_px).abs().max() > 1e-6
    torch.testing.assert_close(after.log_px, expected.log_px, rtol=0, atol=1e-10)


def test_scores_of_what_cannot_be_compiled(interpreted, monkeypatch):
    vae = make_vae(layers=Reads())
    with pytest.raises(ValueError, match="compile=True.*value is read"):
        evaluate(vae, binary(), num_particles=5, compile=True, progress=False)
    monkeypatch.setattr("inference.scoring.importance.EARNS_BACK", 1)
    with pytest.warns(UserWarning, match="evaluate runs without compiled programs.*value is read"):
        got = evaluate(vae, binary(), num_particles=5, progress=False)
    assert got.log_px.tolist() == evaluate(vae, binary(), num_particles=5, compile=False, progress=False).log_px.tolist()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["full", "bf16"])
@pytest.mark.parametrize("chunk_size", [None, 101])
def test_workers_score_as_one_thread_does(precision, chunk_size, interpreted, two_threads):
    """Five whole blocks of rows and a smaller one, two blocks of draws each; with chunks of 101 some chunks are smaller too, hence eager."""
    vae, x = make_vae("mixture"), binary()[:23]
    options = {"num_particles": 2000, "chunk_size": chunk_size, "precision": precision, "progress": False}
    torch.manual_seed(1)
    got = evaluate(vae, x, compile=True, **options)
    assert torch.get_num_threads() == 2 and torch.initial_seed() == 1
    expected = evaluate(vae, x, compile=False, **options)
    torch.testing.assert_close(got.log_px, expected.log_px, rtol=0, atol=1e-10)
    torch.testing.assert_close(got.pareto_k, expected.pareto_k, rtol=1e-6, atol=1e-9)


class DeclaresMoreData(nn.Module):
    """A plate of more data than a batch has makes Pyro draw which; and a model may draw for itself."""

    def __init__(self, draws):
        super().__init__()
        self.vae, self.draws = make_vae(), draws

    def model(self, x):
        with pyro.plate("data", 1000, subsample_size=len(x)):
            z = pyro.sample("z", self.vae.prior())
            noise = torch.rand_like(z) if self.draws else 0.0
            pyro.sample("x", self.vae.likelihood(z + 1e-12 * noise), obs=x)

    def guide(self, x):
        with pyro.plate("data", 1000, subsample_size=len(x)):
            pyro.sample("z", self.vae.encoder(x))


@pytest.mark.parametrize("draws", [False, True])
def test_a_model_that_draws_has_no_workers(draws, interpreted, two_threads, monkeypatch):
    threads = set()
    original = scorer.Scorer.log_weights
    monkeypatch.setattr(scorer.Scorer, "log_weights", lambda *args: threads.add(threading.current_thread()) or original(*args))
    pair, x = DeclaresMoreData(draws), binary()[:23]  # the last rows, and the last draws of each, are scored eagerly
    options = {"num_particles": 2000, "chunk_size": 101, "progress": False}
    first, second, eager = (evaluate(pair, x, compile=c, **options) for c in (True, True, False))
    assert torch.equal(first.log_px, second.log_px)
    torch.testing.assert_close(first.log_px, eager.log_px, rtol=0, atol=1e-9)
    assert (threads == {threading.main_thread()}) == draws


def test_an_error_of_a_worker_is_raised_and_leaves_no_trace(interpreted, two_threads, monkeypatch):
    vae = make_vae()
    original = scorer.Scorer.log_weights
    started = []

    def fail_late(self, *args):
        started.append(threading.current_thread())
        if len(started) == 5:
            raise RuntimeError("a worker fails")
        return original(self, *args)

    monkeypatch.setattr(scorer.Scorer, "log_weights", fail_late)
    is_validated = pyro.settings.get("validate_distributions_pyro")
    with pytest.raises(RuntimeError, match="a worker fails"):
        evaluate(vae, binary(), num_particles=2000, compile=True, progress=False)
    assert threading.main_thread() not in started and not any(thread.is_alive() for thread in started)
    assert torch.get_num_threads() == 2 and pyro.settings.get("validate_distributions_pyro") == is_validated


@pytest.mark.parametrize("function", [fit, evaluate])
def test_unknown_option(function):
    with pytest.raises(ValueError, match="compile must be 'auto', True or False; got 'yes'"):
        function(make_vae(), binary(), compile="yes", progress=False)


def test_precomputed_graphs_do_once_what_depends_on_tensors_alone():
    weight, count = torch.randn(3, 3), torch.zeros(())

    def function(x):
        count.add_(1)
        noise = torch.empty_like(weight).normal_()
        return (x @ weight.exp().T + noise + count,)

    x = torch.randn(3, 3)
    graph = precompute(trace(function, x[:1].expand(3, 3)), 1)
    count.zero_()
    names = [node.name for node in graph.module.graph.nodes]
    assert not any(name.startswith("exp") for name in names) and any("normal" in name for name in names)
    assert not [*graph.module.parameters(), *graph.module.buffers()]  # which would be inputs as well
    for number in (1, 2):
        torch.manual_seed(0)
        got = graph(x)[0]
        torch.manual_seed(0)
        torch.testing.assert_close(got, x @ weight.exp().T + torch.randn(3, 3) + number, rtol=1e-12, atol=1e-12)


def count(graph, operation):
    return len(graph.module.graph.find_nodes(op="call_function", target=operation))


def test_what_is_computed_twice_is_computed_once_but_not_across_a_write():
    aten = torch.ops.aten
    torch.manual_seed(0)
    layer, total, x = nn.Linear(4, 3), torch.zeros(3), torch.randn(5, 4)

    def function(x):
        h, again = layer(x).relu(), layer(x).relu()
        total.add_(h.sum(0))
        once = total * 2
        total.add_(1.0)
        twice = total * 2  # the same words, another value
        zeros, others = torch.zeros(3), torch.zeros(3)
        zeros[:1].add_(1)
        return h + again, once, twice, torch.rand(3) - torch.rand(3), zeros, others

    graph = trace(function, torch.randn(5, 4))
    assert (count(graph, aten.mm.default), count(graph, aten.relu.default), count(graph, aten.rand.default)) == (1, 1, 2)
    total.zero_()
    torch.manual_seed(1)
    expected = [value.clone() for value in function(x)]
    total.zero_()
    torch.manual_seed(1)
    for got, wanted in zip(graph(x), expected, strict=True):
        assert torch.equal(got, wanted)


def test_features_that_model_and_guide_both_need_are_computed_once():
    encoder = lvm.VectorQuantizer(lvm.MLP(NUM_PIXELS, [8], (2, 3)), 5)
    vae = lvm.VQVAE(lvm.UniformCodePrior((2,), 5), lvm.BernoulliLikelihood(lvm.MLP((2, 3), [8], NUM_PIXELS)), encoder)

    def loss(x):
        return (Trace_ELBO().differentiable_loss(vae.model, vae.guide, x),)

    x = binary()
    loss(x)
    graph = trace(loss, x, modules=list(vae.modules()))
    pyro.clear_param_store()
    # two products of the encoder, one for distances, two of the decoder
    assert count(graph, torch.ops.aten.mm.default) + count(graph, torch.ops.aten.bmm.default) == 5


def test_tracing_leaves_no_trace():
    vae = batch_norm().train()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    state = torch.get_rng_state()
    trace(lambda x: (vae.encoder(x).rsample(),), binary(), modules=list(vae.modules()))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    with pytest.raises(UntraceableError, match="value is read"):
        trace(lambda x: (x * x.sum().item(),), binary())


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
