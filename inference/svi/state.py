"""The state of a fit between two epochs: all that the epochs to come depend on, in memory and in a file without pickles."""

import json
from pathlib import Path
import time
from typing import Any, NamedTuple

from safetensors import safe_open
from safetensors.torch import save
import torch
from torch import Tensor, nn

from inference.checkpoint import all_tensors, put_back
from inference.data.batches import Batches, TensorBatches
from inference.data.fingerprint import sample_id
from inference.files import replacing_file
from pyro_lvm.checks import warn_caller

CHECKPOINT = "checkpoint.safetensors"  # of a folder
_FORMAT, _ENTRY = 1, "pyro_lvm_fit"
_EVERY = 5.0  # seconds between two files, at least, so that short epochs are not spent on writing


class Resumed(NamedTuple):
    """Where a fit goes on.

    Attributes:
        facts: What the fit was asked for, and its data; a fit that goes on must have the same.
        state: What its parts have returned as their states.
    """

    facts: dict[str, Any]
    state: dict[str, Any]


def last_path(checkpoint: str | Path) -> Path:
    """Return the path of the last state beside that of the best weights."""
    return Path(checkpoint).with_suffix(f".last{Path(checkpoint).suffix}")


def find_fit(resume: str | Path, checkpoint: str | Path | None) -> tuple[str | Path, Resumed]:
    """Return the path of the best weights of a fit that goes on, and its last state.

    Args:
        resume: The fit's checkpoint, or its folder.
        checkpoint: Another path for the best weights.

    Raises:
        FileNotFoundError: If no state has been kept.
        ValueError: If the file is damaged.
    """
    found = Path(resume) / CHECKPOINT if Path(resume).is_dir() else Path(resume)
    return checkpoint or found, load_state(last_path(found))


def state_of(resumed: Resumed, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a fit that goes on, after a check that everything is as it was.

    Raises:
        ValueError: If the fit is asked for otherwise, or has other data.
    """
    now = _as_written(facts)
    changed = [name for name, fact in resumed.facts.items() if fact != now.get(name)]  # an earlier version may have kept fewer
    if changed:
        name = changed[0]
        raise ValueError(
            f"{name} must be what it was in the fit to resume, {resumed.facts.get(name)}; got {now.get(name)}. "
            "Leave it as it was, or start anew, without resume."
        )
    return resumed.state


class Keeper:
    """Writes the state of a fit to a file, but not more often than every few seconds.

    Args:
        path: Path of the file.
        facts: What the fit was asked for, and its data.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path, self.facts, self.written, self.is_off = path, facts, -_EVERY, False

    @property
    def is_due(self) -> bool:
        """Whether the last file is old enough."""
        return not self.is_off and time.monotonic() - self.written >= _EVERY

    def write(self, state: dict[str, Any]) -> None:
        """Write a state; one that holds objects of unknown types cannot be kept, which is warned of once."""
        if self.is_off:
            return
        try:
            save_state(self.path, Resumed(self.facts, state))
        except TypeError as error:
            self.is_off = True
            warn_caller(f"this fit cannot be resumed: {error}.")
        self.written = time.monotonic()


def save_state(path: Path, resumed: Resumed) -> None:
    """Write a state to a safetensors file, whose metadata hold all that is no tensor.

    Raises:
        TypeError: If it holds anything but tensors, numbers, strings, and dicts, lists and tuples of these.
    """
    tensors: dict[str, Tensor] = {}
    plain = {"format": _FORMAT, "facts": _as_written(resumed.facts), "state": _packed(resumed.state, tensors)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={_ENTRY: json.dumps(plain)}))


def load_state(path: Path) -> Resumed:
    """Read a state.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is damaged, or of another kind or a later format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no fit to resume at {path}. Start it without resume, and with checkpoint=.")
    try:
        with safe_open(path, "pt") as file:
            plain = json.loads((file.metadata() or {})[_ENTRY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, as it is not a dict
        if plain["format"] <= _FORMAT:
            return Resumed(plain["facts"], _unpacked(plain["state"], tensors))
    except Exception as error:
        raise ValueError(f"{path} holds no readable state of a fit ({error!r}). Start the fit anew, without resume.") from error
    raise ValueError(f"{path} has the format {plain['format']}; this version reads formats up to {_FORMAT}. Install a newer version.")


def _as_written(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts as a file has them; what it cannot hold is described."""
    return json.loads(json.dumps(facts, default=repr))


def _packed(value: object, tensors: dict[str, Tensor]) -> object:
    """Return a value in the types of JSON; tensors go to a dict, and are replaced by their names there."""
    if isinstance(value, Tensor):
        name = f"{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_packed(part, tensors) for part in item] for item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_packed(part, tensors) for part in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a part of its state is a {type(value).__name__}, which is not written without pickles")


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_unpacked(name, tensors): _unpacked(part, tensors) for name, part in content}
    return {"list": list, "tuple": tuple}[kind](_unpacked(part, tensors) for part in content)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's generators that a fit draws from."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Set the states of torch's generators."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def tensors_of(pair: object, modules: list[nn.Module]) -> list[Tensor]:
    """Return all tensors of a pair, and those buffers of its modules that no checkpoint holds."""
    buffers = [module._buffers[name] for module in modules for name in sorted(module._non_persistent_buffers_set)]
    return [*all_tensors(pair), *(buffer for buffer in buffers if buffer is not None)]


def set_tensors(tensors: list[Tensor], values: list[Tensor]) -> None:
    """Copy values into tensors.

    Raises:
        ValueError: If these are others.
    """
    shapes, found = ([tuple(x.shape) for x in some] for some in (tensors, values))
    if shapes != found:
        raise ValueError(f"the pair must have the tensors of the fit that it goes on, of shapes {found[:4]}; it has {shapes[:4]}.")
    put_back(list(zip(tensors, values, strict=True)))


def id_of_batches(batches: Batches) -> str:
    """Return a fingerprint of some rows of the data, or none for a loader's."""
    return sample_id(*batches.tensors) if isinstance(batches, TensorBatches) else ""
