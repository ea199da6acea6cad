"""Models of discrete codes: bounds and estimates against full enumeration, training, and what evaluating leaves alone."""

import math

import pyro
from pyro.infer import SVI, Trace_ELBO
import pytest
import torch
from torch import nn

from inference import codes_of, compare, decode, encode, evaluate, fit, fit_temperature, load_data, log_weights, sample_prior
from inference.checkpoint import pair_tensors
import pyro_lvm as lvm

pytestmark = pytest.mark.usefixtures("double", "seeded")

V, M, D, NUM_PIXELS = 4, 4, 3, 10


def binary(num_data=300):
    z = torch.randint(2, (num_data, 3)).double()
    return (0.8 * z @ torch.eye(3).repeat(1, 4)[:, :NUM_PIXELS] + 0.1).bernoulli()


ENCODERS = {
    "vq": lambda: lvm.VectorQuantizer(lvm.MLP(NUM_PIXELS, [16], (M, D)), V),
    "by-gradient": lambda: lvm.VectorQuantizer(lvm.MLP(NUM_PIXELS, [16], (M, D)), V, decay=None, pass_gradient=lvm.rotated),
    "product": lambda: lvm.VectorQuantizer(lvm.MLP(NUM_PIXELS, [16], (2, 4)), V, num_groups=2),
    "fsq": lambda: lvm.FSQ(lvm.MLP(NUM_PIXELS, [16], (M, 2)), (2, 2)),
    "straight-through": lambda: lvm.StraightThroughEncoder(lvm.MLP(NUM_PIXELS, [16], (M, V)), D),
    "gumbel": lambda: lvm.GumbelEncoder(lvm.MLP(NUM_PIXELS, [16], (M, V)), D),
}
HARD = ["vq", "by-gradient", "product", "fsq"]


def make(kind="vq", prior=lvm.UniformCodePrior):
    torch.manual_seed(0)
    encoder = ENCODERS[kind]()
    shape = {"product": (2, 4), "fsq": (M, 2)}.get(kind, (M, D))
    return lvm.VQVAE(prior(encoder.code_shape, V), lvm.BernoulliLikelihood(lvm.MLP(shape, [16], NUM_PIXELS)), encoder)


def trained_vae(kind="vq", **options):
    vae = make(kind)
    fit(vae, binary(), epochs=15, batch_size=50, learning_rate=1e-2, progress=False, **options)
    return vae


def exact(vae, x):
    """The sum over all codes."""
    return log_weights(vae.enumerated(), x, num_particles=1)[0]


@pytest.mark.parametrize("kind", HARD)
def test_the_bound_lies_below_the_sum_over_codes_and_the_soft_estimate_at_it(kind):
    vae, x = trained_vae(kind), binary(40)
    temperature = fit_temperature(vae.soft, binary(100), num_particles=200)
    bound, soft = evaluate(vae, x, progress=False), evaluate(vae.soft(temperature), x, num_particles=4000, progress=False)
    total = exact(vae, x)
    assert bound.is_bound and bound.num_particles == 1 and bound.ess.isnan().all() and bound.pareto_k.isnan().all()
    assert (bound.log_px < total).all() and not soft.is_bound
    assert ((soft.log_px - total).abs() < 5 * soft.mc_error + 1e-9).all()
    assert abs(soft.mean - float(total.mean())) < 4 * soft.mc_standard_error


@pytest.mark.parametrize("kind", ["straight-through", "gumbel"])
def test_a_guide_that_draws_codes_estimates_the_sum_over_codes(kind):
    vae, x = trained_vae(kind), binary(40)
    score = evaluate(vae, x, num_particles=4000, progress=False)
    assert not score.is_bound
    assert abs(score.mean - float(exact(vae, x).mean())) < 5 * score.mc_standard_error + 0.01


def test_enumeration_is_the_sum_by_hand():
    vae, x = make(prior=lvm.TransformerPrior), binary(5)
    nn.init.normal_(next(iter(vae.prior.parameters())))
    states = torch.cartesian_prod(*[torch.arange(V)] * M)  # [V^M, M]
    with torch.no_grad():
        log_p = vae.prior().log_prob(states)[:, None] + vae.likelihood(vae.encoder.vectors(states)[:, None]).log_prob(x)
    torch.testing.assert_close(exact(vae, x), log_p.logsumexp(0))


def test_a_code_space_of_4096_states():
    torch.manual_seed(1)
    encoder = lvm.VectorQuantizer(lvm.MLP(NUM_PIXELS, [8], (M, 2)), 8)
    vae = lvm.VQVAE(
        lvm.PixelCNNPrior((1, M), 8, channels=8, layers=1), lvm.BernoulliLikelihood(lvm.MLP((1, M, 2), [8], NUM_PIXELS)), encoder
    )
    encoder.out_shape, encoder.network.out_shape = torch.Size((1, M, 2)), torch.Size((1, M, 2))
    x = binary(6)
    soft = evaluate(vae.soft(4.0), x, num_particles=5000, progress=False)
    assert ((soft.log_px - exact(vae, x)).abs() < 5 * soft.mc_error).all()
    assert (evaluate(vae, x, progress=False).log_px < exact(vae, x)).all()


def test_too_many_codes_to_sum_out():
    encoder = lvm.VectorQuantizer(lvm.MLP(NUM_PIXELS, [8], (20, D)), V)
    vae = lvm.VQVAE(lvm.UniformCodePrior((20,), V), lvm.BernoulliLikelihood(lvm.MLP((20, D), [8], NUM_PIXELS)), encoder)
    with pytest.raises(ValueError, match="joint values can be enumerated"):
        exact(vae, binary(2))


def test_the_temperature_is_the_best_of_its_neighbours_and_small_ones_only_look_perfect():
    vae, valid = trained_vae(), binary(200)
    options = {"num_particles": 50, "seed": 3}
    temperature = fit_temperature(vae.soft, valid, start=1e-3, num_data=200, **options)
    rows = torch.randperm(200, generator=torch.Generator().manual_seed(3))

    def estimate(t):
        return evaluate(vae.soft(t), valid[rows], compile=False, progress=False, **options)

    best, tiny = estimate(temperature), estimate(1e-6)
    assert all(best.mean >= estimate(temperature * step).mean for step in (2**0.5, 0.5**0.5))
    assert tiny.ess.median() > 49 and best.ess.median() < 40 and tiny.mean < best.mean - 1
    torch.testing.assert_close(tiny.mean, evaluate(vae, valid, progress=False).mean, rtol=0, atol=1e-2)
    with pytest.raises(TypeError, match="draws them"):
        make("gumbel").soft(1.0)
    with pytest.raises(ValueError, match="start must be positive"):
        fit_temperature(vae.soft, valid, start=0.0)


def values(vae):
    return {name: tensor.detach().clone() for name, tensor in pair_tensors(vae).items()}


def test_training_moves_all_parts_and_evaluating_none():
    vae, x = make(), binary()
    before = values(vae)
    result = fit(vae, x, valid=x[:50], epochs=3, batch_size=50, progress=False)
    after = values(vae)
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert not still
    assert result.history["code_usage"].between(0, 1).all() and result.history["code_perplexity"].between(1, V).all()
    evaluate(vae, x, progress=False), encode(vae, x), sample_prior(vae, x), fit_temperature(vae.soft, x, num_data=20)
    assert all(torch.equal(value, after[name]) for name, value in pair_tensors(vae).items())


def test_validation_losses_are_the_bound_alone():
    vae, x = make(), binary()
    result = fit(vae, x, valid=x, epochs=1, learning_rate=1e-12, progress=False)
    vae.encoder.weight.requires_grad_(False)
    assert result.best_loss == pytest.approx(-evaluate(vae, x, progress=False).mean, rel=1e-9)


def test_losses_hold_the_penalty_and_likelihoods_do_not():
    vae, x = make(), binary(20)
    h = vae.encoder.features(x)
    cost = 0.25 * (h - vae.encoder.vectors(vae.encoder.nearest(h))).square().sum()
    loss = Trace_ELBO().differentiable_loss(vae.model, vae.guide, x)
    torch.testing.assert_close(loss, cost - evaluate(vae, x, progress=False).log_px.sum())


def test_the_likelihoods_gradient_reaches_the_encoder_unchanged():
    vae, x = make(), binary(20)
    vae.encoder.commitment = 0.0
    h = vae.encoder.features(x)
    vectors = vae.encoder.vectors(vae.encoder.nearest(h)).requires_grad_()
    (upstream,) = torch.autograd.grad(-vae.likelihood(vectors).log_prob(x).sum(), vectors)
    parameters = list(vae.encoder.network.parameters())
    expected = torch.autograd.grad(h, parameters, grad_outputs=upstream)
    got = torch.autograd.grad(Trace_ELBO().differentiable_loss(vae.model, vae.guide, x), parameters)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_the_kls_gradient_is_right_on_average():
    encoder = lvm.StraightThroughEncoder(nn.Identity(), D, out_shape=(M, V))
    prior = lvm.CategoricalCodePrior((M,), V)
    prior.logits.data.normal_()
    logits = torch.randn(M, V, requires_grad=True)
    vae = lvm.VQVAE(prior, lvm.BernoulliLikelihood(_Constant(M * D)), encoder)
    num_data = 40_000
    x = logits.expand(num_data, M, V)
    guide = pyro.poutine.trace(vae.guide).get_trace(x)
    z = guide.nodes["z"]["value"]
    terms = encoder.code_prior(prior()).log_prob(z) - guide.nodes["z"]["fn"].log_prob(z)
    (got,) = torch.autograd.grad(-terms.mean(), logits)
    q, p = torch.distributions.Categorical(logits=logits), torch.distributions.Categorical(logits=prior.logits.detach())
    (expected,) = torch.autograd.grad(torch.distributions.kl_divergence(q, p).sum(), logits)
    torch.testing.assert_close(got, expected, rtol=0, atol=0.03)  # standard errors are about 1 / sqrt(40,000)


class _Constant(nn.Module):
    """Logits that depend on no code."""

    def __init__(self, size):
        super().__init__()
        self.in_shape = (M, D)

    def forward(self, z):
        return torch.zeros(*z.shape[:-2], NUM_PIXELS)


def test_relaxed_draws_become_indicators_in_evaluation():
    vae, x = make("gumbel").train(), binary(30)
    relaxed = vae.encoder(x).rsample()
    assert ((relaxed > 0) & (relaxed < 1)).all()
    torch.testing.assert_close(relaxed.sum(-1), torch.ones(30, M))
    codes = encode(vae, x)
    assert codes.shape == (30, M, V) and codes.unique().tolist() == [0.0, 1.0] and (codes.sum(-1) == 1).all()


def test_plain_svi_trains_it_too():
    vae, x = make(), binary()
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    losses = [svi.step(x) for _ in range(60)]
    vae.encoder.after_step()
    assert losses[-1] < losses[0] - 50


def test_a_prior_of_its_own_codes_raises_the_bound():
    vae, x = trained_vae("vq"), binary()
    codes = codes_of(vae, x)
    assert codes.shape == (len(x), M) and codes.dtype == torch.int64
    prior = lvm.CategoricalCodePrior((M,), V)
    counts = torch.stack([(codes == v).sum(0) for v in range(V)], -1)  # [M, V]
    prior.logits.data.copy_((counts + 0.5).log())
    refitted = vae.with_prior(prior)
    scores = {"uniform": evaluate(vae, x, progress=False), "refitted": evaluate(refitted, x, progress=False)}
    assert list(compare(scores).index) == ["refitted", "uniform"]
    entropy = torch.special.entr(counts / len(x)).sum()
    gain = scores["refitted"].mean - scores["uniform"].mean
    assert gain == pytest.approx(M * math.log(V) - float(entropy), abs=0.02)  # but for the smoothing of counts


def test_draws_and_decoded_codes_agree():
    vae, x = make(), binary(12)
    codes = encode(vae, x)
    torch.testing.assert_close(decode(vae, codes, x), vae.likelihood(vae.encoder.vectors(codes)).mean)
    assert sample_prior(vae, x, seed=0).unique().tolist() == [0.0, 1.0]


def test_images_have_grids_of_codes():
    torch.set_default_dtype(torch.float32)
    data = load_data("digits", shape=(1, 8, 8))
    encoder = lvm.VectorQuantizer(lvm.GridEncoder((1, 8, 8), [8, 8], 4), 8)
    likelihood = lvm.BernoulliLikelihood(lvm.GridDecoder((2, 2, 4), [8, 8], (1, 8, 8)))
    vae = lvm.VQVAE(lvm.PixelCNNPrior((2, 2), 8, channels=8, layers=1), likelihood, encoder)
    fit(vae, data.train[:200], epochs=1, progress=False)
    bound, soft = (evaluate(pair, data.test[:20], num_particles=50, progress=False) for pair in (vae, vae.soft(1.0)))
    assert encode(vae, data.test[:3]).shape == (3, 2, 2) and math.isfinite(bound.mean) and math.isfinite(soft.mean)


def test_nan_in_the_encoder_is_named():
    vae, x = make(), binary(5)
    vae.encoder.network.layers[0].weight.data[0, 0] = math.nan
    for verb in (lambda: evaluate(vae, x, progress=False), lambda: fit(vae, x, epochs=1, progress=False)):
        with pytest.raises(ValueError, match="finite vectors; got NaN"):
            verb()
    with pytest.raises(TypeError, match="prior must be a torch.nn.Module"):
        lvm.VQVAE(None, vae.likelihood, vae.encoder)
