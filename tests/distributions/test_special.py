"""Special functions against NumPy."""

import numpy as np
import torch

from pyro_lvm.distributions.special import softplus


def test_softplus_is_exact_in_float64():
    x = torch.linspace(-60.0, 60.0, 241, dtype=torch.float64)
    torch.testing.assert_close(softplus(x), torch.as_tensor(np.logaddexp(0.0, x.numpy())), rtol=1e-15, atol=0)
