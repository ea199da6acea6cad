"""A function of tensors as one graph of tensor operations: Pyro's handlers and distributions run once, when it is made."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from unittest import mock

import pyro
import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from inference.numerics import no_nan_warnings, replaced_in_pyro

Function = Callable[..., tuple[Tensor, ...]]
aten = torch.ops.aten


class UntraceableError(ValueError):
    """A function cannot be a graph, or its graph does not do what the function does."""


class Graph:
    """A traced function.

    Args:
        module: The operations; its inputs are the function's arguments, then the tensors.
        tensors: What the function reads besides its arguments: parameters, buffers and other tensors, read anew at each call.
    """

    def __init__(self, module: fx.GraphModule, tensors: list[Tensor]) -> None:
        self.module = module
        self.tensors = tensors

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.module(*inputs, *self.tensors)

    @property
    def is_random(self) -> bool:
        """Whether it draws."""
        return any(map(_is_random, self.module.graph.nodes))


def trace(function: Function, *inputs: Tensor, modules: list[nn.Module] = ()) -> Graph:
    """Runs a function once, with its random draws, and records the operations on tensors.

    What Python does is recorded as it went: branches, loops and numbers that are not tensors are frozen, and so are the shapes.

    Args:
        function: From tensors to a tuple of tensors.
        inputs: Its arguments; only their shapes, dtypes and devices matter.
        modules: Modules that it uses; their tensors are as before afterwards.

    Raises:
        UntraceableError: If the function reads the value of a tensor, as ``.item()`` or ``if tensor > 0`` do, or puts a new tensor in
            the place of a module's.
    """
    with torch.random.fork_rng(), _no_host_reads(), pyro.validation_enabled(False), buffers_kept(modules):
        try:
            graph = make_fx(function)(*inputs)
        except RuntimeError as error:
            raise UntraceableError(f"it cannot be traced: {_first_sentence(error)}") from error
    _free_biases(graph.graph)
    lifted = lift(graph)
    merge_repeated(lifted.module)
    return lifted


def _free_biases(graph: fx.Graph) -> None:
    """Takes biases out of matrix products, so that the loop that reads a product adds them; a product that adds its own copies them first.

    They are subtracted with the other sign: of a sum, torch's compiler would make the same product again.
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


def lift(module: fx.GraphModule) -> Graph:
    """Turns the tensors that a graph holds as attributes into inputs, one for each tensor."""
    graph, inputs, tensors = module.graph, {}, []
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        tensor = getattr(module, node.target)
        if id(tensor) not in inputs:
            with graph.inserting_after(last):
                last = inputs[id(tensor)] = graph.placeholder(node.target)
            last.meta = dict(node.meta)
            tensors.append(tensor)
        node.replace_all_uses_with(inputs[id(tensor)])
        graph.erase_node(node)
    return Graph(fx.GraphModule({}, graph), tensors)  # whatever else the old module held would be an input of its machine code


def merge_repeated(module: fx.GraphModule) -> None:
    """Makes what is computed twice from the same values once: features that model and guide both need."""
    first, tensors = {}, _Tensors(module.graph)
    for node in list(module.graph.nodes):
        written = tensors.written_by(node)
        if written:
            first = {key: other for key, other in first.items() if not written & set(map(tensors.owner, other.all_input_nodes))}
        if node.op != "call_function" or written or _is_random(node) or node in tensors.changing:
            continue
        other = first.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
        if other is not node:
            node.replace_all_uses_with(other)
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()


class _Tensors:
    """Which nodes share memory, and which of that is written."""

    def __init__(self, graph: fx.Graph) -> None:
        self.changing = {owner for node in graph.nodes for owner in self.written_by(node)}

    def owner(self, node: fx.Node) -> fx.Node:
        """The node that made the memory of a node."""
        while node.op == "call_function" and (_is_view(node) or _writes(node)) and node.all_input_nodes:
            node = node.all_input_nodes[0]
        return node

    def written_by(self, node: fx.Node) -> set[fx.Node]:
        """The owners of what a node writes."""
        return {self.owner(arg) for arg in node.all_input_nodes} if _writes(node) else set()


def precompute(graph: Graph, num_inputs: int) -> Graph:
    """A graph without those operations that depend on its tensors alone: they are done here, once.

    Right for as long as the tensors do not change: encoded pseudo-inputs, masked weights and mixtures' precisions while a model is
    scored.
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
    """A graph without the draws that nothing depends on, such as those of a plate that declares more data than a batch has.

    Not for a graph whose later draws must be those of eager torch.
    """
    graph.module.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output") or _writes(node))
    graph.module.recompile()
    return graph


def _known_values(graph: fx.Graph, known: dict[fx.Node, object]) -> dict[fx.Node, object]:
    """The values of those nodes that follow from known ones, in the order of the graph."""
    mutated = set()
    for node in reversed(graph.nodes):
        if _writes(node) or (node in mutated and _is_view(node)):
            mutated.update(node.all_input_nodes)
    known = {node: value for node, value in known.items() if node not in mutated}
    for node in graph.nodes:
        if node.op != "call_function" or node in mutated or _writes(node) or _is_random(node):
            continue
        if node.all_input_nodes and all(arg in known for arg in node.all_input_nodes):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*args, **kwargs)
    return known


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _is_view(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is None or any(value.alias_info is not None for value in schema.returns)


def _is_random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


@contextmanager
def values_kept(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Puts the values of tensors back afterwards."""
    before = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)


@contextmanager
def buffers_kept(modules: list[nn.Module]) -> Iterator[None]:
    """Puts the values of the modules' tensors other than parameters back afterwards.

    Raises:
        UntraceableError: If another tensor has taken the place of one of them.
    """
    before = [(module, name, tensor) for module in modules for name, tensor in _state(module).items()]
    with values_kept(tensor for *_, tensor in before):
        yield
    for module, name, tensor in before:
        if _state(module).get(name) is not tensor:
            (module._buffers if name in module._buffers else vars(module))[name] = tensor
            raise UntraceableError(f"'{name}' of a {type(module).__name__} is replaced by a new tensor; update it in place")


def _state(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module, not of its children, that are not parameters."""
    return {name: value for name, value in (vars(module) | module._buffers).items() if isinstance(value, Tensor)}


@contextmanager
def _no_host_reads() -> Iterator[None]:
    """Pyro's objectives read losses as Python numbers, to report them and to warn of NaN, and torch's one_hot reads the range of its
    input; here they stay tensors.
    """
    one_hot = mock.patch.object(nn.functional, "one_hot", _one_hot)
    with no_nan_warnings(), replaced_in_pyro(torch_item=_detached), one_hot:
        yield


def _detached(value: object) -> object:
    return value.detach() if isinstance(value, Tensor) else value


def _one_hot(tensor: Tensor, num_classes: int) -> Tensor:
    return (tensor[..., None] == torch.arange(num_classes, device=tensor.device)).long()


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return "a tensor's value is read in Python" if "tracing tensor" in text else text.split(". ")[0]
