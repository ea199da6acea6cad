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
    """The tensors that a pair's programs refer to: module parameters and buffers, and unconstrained values of its parameter store.

    A tensor that several modules share is listed once. Parameters that only a first run creates are missing before it.
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
    """A copy of a pair's tensors."""
    return {name: tensor.detach().clone() for name, tensor in pair_tensors(pair).items()}


def restore(pair: object, state: dict[str, Tensor]) -> None:
    """Copies a snapshot back into a pair's tensors.

    Raises:
        ValueError: If names or shapes differ; nothing is changed then.
    """
    tensors = pair_tensors(pair)
    missing, unknown = sorted(tensors.keys() - state.keys()), sorted(state.keys() - tensors.keys())
    if missing or unknown:
        raise ValueError(
            f"the state must hold this pair's tensors; it lacks {missing[:3]} and has the unknown {unknown[:3]}. Build the pair with "
            "the options it was saved with; parameters made by pyro.param exist after check_pair(pair, x)."
        )
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape:
            raise ValueError(f"'{name}' must have shape {tuple(tensor.shape)}; the state has {tuple(state[name].shape)}.")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(state[name])


def save_checkpoint(pair: object, path: str | Path) -> None:
    """Writes a pair's tensors to a safetensors file; an earlier file is replaced only once the new one is complete.

    Args:
        pair: Any pair.
        path: The file; its folder is made if there is none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in snapshot(pair).items()}, temporary)


def load_checkpoint(pair: object, path: str | Path) -> None:
    """Reads a pair's tensors from a file that :func:`save_checkpoint` wrote.

    Args:
        pair: A pair built like the saved one; it is changed in place.
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is corrupt, or is another pair's; the pair stays as it was.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; save one with save_checkpoint(pair, path).")
    try:
        state = load_file(path)
    except Exception as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}). Save it anew.") from error
    restore(pair, state)


def saved_shapes(path: str | Path) -> dict[str, torch.Size]:
    """The shapes of the tensors in a file that :func:`save_checkpoint` wrote, by name."""
    with safe_open(path, "pt") as file:
        return {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118, as it is no dict
