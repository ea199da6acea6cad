"""A trace leaves everything as it was, and says what cannot be traced."""

import copy
import math

import numpy as np
from pairs import batch_norm, binary
import pytest
import torch

from inference.tracing.graph import UntraceableError
from inference.tracing.patches import no_nan_warnings
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


def hidden(x):
    """A read whose error the function catches."""
    try:
        return x * x.sum().item()
    except Exception:
        return x


WEIGHT = torch.tensor(2.0, dtype=torch.float64)
READS = {
    "tolist": lambda x: x * x[0].tolist()[0],
    "numpy": lambda x: x * float(x.detach().cpu().numpy()[0, 0]),
    "asarray": lambda x: x * np.asarray(x).sum(),
    "function of numpy": lambda x: x * torch.as_tensor(np.exp(x)),
    "item": lambda x: x * x.sum().item(),
    "float": lambda x: x * float(x.sum()),
    "math": lambda x: x * math.exp(x[0, 0]),
    "int": lambda x: x * int(x.sum()),
    "index": lambda x: x * [1, 2][x[0, 0].long()],
    "branch": lambda x: x if x.sum() > 0 else -x,
    "in": lambda x: x * (1.0 in x),
    "equal": lambda x: x * torch.equal(x, 2 * x),
    "text": lambda x: x * len(f"{x.sum():.3f}{x}"),
    "repr": lambda x: x * len(repr(x)),
    "parameter": lambda x: x * WEIGHT.item(),
    "parameter, numpy": lambda x: x * float(WEIGHT.numpy()),
    "address": lambda x: x * (x.data_ptr() % 7),
    "storage": lambda x: x * x.untyped_storage()[0],
    "dlpack": lambda x: x * torch.from_dlpack(x),
    "copy": lambda x: x * copy.deepcopy(x),
    "list of tensors": lambda x: x * torch.tensor([x[0, 0], 1.0]).sum(),
    "rows that differ": lambda x: x * len(x[:, 0].unique()),
    "mask": lambda x: x * x[x > 0].sum(),
    "nonzero": lambda x: x * len(x.nonzero()),
    "caught": hidden,
}


@pytest.mark.parametrize("name", READS)
def test_reads_are_refused_however_they_are_made(name):
    with pytest.raises(UntraceableError, match="it cannot be traced: .*(value is read in Python|depends on the values)"):
        trace(lambda x: (READS[name](x),), binary())


def test_shapes_and_numbers_may_be_read():
    def function(x):
        index, scale = torch.tensor([0, 2]), torch.tensor(3.0).item()
        return (x[index] * scale * x.shape[1] * x.is_contiguous() + torch.nn.functional.one_hot(x[0].long(), 12)[:2],)

    graph = trace(function, binary())
    torch.testing.assert_close(graph(1 - binary())[0], function(1 - binary())[0])


@pytest.mark.parametrize("error", [TypeError, KeyError, NotImplementedError, AssertionError, RecursionError])
def test_errors_of_any_type_mean_that_it_cannot_be_traced(error):
    def fails(x):
        raise error("no such thing")

    with pytest.raises(UntraceableError, match="it cannot be traced: .*no such thing"):
        trace(fails, binary())


def test_pyros_own_functions_are_back_after_training():
    from pyro.infer import trace_elbo, util

    before = trace_elbo.warn_if_nan, util.torch_item
    with no_nan_warnings():
        assert trace_elbo.warn_if_nan(math.nan, "loss") is math.nan
        with no_nan_warnings():
            pass
        assert trace_elbo.warn_if_nan is not before[0]
    assert (trace_elbo.warn_if_nan, util.torch_item) == before
