"""fit: what it reaches, and for whom it works."""

from fits import TutorialVAE, linear_vae, quick
import numpy as np
from oracles import LinearGaussian
import pyro
import pyro.distributions as dist
from pyro.distributions import constraints
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
import pytest
from sklearn.decomposition import PCA, FactorAnalysis
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from inference import IWAE, compare, evaluate
from inference.svi.objectives import particles
from pyro_lvm import NormalEncoder, Pair


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


def test_a_tutorial_vae_is_fitted_scored_and_compared():
    torch.manual_seed(0)
    x = (torch.rand(400, 1, 1).expand(400, 2, 2) > 0.5).float()
    trained, untrained = TutorialVAE(), TutorialVAE()
    quick(trained, x, epochs=40, learning_rate=1e-2)
    table = compare({name: evaluate(vae, x, num_particles=100) for name, vae in (("trained", trained), ("untrained", untrained))})
    assert table.index[0] == "trained" and -1.2 < table.loc["trained", "log_px"] < 0  # exact: -log 2


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
    assert result.best_epoch == 0 and len(result.history) == 6 + 3  # nothing is better than the start
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


def test_iwae_chooses_its_layout_once_an_epoch(x, monkeypatch):
    calls, choose = [], particles.choose_layout
    monkeypatch.setattr(particles, "choose_layout", lambda *args: calls.append(1) or choose(*args))
    quick(linear_vae(), x, elbo=IWAE(2), free_bits=0.1, warmup_epochs=2)
    assert len(calls) == 2


def test_a_frozen_network_stays_in_its_mode(x):
    frozen = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).double().eval().requires_grad_(False)
    vae = linear_vae()
    vae.encoder.network = nn.Sequential(frozen, vae.encoder.network)
    frozen.eval()
    before = frozen[1].running_mean.clone()
    quick(vae, x)
    assert torch.equal(frozen[1].running_mean, before) and not frozen[1].training
