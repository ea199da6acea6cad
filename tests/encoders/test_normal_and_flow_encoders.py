"""Normal and flow encoders against scipy, quadrature, autograd's Jacobian and hand-written estimators."""

from math import exp

from parts import perturbed
import pyro
import pyro.distributions as dist
from pyro.infer import Trace_ELBO
import pytest
from scipy.stats import multivariate_normal
import torch
from torch import nn

from pyro_lvm.encoders.flow import FlowEncoder
from pyro_lvm.encoders.normal import FullRankNormalEncoder, NormalEncoder
from pyro_lvm.networks.flows import iaf, inverse_spline, maf

D, H, X = 2, 3, 6


def flow_encoder(constructor, latent_dim=D):
    network = nn.Linear(X, 2 * latent_dim + H)
    return FlowEncoder(network, constructor(latent_dim, H, transforms=2, hidden=(8, 8)))


ENCODERS = {
    "normal": lambda: NormalEncoder(nn.Linear(X, 2 * D)),
    "full-rank": lambda: FullRankNormalEncoder(nn.Linear(X, D + D * (D + 1) // 2), D),
    "iaf": lambda: flow_encoder(iaf),
    "spline": lambda: flow_encoder(inverse_spline),
}
FLOWS = ["iaf", "spline"]


def far_from_start(build):
    """Where no flow is the identity."""
    return perturbed(build, 0.2).double()


@pytest.fixture(params=ENCODERS)
def encoder(request):
    return far_from_start(ENCODERS[request.param])


@pytest.fixture(params=FLOWS)
def flow(request):
    return far_from_start(ENCODERS[request.param])


def observations(*lead):
    torch.manual_seed(2)
    return torch.randn(*lead, X, dtype=torch.float64)


# Densities


def test_normal_encoder_equals_scipy():
    encoder, x = far_from_start(ENCODERS["normal"]), observations(4)
    z = torch.randn(4, D, dtype=torch.float64)
    loc, log_scale = encoder.network(x).detach().split(D, -1)
    rows = zip(loc, (2 * log_scale).exp(), z, strict=True)
    expected = torch.tensor([multivariate_normal(m, v.diag()).logpdf(value) for m, v, value in rows])
    assert torch.allclose(encoder(x).log_prob(z), expected.double(), rtol=1e-6)


def test_full_rank_encoder_equals_scipy():
    encoder, x = far_from_start(lambda: FullRankNormalEncoder(nn.Linear(X, 9), 3)), observations()
    m1, m2, m3, a, b, c, ba, ca, cb = encoder.network(x).tolist()
    L = torch.tensor([[exp(a), 0, 0], [ba, exp(b), 0], [ca, cb, exp(c)]], dtype=torch.float64)
    z = torch.randn(20, 3, dtype=torch.float64)
    expected = multivariate_normal([m1, m2, m3], L @ L.T).logpdf(z)
    assert torch.allclose(encoder(x).log_prob(z), torch.from_numpy(expected), rtol=1e-10)


@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize("constructor", [iaf, inverse_spline])
def test_flow_density_is_base_minus_log_determinant(constructor, latent_dim):
    encoder, x = far_from_start(lambda: flow_encoder(constructor, latent_dim)), observations()
    noise = torch.randn(10, latent_dim, dtype=torch.float64)

    def draw(noise):
        loc, log_scale, context = encoder.network(x).split([latent_dim, latent_dim, H])
        return loc + log_scale.exp() * encoder.flow(context).transform.inv(noise)

    jacobian = torch.func.vmap(torch.func.jacrev(draw))(noise)  # [10, D, D]
    base = dist.Normal(0.0, 1.0).expand([latent_dim]).to_event(1)
    expected = base.log_prob(noise) - torch.linalg.slogdet(jacobian)[1]
    assert torch.allclose(encoder(x).log_prob(draw(noise)), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("constructor", [iaf, inverse_spline])
def test_flow_starts_near_the_diagonal_normal(constructor):
    torch.manual_seed(0)
    encoder, x = flow_encoder(constructor, 8), observations(100).float()
    loc, log_scale, _ = encoder.network(x).split([8, 8, H], -1)
    q = encoder(x)
    z = q.rsample()
    normal = dist.Normal(loc, log_scale.exp()).to_event(1)
    assert (q.log_prob(z) - normal.log_prob(z)).abs().max() < 0.1


# Draws and their cached density


def test_drawing_and_scoring_takes_one_pass_of_the_flow(flow):
    calls = count_passes(flow)
    q = flow(observations(5)).expand((4, 5))
    z = q()
    scored = q.log_prob(z)
    assert len(calls) == len(flow.flow.transform.transform.transforms)
    inverted = q.log_prob(z.clone())
    assert len(calls) > 2 * len(flow.flow.transform.transform.transforms)
    assert torch.allclose(scored, inverted, rtol=1e-9, atol=1e-9)


def count_passes(flow):
    calls = []
    for step in flow.flow.transform.transform.transforms:
        step.hyper.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_density_drawn_without_graph_is_not_served_with_one(flow):
    q = flow(observations(5))
    with torch.no_grad():
        z = q()
        scored = q.log_prob(z)
    log_prob = q.log_prob(z)
    assert not scored.requires_grad
    assert torch.allclose(log_prob, scored, rtol=1e-9, atol=1e-9)
    log_prob.sum().backward()
    assert all(p.grad.any() for p in flow.parameters())


def test_elbo_and_its_gradient_equal_a_hand_written_estimator(flow):
    x, K = observations(5), 3

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(D).double(), 1).to_event(1))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", flow(x))

    torch.manual_seed(3)
    elbo = Trace_ELBO(num_particles=K, vectorize_particles=True, max_plate_nesting=1)
    loss = elbo.differentiable_loss(model, guide, x)
    torch.manual_seed(3)
    q = flow(x).expand((K, 5))
    z = q.rsample()
    prior = dist.Normal(torch.zeros(D).double(), 1).to_event(1)
    by_hand = (q.flow.log_prob(z) - prior.log_prob(z)).sum() / K
    assert torch.allclose(loss, by_hand, rtol=1e-10)
    gradients = [torch.autograd.grad(value, list(flow.parameters())) for value in (loss, by_hand)]
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-8)


# As Pyro sites


def test_value_outside_the_support_is_refused(encoder):
    with pyro.validation_enabled(), pytest.raises(ValueError, match="support"):
        encoder(observations()).log_prob(torch.full((D,), torch.nan, dtype=torch.float64))


def test_a_flow_has_no_closed_form_mean(flow):
    with pytest.raises(NotImplementedError):
        _ = flow(observations()).mean


# Errors


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: NormalEncoder(nn.Linear(X, 7))(torch.ones(X)), ValueError, "got 7. Give its last"),
        (lambda: FullRankNormalEncoder(nn.Linear(X, 4), 2)(torch.ones(X)), ValueError, "5 features .* got 4"),
        (lambda: FullRankNormalEncoder(nn.Linear(X, 4), 0), ValueError, "at least 1; got 0"),
        (lambda: FlowEncoder(nn.Linear(X, 4), iaf(2, 3))(torch.ones(X)), ValueError, r"7 features .* got 4"),
        (lambda: FlowEncoder(nn.Linear(X, 4), maf(2)), TypeError, "InverseFlow; got MAF. Pass iaf"),
    ],
)
def test_errors_name_the_remedy(build, error, message):
    with pytest.raises(error, match=message):
        build()
