"""What a distribution of a flow needs, and what importing zuko leaves as it was."""

import pytest
import torch

from pyro_lvm.distributions.flow import FlowDistribution, zuko
from pyro_lvm.networks.flows import maf

# Read before any test runs: pyro's own context managers would set it right again.
VALIDATES_AFTER_IMPORT = torch.distributions.Distribution._validate_args


def test_importing_zuko_leaves_validation_on():
    assert zuko.distributions.Distribution is torch.distributions.Distribution
    assert VALIDATES_AFTER_IMPORT


def test_a_lazy_flow_is_called_first():
    with pytest.raises(TypeError, match=r"Call the lazy flow: flow\(\)"):
        FlowDistribution(maf(2))
