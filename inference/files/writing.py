"""Writing a file into a folder, whose manifest then lists it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import json
import os
from pathlib import Path

import yaml

from inference.files.atomic import atomic_file
from inference.files.manifest import register


@contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file beside ``path``, with the same suffix, that replaces it once complete and is removed otherwise.

    If the file lies in a folder with a manifest, it is listed there.

    Raises:
        OSError: If the file cannot be written; an existing file is then unchanged.
    """
    path = Path(path)
    with atomic_file(path, before_rename=lambda temporary: register(path, temporary)) as temporary:
        yield temporary


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Name the file that is written within a ``with`` block if it cannot be: the system's errors of writing do not.

    Raises:
        OSError: If the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}.") from error


def write_yaml(path: Path, values: Mapping[str, object]) -> None:
    """Write plain values to a YAML file."""
    plain = json.loads(json.dumps(dict(values)))  # turns types such as PositiveInt, which YAML cannot represent, into plain numbers
    with replacing_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
