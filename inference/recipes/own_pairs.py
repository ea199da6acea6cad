"""Pairs of the user's own, made by a function in a file that ``--pair FILE.py:FUNCTION`` names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.data.load import Data
from inference.numerics import seeded
from inference.recipes.user_code import UserFile, load_function, read_source, user_errors
from pyro_lvm.pair import programs

SOURCE = "source"


def make_own(options: Mapping[str, Any], data: Data, *, seed: int, folder: Path | None = None) -> Any:
    """Call the user's function with the data and its options, and return the pair that it makes.

    Args:
        options: The options of the function, and ``source``, FILE.py:FUNCTION.
        data: The data.
        seed: Seed of the initial weights.
        folder: Where the file is, if it is not where the source says.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file or the function fails; the error names the line.
        TypeError: If the function returns no pair.
    """
    file, make = load_function(_source(options, folder))
    with seeded(seed), user_errors(file.path):
        pair = make(data, **{name: value for name, value in options.items() if name != SOURCE})
    programs(pair)  # whose error says what a pair is
    return pair


def own_files(options: Mapping[str, Any] | None, plugins: tuple[str, ...], folder: Path | None = None) -> list[UserFile]:
    """Load the files of the user's own that a recipe names."""
    from inference.recipes.user_code import load_file

    pairs = [] if options is None else [load_function(_source(options, folder))[0]]
    return [*pairs, *(load_file(Path(plugin) if folder is None else folder / Path(plugin).name) for plugin in plugins)]


def _source(options: Mapping[str, Any], folder: Path | None) -> str:
    path, name = read_source(options[SOURCE])
    return f"{path if folder is None else folder / path.name}:{name}"
