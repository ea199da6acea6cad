"""The state of a pair: its parameters and buffers by name, in memory and in a safetensors file."""

from pathlib import Path

import pyro
from safetensors import safe_open
from safetensors.torch import load_file, save_file
import torch
from torch import Tensor

from inference.files import replacing_file
from pyro_lvm.modules import modules_of
from pyro_lvm.pair import param_scope


def pair_tensors(pair: object) -> dict[str, Tensor]:
    """Return the tensors of a pair by name: parameters and buffers of its modules, and unconstrained values of its parameter store.

    A tensor that several modules share is listed once. Parameters that are created when the pair first runs are missing until then.
    """
    named: dict[str, Tensor] = {}
    for i, module in enumerate(modules_of(pair)):
        named |= {f"module{i}.{name}": tensor for name, tensor in module.state_dict(keep_vars=True).items()}
    with param_scope(pair):
        named |= {f"param.{name}": value for name, value in pyro.get_param_store().get_state()["params"].items()}
    once: dict[int, str] = {}
    for name, tensor in named.items():
        once.setdefault(id(tensor), name)
    return {name: tensor for name, tensor in named.items() if once[id(tensor)] == name}


def snapshot(pair: object) -> dict[str, Tensor]:
    """Copy a pair's tensors."""
    return {name: tensor.detach().clone() for name, tensor in pair_tensors(pair).items()}


def restore(pair: object, state: dict[str, Tensor]) -> None:
    """Copy a snapshot back into a pair's tensors.

    Raises:
        ValueError: If names or shapes differ; the pair is then unchanged.
    """
    tensors = pair_tensors(pair)
    missing, unknown = sorted(tensors.keys() - state.keys()), sorted(state.keys() - tensors.keys())
    if missing or unknown:
        raise ValueError(
            f"the state must hold this pair's tensors; it lacks {missing[:3]} and has the unknown tensors {unknown[:3]}. Build the pair "
            "with the options it was saved with; parameters created by pyro.param exist only after check_pair(pair, x)."
        )
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape:
            raise ValueError(f"'{name}' must have shape {tuple(tensor.shape)}; the state has {tuple(state[name].shape)}.")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(state[name])


def save_checkpoint(pair: object, path: str | Path) -> None:
    """Write a pair's tensors to a safetensors file; an existing file is replaced only once the new one is complete.

    Args:
        pair: Any pair.
        path: Path of the file; its folder is created if it does not exist.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in snapshot(pair).items()}, temporary)


def load_checkpoint(pair: object, path: str | Path) -> None:
    """Load a pair's tensors from a file written by :func:`save_checkpoint`.

    Args:
        pair: A pair built like the saved one; it is changed in place.
        path: Path of the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is corrupt or belongs to another pair; the pair is then unchanged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; save one with save_checkpoint(pair, path).")
    try:
        state = load_file(path)
    except Exception as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}). Save it again.") from error
    restore(pair, state)


def saved_shapes(path: str | Path) -> dict[str, torch.Size]:
    """Return the shapes, by name, of the tensors in a file written by :func:`save_checkpoint`."""
    with safe_open(path, "pt") as file:
        return {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, as it is not a dict
