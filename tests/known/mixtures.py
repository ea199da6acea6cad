"""Mixtures of linear Gaussian models: the class summed out, or in the prior's density. log p(x) is a sum of normal densities."""

from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
from scipy import stats
from scipy.special import logsumexp
import torch

from known.classes import pair_without_draws
from known.registry import N, entry, generator, known, pair_of, tensor
from pyro_lvm import Pair

NOISE = 0.5


class Classes:
    """c ~ Categorical, z ~ N(m_c, I), x ~ N(W_c z, .5^2): every class has its own factor model."""

    def __init__(self, *, classes=3, latents=2, features=4, distance=3.0, seed=21):
        draw = generator(seed)
        self.shares = draw.dirichlet(5 * np.ones(classes))
        self.loc = distance * draw.normal(size=(classes, latents))
        self.weight = draw.normal(size=(classes, features, latents)) / latents**0.5
        which = draw.choice(classes, p=self.shares, size=N)
        z = self.loc[which] + draw.normal(size=(N, latents))
        self.x = np.einsum("nxd,nd->nx", self.weight[which], z) + NOISE * draw.normal(size=(N, features))
        marginals = [
            stats.multivariate_normal(w @ m, w @ w.T + NOISE**2 * np.eye(features)) for w, m in zip(self.weight, self.loc, strict=True)
        ]
        self.joint = np.log(self.shares) + np.stack([marginal.logpdf(self.x) for marginal in marginals], 1)  # [N, C]
        self.log_px = logsumexp(self.joint, axis=1)
        precision = np.eye(latents) + np.einsum("cxd,cxe->cde", self.weight, self.weight) / NOISE**2
        self.covariance = np.linalg.inv(precision)  # [C, D, D]
        self.means = np.einsum("cde,nce->ncd", self.covariance, self.loc + np.einsum("cxd,nx->ncd", self.weight, self.x) / NOISE**2)

    def posterior(self):
        """Logits [N, C], means [N, C, D] and covariances [N, C, D, D] of the posterior, a mixture."""
        return tensor(self.joint), tensor(self.means), tensor(self.covariance).expand(N, -1, -1, -1)


def classes(guide, *, drawn=False, **options):
    """The class summed out, or drawn by the guide as z is."""
    made = Classes(**options)
    shares, loc, weight = tensor(made.shares), tensor(made.loc), tensor(made.weight)
    infer = {} if drawn else {"enumerate": "parallel"}

    def model(x, *posterior):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(shares), infer=infer)
            z = pyro.sample("z", dist.Normal(loc[c], 1.0).to_event(1))
            pyro.sample("x", dist.Normal((weight[c] @ z[..., None]).squeeze(-1), NOISE).to_event(1), obs=x)

    def guided(x, *posterior):
        with pyro.plate("data", len(x)):
            guide(*posterior) if drawn else pyro.sample("z", guide(*posterior))

    return known(Pair(model, guided), made.x, made.log_px, *made.posterior())


def draws_class(logits, means, covariances, *, sharpness):
    """The class drawn from a power of its posterior, then z from its posterior given the class."""
    c = pyro.sample("c", dist.Categorical(logits=sharpness * logits))
    rows = torch.arange(len(logits))
    pyro.sample("z", dist.MultivariateNormal(means[rows, c], covariances[rows, c]))


def mixture_guide(logits, means, covariances):
    return dist.MixtureSameFamily(dist.Categorical(logits=logits), dist.MultivariateNormal(means, covariances))


def largest(logits, means, covariances):
    """The largest component of the posterior alone."""
    rows, best = torch.arange(len(logits)), logits.argmax(1)
    return dist.MultivariateNormal(means[rows, best], covariances[rows, best])


def of_moments(logits, means, covariances):
    """One normal with the mean and the covariance of the whole posterior."""
    probs = logits.softmax(1)[..., None]
    mean = (probs * means).sum(1)
    offsets = means - mean[:, None]
    covariance = (probs[..., None] * (covariances + offsets[..., None] * offsets[..., None, :])).sum(1)
    return dist.MultivariateNormal(mean, covariance)


def prior_mixture(guide):
    """The mixture as the density of the prior: three normals far apart on a line of which x, the distance from it, shows nothing."""
    shares, along, scale = np.array([0.5, 0.3, 0.2]), np.array([-3.0, 0.0, 4.0]), 0.4
    line, across = np.array([0.6, 0.8]), np.array([-0.8, 0.6])
    loc = along[:, None] * line
    draw = generator(22)
    z = loc[draw.choice(3, p=shares, size=N)] + scale * draw.normal(size=(N, 2))
    x = z @ across + NOISE * draw.normal(size=N)
    covariance = np.linalg.inv(np.eye(2) / scale**2 + np.outer(across, across) / NOISE**2)
    means = (loc / scale**2 + x[:, None, None] * across / NOISE**2) @ covariance
    prior = dist.MixtureSameFamily(dist.Categorical(tensor(shares)), dist.Normal(tensor(loc), scale).to_event(1))
    across_t = tensor(across)
    pair = pair_of(prior, lambda z: dist.Normal(z @ across_t, NOISE), lambda x, *posterior: guide(*posterior))
    posterior = tensor(np.log(shares)).expand(N, 3), tensor(means), tensor(covariance).expand(N, 3, 2, 2)
    return known(pair, x, stats.norm(0, (scale**2 + NOISE**2) ** 0.5).logpdf(x), *posterior)


def gaussian_mixture():
    """A mixture of normals without any latent but the class."""
    draw = generator(23)
    shares, loc, scale = draw.dirichlet(np.ones(4)), 2 * draw.normal(size=(4, 3)), draw.uniform(0.3, 1.5, size=(4, 3))
    which = draw.choice(4, p=shares, size=N)
    x = loc[which] + scale[which] * draw.normal(size=(N, 3))
    shares_t, loc_t, scale_t = (tensor(part) for part in (shares, loc, scale))

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(shares_t), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(loc_t[c], scale_t[c]).to_event(1), obs=x)

    joint = np.log(shares) + stats.norm(loc, scale).logpdf(x[:, None]).sum(-1)
    return known(pair_without_draws(model), x, logsumexp(joint, axis=1))


CLOSED = {"source": "closed form"}
FAR = {"features": 1, "distance": 2.0}
softened, sharpened = partial(draws_class, sharpness=0.5), partial(draws_class, sharpness=30.0)
entry("gaussian mixture", gaussian_mixture, guide="exact", source="enumeration")
entry("classes of factors, exact", partial(classes, mixture_guide), guide="exact", **CLOSED)
entry("classes of factors, moments", partial(classes, of_moments, **FAR), guide="light tails", **CLOSED)
entry("classes of factors, largest", partial(classes, largest, **FAR), guide="one mode", **CLOSED)
entry("classes of factors, class drawn", partial(classes, softened, drawn=True, **FAR), guide="good", **CLOSED)
entry("classes of factors, largest class drawn", partial(classes, sharpened, drawn=True, **FAR), guide="one mode", **CLOSED)
entry("mixture prior, exact", partial(prior_mixture, mixture_guide), guide="exact", **CLOSED)
entry("mixture prior, moments", partial(prior_mixture, of_moments), guide="wide", **CLOSED)
entry("mixture prior, largest", partial(prior_mixture, largest), guide="one mode", **CLOSED)
