"""Words of a command line as values of options, or one line that says which word is wrong and what is near it."""

from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
import re

from jsonargparse import ArgumentParser, Namespace

from inference.recipes.options import EvaluateOptions
from inference.scripts.arguments import OPTIONS
from inference.scripts.checks.messages import check_nulls, explain
from inference.scripts.checks.values import check_groups, check_values

_WORDS = r"(?!-).+"
_NUMBERS = r"[\d,]+"
_LISTS = {  # options that take lists, and what a word of the list looks like
    "--priors": _WORDS,
    "--expost": _WORDS,
    "--data.shape": _NUMBERS,
    "--model.hidden": _NUMBERS,
    "--model.decoder_hidden": _NUMBERS,
    "--model.flow_hidden": _NUMBERS,
    "--model.fsq_levels": _NUMBERS,
}
_SCORE_OPTIONS = {f"--{field.name}" for field in fields(EvaluateOptions)} - {"--seed"}  # in compare, a seed may be of many things


def parse(command: str, purpose: str, words: Sequence[str]) -> Namespace:
    """Read the options of a command.

    Args:
        command: Name of the command.
        purpose: What it is for.
        words: What follows the name on the command line; ``words`` of the result, with lists as the parser reads them.

    Raises:
        ArgumentError: If an option is unknown, missing, or has a value that it cannot have.
        ValueError: If the device does not exist, or a seed is out of range.
        ImportError: If an option needs an extra that is not installed.
    """
    usage, add_options = OPTIONS[command]
    parser = ArgumentParser(usage=f"pyro-lvm {command} {usage}", description=purpose, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file of options; options that follow it take precedence.")
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    add_options(parser)
    if command != "sample":  # its --expost is one name
        words = [*_joined(words)]
    words = [_known_as(command, word) for word in words]
    try:
        parsed = parser.parse_args(words)
        if command == "train" and parsed.resume:
            from inference.runs.resuming import own_options  # here, as it imports torch

            parsed = parser.parse_args([*own_options(Path(parsed.out)), *words])
        check_groups(parsed)
        check_nulls(parser, parsed)
        args = parser.instantiate(parsed)
    except ArgumentError as error:
        explain(error, parser, words)
        raise
    check_values(parsed)
    args.words = words
    return args


def _joined(words: Sequence[str]) -> Iterator[str]:
    """Write lists of words as the parser reads them: ``--priors a,b`` and ``--priors a b`` as ``--priors=[a,b]``."""
    rest = list(words)
    while rest:
        option, _, value = rest.pop(0).partition("=")
        like = _LISTS.get(option)
        if like is None or (rest and not value and re.match(r"\[|null$", rest[0])) or re.match(r"\[|null$", value):
            yield f"{option}={value}" if value else option
            continue
        items = [value] if value else []
        while rest and not value and re.fullmatch(like, rest[0]):
            items.append(rest.pop(0))
        yield from [f"{option}=[{','.join(filter(None, ','.join(items).split(',')))}]"] if items else [option]


def _known_as(command: str, word: str) -> str:
    """The word with the name that an option of scores has in this command: with or without ``evaluate.``, as users take both."""
    option, equals, value = word.partition("=")
    if command == "evaluate":
        option = option.replace("--evaluate.", "--", 1) if option.startswith("--") else option
    elif command in ("compare", "report") and option in _SCORE_OPTIONS:
        option = option.replace("--", "--evaluate.", 1)
    return option + equals + value
