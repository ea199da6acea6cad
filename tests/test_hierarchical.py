"""Hierarchies of latents against exact linear-Gaussian marginals, quadrature and closed forms."""

import math

import pyro
from pyro.infer import Trace_ELBO
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from inference import FreeBits, KLWeight, encode, evaluate, fit, log_weights, reconstruct, sample_prior
from inference.densities.broadcasting import choose_layout
from pyro_lvm import (
    MLP,
    BernoulliLikelihood,
    ConvDecoder,
    FlowPrior,
    FullGaussianMixturePrior,
    FullRankNormalEncoder,
    GatedMLP,
    GaussianLikelihood,
    GaussianMixturePrior,
    HierarchicalVAE,
    Join,
    Levels,
    NormalEncoder,
    ResidualNormalEncoder,
    StandardNormal,
    VampPrior,
    check_pair,
    conv_ladder,
    ladder,
    maf,
    spline,
    stacked,
)
from pyro_lvm.pair import param_scope

X = 4
DIMS = {2: (2, 3), 3: (2, 1, 2)}  # from the top down


def affine(in_features, weight, bias, rest):
    """A network that gives ``weight @ input + bias``, then constants."""
    network = MLP(in_features, (), len(bias) + len(rest)).double()
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.cat([weight, weight.new_zeros(len(rest), in_features)]))
        network.layers[0].bias.copy_(torch.cat([bias, rest]))
    return network


class LinearHierarchy:
    """Linear-Gaussian levels, each of which sees all above it, and the joint normal distribution of all latents, then x."""

    def __init__(self, dims, *, exact=True, prior=None):
        generator = torch.Generator().manual_seed(len(dims))
        mean, covariance = torch.zeros(dims[0]).double(), torch.eye(dims[0]).double()
        steps = []
        for D in (*dims[1:], X):
            A, a = (torch.randn(shape, generator=generator).double() for shape in ((D, len(mean)), (D,)))
            scale = 0.4 + torch.rand(D, generator=generator).double()
            cross = A @ covariance
            covariance = torch.cat([torch.cat([covariance, cross.T], 1), torch.cat([cross, cross @ A.T + (scale**2).diag()], 1)])
            steps.append((A, a, scale))
            mean = torch.cat([mean, A @ mean + a])
        self.dims, self.steps, self.mean, self.covariance, self.exact = dims, steps, mean, covariance, exact
        self.num_latents = sum(dims)
        conditionals = [NormalEncoder(affine(A.shape[1], A, a, s.log())) for A, a, s in steps[:-1]]
        starts = [sum(dims[:i]) for i in range(len(dims))]
        self.levels = Levels([self.posterior(start, D) for start, D in zip(starts, dims, strict=True)], conditionals)
        A, a, scale = steps[-1]
        likelihood = GaussianLikelihood(affine(A.shape[1], A, a, scale[:0]), scale=scale)
        self.vae = HierarchicalVAE(prior or StandardNormal(dims[0]).double(), self.levels, likelihood)

    def conditional(self, target, given):
        """Matrix, offset and covariance of the target given other entries."""
        S = self.covariance
        gain = torch.linalg.solve(S[given][:, given], S[given][:, target]).T
        return gain, self.mean[target] - gain @ self.mean[given], S[target][:, target] - gain @ S[given][:, target]

    def posterior(self, start, D):
        above, x = torch.arange(start), self.num_latents + torch.arange(X)
        gain, offset, covariance = self.conditional(start + torch.arange(D), torch.cat([x, above]))
        if self.exact:
            tril = torch.linalg.cholesky(covariance)
            row, column = torch.tril_indices(D, D, -1)
            network = affine(X + start, gain, offset, torch.cat([tril.diag().log(), tril[row, column]]))
            return FullRankNormalEncoder(Join(network=network) if start else network, D)
        network = affine(X + start, gain, offset + 0.05, (1.2 * covariance.diag().sqrt()).log())
        return NormalEncoder(Join(network=network) if start else network)

    def sample(self, num_data):
        torch.manual_seed(0)
        return MultivariateNormal(self.mean, self.covariance).sample((num_data,))[:, self.num_latents :]

    def log_px(self, x):
        L = self.num_latents
        return MultivariateNormal(self.mean[L:], self.covariance[L:, L:]).log_prob(x)


def images(size, count=6):
    torch.manual_seed(0)
    return (torch.rand(count, 1, size, size) > 0.5).double()


def ladder_vae(L=3, D=2, X=6):
    torch.manual_seed(0)
    levels = ladder(X, [D] * L, [8])
    return HierarchicalVAE(StandardNormal(D), levels, BernoulliLikelihood(MLP(8, [8], X))).double()


def stacked_vae(L=2, D=2, X=6):
    torch.manual_seed(0)
    levels = stacked(X, [D] * L, [8, 8], network=GatedMLP)
    return HierarchicalVAE(VampPrior(levels.top(), torch.rand(3, X)), levels, BernoulliLikelihood(GatedMLP(L * D, [8], X))).double()


def conv_vae(size, channels):
    torch.manual_seed(0)
    levels = conv_ladder((1, size, size), 3, channels)
    decoder = ConvDecoder((channels[0], size // 2, size // 2), channels[:1], (1, size, size))
    return HierarchicalVAE(VampPrior(levels.top(), torch.rand(3, 1, size, size)), levels, BernoulliLikelihood(decoder)).double()


# Exact marginals


@pytest.mark.parametrize("L", DIMS)
def test_every_weight_is_log_px_at_the_exact_posterior(L):
    oracle = LinearHierarchy(DIMS[L])
    x = oracle.sample(20)
    log_w = log_weights(oracle.vae, x, num_particles=5, seed=0)
    torch.testing.assert_close(log_w, oracle.log_px(x).expand(5, 20), rtol=0, atol=1e-9)


@pytest.mark.parametrize("L", DIMS)
def test_an_imperfect_guide_scores_log_px(L):
    oracle = LinearHierarchy(DIMS[L], exact=False)
    x = oracle.sample(20)
    score = evaluate(oracle.vae, x, num_particles=6000, progress=False)
    difference = score.log_px - oracle.log_px(x)
    assert (difference.abs() < 5 * score.mc_error).all()
    assert abs(difference.mean()) < 0.01 and 1e-4 < score.mc_error.mean() < 0.03
    assert (oracle.log_px(x) - score.elbo).mean() > 0.05


PRIORS = {
    "mixture": lambda levels: GaussianMixturePrior(2, 3),
    "full-mixture": lambda levels: FullGaussianMixturePrior(2, 3),
    "vamp": lambda levels: VampPrior(levels.top(), torch.rand(3, X).double()),
    "maf": lambda levels: FlowPrior(maf(2, transforms=1, hidden=(8,))),
    "spline": lambda levels: FlowPrior(spline(2, transforms=1, hidden=(8,))),
}


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_goes_on_top(name):
    """The levels below the top are integrated out in closed form, the top by quadrature over the plane."""
    torch.manual_seed(1)
    oracle = LinearHierarchy(DIMS[2], exact=False)
    vae = oracle.vae.with_prior(PRIORS[name](oracle.levels).double())
    x = oracle.sample(8)
    axis = torch.arange(-7, 7, 0.05).double()
    z = torch.cartesian_prod(axis, axis)  # [G, 2]
    gain, offset, covariance = oracle.conditional(oracle.num_latents + torch.arange(X), torch.arange(2))
    with torch.no_grad():
        log_joint = vae.prior().log_prob(z)[:, None] + MultivariateNormal((z @ gain.T + offset)[:, None], covariance).log_prob(x)
    exact = log_joint.logsumexp(0) + 2 * math.log(0.05)
    score = evaluate(vae, x, num_particles=4000, progress=False)
    assert ((score.log_px - exact).abs() < 5 * score.mc_error + 1e-4).all()
    assert check_pair(vae, x).latents == ("z2", "z1")


# Ladders and stacks


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (stacked_vae, images(6)[:, 0, 0]),
        (lambda: stacked_vae(L=3), images(6)[:, 0, 0]),
        (ladder_vae, images(6)[:, 0, 0]),
        (lambda: conv_vae(8, [4, 4]), images(8)),
        (lambda: conv_vae(28, [4, 4, 4]), images(28)),
    ],
    ids=["stacked", "stacked-3", "ladder-3", "conv-8", "conv-28"],
)
def test_every_construction_learns_all_its_parameters(make, x):
    vae = make()
    before = [p.detach().clone() for p in vae.parameters()]
    losses = fit(vae, x, epochs=25, learning_rate=0.01, progress=False).history.train_loss
    assert losses.iloc[-5:].mean() < losses.iloc[:5].mean()
    assert all((p != old).any() for p, old in zip(vae.parameters(), before, strict=True))
    with param_scope(vae):
        assert choose_layout(vae, (x,)).broadcast
    assert sample_prior(vae, x, seed=0).shape == reconstruct(vae, x, seed=0).shape == x.shape


def test_latents_below_the_top_of_a_conv_ladder_are_images():
    codes = encode(conv_vae(28, [4, 6, 5]), images(28))
    assert {name: tuple(z.shape[1:]) for name, z in codes.items()} == {"z3": (3,), "z2": (2, 7, 7), "z1": (2, 14, 14)}


def test_features_of_the_data_are_computed_once_and_not_for_every_particle():
    vae, x, rows = ladder_vae(), images(6)[:, 0, 0], []
    vae.levels.bottom_up.steps[0].register_forward_hook(lambda module, inputs, output: rows.append(output[..., 0].numel()))
    log_weights(vae, x, num_particles=100, seed=0)
    assert max(rows) == 6


def test_a_vamp_prior_on_top_is_the_mixture_of_the_guides_top_level():
    vae = ladder_vae()
    u, z = torch.rand(3, 6).double(), torch.randn(5, 2).double()
    expected = vae.levels.encoders[0](vae.levels.bottom_up(u)[0]).log_prob(z[:, None]).logsumexp(1) - math.log(3)
    prior = VampPrior(vae.levels.top(), u)
    torch.testing.assert_close(prior().log_prob(z), expected)
    shared = {id(p) for p in vae.levels.parameters()}
    assert sum(id(p) not in shared for p in prior.parameters()) == 2  # pseudo-inputs and weights


# Residual guides


def residual(offsets, event_dims=1):
    torch.manual_seed(2)
    conditional = NormalEncoder(MLP(3, [5], 4))
    encoder = ResidualNormalEncoder(conditional, Join(network=MLP(3 + 2, (), 4))).double()
    with torch.no_grad():
        encoder.network.network.layers[0].weight.zero_()
        encoder.network.network.layers[0].bias.copy_(torch.tensor(offsets))
    return conditional, encoder


def test_a_residual_guide_without_offsets_is_its_prior():
    conditional, encoder = residual([0.0] * 4)
    h, e, z = torch.randn(5, 3).double(), torch.randn(5, 2).double(), torch.randn(5, 2).double()
    torch.testing.assert_close(encoder(e, h).log_prob(z), conditional(h).log_prob(z), rtol=0, atol=1e-12)


def test_the_kl_of_a_residual_guide_depends_on_its_offsets_alone():
    a, b = torch.tensor([0.5, -1.0]).double(), torch.tensor([0.2, -0.3]).double()
    conditional, encoder = residual([*a, *b])
    h, e = 3 * torch.randn(5, 3).double(), torch.randn(5, 2).double()
    expected = 0.5 * (a**2 + (2 * b).exp() - 2 * b - 1).sum()
    torch.testing.assert_close(kl_divergence(encoder(e, h), conditional(h)), expected.expand(5))


# Training and sampling by level


def elbo_terms(vae, x):
    """log p(x|z), and the KL at the same draws of each level, both summed over the data."""
    torch.manual_seed(0)
    with param_scope(vae):
        guide = pyro.poutine.trace(vae.guide).get_trace(x)
        model = pyro.poutine.trace(pyro.poutine.replay(vae.model, trace=guide)).get_trace(x)
    log_q, log_p = (
        {name: site["fn"].log_prob(site["value"]).sum().item() for name, site in trace.nodes.items() if name in ("z1", "z2", "x")}
        for trace in (guide, model)
    )
    return log_p["x"], {name: log_q[name] - log_p[name] for name in log_q}


def test_warm_up_and_free_bits_by_level():
    vae, x = ladder_vae(L=2), images(6)[:, 0, 0]
    log_px, kl = elbo_terms(vae, x)

    def loss(weights, nats):
        torch.manual_seed(0)
        weight = KLWeight(weights)
        bits = FreeBits(nats, weight)
        with param_scope(vae):
            return Trace_ELBO().loss(bits.model(weight(vae.model)), bits.guide(weight(vae.guide)), x)

    assert loss({"z1": 0.25}, {}) == pytest.approx(0.25 * kl["z1"] + kl["z2"] - log_px)
    assert loss({"z1": 0.25, "z2": 0.5}, {"z2": 50.0}) == pytest.approx(0.25 * kl["z1"] + 0.5 * 50 * len(x) - log_px)
    assert loss(1.0, {"z2": 50.0}) == pytest.approx(kl["z1"] + 50 * len(x) - log_px)


def test_fit_warms_each_level_up_on_its_own():
    x = images(6)[:, 0, 0]
    history = fit(
        ladder_vae(L=2), x, valid=x, epochs=5, warmup_epochs={"z1": 2, "z2": 4}, free_bits={"z2": 1.0}, patience=1, progress=False
    ).history
    assert history.kl_weight_z1.tolist() == [0.5, 1.0, 1.0, 1.0, 1.0]
    assert history.kl_weight_z2.tolist() == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"free_bits": {"z": 1.0}}, r"free_bits must name latent sites, some of \('z2', 'z1'\); got \['z'\]"),
        ({"warmup_epochs": {"z1": 2, "x": 1}}, r"warmup_epochs must name latent sites"),
        ({"warmup_epochs": {"z1": -2}}, "warmup_epochs must be an integer of at least 0"),
        ({"free_bits": {"z1": -0.1}}, "free_bits must be at least 0"),
    ],
)
def test_options_by_level_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        fit(ladder_vae(L=2), images(6)[:, 0, 0], epochs=1, progress=False, **options)


def test_levels_are_held_one_by_one():
    """With the upper levels held, x has its conditional mean and covariance."""
    oracle, N = LinearHierarchy(DIMS[3]), 20000
    x = oracle.sample(N)
    sizes = dict(zip(("z3", "z2", "z1"), oracle.dims, strict=True))
    target = oracle.num_latents + torch.arange(X)
    for count in (1, 2, 3):
        held = {name: torch.full((N, D), 0.7).double() for name, D in list(sizes.items())[:count]}
        given = torch.arange(sum(sizes[name] for name in held))
        gain, offset, covariance = oracle.conditional(target, given)
        draws = sample_prior(oracle.vae, x, held=held, seed=count)
        error = (covariance.diag() / N).sqrt()
        assert ((draws.mean(0) - (gain @ torch.full((len(given),), 0.7).double() + offset)).abs() < 5 * error).all()
        assert (torch.cov(draws.T) - covariance).abs().max() < 6 * covariance.diag().max() * (2 / N) ** 0.5
    with pytest.raises(ValueError, match=r"held must hold some of the sites \('z3', 'z2', 'z1'\); got \('z4',\)"):
        sample_prior(oracle.vae, x[:2], held={"z4": x[:2]})


# Errors


def vae_of(encoder_dim=2, conditional_dim=2, top_dim=2):
    encoders = [NormalEncoder(MLP(6, (), 4)), NormalEncoder(Join(network=MLP(6 + 2, (), 2 * encoder_dim)))]
    levels = Levels(encoders, [NormalEncoder(MLP(2, (), 2 * conditional_dim))])
    return HierarchicalVAE(StandardNormal(top_dim), levels, BernoulliLikelihood(MLP(4, (), 6)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vae_of(conditional_dim=3), r"level z1: prior and guide .* the prior has \(3,\), the guide drew \(2,\)"),
        (lambda: vae_of(top_dim=3), r"level z2: prior and guide .* the prior has \(3,\)"),
        (lambda: vae_of(encoder_dim=3, conditional_dim=3), r"MLP expects an input of shape \[\*lead, 4\]; got \(\d, 5\)"),
    ],
)
def test_levels_whose_dimensions_disagree_are_refused(make, message):
    x = images(6)[:, 0, 0].float()
    with pytest.raises(ValueError, match=message):
        fit(make(), x, epochs=1, progress=False)
    with pytest.raises(ValueError, match=message):
        evaluate(make(), x, progress=False)


@pytest.mark.parametrize("level", [0, 1])
def test_nan_in_an_encoder_is_refused(level):
    vae, x = ladder_vae(L=2), images(6)[:, 0, 0]
    next(vae.levels.encoders[level].parameters()).data.fill_(math.nan)
    for use in (lambda: fit(vae, x, epochs=1, progress=False), lambda: evaluate(vae, x, progress=False)):
        with pytest.raises(ValueError, match="the pair cannot run on this batch.*Look for NaN in its parameters"):
            use()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: stacked(6, [2], [8]), ValueError, "levels must be an integer of at least 2; got 1"),
        (lambda: ladder(6, [], [8]), ValueError, "levels must be an integer of at least 2; got 0"),
        (lambda: conv_ladder((1, 8, 8), 2, [4]), ValueError, "levels must be an integer of at least 2; got 1"),
        (lambda: Levels([nn.Identity()], []), ValueError, "levels must be an integer of at least 2; got 1"),
        (lambda: Levels([nn.Identity()] * 3, [nn.Identity()]), ValueError, "conditionals must have 2 modules for 3 encoders; got 1"),
        (lambda: Levels([nn.Identity()] * 2, [nn.Identity()], path=[]), ValueError, "path must have 2 modules for 2 encoders; got 0"),
        (lambda: stacked(6, [2, 2], []), ValueError, "hidden must hold at least one width"),
        (lambda: stacked(6, [2, 0], [8]), ValueError, "must hold positive sizes; got 0"),
        (lambda: conv_ladder((8, 8), 2, [4, 4]), ValueError, r"in_shape must be \(channels, height, width\); got \(8, 8\)"),
        (lambda: conv_ladder((1, 8, 8), 2, [4] * 4), ValueError, "channels must have 1 to 3 entries"),
        (lambda: HierarchicalVAE(StandardNormal(2), nn.Identity(), nn.Identity()), TypeError, "levels must be a Levels; got Identity"),
        (lambda: ResidualNormalEncoder(nn.Identity(), nn.Identity()), TypeError, "conditional must be a NormalEncoder; got Identity"),
        (
            lambda: ResidualNormalEncoder(NormalEncoder(MLP(3, (), 4)), Join(network=MLP(6, (), 2)))(torch.ones(5, 3), torch.ones(5, 3)),
            ValueError,
            r"two offsets for each of the conditional's latents, \(2,\); got offsets of shape \(1,\)",
        ),
    ],
)
def test_errors_name_the_remedy(build, error, message):
    with pytest.raises(error, match=message):
        build()
