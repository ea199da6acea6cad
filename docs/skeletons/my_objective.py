"""An objective of your own: what is maximized for each datum, from the log densities of its draws; `fit` can also compile it."""

import math

from torch import Tensor

from inference import ParticleObjective, Particles, evaluate, fit, load_data
import pyro_lvm as lvm


class RenyiBound(ParticleObjective):
    r"""The Rényi bound of each datum, which is right under mini-batch scaling.

    .. math:: \frac{1}{1 - \alpha} \log \frac{1}{K} \sum_k \Big(\frac{p(x, z_k)}{q(z_k \mid x)}\Big)^{1 - \alpha}

    Args:
        alpha: Order, below 1; 0 is the importance-weighted bound.
        num_particles: Draws per datum, K.
    """

    def __init__(self, alpha: float, num_particles: int) -> None:
        super().__init__(num_particles)
        self.alpha = alpha

    def combine(self, particles: Particles) -> Tensor:
        """Return the bound of each datum, [B]; ``particles.log_q_fixed`` is log q at fixed parameters."""
        log_w = particles.log_p - particles.log_q  # [K, B]
        power = 1 - self.alpha
        return ((power * log_w).logsumexp(0) - math.log(len(log_w))) / power


data = load_data("digits")
encoder = lvm.NormalEncoder(lvm.MLP(64, [32], 8))
pair = lvm.VAE(lvm.StandardNormal(4), lvm.BernoulliLikelihood(lvm.MLP(4, [32], 64)), encoder)
fit(pair, data.train, valid=data.valid, elbo=RenyiBound(0.5, num_particles=5), epochs=3, learning_rate=3e-3, progress=False)
print(evaluate(pair, data.test, num_particles=50, progress=False))
