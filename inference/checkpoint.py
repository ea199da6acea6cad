"""The state of a pair: its parameters and buffers, in memory and by name in a safetensors file."""

from collections.abc import Mapping
from hashlib import sha256
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
import torch
from torch import Tensor

from inference.data.fingerprint import FittedRows
from inference.files import replacing_file
from pyro_lvm.checks import warn_caller
from pyro_lvm.modules import modules_of, roots_of, unregistered
from pyro_lvm.scopes import belongings

State = dict[str, Tensor]
FORMAT = "2"  # of the names in files; format 1 had no metadata, and names such as module0.prior.loc and param.scale
_FACTS, _FORMAT, _ROWS, _FITTED, _FIXED, _ORIGIN, _DIGEST = "pyro_lvm", "format", "rows", "fitted", "fixed", "origin", "digest"


def pair_tensors(pair: object) -> State:
    """Return the tensors of a pair by name: parameters and buffers of its modules, and unconstrained values of ``pyro.param``.

    The names are paths of attributes where the pair or its programs are modules, and Pyro's names of all other parameters and registered
    modules. A tensor with several names is listed once. Networks and parameters of functions are known once the pair has run.
    """
    named: State = {}
    for prefix, module in roots_of(pair).items():
        named |= {prefix + name: tensor for name, tensor in module.state_dict(keep_vars=True).items()}
    for name, value in sorted(belongings(pair).networks.parameters.items()):
        named.setdefault(name, value)
    once: dict[int, str] = {}
    for name, tensor in named.items():
        once.setdefault(id(tensor), name)
    return {name: tensor for name, tensor in named.items() if once[id(tensor)] == name}


def all_tensors(pair: object) -> list[Tensor]:
    """Return all tensors of a pair, also those of modules that it has run but not registered, which have no name."""
    nameless = [tensor for module in unregistered(pair) for tensor in module.state_dict(keep_vars=True).values()]
    nameless += belongings(pair).networks.loose.values()
    return list({id(tensor): tensor for tensor in (*pair_tensors(pair).values(), *nameless)}.values())


def num_parameters(pair: object) -> int:
    """Return how many numbers of a pair a fit can train, among its tensors that have names."""
    return sum(tensor.numel() for tensor in pair_tensors(pair).values() if tensor.requires_grad)


def weights_id(pair: object) -> str:
    """Return a fingerprint of a pair's tensors: their names, dtypes, shapes and values, and those of tensors without a name."""
    return _digest(pair_tensors(pair), _fingerprint(pair))


def snapshot(pair: object) -> list[tuple[Tensor, Tensor]]:
    """Return all tensors of a pair, each with a copy of its present values; see :func:`put_back`."""
    return [(tensor, tensor.detach().clone()) for tensor in all_tensors(pair)]


def put_back(kept: list[tuple[Tensor, Tensor]]) -> None:
    """Copy the values of a :func:`snapshot` back."""
    with torch.no_grad():
        for tensor, values in kept:
            tensor.copy_(values)


def move_(pair: object, device: str | torch.device | None) -> None:
    """Move the tensors of a pair to a device, in place; without one, they stay."""
    if device is None:
        return
    for module in modules_of(pair):
        module.to(device)
    for tensor in all_tensors(pair):
        tensor.data = tensor.data.to(device)


def device_of(pair: object) -> torch.device:
    """Return the device of a pair's tensors, or the CPU if it has none."""
    return next((tensor.device for tensor in all_tensors(pair)), torch.device("cpu"))


def restore(pair: object, state: State) -> None:
    """Copy tensors by name into those of a pair.

    Raises:
        ValueError: If names or shapes differ, or a dtype that the pair's cannot hold exactly; the pair is then unchanged.
    """
    tensors = pair_tensors(pair)
    missing, unknown = sorted(tensors.keys() - state.keys()), sorted(state.keys() - tensors.keys())
    if missing or unknown:
        raise ValueError(
            f"the state must hold this pair's tensors; it lacks {missing[:3]} and has the unknown tensors {unknown[:3]}. Build the pair "
            "with the options it was saved with; the networks and parameters of functions are known only after check_pair(pair, x)."
        )
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape:
            raise ValueError(f"'{name}' must have shape {tuple(tensor.shape)}; the state has {tuple(state[name].shape)}.")
        if not _is_exact(state[name].dtype, tensor.dtype):
            raise ValueError(
                f"'{name}' must have the dtype {tensor.dtype}; the state has {state[name].dtype}, which would be rounded. Convert the pair "
                "first, as by pair.double(), and back once it is loaded."
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(state[name])


def _is_exact(dtype: torch.dtype, into: torch.dtype) -> bool:
    """Return whether every value of a dtype is one of the other."""
    return dtype == into or (dtype.is_floating_point and into.is_floating_point and torch.promote_types(dtype, into) == into)


def save_checkpoint(pair: object, path: str | Path, *, origin: Mapping[str, object] | None = None) -> None:
    """Write a pair's tensors to a safetensors file; an existing file is replaced only once the new one is complete.

    Modules and tensors that the pair uses but neither owns nor registers have no name and are not saved, which is warned of; a fingerprint
    of them is, so that the file is never loaded into a pair with others.

    Args:
        pair: Any pair; one of functions must have run, as by a fit or by ``check_pair(pair, x)``.
        path: Path of the file; its folder is created if it does not exist.
        origin: Plain values that say what the tensors come from, for :func:`saved_origin`.

    Raises:
        ValueError: If the pair has no tensors and has not run.
    """
    tensors = pair_tensors(pair)
    if not tensors and belongings(pair).template is None:
        raise ValueError(
            "the pair has not run yet, so that its networks and parameters are unknown. Fit it, or call check_pair(pair, x) first."
        )
    _warn_of_nameless(pair)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = belongings(pair)
    facts = {_FORMAT: FORMAT, _ROWS: own.rows or "", _FIXED: _fingerprint(pair), _ORIGIN: dict(origin or {})}
    facts |= {_FITTED: own.fitted.whole} if own.fitted is not None else {}
    facts[_DIGEST] = _digest(tensors, facts)
    metadata = {_FACTS: json.dumps(facts)}  # in one entry, as safetensors writes several in any order, and equal pairs have equal files
    with replacing_file(path) as temporary:
        temporary.write_bytes(save({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, metadata=metadata))


def load_checkpoint(pair: object, path: str | Path) -> None:
    """Load a pair's tensors from a file written by :func:`save_checkpoint`.

    Args:
        pair: A pair built like the saved one; it is changed in place. One of functions must have run, as by ``check_pair(pair, x)``.
        path: Path of the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is corrupt or belongs to another pair; the pair is then unchanged.
    """
    state, facts = _read(Path(path))
    if _FORMAT not in facts:
        state = _renamed(pair, state)
    elif facts.get(_FIXED, "") != _fingerprint(pair):
        raise ValueError(
            f"the pair runs modules or tensors that are not registered with Pyro and differ from those with which {path} was saved; or it "
            "has not run, so that they are unknown. Call check_pair(pair, x) first, and build them with the same weights; or register them "
            "by pyro.module(name, module), and save again."
        )
    try:
        restore(pair, state)
    except ValueError as error:
        raise ValueError(f"{path} does not fit the pair: {error}") from error
    own = belongings(pair)
    own.rows, own.fitted = facts.get(_ROWS) or None, FittedRows(facts[_FITTED]) if _FITTED in facts else None


def saved_shapes(path: str | Path) -> dict[str, torch.Size]:
    """Return the shapes, by attribute, of the tensors of a module in a file written by :func:`save_checkpoint`."""
    state, _ = _read(Path(path))
    return {name.removeprefix("module0."): tensor.shape for name, tensor in state.items()}  # as a file of format 1 begins its names


def saved_origin(path: str | Path) -> dict[str, Any] | None:
    """Return the ``origin`` given to :func:`save_checkpoint`, or ``None`` for a file of an earlier format; raises as it does on loading."""
    return _read(Path(path))[1].get(_ORIGIN)


def _read(path: Path) -> tuple[State, dict[str, Any]]:
    """Read tensors and facts about them."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; save one with save_checkpoint(pair, path).")
    try:
        with safe_open(path, "pt") as file:
            facts = dict(json.loads((file.metadata() or {}).get(_FACTS, "{}")))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, as it is not a dict
        is_whole = not facts.keys() & {_DIGEST, _ORIGIN} or facts.pop(_DIGEST) == _digest(state, facts)
    except Exception as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}). Save it again.") from error
    if facts.get(_FORMAT, FORMAT) != FORMAT:
        raise ValueError(f"{path} has the format {facts[_FORMAT]}; this version reads formats up to {FORMAT}. Install a newer version.")
    if not is_whole:
        raise ValueError(f"{path} is damaged: its tensors are not those that were saved. Save it again.")
    return state, facts


def _warn_of_nameless(pair: object) -> None:
    nameless = [type(module).__name__ for module in unregistered(pair) if module.state_dict()]
    nameless += [f"tensor of shape {tuple(tensor.shape)}" for tensor in belongings(pair).networks.loose.values()]
    if nameless:
        warn_caller(
            f"{', '.join(nameless[:3])}{' and others' if len(nameless) > 3 else ''} of the pair are not saved, as Pyro does not know them: "
            "the file can only be loaded into a pair with the same ones. Call pyro.module(name, module) in the function that uses them."
        )


def _fingerprint(pair: object) -> str:
    """Return a fingerprint of the tensors without a name, in any order of their modules."""
    digests = []
    for module in unregistered(pair):
        digest = sha256()
        for name, tensor in module.state_dict().items():
            digest.update(name.encode() + _bytes(tensor))
        digests += [digest.hexdigest()] if module.state_dict() else []
    digests += [sha256(_bytes(tensor)).hexdigest() for tensor in belongings(pair).networks.loose.values()]
    return sha256("".join(sorted(digests)).encode()).hexdigest()[:16] if digests else ""


def _digest(tensors: Mapping[str, Tensor], *others: object) -> str:
    """Return a fingerprint of tensors, by their names, dtypes, shapes and bytes, and of plain values."""
    digest = sha256(json.dumps(others, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name};{tensor.dtype};{tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _bytes(tensor: Tensor) -> bytes:
    return f"{tuple(tensor.shape)}".encode() + tensor.detach().cpu().double().contiguous().numpy().tobytes()


def _renamed(pair: object, state: State) -> State:
    """Return the tensors of a file of format 1 by their present names; there, modules had numbers.

    Raises:
        ValueError: If several modules have the same tensors, so that their numbers cannot be told apart.
    """
    roots = {prefix: module.state_dict() for prefix, module in roots_of(pair).items()}
    groups: dict[str, State] = {}
    for name, tensor in state.items():
        number, _, path = name.partition(".")
        groups.setdefault(number, {})[path] = tensor
    renamed = groups.pop("param", {})
    for number, group in groups.items():
        fitting = [prefix for prefix, own in roots.items() if _fits(group, own)]
        if len(fitting) > 1:
            raise ValueError(
                f"{number} of the file may be any of the modules {fitting}, which have the same shapes: a file of version 0.1 does not "
                "name them. Load it with that version, and save it again under another name for each module."
            )
        renamed |= {(fitting[0] if fitting else f"{number}.") + path: tensor for path, tensor in group.items()}
    return renamed


def _fits(group: State, own: State) -> bool:
    """Return whether tensors of a file are those of a module; the file lists a tensor with several names once."""
    return all(name in own and own[name].shape == tensor.shape for name, tensor in group.items())
