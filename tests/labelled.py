"""Linear normal models of data and labels, whose likelihoods and posteriors of labels are known."""

import torch
from torch import nn
from torch.distributions import MultivariateNormal

from pyro_lvm import MLP, ConditionalVAE, GaussianLikelihood, Join, LabelIndicators, NormalEncoder, SemiSupervisedVAE, StandardNormal

V, D, X = 3, 2, 4
NOISE = 0.7


def joined(features, out):
    return Join(None, LabelIndicators(V), MLP(features + V, [], out))


def conditional():
    torch.manual_seed(0)
    prior = NormalEncoder(nn.Sequential(LabelIndicators(V), MLP(V, [], 2 * D)))
    vae = ConditionalVAE(prior, GaussianLikelihood(joined(D, X), scale=NOISE), NormalEncoder(joined(X, 2 * D)))
    return spread(vae.double())


def semi_supervised():
    torch.manual_seed(0)
    likelihood, encoder = GaussianLikelihood(joined(D, X), scale=NOISE), NormalEncoder(Join(None, None, MLP(X + V, [], 2 * D)))
    vae = SemiSupervisedVAE(StandardNormal(D), likelihood, encoder, MLP(X, [], V), num_labels=V).double()
    vae.labels.logits.data = torch.tensor([0.5, 0.0, -0.5]).double()
    return spread(vae)


def spread(vae):
    """Make the labels matter."""
    vae.likelihood.network.network.layers[0].weight.data.mul_(3)
    return vae


def data(num_data=12):
    torch.manual_seed(1)
    return torch.randn(num_data, X).double(), torch.arange(num_data) % V


def log_px_given(vae, x):
    """log p(x|y = v) for each label, ``[N, V]``, of a model whose latents are standard normal or have a conditional prior."""
    y = torch.arange(V)
    with torch.no_grad():
        prior = vae.prior(y) if isinstance(vae, ConditionalVAE) else vae.prior().expand((V,))
        layer = vae.likelihood.network.network.layers[0]
        W, of_labels = layer.weight[:, :D], layer.weight[:, D:].T + layer.bias  # [X, D], [V, X]
        loc = prior.mean @ W.T + of_labels
        covariance = W @ torch.diag_embed(prior.variance) @ W.T + NOISE**2 * torch.eye(X).double()
        return MultivariateNormal(loc, covariance).log_prob(x[:, None])  # [N, V]
