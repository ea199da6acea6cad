"""Writing a file into a folder, whose manifest then lists it."""

from collections.abc import Iterator
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


def write_yaml(path: Path, values: dict[str, object]) -> None:
    """Write plain values to a YAML file."""
    plain = json.loads(json.dumps(values))  # turns types such as PositiveInt, which YAML cannot represent, into plain numbers
    with replacing_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
