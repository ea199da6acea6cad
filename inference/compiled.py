"""Compiled steps: a pair's loss, its gradients and Adam's update as one graph, checked against the eager step before it is used."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
import time
import warnings

import torch
from torch import Tensor, nn

from inference.batches import Batch
from inference.objectives import values_of
from inference.steps import Step, parameters_of
from inference.tracing import Graph, UntraceableError, trace, values_kept

EARNS_BACK = 10_000  # steps: a compiled one saves about 2.5 ms of Python, and compiling takes some 10 to 20 s
CHECK_EVERY = 500  # steps: what Python does in a step may change, and a graph would not

Key = tuple[int, tuple[tuple[torch.Size, torch.dtype], ...]]


def compile_graph(graph: Graph, *inputs: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """Machine code of a graph, for inputs of these shapes; its random draws are those of eager torch.

    Raises:
        UntraceableError: If torch's compiler fails.
    """
    import torch._inductor  # seconds, which only a run that compiles must spend

    tensors = list(graph.tensors)
    for node in graph.module.graph.find_nodes(op="placeholder"):
        node.meta.pop("val", None)  # the compiler would take all inputs from these, and only those of the function have one
    # What is compiled is kept on disk by torch, and found again when the graph is the same. A caller in C++ costs less than one in Python,
    # and lets other threads run meanwhile.
    options = {"config_patches": {"fallback_random": True, "cpp_wrapper": inputs[0].device.type == "cpu"}}
    with _untraceable("torch's compiler fails"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        run = torch._inductor.standalone_compile(graph.module, [*inputs, *tensors], dynamic_shapes="from_example_inputs", options=options)
    return lambda *inputs: run(*inputs, *tensors)


@contextmanager
def _untraceable(what: str) -> Iterator[None]:
    """Gives whatever a compiler, or a wrong shape in a graph, may raise as an UntraceableError."""
    try:
        yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UntraceableError(f"{what}: {reason}") from error


def as_cuda_graph(run: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """The same function as one launch of all its CUDA kernels, for inputs of these shapes; each call overwrites the results of the last.

    Runs the function once, as kernels are built and tuned at their first call. Torch's compiler cannot do this: it refuses to put a
    graph that writes to parameters into a CUDA graph.
    """
    own = [x.clone() for x in inputs]
    run(*own)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run(*own)

    def replay(*inputs: Tensor) -> tuple[Tensor, ...]:
        for mine, given in zip(own, inputs, strict=True):
            mine.copy_(given)
        graph.replay()
        return results

    return replay


class CompiledSteps:
    """Steps of a fit: compiled for shapes of batches that come often, eager for the others.

    The first step of every shape is eager, and so is, later, every one on whose noise the compiled step is checked. If the two differ,
    or the pair cannot be traced, all steps are eager from then on.

    Args:
        step: The eager step.
        modules: The pair's modules and all their submodules.
        is_required: Whether every shape is compiled from its second step on, and a pair that cannot be is refused.
        has_warmup: Whether the weight of the KL changes.
        announce: Told when compiling begins, and when it ends.
    """

    def __init__(
        self, step: Step, modules: list[nn.Module], *, is_required: bool, has_warmup: bool, announce: Callable[[str], None]
    ) -> None:
        self.step, self.modules, self.announce = step, modules, announce
        self.is_required, self.has_warmup = is_required, has_warmup
        self.is_off = False
        self.worthwhile: set[Key] = set()
        self.counts: Counter[Key] = Counter()
        self.compiled: dict[Key, CompiledStep] = {}
        self.seconds = 0.0

    def plan(self, epochs: int) -> None:
        """Chooses the shapes to compile by their steps so far, all of one epoch, and the epochs that are to come."""
        self.worthwhile = {key for key, count in self.counts.items() if count * epochs >= EARNS_BACK}

    def __call__(self, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """As :class:`~inference.steps.Step`.

        Raises:
            ValueError: If compiling is required and impossible.
        """
        key = id(optimizer), tuple((x.shape, x.dtype) for x in batch)
        number = self.counts[key]
        self.counts[key] += 1
        if self.is_off or number == 0 or not (self.is_required or key in self.worthwhile):
            return self.step(optimizer, batch)
        if key in self.compiled and number % CHECK_EVERY:
            return self.compiled[key](batch)
        return self._checked_step(key, optimizer, batch)

    def _checked_step(self, key: Key, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        """An eager step, and whether the compiled one gives the same."""
        try:
            if key not in self.compiled:
                self._compile(key, optimizer, batch)
            results = self.compiled[key].dry_run(batch)
        except UntraceableError as error:
            self._give_up(error)
            return self.step(optimizer, batch)
        loss = self.step(optimizer, batch)
        difference = self.compiled[key].difference(results, loss)
        if difference:
            self._give_up(UntraceableError(f"a compiled step differs from an eager one: {difference}"))
        return loss

    def _compile(self, key: Key, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
        start = time.perf_counter()
        self.announce("compile")
        try:
            self.compiled[key] = CompiledStep(self.step, optimizer, batch, self.modules, has_warmup=self.has_warmup)
        finally:
            self.announce("fit")
            self.seconds += time.perf_counter() - start

    def _give_up(self, error: UntraceableError) -> None:
        if self.is_required:
            raise ValueError(f"the pair must be compilable with compile=True: {error}. Mend it, or use compile='auto'.") from error
        warnings.warn(f"fit runs without compiled steps: {error}.", stacklevel=7)
        self.is_off = True


class CompiledStep:
    """A step for batches of one shape.

    Args:
        step: The eager step.
        optimizer: Its optimizer, which has made a step before; plain Adam is made part of the graph.
        batch: A batch of the shape.
        modules: The pair's modules and all their submodules.
        has_warmup: Whether the weight of the KL, or that of each site, is an input of the graph.

    Raises:
        UntraceableError: If the step cannot be compiled.
    """

    def __init__(
        self, step: Step, optimizer: torch.optim.Optimizer, batch: Batch, modules: list[nn.Module], *, has_warmup: bool
    ) -> None:
        if not hasattr(step.elbo, "differentiable_loss"):
            raise UntraceableError(f"{type(step.elbo).__name__} has no differentiable_loss")
        self.step, self.optimizer, self.has_warmup = step, optimizer, has_warmup
        self.parameters = parameters_of(optimizer)
        self.adam = Adam(optimizer) if Adam.suits(optimizer) else None
        self.trained: list[Tensor] = []
        self.values: list[float] = []
        updated = [*self.parameters, *(self.adam.tensors() if self.adam else ())]
        # Not the batch itself: a value that slips into the graph as a constant must not pass the check.
        other = tuple(x.flip(0) for x in batch)
        with values_kept(updated):
            graph = trace(self._losses, self._numbers(), *other, modules=modules)
        known = {id(tensor) for tensor in updated}
        self.tensors = graph.tensors
        self.buffers = [tensor for tensor in graph.tensors if id(tensor) not in known]
        self.run = compile_graph(graph, self._numbers(), *batch)
        if batch[0].is_cuda:
            with _untraceable("no CUDA graph can be made"), self._unchanged():
                self.run = as_cuda_graph(self.run, self._numbers(), *batch)

    def __call__(self, batch: Batch) -> float:
        with torch.no_grad():
            loss, *gradients = self.run(self._numbers(), *batch)
        value = loss.item()
        if self.adam is not None:
            return value
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            parameter.grad = gradient
        if value - value == 0:  # finite
            self.optimizer.step()
        return value

    def dry_run(self, batch: Batch) -> list[Tensor]:
        """Loss, gradients and buffers of a step that leaves all tensors and the random state as they were.

        Raises:
            UntraceableError: If it fails.
        """
        with _untraceable("the compiled step fails"), self._unchanged():
            return [*self.run(self._numbers(), *batch), *(buffer.clone() for buffer in self.buffers)]

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Leaves all tensors and the random state as they were."""
        with values_kept(self.tensors), torch.random.fork_rng(), torch.no_grad():
            yield

    def difference(self, results: list[Tensor], loss: float) -> str:
        """What a dry run gave other than the eager step that has followed; empty if nothing."""
        expected = [results[0].new_tensor(loss), *(p.grad for p in self.trained), *self.buffers]
        kinds = chain(["the loss"], ["a gradient"] * len(self.trained), ["a buffer"] * len(self.buffers))
        gradients = [p.grad for p in self.trained]
        floor = float(nn.utils.get_total_norm(gradients)) if gradients else 0.0
        for kind, got, wanted in zip(kinds, results, expected, strict=True):
            if not _are_close(got, wanted, floor if kind == "a gradient" else 1.0):
                return f"{kind} is {_short(got)}, not {_short(wanted)}"
        return ""

    def _losses(self, numbers: Tensor, *batch: Tensor) -> tuple[Tensor, ...]:
        """The loss and the gradients; what is traced."""
        *weights, rate = numbers.unbind()
        kl = self.step.kl
        before = kl.weight
        try:
            if self.has_warmup:
                kl.set(weights)
            loss = self.step.loss(batch)
        finally:
            kl.weight = before
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        self.trained = [p for p, gradient in zip(self.parameters, found, strict=True) if gradient is not None]
        with torch.no_grad():
            gradients = _clipped([gradient for gradient in found if gradient is not None], self.step.clip_norm)
            if self.adam is not None:
                self.adam.update(self.trained, gradients, rate, loss.isfinite())
        return loss.detach(), *gradients

    def _numbers(self) -> Tensor:
        """What may change from one epoch to the next: the weights of the KL and the learning rate."""
        values = [*map(float, values_of(self.step.kl.weight)), self.adam.rate() if self.adam else 0.0]
        if values != self.values:  # a copy to a device has to be waited for
            first = self.parameters[0]
            self.values, self.numbers = values, torch.tensor(values, dtype=first.dtype, device=first.device)
        return self.numbers


class Adam:
    r"""Adam's update as tensor operations, on the state of torch's own optimizer, so that eager steps may come between.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        \theta \leftarrow \theta - \frac{\eta}{1 - \beta_1^t} \frac{m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    References:
        Kingma, Ba (2015), Adam: A Method for Stochastic Optimization. https://arxiv.org/abs/1412.6980
    """

    def __init__(self, optimizer: torch.optim.Adam) -> None:
        self.state, self.group = optimizer.state, optimizer.param_groups[0]

    @staticmethod
    def suits(optimizer: torch.optim.Optimizer) -> bool:
        """Whether the optimizer is Adam with no more than its rate, betas and epsilon, has made a step, and counts where the parameters are."""
        if type(optimizer) is not torch.optim.Adam or len(optimizer.param_groups) > 1 or not optimizer.state:
            return False
        group = optimizer.param_groups[0]
        if any(state["step"].device != parameter.device for parameter, state in optimizer.state.items()):
            return False
        return not any(group.get(name) for name in ("weight_decay", "amsgrad", "maximize", "differentiable", "decoupled_weight_decay"))

    def tensors(self) -> Iterator[Tensor]:
        """Counts and running averages."""
        for state in self.state.values():
            yield from (state["step"], state["exp_avg"], state["exp_avg_sq"])

    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.group["lr"])

    def update(self, parameters: list[Tensor], gradients: list[Tensor], rate: Tensor, is_finite: Tensor) -> None:
        """Updates counts, averages and, if the loss is finite, parameters."""
        beta1, beta2 = self.group["betas"]
        steps = [state["step"] for state in self.state.values()]
        torch._foreach_add_(steps, 1)
        number = steps[0].double()
        factors = torch.stack([rate / (1 - beta1**number), (1 - beta2**number).sqrt()]).to(rate.dtype)
        rate, root = factors.as_strided((2,), (1,)).unbind()  # computed once, not in the loop of every parameter
        for parameter, gradient in zip(parameters, gradients, strict=True):
            mean, square = self.state[parameter]["exp_avg"], self.state[parameter]["exp_avg_sq"]
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            new = parameter - rate * mean / (square.sqrt() / root + self.group["eps"])
            parameter.copy_(torch.where(is_finite, new, parameter))


def _clipped(gradients: list[Tensor], clip_norm: float | None) -> list[Tensor]:
    if clip_norm is None:
        return gradients
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    return [gradient * (clip_norm / (norm + 1e-6)).clamp(max=1.0) for gradient in gradients]


def _are_close(got: Tensor, wanted: Tensor, floor: float) -> bool:
    """Whether two tensors are equal but for rounding, which a sum of large terms may carry into a small one."""
    relative, absolute = (1e-7, 1e-9) if wanted.dtype in (torch.float64, torch.int64) else (2e-3, 1e-4)
    got, wanted = got.double(), wanted.double()
    if not wanted.isfinite().all():
        return not got.isfinite().all()
    return bool((got - wanted).norm() <= relative * wanted.norm() + absolute * floor)


def _short(tensor: Tensor) -> str:
    return f"{tensor.item():.6g}" if tensor.numel() == 1 else f"of norm {tensor.double().norm():.6g}"
