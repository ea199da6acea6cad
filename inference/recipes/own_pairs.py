"""Pairs of the user's own, made by a function in a file that ``--pair FILE.py:FUNCTION`` names."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import inspect
from pathlib import Path
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.numerics import seeded
from inference.recipes.user_code import UserFile, digests, function_in, load_file, read_source, run_file, user_errors
from pyro_lvm.pair import programs

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from inference.data.load import Data

SOURCE = "source"


def make_own(
    options: Mapping[str, Any], code: Mapping[str, str], data: "Data", *, seed: int, folder: Path | None = None
) -> tuple[Any, UserFile]:
    """Call the user's function with the data and its options, and return the pair that it makes, and the file as it was run.

    The file is run anew for every pair, and it and the function draw from the seed, so that pairs share nothing.

    Args:
        options: The options of the function, and ``source``, FILE.py:FUNCTION.
        code: SHA-256 of the file and of what it imports from beside it, by name.
        data: The data.
        seed: Seed of the initial weights, and of Python's and NumPy's generators.
        folder: Where the file is, if it is not where the source says.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not the one of these digests, or it or the function fails; the error names the line.
        TypeError: If the function returns no pair.
    """
    source = _source(options, folder)
    before = _versions(data)
    with _all_seeded(seed):
        file = run_file(read_source(source)[0])
        if changed := [name for name, digest in digests([file]).items() if code.get(name) != digest]:
            raise ValueError(f"{file.path.parent / changed[0]} is not what it was when the options were read, or when the run was made.")
        with user_errors(file.path):
            pair = function_in(file, source)(data, **{name: value for name, value in options.items() if name != SOURCE})
    if _versions(data) != before:
        raise ValueError(f"{source} must not change the data in place, as other models see them too. Take data.train.clone().")
    programs(pair)  # whose error says what a pair is
    return pair, file


def add_options(parser: "ArgumentParser", source: str, *, help: str = "") -> None:
    """Add the options of the function that makes a pair to a parser, as its signature has them."""
    make = function_in(load_file(read_source(source)[0]), source)
    data, *options = inspect.signature(make).parameters
    if SOURCE in options:
        raise ValueError(f"{source} has an option source, which names the file itself. Call it otherwise.")
    parser.add_argument(f"--pair.{SOURCE}", type=str, metavar="FILE.py:FUNCTION", help=help)
    parser.add_function_arguments(make, "pair", skip={data}, fail_untyped=False)


def own_files(options: Mapping[str, Any] | None, plugins: Sequence[str], folder: Path | None = None) -> list[UserFile]:
    """Load the files of the user's own that a recipe names; without a folder, they are where the recipe says."""
    sources = [] if options is None else [_source(options, folder)]
    paths = [*(read_source(source)[0] for source in sources), *(Path(plugin) for plugin in plugins)]
    return [load_file(path if folder is None else folder / path.name) for path in paths]


def code_of(options: Mapping[str, Any] | None, plugins: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of the files that a recipe names, and of what they import from beside them, by name."""
    return digests(own_files(options, plugins))


def _source(options: Mapping[str, Any], folder: Path | None) -> str:
    path, name = read_source(options[SOURCE])
    return f"{path if folder is None else folder / path.name}:{name}"


def _versions(data: "Data") -> list[int]:
    tensors = [x for split in ("train", "valid", "test") for x in data.batch(split)]
    return [x._version for x in tensors]


@contextmanager
def _all_seeded(seed: int) -> Iterator[None]:
    """Draw from a seed with torch, NumPy and Python alike, and restore the random states afterwards."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002, as users draw from it
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        with seeded(seed):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
