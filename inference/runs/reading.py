"""Reading the files of runs: whatever is wrong with one, the error names it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
import json
from pathlib import Path
from typing import Any

import yaml

FORMAT = 2  # of run folders and their YAML files; in format 1, no file has a format or a checksum
_MOST_BYTES = 2**20  # of a YAML file
_FORMAT, _CHECKSUM = "format", "checksum"


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read within a ``with`` block into an error that names the file and the remedy.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If what is in it is wrong.
    """
    try:
        yield
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror or error}. {remedy}.") from error
    except Exception as error:  # of any of the libraries that read it
        reason = str(error).rstrip(". ") or type(error).__name__
        raise ValueError(f"{path} is damaged: {reason}. {remedy}.") from error


def read_text(path: Path) -> str:
    """Read a YAML file as text, unless it is far larger than one that a run writes."""
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"it has {size} bytes, more than {_MOST_BYTES}")
    return path.read_text(encoding="utf-8")


def parse_yaml(text: str) -> dict[str, Any]:
    """Return the plain values of YAML by name; aliases, by which a short text stands for a huge one, are refused."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
        raise ValueError("it has aliases (*NAME)")
    values = yaml.safe_load(text)
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"it must hold values by name; got {type(values).__name__}")
    return values


def sealed(values: Mapping[str, object]) -> dict[str, object]:
    """Return values with a format before them and a checksum after them."""
    whole = {_FORMAT: FORMAT, **values}
    return {**whole, _CHECKSUM: checksum(whole)}


def read_sealed(path: Path, kinds: Mapping[str, type | tuple[type, ...]], remedy: str) -> dict[str, Any]:
    """Read a YAML file of :func:`sealed` values, or one of an earlier format.

    Args:
        path: Path of the file.
        kinds: Types by name of the values that it must hold.
        remedy: What to do about a damaged file, without the final stop.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is damaged or has a newer format.
    """
    with reading(path, remedy):
        values = parse_yaml(read_text(path))
        if (number := _format_of(values)) > FORMAT:
            raise ValueError(f"it has the format {number}, and this version reads formats up to {FORMAT}")
        if number > 1 and values.pop(_CHECKSUM, None) != checksum(values):
            raise ValueError("its values do not match its checksum")
        for name, kind in kinds.items():
            if not isinstance(values.get(name), kind):
                kinds_of = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
                raise ValueError(f"{name} must be of type {kinds_of}; got {values.get(name)!r}")
    return values


def _format_of(values: Mapping[str, Any]) -> int:
    number = values.get(_FORMAT, 2 if _CHECKSUM in values else 1)
    if not isinstance(number, int):
        raise ValueError(f"{_FORMAT} must be a whole number; got {number!r}")
    return number


def checksum(values: object) -> str:
    """Return a checksum of plain values, whatever their order in a file."""
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
