"""Options of the user's own files: those of ``--pair FILE.py:FUNCTION``, and parts that ``--plugin FILE.py`` registers."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from inference.recipes.user_code import CODE, load_file

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_HELP = "A pair of one's own instead of a model made of parts: a function that makes it from the data; --pair.NAME sets its options."
_PAIR, _PLUGIN, _CONFIG = "--pair.source", "--plugin", "--config"
Paths = dict[str, str]


def load_own(words: Sequence[str]) -> tuple[str | None, Paths]:
    """Load the plugins that words or YAML files among them name.

    Returns:
        The source of a pair, if one is named, and where each plugin is, by what names it.
    """
    source: str | None = None
    plugins: Paths = {}
    for option, value, place in _named(words):
        if option == _PAIR:
            source = place
        else:
            load_file(Path(place))
            plugins[value] = place
    return source, plugins


def add_pair(parser: "ArgumentParser", source: str | None) -> None:
    """Add the options of the function that makes a pair, as its signature has them; without one, the option that names it."""
    if source is None:
        parser.add_argument("--pair", type=dict[str, Any] | None, default=None, metavar="FILE.py:FUNCTION", help=_HELP)
        return
    from inference.recipes.own_pairs import add_options

    add_options(parser, source, help=_HELP)


def _named(words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Options that name files, with their values, and where the files are."""
    for word, after in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        value = value if equals else after
        if option == _CONFIG:
            yield from _named_in(Path(value))
        elif option == _PAIR:
            yield option, value, value
        elif option == _PLUGIN:
            names = [name.strip(" '\"") for name in value.strip("[]").split(",")]
            yield from ((option, name, name) for name in names if name)


def _named_in(config: Path) -> Iterator[tuple[str, str, str]]:
    """What a YAML file names; the copies that a run keeps beside its own are taken."""
    try:
        text = config.read_text(encoding="utf-8")
        tree, values = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return  # the parser will say so
    if twice := sorted(set(_named_twice(tree))):
        raise ValueError(f"{config} must name each option once; {', '.join(twice)} comes twice, of which YAML drops the first. Join them.")
    kept = config.parent / CODE
    if not isinstance(values, dict):
        return
    plugins, pair = values.get("plugin") or [], values.get("pair") or {}
    if not isinstance(plugins, list) or not isinstance(pair, dict) or not all(isinstance(each, str) for each in plugins):
        raise ValueError(f"{config} must name plugins as a list, and a pair as '{{source: FILE.py:FUNCTION, OPTION: VALUE}}'. Correct it.")
    for plugin in plugins:
        yield _PLUGIN, plugin, str(_kept_or(kept, plugin))
    if isinstance(source := pair.get("source"), str):
        yield _PAIR, source, str(_kept_or(kept, source))


def _named_twice(node: yaml.Node | None) -> Iterator[str]:
    """Names that come twice in one mapping of a YAML file."""
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value]
        yield from (name for name in names if names.count(name) > 1)
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        yield from _named_twice(child[1] if isinstance(child, tuple) else child)


def _kept_or(kept: Path, source: str) -> Path:
    return kept / Path(source).name if (kept / Path(source).name.partition(":")[0]).is_file() else Path(source)
