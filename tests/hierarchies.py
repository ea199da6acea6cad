"""Hierarchies of latents: one whose log p(x) is known exactly, and small ones of every construction."""

import torch
from torch.distributions import MultivariateNormal

from pyro_lvm import (
    MLP,
    BernoulliLikelihood,
    ConvDecoder,
    FullRankNormalEncoder,
    GatedMLP,
    GaussianLikelihood,
    HierarchicalVAE,
    Join,
    Levels,
    NormalEncoder,
    StandardNormal,
    VampPrior,
    conv_ladder,
    ladder,
    stacked,
)

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
