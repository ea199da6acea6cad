"""Priors of vectors against closed forms, scikit-learn, quadrature and autograd."""

from parts import grid, perturbed
import pyro
import pyro.distributions as dist
import pytest
from sklearn.mixture import GaussianMixture
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_lvm.encoders.flow import FlowEncoder
from pyro_lvm.encoders.normal import FullRankNormalEncoder, NormalEncoder
from pyro_lvm.networks.flows import iaf, maf, spline
from pyro_lvm.priors.flow import FlowPrior
from pyro_lvm.priors.gaussian_mixture import FullGaussianMixturePrior, GaussianMixturePrior
from pyro_lvm.priors.normal import StandardNormal
from pyro_lvm.priors.vamp import VampPrior

D, C, X = 2, 5, 6
CONTEXT = 3
SPREAD = 0.15  # of parameters far from their start


def vamp(encoder):
    return VampPrior(encoder, torch.rand(C, X), bounds=(0.0, 1.0))


PRIORS = {
    "standard": lambda: StandardNormal(D),
    "mixture": lambda: GaussianMixturePrior(D, C),
    "full-mixture": lambda: FullGaussianMixturePrior(D, C),
    "vamp": lambda: vamp(NormalEncoder(nn.Linear(X, 2 * D))),
    "vamp-full-rank": lambda: vamp(FullRankNormalEncoder(nn.Linear(X, D + D * (D + 1) // 2), D)),
    "vamp-flow": lambda: vamp(FlowEncoder(nn.Linear(X, 2 * D + CONTEXT), iaf(D, CONTEXT, hidden=(8,)))),
    "maf": lambda: FlowPrior(maf(D, transforms=2, hidden=(8,))),
    "spline": lambda: FlowPrior(spline(D, transforms=2, hidden=(8,))),
}


@pytest.fixture(params=PRIORS)
def prior(request):
    return perturbed(PRIORS[request.param], SPREAD).double().eval()


# Densities


@torch.no_grad()
@pytest.mark.parametrize("name", ["standard", "mixture", "full-mixture", "vamp", "vamp-full-rank"])
def test_mean_and_variance_are_those_of_the_density(name):
    p, (z, area) = perturbed(PRIORS[name], SPREAD).double()(), grid(16.0)
    weight = p.log_prob(z).exp() * area
    assert torch.allclose(p.mean, weight @ z, atol=1e-6)
    assert torch.allclose(p.variance, weight @ z**2 - (weight @ z) ** 2, atol=1e-6)


def test_gaussian_mixture_equals_scikit_learn():
    prior = perturbed(PRIORS["mixture"], SPREAD).double()
    loc, scale = prior.loc.detach(), prior.log_scale.detach().exp()
    oracle = GaussianMixture(C, covariance_type="diag")
    oracle.weights_, oracle.means_ = prior.logits.detach().softmax(-1).numpy(), loc.numpy()
    oracle.covariances_, oracle.precisions_cholesky_ = (scale**2).numpy(), (1 / scale).numpy()
    z = 3 * torch.randn(200, D, dtype=torch.float64)
    expected = torch.from_numpy(oracle.score_samples(z.numpy()))
    assert torch.allclose(prior().log_prob(z), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["vamp", "vamp-full-rank", "vamp-flow"])
def test_vamp_prior_is_the_mixture_of_its_posteriors(name):
    prior = perturbed(PRIORS[name], SPREAD).double()
    z = torch.randn(20, D, dtype=torch.float64)
    inputs = prior.pseudo_inputs.clamp(0, 1)
    assert not torch.equal(inputs, prior.pseudo_inputs)
    each = torch.stack([prior.encoder(u).log_prob(z) for u in inputs], -1)  # [20, C]
    expected = (each + prior.logits.log_softmax(-1)).logsumexp(-1)
    assert torch.allclose(prior().log_prob(z), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize("constructor", [maf, spline])
def test_flow_density_is_base_plus_log_determinant(constructor, latent_dim):
    p = perturbed(lambda: FlowPrior(constructor(latent_dim, hidden=(8, 8))), SPREAD).double()()
    z = torch.randn(10, latent_dim, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(p.flow.transform))(z)  # [10, D, D]
    base = dist.Normal(0.0, 1.0).expand([latent_dim]).to_event(1)
    expected = base.log_prob(p.flow.transform(z)) + torch.linalg.slogdet(jacobian)[1]
    assert torch.allclose(p.log_prob(z), expected, rtol=1e-10, atol=1e-10)
    assert (p.log_prob(z) - base.log_prob(z)).abs().min() > 1e-3


@pytest.mark.parametrize("constructor", [maf, spline])
def test_flow_prior_starts_near_the_standard_normal(constructor):
    torch.manual_seed(0)
    p, base = FlowPrior(constructor(8))(), StandardNormal(8)()
    z = base.sample((1000,))
    assert (base.log_prob(z) - p.log_prob(z)).mean().abs() < 0.01


# As Pyro sites


def test_value_outside_the_support_is_refused(prior):
    with pyro.validation_enabled(), pytest.raises(ValueError, match="support|event"):
        prior().log_prob(torch.full((D,), torch.nan, dtype=torch.float64))


# Reuse of the encoded pseudo-inputs


@pytest.fixture
def counted():
    def build():
        layers = nn.Linear(X, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2 * D)
        return vamp(NormalEncoder(nn.Sequential(*layers)))

    prior = perturbed(build, SPREAD).eval()
    prior.calls = 0

    def count(*_):
        prior.calls += 1

    prior.encoder.register_forward_hook(count)
    return prior


@torch.no_grad()
def test_pseudo_inputs_are_encoded_once_in_evaluation(counted):
    assert counted() is counted()
    assert counted.calls == 1
    tensors = [*counted.named_parameters(), *counted.named_buffers()]
    assert set(counted.state_dict()) == {name for name, _ in tensors}


def fused_step(prior):
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.1, fused=True)
    with torch.enable_grad():
        prior().log_prob(torch.ones(D)).backward()
    optimizer.step()


def load(prior):
    prior.load_state_dict({name: t + 1 for name, t in prior.state_dict().items()})


def assign(prior):
    prior.load_state_dict({name: t + 1 for name, t in prior.state_dict().items()}, assign=True)


def batch_statistics(prior):
    prior.encoder.network[1].running_mean.add_(1)


def raw_write(prior):
    prior.logits.data[0] += 1


def new_data(prior):
    prior.pseudo_inputs.data = prior.pseudo_inputs.data.clone() / 2


CHANGES = [fused_step, load, assign, batch_statistics, raw_write, new_data, nn.Module.double]


@torch.no_grad()
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_reused_mixture_is_never_stale(counted, change):
    before = counted().log_prob(torch.zeros(D))
    change(counted)
    after = counted().log_prob(torch.zeros(D))
    with torch.enable_grad():
        fresh = counted().log_prob(torch.zeros(D))
    assert not fresh.equal(before)
    assert after.dtype == fresh.dtype
    assert after.equal(fresh)


def test_gradients_are_never_cut_by_reuse(counted):
    with torch.no_grad():
        counted()
    counted().log_prob(torch.ones(D)).backward()
    assert counted.pseudo_inputs.grad.any()


@torch.no_grad()
def test_training_mode_encodes_anew(counted):
    counted.encoder.network[2].train()
    assert not counted().mean.equal(counted().mean)


@torch.no_grad()
def test_traced_graph_follows_the_parameters(counted):
    z = torch.zeros(3, D)
    counted()
    with pyro.validation_enabled(False):
        graph = make_fx(lambda z: counted().log_prob(z))(z)
    counted.pseudo_inputs.mul_(0.5)
    assert torch.allclose(graph(z), counted().log_prob(z))


# Errors


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: StandardNormal(0), ValueError, "latent_dim must be an integer of at least 1; got 0"),
        (lambda: GaussianMixturePrior(2, 0), ValueError, "num_components must be an integer of at least 1; got 0"),
        (lambda: FullGaussianMixturePrior(2, 0), ValueError, "num_components must be an integer of at least 1; got 0"),
        (lambda: FlowPrior(nn.Linear(2, 2)), TypeError, r"Flow; got Linear. Pass a zuko lazy flow: maf"),
        (lambda: VampPrior(lambda x: x, torch.rand(C, X)), TypeError, "encoder must be a torch.nn.Module"),
        (lambda: VampPrior(nn.Identity(), torch.rand(X)), ValueError, r"shape \[C, \*X\] .* got \(6,\)"),
        (lambda: VampPrior(nn.Identity(), torch.ones(C, X).long()), TypeError, "got torch.int64. Use"),
        (lambda: VampPrior(nn.Identity(), torch.rand(C, X), bounds=(1, 0)), ValueError, "low < high"),
        (
            lambda: VampPrior(NormalEncoder(nn.Linear(X, 4)), torch.rand(C, 7, X))(),
            ValueError,
            r"batch shape \(5,\); got \(5, 7\) for pseudo_inputs of shape \(5, 7, 6\)",
        ),
    ],
)
def test_errors_name_the_remedy(build, error, message):
    with pytest.raises(error, match=message):
        build()
