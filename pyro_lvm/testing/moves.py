"""Whether a part follows its dtype and device, can be copied, saved and loaded, and leaves everything else alone."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import pyro
from safetensors.torch import load, save
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyro_lvm.testing.failures import require, working
from pyro_lvm.testing.subjects import Subject, has_masses, is_certain, stir

_BUFFER = "Register constants with self.register_buffer, and make other tensors .new_zeros(...) of those or of the input."
_OWN = ("training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


def check_moves(subject: Subject) -> Iterator[str]:
    """Check seeds, files, copies, dtypes and devices."""
    checks = {
        "torch's seed alone decides the draws": _check_seeds,
        "a saved and loaded part is the same": _check_files,
        "a copy is the same, and independent": _check_copies,
        "float32 and float64 follow the module": _check_dtypes,
        "constants follow the module to another device": _check_devices,
    }
    for said, check in checks.items():
        with torch.no_grad():
            check(subject)
        yield said


def _check_dtypes(subject: Subject) -> None:
    part = subject.fresh()
    law = subject.call(part)
    z = subject.draws(law)
    double = subject.log_prob(law, z)
    single_law = subject.call(part.float())
    drawn = subject.draws(single_law)
    single = subject.log_prob(single_law, z.float() if z.is_floating_point() else z)
    if not is_certain(law):  # whose nearest code may be another in float32
        _check_dtype(subject.name, z, double, torch.float64, is_discrete=has_masses(law))
        _check_dtype(subject.name, drawn, single, torch.float32, is_discrete=has_masses(law))
        gap = (single.double() - double).abs().max().item()
        expected, said = "the log density of float64 to within .001", f"one that is off by {gap:.3g}"
        require(
            torch.allclose(single.double(), double, rtol=1e-3, atol=1e-3), f"{subject.name}.log_prob in float32", expected, said, _BUFFER
        )


def _check_dtype(name: str, z: Tensor, log_prob: Tensor, dtype: torch.dtype, *, is_discrete: bool) -> None:
    """Check dtypes; those of discrete values are free."""
    for what, got in (("log_prob", log_prob), *((("a draw", z),) if not is_discrete else ())):
        require(got.dtype == dtype, f"{what} of {name} with weights of {dtype}", str(dtype), got.dtype, _BUFFER)


def _check_devices(subject: Subject) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(subject.seed)
        built = subject.build()
    for path, module in built.named_modules():
        for name, value in vars(module).items():
            found = name not in _OWN and any(True for _ in _tensors(value))
            where = f"{subject.name}.{path}.{name}".replace("..", ".")
            require(not found, where, "a parameter or a buffer", "a tensor that .to(device) leaves behind", _BUFFER)
    for device in ["meta", *(["cuda"] if torch.cuda.is_available() else [])]:
        _check_device(subject, device)


def _check_device(subject: Subject, device: str) -> None:
    """Draw and score on a device; on torch's device without values, only what is of another device is a failure."""
    at_home = subject.call(subject.fresh())
    z = subject.draws(at_home)
    watch = _Watch()
    try:
        with pyro.validation_enabled(False), watch:
            law = subject.call(subject.fresh().to(device), *(x.to(device) for x in subject.inputs))
            drawn, log_prob = subject.draws(law), subject.log_prob(law, z.to(device))
    except AssertionError as error:
        if device != "meta":
            require(False, f"{subject.name} on {device}", "draws and densities", str(error.__cause__ or error), _BUFFER)
        if not watch.mixed:
            return  # an operation that needs values
    mixed = ", ".join(sorted(watch.mixed))
    require(not mixed, f"{subject.name} on another device", "all tensors there", f"operations with tensors on the cpu, {mixed}", _BUFFER)
    for what, got in (("a draw", drawn), ("log_prob", log_prob)):
        require(got.device.type == device, f"{what} of {subject.name} on {device}", f"a tensor on {device}", got.device, _BUFFER)
    if device != "meta":
        gap = (log_prob.cpu() - subject.log_prob(at_home, z)).abs().max().item()
        require(gap < 1e-6, f"{subject.name}.log_prob on {device}", "that on the processor", f"one that is off by {gap:.3g}", _BUFFER)


class _Watch(TorchDispatchMode):
    """Notes operations of tensors on different devices, which a graphics card would refuse and torch's meta device does not."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs or {})) if torch.is_tensor(leaf)]
        devices = {tensor.device.type for tensor in tensors if tensor.dim() > 0}
        if len(devices) > 1 and not any(word in str(func) for word in ("copy", "index")):
            self.mixed.add(str(func).removeprefix("aten.").partition(".")[0])
        return func(*args, **(kwargs or {}))


def _tensors(value: Any) -> Iterable[Tensor]:
    if torch.is_tensor(value):
        yield value
    elif isinstance(value, torch.distributions.Distribution):
        yield from _tensors(list(vars(value).values()))
    elif isinstance(value, (list, tuple, set)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _check_files(subject: Subject) -> None:
    saved, other = subject.fresh(0), subject.fresh(1)
    remedy = "Register what defines the density as parameters or persistent buffers, unless it follows from the arguments of __init__."
    with working(subject.name, "state_dict, save, load and load_state_dict", "Keep only tensors in the state."):
        content = save({name: tensor.clone().contiguous() for name, tensor in saved.state_dict().items()})
        other.load_state_dict(load(content))
    _check_same(subject, "saved and loaded", saved, other, remedy)


def _check_copies(subject: Subject) -> None:
    part = subject.fresh()
    copied = deepcopy(part)
    remedy = "Keep no functions that hold the module itself, and no state outside of it."
    _check_same(subject, "copied", part, copied, remedy)
    before, z = _facts(subject, part)
    with torch.random.fork_rng():
        torch.manual_seed(subject.seed)
        stir(copied, 0.5)
    after, _ = _facts(subject, part)
    require(torch.equal(before, after), f"{subject.name}, once a copy has changed", "the same density", "another", remedy)
    other = subject.fresh(1)
    copied.load_state_dict(other.state_dict())
    _check_same(subject, "copied, with other weights", other, copied, remedy)
    with torch.random.fork_rng():
        torch.manual_seed(subject.seed)
        stir(copied, 0.5)
    law = subject.call(copied)
    if any(True for _ in copied.parameters()) and not is_certain(law):
        changed = not torch.equal(subject.log_prob(law, z), before)
        require(changed, f"a copy of {subject.name} with other parameters", "another density", "that of the original", remedy)
        with torch.enable_grad():
            fresh = subject.log_prob(subject.call(copied), z)
        gap = (fresh - subject.log_prob(subject.call(copied), z)).abs().max().item()
        remedy = "Compute anew what is kept from the last call if a parameter or buffer has changed."
        require(
            gap < 1e-8, f"{subject.name} with changed parameters, without gradients", "the density with gradients", f"{gap:.3g} off", remedy
        )


def _facts(subject: Subject, part: nn.Module) -> tuple[Tensor, Tensor]:
    law = subject.call(part)
    z = subject.draws(law)
    return subject.log_prob(law, z), z


def _check_same(subject: Subject, how: str, part: nn.Module, other: nn.Module, remedy: str) -> None:
    (log_prob, z), law = _facts(subject, part), subject.call(other)
    gap = (subject.log_prob(law, z) - log_prob).abs().nan_to_num(0.0).max().item()
    require(gap < 1e-9, f"{subject.name}, {how}", "the same log density", f"one that is off by {gap:.3g}", remedy)
    alike = torch.allclose(subject.draws(law), z, rtol=1e-9, atol=1e-9)
    require(alike, f"{subject.name}, {how}", "the same draws from the same seed", "others", remedy)


def _check_seeds(subject: Subject) -> None:
    law = subject.call(subject.fresh())
    first, again = subject.draws(law, 30), subject.draws(law, 30)
    remedy = "Draw with torch's generator, and set no seed."
    require(torch.equal(first, again), f"draws of {subject.name} from one seed", "equal draws", "different ones", remedy)
    if not is_certain(law):
        with torch.random.fork_rng():
            torch.manual_seed(subject.seed + 1)
            others = [law.sample(torch.Size((30,))) for _ in range(2)]
        differ = not torch.equal(others[0], first) and not torch.equal(*others)
        require(differ, f"draws of {subject.name} from two seeds, or one after the other", "different draws", "equal ones", remedy)


@torch.no_grad()
def check_purity(subject: Subject) -> Iterator[str]:
    """Check that calls, draws and densities change nothing."""
    part = subject.fresh()
    before = {name: tensor.clone() for name, tensor in (*part.named_parameters(), *part.named_buffers())}
    inputs = tuple(x.to(torch.float64 if x.is_floating_point() else x.dtype) for x in subject.inputs)
    kept = tuple(x.clone() for x in inputs)
    law = subject.call(part, *inputs)
    z = subject.draws(law, 3)
    value = z.clone()
    first = subject.log_prob(law, value)
    remedy = "Replace operations in place, whose names end in _, and update buffers in training mode only."
    require(torch.equal(value, z), f"{subject.name}.log_prob", "its argument unchanged", "a changed one", remedy)
    require(all(map(torch.equal, inputs, kept)), f"a call of {subject.name}", "its input unchanged", "a changed one", remedy)
    again = torch.allclose(first, subject.log_prob(law, value), rtol=1e-9, atol=1e-9)
    require(again, f"{subject.name}.log_prob, called twice", "the same", "different ones", remedy)
    for name, tensor in (*part.named_parameters(), *part.named_buffers()):
        require(torch.equal(tensor, before[name]), f"{subject.name}.{name} in evaluation mode", "no change", "a change", remedy)
    yield "calls, draws and densities change nothing"
