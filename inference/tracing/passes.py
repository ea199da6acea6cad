"""Transformations of a graph before it is compiled."""

from typing import Any

import torch
from torch import Tensor, fx

from inference.tracing.graph import Graph, is_random, is_view, lift, writes

aten = torch.ops.aten


def free_biases(graph: fx.Graph) -> None:
    """Take biases out of matrix products, so that the loop that reads a product adds them.

    A product that adds its own biases copies them first. The biases are negated and subtracted, because torch's compiler would turn a
    sum into the original product again.
    """
    for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
        bias, left, right = node.args
        if node.kwargs:
            continue
        with graph.inserting_before(node):
            product = graph.call_function(aten.mm.default, (left, right))
            negative = graph.call_function(aten.neg.default, (bias,))
            total = graph.call_function(aten.sub.Tensor, (product, negative))
        node.replace_all_uses_with(total)
        graph.erase_node(node)


def merge_repeated(module: fx.GraphModule) -> None:
    """Compute values only once that are computed repeatedly from the same inputs, such as features that model and guide both need."""
    first: dict[tuple[object, str, str], fx.Node] = {}
    tensors = _Tensors(module.graph)
    for node in list(module.graph.nodes):
        written = tensors.written_by(node)
        if written:
            first = {key: other for key, other in first.items() if not written & set(map(tensors.owner, other.all_input_nodes))}
        if node.op != "call_function" or written or is_random(node) or node in tensors.changing:
            continue
        other = first.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
        if other is not node:
            node.replace_all_uses_with(other)
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()


class _Tensors:
    """Which nodes share memory, and which memory is written to."""

    def __init__(self, graph: fx.Graph) -> None:
        self.changing = {owner for node in graph.nodes for owner in self.written_by(node)}

    def owner(self, node: fx.Node) -> fx.Node:
        """Return the node that allocated the memory of a node."""
        while node.op == "call_function" and (is_view(node) or writes(node)) and node.all_input_nodes:
            node = node.all_input_nodes[0]
        return node

    def written_by(self, node: fx.Node) -> set[fx.Node]:
        """Return the owners of the memory that a node writes to."""
        return {self.owner(arg) for arg in node.all_input_nodes} if writes(node) else set()


def precompute(graph: Graph, num_inputs: int) -> Graph:
    """Return a graph without the operations that depend only on its tensors; these are computed here, once.

    The result is correct only while the tensors do not change. While a model is scored, this holds for encoded pseudo-inputs, masked
    weights and the precisions of mixtures.
    """
    module = graph.module
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    known = _known_values(module.graph, dict(zip(placeholders[num_inputs:], graph.tensors, strict=True)))
    for node in [node for node in known if node.op == "call_function" and isinstance(known[node], Tensor)]:
        users = [user for user in node.users if user not in known]
        if users:
            name = f"precomputed_{node.name}"
            module.register_buffer(name, known[node].clone(), persistent=False)
            with module.graph.inserting_before(node):
                constant = module.graph.get_attr(name)
            constant.meta = dict(node.meta)
            for user in users:
                user.replace_input_with(node, constant)
    module.graph.eliminate_dead_code()
    used = [tensor for node, tensor in zip(placeholders[num_inputs:], graph.tensors, strict=True) if node.users]
    for node in placeholders[num_inputs:]:
        if not node.users:
            module.graph.erase_node(node)
    lifted = lift(module)  # new inputs come last
    return Graph(lifted.module, used + lifted.tensors)


def without_unused_draws(graph: Graph) -> Graph:
    """Remove the draws that nothing depends on, such as those of a plate that declares more data than a batch has.

    This is not suitable for a graph whose remaining draws must equal those of eager torch.
    """
    graph.module.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or writes(node))
    graph.module.recompile()
    return graph


def _known_values(graph: fx.Graph, known: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """Return the values of the nodes that follow from known ones, in the order of the graph."""
    mutated = set()
    for node in reversed(graph.nodes):
        if writes(node) or (node in mutated and is_view(node)):
            mutated.update(node.all_input_nodes)
    known = {node: value for node, value in known.items() if node not in mutated}
    for node in graph.nodes:
        if node.op != "call_function" or node in mutated or writes(node) or is_random(node):
            continue
        if node.all_input_nodes and all(arg in known for arg in node.all_input_nodes):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*args, **kwargs)
    return known
