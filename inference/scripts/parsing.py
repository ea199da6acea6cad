"""Words of a command line as values of options, or one line that says which word is wrong and what is near it."""

from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from inference.scripts.arguments import OPTIONS
from inference.scripts.checks.messages import check_nulls, explain
from inference.scripts.checks.values import check_groups, check_values
from inference.scripts.own import add_pair, load_own
from inference.scripts.words import as_read

_OF_RECIPES = ("train", "compare", "sweep")  # commands that take the options of models


def parse(command: str, purpose: str, words: Sequence[str]) -> Namespace:
    """Read the options of a command.

    Args:
        command: Name of the command.
        purpose: What it is for.
        words: What follows the name on the command line; ``words`` of the result, with lists as the parser reads them.

    Raises:
        ArgumentError: If an option is unknown, missing, or has a value that it cannot have.
        ValueError: If the device does not exist, a seed is out of range, or a word is no text.
        ImportError: If an option needs an extra that is not installed.
    """
    _check_text(words)
    words = as_read(command, words)
    parsed, args = _parsed(command, purpose, words)
    if command == "train" and parsed.resume:
        from inference.runs.resuming import own_options  # here, as it imports torch

        parsed, args = _parsed(command, purpose, [*own_options(Path(parsed.out)), *words])
    check_values(parsed)
    args.words = words
    return args


def _check_text(words: Sequence[str]) -> None:
    """Refuse names in another encoding than the locale's, which no YAML file of a run can hold."""
    for word in words:
        if not word.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise ValueError(f"options and paths must be text in UTF-8 or the locale's encoding; got {ascii(word)}. Rename the file.")


def _parsed(command: str, purpose: str, words: Sequence[str]) -> tuple[Namespace, Namespace]:
    """Parse words, and make objects of what is parsed; files of the user's own that they name are loaded first."""
    usage, add_options = OPTIONS[command]
    source, plugins = load_own(words)
    parser = ArgumentParser(usage=f"pyro-lvm {command} {usage}", description=purpose, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file of options; options that follow it take precedence.")
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error, and where warnings come from.")
    add_options(parser)
    if command in _OF_RECIPES:
        add_pair(parser, source)
    try:
        parsed = parser.parse_args(words)
        check_groups(parsed)
        check_nulls(parser, parsed)
        args = parser.instantiate(parsed)
    except ArgumentError as error:
        explain(error, parser, words)
        raise
    if source is not None and command in _OF_RECIPES:
        args.pair.source = source
    if "plugin" in args:
        args.plugin = [plugins.get(name, name) for name in args.plugin]
    return parsed, args
