"""Small pairs to fit, and a short fit of them."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from inference import fit
from pyro_lvm import MLP, VAE, FullRankNormalEncoder, GaussianLikelihood, NormalEncoder, StandardNormal


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


def quick(pair, data, **options):
    return fit(pair, data, progress=False, **({"epochs": 2, "batch_size": 100} | options))
