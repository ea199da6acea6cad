"""Nearest codes, their gradients, and codebooks that follow the data, against brute force and vector-quantize-pytorch."""

import math

import pyro
import pytest
import torch
from torch import nn
import vector_quantize_pytorch as peers

import pyro_lvm as lvm
from pyro_lvm import FSQ, VectorQuantizer, code_use, rotated, straight_through

pytestmark = pytest.mark.usefixtures("double", "seeded")

V, M, D = 16, 6, 4


def same(num_groups=1, **options):
    """A quantizer of the data themselves."""
    return VectorQuantizer(nn.Identity(), V, out_shape=(M, D), num_groups=num_groups, **options)


def brute_force(features, codebook):
    return torch.cdist(features.flatten(0, -2), codebook).argmin(-1).reshape(features.shape[:-1])


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_codes_are_the_nearest(lead):
    quantizer, h = same(), torch.randn(*lead, M, D) + 5  # far from the origin, where squares are large
    assert torch.equal(quantizer.nearest(h), brute_force(h, quantizer.codebook[0]))
    assert torch.equal(quantizer(h).sample(), quantizer.nearest(h)) and quantizer(h).event_shape == (M,)
    torch.testing.assert_close(quantizer.distances(h), torch.cdist(h.flatten(0, -2), quantizer.codebook[0]).square().reshape(*lead, M, V))
    assert torch.equal(quantizer.vectors(quantizer.nearest(h)), quantizer.codebook[0][quantizer.nearest(h)])


def test_codes_of_a_product_are_those_of_its_parts():
    quantizer, h = same(num_groups=2), torch.randn(3, M, D)
    codes = quantizer.nearest(h)
    for g, part in enumerate(h.chunk(2, -1)):
        assert torch.equal(codes[..., g], brute_force(part.contiguous(), quantizer.codebook[g]))
    expected = torch.cat([quantizer.codebook[g][codes[..., g]] for g in range(2)], -1)
    assert quantizer.code_shape == (M, 2) and torch.equal(quantizer.vectors(codes), expected)
    assert quantizer.distances(h).shape == (3, M, 2, V)


def test_straight_through_gradients_are_the_identitys():
    h, e, upstream = torch.randn(3, D, requires_grad=True), torch.randn(3, D, requires_grad=True), torch.randn(3, D)
    out = straight_through(h, e)
    assert torch.equal(out, e)
    assert torch.equal(torch.autograd.grad((out * upstream).sum(), h)[0], upstream)
    assert not torch.autograd.functional.jacobian(lambda e: straight_through(h.detach(), e), e.detach()).any()


def test_rotated_gradients_turn_with_the_vectors():
    h, e = torch.randn(D, requires_grad=True), torch.randn(D)
    out = rotated(h, e)
    torch.testing.assert_close(out, e)
    jacobian = torch.autograd.functional.jacobian(lambda h: rotated(h, e), h.detach())  # its gradient map, |e| / |h| times a rotation
    scale = e.norm() / h.detach().norm()
    torch.testing.assert_close(jacobian.T @ jacobian, scale**2 * torch.eye(D))
    assert torch.linalg.det(jacobian) > 0
    torch.testing.assert_close(jacobian @ h.detach(), e)  # where the vector goes, its gradient goes
    aside = torch.linalg.svd(torch.stack([h.detach(), e]))[2][2:]  # what is orthogonal to both stays
    torch.testing.assert_close(jacobian @ aside.T, scale * aside.T)


def train_once(quantizer, h):
    quantizer.train()
    codes = quantizer.nearest(h)
    quantizer.observe(h, codes)
    quantizer.after_step()
    return codes


@pytest.mark.parametrize("num_groups", [1, 2])
def test_running_averages_are_the_k_means_they_claim_to_be(num_groups):
    quantizer = same(num_groups=num_groups, decay=0.8, restart_below=0.0)
    counts, sums = quantizer.counts.clone(), quantizer.codebook.clone()
    for _ in range(3):
        h = torch.randn(10, M, D)
        codes = train_once(quantizer, h).reshape(-1, num_groups)
        parts = h.reshape(-1, num_groups, D // num_groups)
        for g in range(num_groups):
            for v in range(V):
                own = codes[:, g] == v
                counts[g, v] = 0.8 * counts[g, v] + 0.2 * own.sum()
                sums[g, v] = 0.8 * sums[g, v] + 0.2 * parts[own, g].sum(0)
        torch.testing.assert_close(quantizer.counts, counts)
        total = counts.sum(-1, keepdim=True)
        smoothed = (counts + 1e-5) / (total + V * 1e-5) * total
        torch.testing.assert_close(quantizer.codebook, sums / smoothed[..., None])


def test_without_memory_one_step_is_one_of_lloyds():
    quantizer, h = same(decay=0.0, restart_below=0.0), torch.randn(40, M, D)
    codes = train_once(quantizer, h)
    for v in codes.unique():
        torch.testing.assert_close(quantizer.codebook[0, v], h[codes == v].mean(0), rtol=1e-5, atol=1e-5)  # but for the smoothing


def test_assignments_and_averages_are_those_of_vector_quantize_pytorch():
    peer = peers.VectorQuantize(dim=D, codebook_size=V, decay=0.8, commitment_weight=0.25, threshold_ema_dead_code=0).double()
    ours = same(decay=0.8, restart_below=0.0)
    book = peer._codebook
    with torch.no_grad():
        for name, start in (("embed", ours.weight), ("embed_avg", ours.sums), ("cluster_size", ours.counts)):
            getattr(book, name).copy_(start)
    peer.train()
    for _ in range(4):
        h = torch.randn(20, M, D)
        _, indices, _ = peer(h)
        assert torch.equal(train_once(ours, h), indices)
        torch.testing.assert_close(ours.counts, book.cluster_size.double(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(ours.codebook, book.embed.double(), rtol=1e-5, atol=1e-6)


def test_finite_scalars_are_those_of_vector_quantize_pytorch():
    levels = (8, 5, 4, 3)  # the peer refuses 2
    ours, peer, h = FSQ(nn.Identity(), levels, out_shape=(M, 4)), peers.FSQ(list(levels)).double(), 2 * torch.randn(50, M, 4)
    vectors, indices = peer(h)
    codes = ours.nearest(ours.features(h))
    assert torch.equal(codes, indices.long())
    torch.testing.assert_close(ours.vectors(codes), vectors.double(), rtol=1e-6, atol=1e-6)
    assert torch.equal(codes, ours.distances(ours.features(h)).argmin(-1))  # rounding finds the nearest of its codebook


def test_every_finite_scalar_can_be_reached():
    ours = FSQ(nn.Identity(), (5, 4, 3), out_shape=(1, 3))
    wide = torch.cartesian_prod(*[torch.linspace(-6, 6, 60)] * 3)[:, None]
    assert ours.nearest(ours.features(wide)).unique().tolist() == list(range(60))
    torch.testing.assert_close(ours.features(torch.zeros(1, 1, 3)), torch.zeros(1, 1, 3), atol=1e-12, rtol=0)
    assert torch.equal(ours.nearest(ours.codebook), torch.arange(60)[None])


@pytest.mark.parametrize("decay", [0.9, None])
def test_dead_codes_start_anew_at_recent_features(decay):
    quantizer = same(decay=decay, restart_below=0.1)
    with torch.no_grad():
        quantizer.weight[:, V // 2 :] += 1000.0  # half of the codes is out of reach
        if decay is not None:
            quantizer.sums.copy_(quantizer.weight)
    h = torch.randn(50, M, D)
    assert len(quantizer.nearest(h).unique()) <= V // 2
    for _ in range(300 if decay is None else 40):
        train_once(quantizer, torch.randn(50, M, D))
    assert len(quantizer.nearest(h).unique()) > V // 2 and quantizer.codebook.abs().max() < 100


def test_k_means_starts_at_centers_of_clusters():
    centers = 10 * torch.randn(V, D)
    x = centers[torch.arange(V * 40) % V].reshape(-1, M - 2, D) + 0.01 * torch.randn(V * 10, M - 2, D)
    quantizer = VectorQuantizer(nn.Identity(), V, out_shape=(M - 2, D))
    quantizer.start_(x)
    # one start of k-means may merge two clusters
    assert (torch.cdist(centers, quantizer.codebook[0]).amin(-1) < 0.1).double().mean() > 0.7
    torch.testing.assert_close(quantizer.sums, quantizer.codebook * quantizer.counts[..., None])
    with pytest.raises(ValueError, match="k-means needs at least 16 vectors.*got 4"):
        quantizer.start_(x[:1])


def test_use_and_perplexity_in_closed_form():
    assert code_use(torch.tensor([5, 5, 0, 0])) == pytest.approx((0.5, 2.0))
    assert code_use(torch.tensor([[1, 1, 1, 1], [0, 7, 0, 0]])) == pytest.approx((0.625, 2.5))
    assert all(map(math.isnan, code_use(torch.zeros(4))))


def test_statistics_are_of_one_epoch():
    quantizer = same(restart_below=0.0)
    codes = train_once(quantizer, torch.randn(30, M, D))
    expected = code_use(codes.flatten().bincount(minlength=V))
    assert tuple(quantizer.epoch_statistics().values()) == pytest.approx(expected)
    assert math.isnan(quantizer.epoch_statistics()["code_usage"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VectorQuantizer(nn.Identity(), 1, out_shape=(M, D)), "num_codes must be an integer of at least 2; got 1"),
        (lambda: VectorQuantizer(nn.Identity(), V), "out_shape must be the shape of a grid.*got None"),
        (lambda: VectorQuantizer(lvm.MLP(5, (), 8), V), r"out_shape must be.*got \(8,\)"),
        (lambda: same(num_groups=3), "num_groups must divide the 4 features.*got 3"),
        (lambda: same(decay=1.0), "decay must be at least 0 and below 1.*got 1.0"),
        (lambda: same(restart_below=1.0), "restart_below must be"),
        (lambda: same(commitment=-1.0), "commitment must be at least 0"),
        (lambda: FSQ(nn.Identity(), (8, 1), out_shape=(M, 2)), r"levels must hold numbers of at least 2; got \(8, 1\)"),
        (lambda: FSQ(nn.Identity(), (8, 5), out_shape=(M, 3)), "vectors of 2 features.*got 3"),
        (lambda: same()(torch.zeros(3, M, D + 1)), r"\[\*lead, 6, 4\]; got \(3, 6, 5\)"),
        (lambda: same()(torch.full((3, M, D), math.nan)), "finite vectors; got NaN"),
        (lambda: lvm.SoftQuantizer(same(), 0.0), "temperature must be positive"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_codebook_that_nothing_updates_says_so():
    vae = lvm.VQVAE(
        lvm.UniformCodePrior((2,), 4),
        lvm.BernoulliLikelihood(lvm.MLP((2, 3), (5,), 6)),
        lvm.VectorQuantizer(lvm.MLP(6, (5,), (2, 3)), 4),
    )
    svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO())
    x = torch.rand(20, 6).double().round()
    with pytest.warns(UserWarning, match="averages move only in after_step"):
        for _ in range(100):
            svi.step(x)
    for _ in range(100):
        svi.step(x)
        vae.encoder.after_step()
    pyro.clear_param_store()
