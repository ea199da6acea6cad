"""What errors of flows say."""

import pytest
import torch

from pyro_lvm.networks.flows import InverseFlow, iaf, maf, spline, whitened


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: whitened(maf(2), torch.zeros(2), torch.zeros(2, 2)), ValueError, "positive diagonal; got 0. Drop"),
        (lambda: maf(2, transforms=0), ValueError, "transforms must be an integer of at least 1"),
        (lambda: spline(2, hidden=()), ValueError, "hidden must be an integer of at least 1"),
        (lambda: iaf(2, 0), ValueError, "context must be an integer of at least 1; got 0"),
        (lambda: maf(2, context=-1), ValueError, "context must be an integer of at least 0; got -1"),
        (lambda: InverseFlow(maf(2), 0, 1), ValueError, "latent_dim must be an integer of at least 1; got 0"),
    ],
)
def test_errors_name_the_remedy(build, error, message):
    with pytest.raises(error, match=message):
        build()
