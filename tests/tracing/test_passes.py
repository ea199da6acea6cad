"""What the passes over a graph compute once, and what they leave where it is."""

from pairs import NUM_PIXELS, binary
import pyro
from pyro.infer import Trace_ELBO
import pytest
import torch
from torch import nn

from inference.tracing.passes import precompute
from inference.tracing.trace import trace
import pyro_lvm as lvm

pytestmark = pytest.mark.usefixtures("double")


def test_precomputed_graphs_do_once_what_depends_on_tensors_alone():
    weight, count = torch.randn(3, 3), torch.zeros(())

    def function(x):
        count.add_(1)
        noise = torch.empty_like(weight).normal_()
        return (x @ weight.exp().T + noise + count,)

    x = torch.randn(3, 3)
    graph = precompute(trace(function, x[:1].expand(3, 3)), 1)
    count.zero_()
    names = [node.name for node in graph.module.graph.nodes]
    assert not any(name.startswith("exp") for name in names) and any("normal" in name for name in names)
    assert not [*graph.module.parameters(), *graph.module.buffers()]  # which would be inputs as well
    for number in (1, 2):
        torch.manual_seed(0)
        got = graph(x)[0]
        torch.manual_seed(0)
        torch.testing.assert_close(got, x @ weight.exp().T + torch.randn(3, 3) + number, rtol=1e-12, atol=1e-12)


def count(graph, operation):
    return len(graph.module.graph.find_nodes(op="call_function", target=operation))


def test_what_is_computed_twice_is_computed_once_but_not_across_a_write():
    aten = torch.ops.aten
    torch.manual_seed(0)
    layer, total, x = nn.Linear(4, 3), torch.zeros(3), torch.randn(5, 4)

    def function(x):
        h, again = layer(x).relu(), layer(x).relu()
        total.add_(h.sum(0))
        once = total * 2
        total.add_(1.0)
        twice = total * 2  # the same words, another value
        zeros, others = torch.zeros(3), torch.zeros(3)
        zeros[:1].add_(1)
        return h + again, once, twice, torch.rand(3) - torch.rand(3), zeros, others

    graph = trace(function, torch.randn(5, 4))
    assert (count(graph, aten.mm.default), count(graph, aten.relu.default), count(graph, aten.rand.default)) == (1, 1, 2)
    total.zero_()
    torch.manual_seed(1)
    expected = [value.clone() for value in function(x)]
    total.zero_()
    torch.manual_seed(1)
    for got, wanted in zip(graph(x), expected, strict=True):
        assert torch.equal(got, wanted)


def test_features_that_model_and_guide_both_need_are_computed_once():
    encoder = lvm.VectorQuantizer(lvm.MLP(NUM_PIXELS, [8], (2, 3)), 5)
    vae = lvm.VQVAE(lvm.UniformCodePrior((2,), 5), lvm.BernoulliLikelihood(lvm.MLP((2, 3), [8], NUM_PIXELS)), encoder)

    def loss(x):
        return (Trace_ELBO().differentiable_loss(vae.model, vae.guide, x),)

    x = binary()
    loss(x)
    graph = trace(loss, x, modules=list(vae.modules()))
    pyro.clear_param_store()
    # two products of the encoder, one for distances, two of the decoder
    assert count(graph, torch.ops.aten.mm.default) + count(graph, torch.ops.aten.bmm.default) == 5
