"""Bounds of log p(x) from several draws, and estimates of their gradients."""

import math

import torch
from torch import Tensor

from inference.svi.objectives.particles import ParticleObjective, Particles
from pyro_lvm.sites import Site, element_mask, is_discrete, knows_any_density


class IWAE(ParticleObjective):
    r"""Importance-weighted bound of each datum, correct under mini-batch scaling.

    .. math:: \mathcal{L}_K(x) = \mathbb{E}\Big[\log \frac{1}{K} \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k \mid x)}\Big]
        \le \log p(x)

    The plate's scale, and one that all sites share, multiply the bound of each datum, not its log weights; what scales some sites only
    does so inside the weights, as the warm-up of the KL scales :math:`\log p(z) - \log q(z \mid x)`. Where a mask hides the missing
    elements of x, this is MIWAE, a bound of log p of those that are observed.

    Args:
        num_particles: Draws per datum, :math:`K`.

    Raises:
        ValueError: If ``num_particles`` is below 1; or, at the first loss, if the pair has no likelihood per datum or a latent of the
            guide is not reparameterized.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders. https://arxiv.org/abs/1509.00519

        Mattei, Frellsen (2019), MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets.
        https://arxiv.org/abs/1812.02633
    """

    def combine(self, particles: Particles) -> Tensor:
        """Return the bound of each datum."""
        return log_mean(particles.log_p - particles.log_q)


class STL(ParticleObjective):
    r"""The evidence lower bound, with a gradient that sticks the landing: it has no variance where the guide is exact.

    .. math:: \nabla_\phi = \frac{1}{K} \sum_k \frac{\partial}{\partial z_k} \big[\log p(x, z_k) - \log q(z_k \mid x)\big]
        \frac{d z_k}{d \phi}

    The term :math:`-\nabla_\phi \log q_\phi(z_k \mid x)` at fixed draws, whose mean is zero, is left out. The density is evaluated once
    more at draws that are fixed, which takes D passes of an autoregressive flow in inverse form.

    Args:
        num_particles: Draws per datum, :math:`K`.

    Raises:
        ValueError: As for :class:`IWAE`; also if a latent is discrete, or its density is known at its own draws only.

    References:
        Roeder, Wu, Duvenaud (2017), Sticking the Landing: Simple, Lower-Variance Gradient Estimators for Variational Inference.
        https://arxiv.org/abs/1703.09194
    """

    def __init__(self, num_particles: int = 1) -> None:
        super().__init__(num_particles)

    def combine(self, particles: Particles) -> Tensor:
        """Return the mean log weight of each datum."""
        return (particles.log_p - particles.log_q_fixed).mean(0)

    def check_latents(self, sites: list[Site]) -> None:
        """Refuse latents without reparameterization, and discrete ones, along which a density has no derivative."""
        super().check_latents(sites)
        _refuse_discrete(self, sites)
        _refuse_unknown_densities(self, sites)


class DReG(ParticleObjective):
    r"""Importance-weighted bound with doubly reparameterized gradients, whose signal-to-noise ratio grows with the number of draws.

    .. math:: \nabla_\phi = \sum_k \tilde w_k^2 \frac{\partial \log w_k}{\partial z_k} \frac{d z_k}{d \phi}, \quad
        \nabla_\theta = \sum_k \tilde w_k \nabla_\theta \log p_\theta(x, z_k), \quad \tilde w_k = \frac{w_k}{\sum_j w_j}

    Here :math:`\log w_k = \log p(x, z_k) - \log q(z_k \mid x)`, and its derivative is taken at fixed parameters, not at fixed latents
    above: with several levels, z is all latents together. Parameters that prior and guide share, as those of a VampPrior, have both
    gradients. With a weight :math:`\beta` of the KL, :math:`\tilde w_k^2` becomes :math:`(1 - \beta) \tilde w_k + \beta \tilde w_k^2`.
    Where the guide is much narrower than the posterior, these gradients have more noise than those of :class:`IWAE`.

    Args:
        num_particles: Draws per datum, :math:`K`; with one, this is :class:`STL`.

    Raises:
        ValueError: As for :class:`STL`; also if a latent of the guide is masked, or if the KLs of latents have several weights.

    References:
        Tucker, Lawson, Gu, Maddison (2019), Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives.
        https://arxiv.org/abs/1810.04152

        Bauer, Mnih (2021), Generalized Doubly Reparameterized Gradient Estimators. https://arxiv.org/abs/2101.11046
    """

    def combine(self, particles: Particles) -> Tensor:
        """Return the bound of each datum, and weigh the gradients of its draws once more."""
        log_w, beta = particles.log_p - particles.log_q_fixed, particles.kl_weight
        particles.weigh_paths(1 - beta + beta * log_w.detach().softmax(0))  # the bound itself weighs each draw by its softmax
        return log_mean(log_w)

    def check_latents(self, sites: list[Site]) -> None:
        """Refuse latents without reparameterization, discrete ones, and masked ones."""
        super().check_latents(sites)
        _refuse_discrete(self, sites)
        _refuse_unknown_densities(self, sites)
        _refuse_masked(self, sites)


class VIMCO(ParticleObjective):
    r"""Importance-weighted bound for latents that are drawn without reparameterization, as discrete ones are.

    .. math:: \nabla = \sum_k \big(\hat{\mathcal L} - \hat{\mathcal L}_{-k}\big) \nabla \log q(z_k \mid x) + \nabla \hat{\mathcal L},
        \quad \hat{\mathcal L} = \log \frac{1}{K} \sum_k w_k

    In the baseline :math:`\hat{\mathcal L}_{-k}`, the geometric mean of the other weights replaces :math:`w_k`. Latents with ``rsample``
    beside them are reparameterized, and have no part in :math:`\nabla \log q` of the first term.

    Args:
        num_particles: Draws per datum, :math:`K`, at least 2.

    Raises:
        ValueError: If ``num_particles`` is below 2; or, at the first loss, if the pair has no likelihood per datum, every latent of the
            guide has ``rsample``, one that has not is masked, or the model has penalties, free bits among them.

    References:
        Mnih, Rezende (2016), Variational Inference for Monte Carlo Objectives. https://arxiv.org/abs/1602.06725
    """

    def __init__(self, num_particles: int) -> None:
        super().__init__(num_particles)
        if num_particles < 2:
            raise ValueError(f"VIMCO compares each draw with others: num_particles must be at least 2; got {num_particles}.")

    def combine(self, particles: Particles) -> Tensor:
        """Return the bound of each datum, plus a term that is zero and has the gradient of the draws' probabilities."""
        if particles.penalties:
            raise ValueError(
                f"VIMCO must know all that depends on a draw; the penalties {particles.penalties} are not part of its weights. Leave them "
                "and free_bits out, or use pyro.infer.Trace_ELBO."
            )
        log_w = particles.log_p - particles.log_q
        bound = log_mean(log_w)
        signal = (bound - _bounds_without_each(log_w)).detach()  # [K, B]
        log_q = particles.log_q_drawn
        return bound + (signal * (log_q - log_q.detach())).sum(0)

    def check_latents(self, sites: list[Site]) -> None:
        """Refuse guides whose latents are all reparameterized, and masked latents."""
        drawn = [site for site in sites if not site["fn"].has_rsample]
        if not drawn:
            raise ValueError("VIMCO is for latents that are drawn without rsample, and the guide has none. Use IWAE, or DReG.")
        _refuse_masked(self, drawn)


def log_mean(log_w: Tensor) -> Tensor:
    """Return the logarithm of the mean weight of each datum, ``[K, B]`` to ``[B]``."""
    return log_w.logsumexp(0) - math.log(len(log_w))


def _bounds_without_each(log_w: Tensor) -> Tensor:
    """Return the bounds in which the geometric mean of the other weights replaces one, ``[K, B]``."""
    K = len(log_w)
    own = torch.eye(K, dtype=torch.bool, device=log_w.device)[..., None]
    others = log_w[:, None].masked_fill(own, 0.0).sum(0) / (K - 1)  # [K, B]
    return log_mean(torch.where(own, others, log_w[:, None]))  # [K, K, B] to [K, B]


def _refuse_discrete(objective: ParticleObjective, sites: list[Site]) -> None:
    for site in sites:
        if is_discrete(site["fn"]):
            raise ValueError(
                f"{type(objective).__name__} needs derivatives of log q along the latents; '{site['name']}' is discrete. Use IWAE, or "
                "VIMCO if it is drawn without rsample."
            )


def _refuse_unknown_densities(objective: ParticleObjective, sites: list[Site]) -> None:
    for site in sites:
        if not knows_any_density(site):
            raise ValueError(
                f"{type(objective).__name__} needs log q at fixed values; '{site['name']}' is drawn by a map without an inverse, "
                "as a planar flow is, whose density is known at its own draws only. Use IWAE, or a flow with an inverse."
            )


def _refuse_masked(objective: ParticleObjective, sites: list[Site]) -> None:
    for site in sites:
        if element_mask(site) is not None:
            raise ValueError(
                f"{type(objective).__name__} needs the whole density of every draw; latent '{site['name']}' is masked. Leave out the mask "
                "of the latent, or use IWAE."
            )
