"""A trace leaves everything as it was, and says what cannot be traced."""

from pairs import batch_norm, binary
import pytest
import torch

from inference.tracing.graph import UntraceableError
from inference.tracing.trace import trace

pytestmark = pytest.mark.usefixtures("double")


def test_tracing_leaves_no_trace():
    vae = batch_norm().train()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    state = torch.get_rng_state()
    trace(lambda x: (vae.encoder(x).rsample(),), binary(), modules=list(vae.modules()))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    with pytest.raises(UntraceableError, match="value is read"):
        trace(lambda x: (x * x.sum().item(),), binary())
