"""fit: what it reaches, for whom it works, and what it leaves when something goes wrong."""

import copy as copy_module

import numpy as np
from oracles import LinearGaussian
import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.distributions import constraints
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
import pytest
from sklearn.decomposition import PCA, FactorAnalysis
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from inference import IWAE, compare, evaluate, fit
from inference.svi import objectives
from pyro_lvm import MLP, VAE, FullRankNormalEncoder, GaussianLikelihood, NormalEncoder, Pair, StandardNormal, VampPrior


def linear_vae(num_features=4, latent_dim=2, *, scale=None, encoder=FullRankNormalEncoder):
    torch.manual_seed(0)
    likelihood = GaussianLikelihood(
        MLP(latent_dim, [], num_features), scale=torch.tensor(1.0) if scale is None else scale, learn_scale=True
    )
    if encoder is NormalEncoder:
        guide = NormalEncoder(MLP(num_features, [], 2 * latent_dim))
    else:
        guide = FullRankNormalEncoder(MLP(num_features, [], latent_dim + latent_dim * (latent_dim + 1) // 2), latent_dim)
    return VAE(StandardNormal(latent_dim), likelihood, guide).double()


@pytest.fixture
def x():
    return LinearGaussian(4, 2, seed=3).sample(600)


def quick(pair, data, **options):
    return fit(pair, data, progress=False, **({"epochs": 2, "batch_size": 100} | options))


@pytest.mark.parametrize(
    ("scale", "reference"),
    [
        (torch.ones(()), PCA(2)),
        (torch.ones(4), FactorAnalysis(2, tol=1e-9, svd_method="lapack", max_iter=20000)),
    ],
    ids=["PCA", "FactorAnalysis"],
)
def test_a_linear_vae_reaches_the_maximum_likelihood_of_scikit_learn(scale, reference, x):
    held_out = LinearGaussian(4, 2, seed=3)
    held_out.sample(600)
    test = held_out.sample(500)
    vae = linear_vae(scale=scale.double())
    epochs = 600
    quick(vae, x, epochs=epochs, batch_size=600, learning_rate=0.05, scheduler=lambda o: CosineAnnealingLR(o, epochs))
    expected = reference.fit(x.numpy()).score_samples(test.numpy())
    score = evaluate(vae, test, num_particles=400)
    assert abs(score.mean - expected.mean()) < 0.01
    assert np.abs(score.log_px.numpy() - expected).mean() < 0.03


def test_fits_with_the_same_parameter_names_do_not_touch_one_another(x):
    def pair():
        network = nn.Linear(4, 2).double()

        def model(x):
            weight = pyro.param("weight", lambda: torch.zeros(2, 4).double())
            noise = pyro.param("noise", torch.ones(4).double(), constraint=constraints.positive)
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z @ weight, noise).to_event(1), obs=x)

        def guide(x):
            pyro.module("encoder", network)
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(network(x), 0.5).to_event(1))

        return Pair(model, guide), network

    torch.manual_seed(1)
    (first, network), (second, other) = pair(), pair()
    before = network.weight.detach().clone(), other.weight.detach().clone()
    quick(first, x)
    noise = first.param_store["noise"].detach().clone()
    assert not torch.equal(network.weight, before[0]) and torch.equal(other.weight, before[1])
    quick(second, x, epochs=3)
    assert not torch.equal(other.weight, before[1])
    assert torch.equal(first.param_store["noise"], noise) and not torch.equal(second.param_store["noise"], noise)
    assert not pyro.get_param_store().keys()
    table = compare({"first": evaluate(first, x, num_particles=30), "second": evaluate(second, x, num_particles=30)})
    assert table.index[0] == "second"


class TutorialVAE(nn.Module):
    """A VAE in the manner of Pyro's tutorial: its networks are registered under fixed names, sites are 'latent' and 'obs'."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 4), nn.Sigmoid())
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 4))

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            loc, scale = x.new_zeros(torch.Size((x.shape[0], 2))), x.new_ones(torch.Size((x.shape[0], 2)))
            z = pyro.sample("latent", dist.Normal(loc, scale).to_event(1))
            image = self.decoder(z)
            pyro.sample("obs", dist.Bernoulli(image, validate_args=False).to_event(1), obs=x.reshape(-1, 4))
            return image

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = self.encoder(x.reshape(-1, 4)).chunk(2, -1)
            pyro.sample("latent", dist.Normal(loc, log_scale.exp()).to_event(1))


def test_a_tutorial_vae_is_fitted_scored_and_compared():
    torch.manual_seed(0)
    x = (torch.rand(400, 1, 1).expand(400, 2, 2) > 0.5).float()
    trained, untrained = TutorialVAE(), TutorialVAE()
    quick(trained, x, epochs=40, learning_rate=1e-2)
    table = compare({name: evaluate(vae, x, num_particles=100) for name, vae in (("trained", trained), ("untrained", untrained))})
    assert table.index[0] == "trained" and -1.2 < table.loc["trained", "log_px"] < 0  # exact: -log 2


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


@pytest.mark.parametrize(
    "elbo",
    [Trace_ELBO(num_particles=2), TraceMeanField_ELBO(), TraceGraph_ELBO(), TraceEnum_ELBO(max_plate_nesting=1), RenyiELBO(0.5), IWAE(3)],
    ids=lambda elbo: type(elbo).__name__,
)
def test_any_elbo_trains(elbo, x):
    vae = linear_vae(encoder=NormalEncoder)
    history = quick(vae, x, elbo=elbo, epochs=25, learning_rate=0.02, valid=x[:100]).history
    assert history.valid_loss.iloc[-1] < history.valid_loss.iloc[0] - 0.3


def test_datasets_loaders_and_arrays_are_data_too(x):
    dataset = TensorDataset(x)
    for data in (x.numpy(), (x,), dataset, Frames(x), DataLoader(dataset, 100, shuffle=True), [x[:300], x[300:]]):
        vae = linear_vae()
        options = {} if isinstance(data, np.ndarray | tuple | TensorDataset | Frames) else {"batch_size": None}
        history = quick(vae, data, epochs=8, learning_rate=0.03, **options).history
        assert history.train_loss.iloc[-1] < history.train_loss.iloc[0] - 0.1


class Frames(IterableDataset):
    def __init__(self, x):
        self.x = x

    def __iter__(self):
        return iter(self.x)


def test_a_second_argument_reaches_model_and_guide(x):
    labels = torch.arange(600) % 3
    offset = nn.Embedding(3, 4).double()
    encoder = nn.Linear(4, 2).double()

    def model(x, y):
        pyro.module("offset", offset)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(offset(y) + z.sum(-1, keepdim=True), 1.0).to_event(1), obs=x + 10 * y[:, None])

    def guide(x, y):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 0.5).to_event(1))

    pair = Pair(model, guide)
    quick(pair, (x, labels), epochs=40, learning_rate=0.5)
    assert (offset.weight.mean(1) - torch.tensor([0.0, 10.0, 20.0])).abs().max() < 2
    assert evaluate(pair, (x, labels), num_particles=5).log_px.shape == (600,)


def test_seeds_make_fits_equal_and_leave_the_caller_alone(x):
    torch.manual_seed(5)
    expected = torch.rand(1)
    weights = []
    for seed in (0, 0, 1):
        vae = linear_vae()
        torch.manual_seed(5)
        quick(vae, x, seed=seed)
        assert torch.equal(torch.rand(1), expected)
        weights.append(vae.encoder.network.layers[0].weight.detach().clone())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_best_weights_are_kept_and_patience_counts_from_the_end_of_the_warm_up(x):
    vae = linear_vae()
    result = quick(vae, x, valid=x[:50], epochs=40, warmup_epochs=6, patience=3, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    assert result.pair is vae and result.stopped_early
    assert result.best_epoch == 1 and len(result.history) == 6 + 3
    assert list(result.history.kl_weight[:7]) == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1])
    result = quick(vae, x, valid=x[:50], epochs=30, learning_rate=0.3)
    losses = result.history.valid_loss
    assert result.best_epoch == losses.idxmin() + 1
    with torch.no_grad():
        torch.manual_seed(0)
        assert Trace_ELBO().loss(vae.model, vae.guide, x[:50]) / 50 == pytest.approx(losses.min(), rel=1e-9)
    pyro.clear_param_store()


def test_alternating_updates_move_one_group_at_a_time(x):
    vae = linear_vae()
    moved = []

    class Watch(torch.optim.SGD):
        def step(self):
            before = [p.detach().clone() for p in vae.parameters()]
            super().step()
            moved.append({n for (n, p), b in zip(vae.named_parameters(), before, strict=True) if not torch.equal(p, b)})

    quick(vae, x, epochs=1, batch_size=300, alternating=True, optimizer=lambda p: Watch(p, lr=1e-3))
    guide = {name for name, _ in vae.named_parameters() if name.startswith("encoder")}
    model = {name for name, _ in vae.named_parameters()} - guide
    assert moved == [guide, model] * 2


def test_gradients_are_clipped(x):
    vae = linear_vae()
    norms = []

    class Watch(torch.optim.SGD):
        def step(self):
            norms.append(torch.cat([p.grad.flatten() for p in vae.parameters() if p.grad is not None]).norm().item())

    quick(vae, x, clip_norm=0.01, optimizer=lambda p: Watch(p, lr=1e-3))
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


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


def test_a_global_latent_needs_the_full_size_and_then_finds_the_exact_posterior():
    torch.manual_seed(0)
    x = 2 + torch.randn(1000).double()

    def model(x, size=None):
        loc = pyro.sample("loc", dist.Normal(torch.zeros(()).double(), 10.0))
        with pyro.plate("data", size or len(x), subsample_size=len(x) if size else None):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    def declared(x):
        model(x, 1000)

    guide = AutoNormal(model, init_loc_fn=pyro.infer.autoguide.init_to_value(values={"loc": torch.zeros(()).double()}))
    with pytest.raises(ValueError, match="'loc' lies outside the data plate.*plate\\('data', 1000"):
        quick(Pair(model, guide), x, batch_size=20)
    pair = Pair(declared, guide)
    quick(pair, x, epochs=24, batch_size=20, learning_rate=0.05, scheduler=lambda o: CosineAnnealingLR(o, 24))
    with pyro.poutine.trace(param_only=True):
        assert guide.median()["loc"].item() == pytest.approx(x.sum().item() / 1000.01, abs=0.02)


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
    with pytest.raises(TypeError, match="passed through again"):
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


def test_iwae_chooses_its_layout_once_in_a_fit(x, monkeypatch):
    calls, choose = [], objectives.choose_layout
    monkeypatch.setattr(objectives, "choose_layout", lambda *args: calls.append(1) or choose(*args))
    quick(linear_vae(), x, elbo=IWAE(2), free_bits=0.1, warmup_epochs=2)
    assert len(calls) == 1


def test_a_deep_copy_is_another_model_to_plain_svi(x):
    vae = linear_vae()
    quick(vae, x, epochs=1)
    copy = copy_module.deepcopy(vae)
    before = copy.likelihood.network.layers[0].weight.detach().clone()
    for model in (vae, copy):
        SVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO()).step(x)
    assert not torch.equal(copy.likelihood.network.layers[0].weight, before)
    pyro.clear_param_store()


def test_validation_that_is_not_finite_and_late_parameters_are_errors(x):
    with pytest.raises(ValueError, match="rows hold NaN"):
        quick(linear_vae(), x, valid=torch.full((3, 4), float("nan")).double())
    vae, runs = linear_vae(), []

    def model(x):
        runs.append(1)
        if len(runs) > 4:
            pyro.param("late", torch.tensor(1.0))
        vae.model(x)

    with pytest.raises(ValueError, match="'late'.*came in epoch 1"):
        quick(Pair(model, vae.guide), x)


def test_a_frozen_network_stays_in_its_mode(x):
    frozen = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).double().eval().requires_grad_(False)
    vae = linear_vae()
    vae.encoder.network = nn.Sequential(frozen, vae.encoder.network)
    frozen.eval()
    before = frozen[1].running_mean.clone()
    quick(vae, x)
    assert torch.equal(frozen[1].running_mean, before) and not frozen[1].training


def test_a_global_latent_is_refused_for_batches_that_come_as_a_list(x):
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).expand([4]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("loc", dist.Normal(pyro.param("loc_q", torch.zeros(())), 1.0))

    with pytest.raises(ValueError, match="drawn from 600 data"):
        quick(Pair(model, guide), list(x.split(100)), batch_size=None)
