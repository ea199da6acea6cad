"""Integrals over one latent by the trapezoidal rule, whose error for smooth densities falls faster than any power of the step."""

import numpy as np
from scipy.special import logsumexp

from known.registry import tensor

POINTS = 20001


def integrate(log_joint, low, high):
    """Integrate a joint density over z: log p(x) of each datum, and mean and standard deviation of its z, each ``[N, ...]``.

    Args:
        log_joint: log p(x, z), a function of a grid ``[G]`` that returns ``[N, ..., G]``.
        low: Where the grid starts; with ``high``, all of the mass lies between, or the density is even about an end.
        high: Where it ends.
    """
    z = np.linspace(low, high, POINTS)
    values = log_joint(z)
    values[..., [0, -1]] -= np.log(2)
    total = logsumexp(values, axis=-1, keepdims=True)
    weights = np.exp(values - total)
    mean = weights @ z
    sd = np.sqrt((weights * (z - mean[..., None]) ** 2).sum(-1))
    return tensor(total[..., 0] + np.log(z[1] - z[0])), tensor(mean), tensor(sd)
