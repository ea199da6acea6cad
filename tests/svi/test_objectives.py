"""The importance-weighted bound, KL warm-up and free bits against numbers worked out by hand."""

from oracles import LinearMixture
import pyro
import pyro.distributions as dist
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
import pytest
import torch

from inference import IWAE, FreeBits, KLWeight, evaluate
from pyro_lvm import Pair, penalty


def test_iwae_of_the_exact_posterior_is_log_px(oracle):
    x = oracle.sample(6)
    loss = IWAE(4).loss(oracle.model, oracle.guide, x)
    assert -loss == pytest.approx(oracle.log_px(x).sum().item(), abs=1e-9)


def test_iwae_scales_the_bound_of_each_datum_and_not_its_weights(oracle):
    x = oracle.sample(3)

    def subsampled(program):
        def scaled(x):
            with pyro.poutine.scale(scale=100.0):
                program(x)

        return scaled

    torch.manual_seed(0)
    plain = IWAE(5).loss(oracle.model, oracle.broad_guide, x)
    torch.manual_seed(0)
    scaled = IWAE(5).loss(subsampled(oracle.model), subsampled(oracle.broad_guide), x)
    assert scaled == pytest.approx(100 * plain, rel=1e-12)


def test_iwae_under_a_plate_that_declares_more_data(oracle):
    x = oracle.sample(3)

    loss = IWAE(4).loss(oracle.subsampled_model, oracle.subsampled_guide, x)
    assert -loss == pytest.approx(100 * oracle.log_px(x).sum().item(), abs=1e-7)


def test_iwae_gradients_are_those_of_the_bound_written_out(oracle):
    x = oracle.sample(4)
    shift = torch.zeros(2).double().requires_grad_()

    def guide(x):
        pyro.param("shift", shift)
        posterior = oracle.posterior(x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(posterior.mean + shift, 1.0).to_event(1))

    torch.manual_seed(1)
    IWAE(3).loss_and_grads(oracle.model, guide, x)
    torch.manual_seed(1)
    IWAE(3)._layout(oracle.model, guide, (x,))
    other = shift.detach().clone().requires_grad_()
    q = torch.distributions.Normal(oracle.posterior(x).mean + other, 1.0)
    z = q.rsample((3,))
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    log_p = log_p + torch.distributions.Normal(z @ oracle.weight.T + oracle.offset, oracle.noise.sqrt()).log_prob(x).sum(-1)
    bound = (log_p - q.log_prob(z).sum(-1)).logsumexp(0) - torch.tensor(3.0).log()
    (-bound.sum()).backward()
    torch.testing.assert_close(shift.grad, other.grad, rtol=1e-9, atol=1e-9)
    pyro.clear_param_store()


def test_iwae_bounds_rise_with_the_number_of_particles(oracle):
    x = oracle.sample(50)
    torch.manual_seed(0)
    losses = torch.tensor([[IWAE(k).loss(oracle.model, oracle.broad_guide, x) for k in (1, 5, 50)] for _ in range(30)]) / -50
    mean, error = losses.mean(0), losses.std(0) / 30**0.5
    assert mean[0] < mean[1] < mean[2] < oracle.log_px(x).mean() + 4 * error[2]
    elbo = evaluate(oracle.broad, x, num_particles=2000).elbo.mean()
    assert abs(mean[0] - elbo) < 5 * error[0]


def test_iwae_sums_enumerated_sites_out():
    oracle = LinearMixture()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(oracle.offset[:2].expand(len(x), 2), 1.0).to_event(1))

    x = oracle.sample(3)
    torch.manual_seed(0)
    loss = IWAE(2).loss(oracle.enumerated_model, guide, x)
    torch.manual_seed(0)
    assert loss == pytest.approx(IWAE(2).loss(oracle.model, guide, x), abs=1e-9)


def test_iwae_refuses_what_it_cannot_differentiate():
    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(c, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(torch.full((len(x),), 0.4)))

    with pytest.raises(ValueError, match="'c' has no rsample"):
        IWAE(3).loss(model, guide, torch.zeros(3))
    with pytest.raises(ValueError, match="num_particles must be an integer of at least 1"):
        IWAE(0)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_kl_weight_scales_the_kl_alone(oracle, weight):
    x = oracle.sample(5)
    loc = torch.tensor([0.2, -0.1]).double()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True) + oracle.offset, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc.expand(len(x), 2), 0.7).to_event(1))

    kl = KLWeight(weight)
    q = torch.distributions.Normal(loc, torch.tensor(0.7).double())
    expected_kl = 5 * torch.distributions.kl_divergence(q, torch.distributions.Normal(torch.zeros(2).double(), 1.0)).sum().item()
    for elbo in (Trace_ELBO(), TraceMeanField_ELBO(), IWAE(1)):
        torch.manual_seed(0)
        reconstruction = elbo.loss(KLWeight(1e-12)(model), KLWeight(1e-12)(guide), x)
        torch.manual_seed(0)
        full = elbo.loss(model, guide, x)
        torch.manual_seed(0)
        loss = elbo.loss(KLWeight(weight)(model), KLWeight(weight)(guide), x)
        assert loss == pytest.approx(reconstruction + weight * (full - reconstruction), abs=1e-6)
        if isinstance(elbo, TraceMeanField_ELBO):
            assert full - reconstruction == pytest.approx(expected_kl, abs=1e-6)
    assert kl.weight == weight


@pytest.mark.parametrize(("nats", "paid"), [(0.5, 1.0), (1e3, 0.0)])
def test_free_bits_charge_the_kl_or_the_free_amount(nats, paid):
    """Below the free amount the loss is constant in the guide's KL; above it nothing changes."""
    scale = torch.tensor(0.2, requires_grad=True)
    kl_weight = KLWeight(0.5)

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), scale))

    x = torch.zeros(400)

    def loss(free):
        torch.manual_seed(0)
        wrapped = kl_weight(model), kl_weight(guide)
        if free:
            bits = FreeBits(nats, kl_weight)
            wrapped = bits.model(wrapped[0]), bits.guide(wrapped[1])
        value = Trace_ELBO().differentiable_loss(*wrapped, x)
        return value, torch.autograd.grad(value, scale)[0]

    (plain, slope), (charged, free_slope) = loss(False), loss(True)
    torch.testing.assert_close(free_slope, paid * slope, rtol=1e-4, atol=1e-2)
    log_px_given_z = -torch.distributions.Normal(0.0, 1.0).log_prob(x).sum()
    kl = (plain - log_px_given_z) / 0.5 / 400
    assert charged.item() == pytest.approx((log_px_given_z + 0.5 * 400 * max(nats, kl.item())).item(), rel=1e-5)


def test_penalties_are_paid_by_objectives(oracle):
    x = oracle.sample(5)

    def model(x):
        oracle.model(x)
        with pyro.plate("cost_plate", len(x)):
            penalty("cost", x[:, 0] ** 2)

    for elbo in (Trace_ELBO(), TraceMeanField_ELBO(), IWAE(3)):
        torch.manual_seed(0)
        plain = elbo.loss(oracle.model, oracle.broad_guide, x)
        torch.manual_seed(0)
        assert elbo.loss(model, oracle.broad_guide, x) == pytest.approx(plain + (x[:, 0] ** 2).sum().item(), abs=1e-9)
    score = evaluate(Pair(model, oracle.broad_guide), x, num_particles=10)
    assert torch.equal(score.log_px, evaluate(oracle.broad, x, num_particles=10).log_px)


def test_a_deterministic_site_does_not_hide_the_plates_scale(oracle):
    x = oracle.sample(3)

    def model(x):
        pyro.deterministic("half", x / 2)
        oracle.subsampled_model(x)

    assert -IWAE(4).loss(model, oracle.subsampled_guide, x) == pytest.approx(100 * oracle.log_px(x).sum().item(), abs=1e-7)


def test_warm_up_leaves_enumerated_sites_alone():
    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.3, 0.7])), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(2.0 * c, 1.0), obs=x)

    x, kl = torch.tensor([0.0, 2.5]), KLWeight(0.1)
    joint = torch.tensor([0.3, 0.7]).log() + torch.distributions.Normal(torch.tensor([0.0, 2.0]), 1.0).log_prob(x[:, None])
    exact = joint.logsumexp(1).sum().item()
    for elbo in (IWAE(2), TraceEnum_ELBO(max_plate_nesting=1)):
        assert -elbo.loss(kl(model), kl(lambda x: None), x) == pytest.approx(exact, abs=1e-5)


def test_free_bits_refuse_masked_latents(oracle):
    kl = KLWeight()
    bits = FreeBits(1.0, kl)

    def guide(x):
        with pyro.poutine.mask(mask=torch.ones(len(x)) > 0):
            oracle.broad_guide(x)

    with pytest.raises(ValueError, match="free bits need plain latents; 'z' is masked"):
        Trace_ELBO().loss(bits.model(oracle.model), bits.guide(guide), oracle.sample(2))
