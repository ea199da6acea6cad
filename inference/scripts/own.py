"""Options of the user's own files: those of ``--pair FILE.py:FUNCTION``, and parts that ``--plugin FILE.py`` registers."""

from collections.abc import Iterator, Sequence
import inspect
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_HELP = "A pair of one's own instead of a model made of parts: a function that makes it from the data; --pair.NAME sets its options."
_PAIR, _PLUGIN, _CONFIG = "--pair.source", "--plugin", "--config"


def load_own(words: Sequence[str]) -> str | None:
    """Load the plugins that words or YAML files among them name, and return the source of a pair, if they name one."""
    source: str | None = None
    for option, value in _named(words):
        if option == _PAIR:
            source = value
        else:
            from inference.recipes.user_code import load_file  # only where a file is named, as such files import torch

            load_file(Path(value))
    return source


def add_pair(parser: "ArgumentParser", source: str | None) -> None:
    """Add the options of the function that makes a pair, as its signature has them; without one, the option that names it."""
    if source is None:
        parser.add_argument("--pair", type=dict[str, Any] | None, default=None, metavar="FILE.py:FUNCTION", help=_HELP)
        return
    from inference.recipes.user_code import load_function

    _, make = load_function(source)
    data, *options = inspect.signature(make).parameters
    if "source" in options:
        raise ValueError(f"{source} has an option source, which names the file itself. Call it otherwise.")
    parser.add_argument(_PAIR, type=str, metavar="FILE.py:FUNCTION", help=_HELP)
    parser.add_function_arguments(make, "pair", skip={data}, fail_untyped=False)


def _named(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for word, after in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        value = value if equals else after
        if option == _CONFIG:
            yield from _named_in(Path(value))
        elif option == _PAIR:
            yield option, value
        elif option == _PLUGIN:
            yield from ((option, one) for one in value.strip("[]").split(",") if one)


def _named_in(config: Path) -> Iterator[tuple[str, str]]:
    """What a YAML file names; the copies that a run keeps beside its own are taken."""
    try:
        values: Any = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return  # the parser will say so
    kept = config.parent / "user_code"
    if not isinstance(values, dict):
        return
    for plugin in values.get("plugin") or []:
        yield _PLUGIN, str(_kept_or(kept, plugin))
    source = (values.get("pair") or {}).get("source")
    if source is not None:
        yield _PAIR, str(_kept_or(kept, source))


def _kept_or(kept: Path, source: str) -> Path:
    return kept / Path(source).name if (kept / Path(source).name.partition(":")[0]).is_file() else Path(source)
