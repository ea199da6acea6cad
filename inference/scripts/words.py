"""Words of a command line as the parser reads them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
import re

from inference.recipes.options import evaluate_options

_WORDS = r"(?!-).+"
_NUMBERS = r"[\d,]+"
_NO_LIST = r"\[|(null|true|false|auto)$"
_LISTS = {  # options that take lists, and what a word of the list looks like
    "--priors": _WORDS,
    "--plugin": r"(?!-).+\.py",
    "--expost": _WORDS,
    "--baselines": _WORDS,
    "--data.shape": _NUMBERS,
    "--data.condition": _WORDS,
    "--data.columns": _WORDS,
    "--data.drop": _WORDS,
    "--model.hidden": _NUMBERS,
    "--model.decoder_hidden": _NUMBERS,
    "--model.flow_hidden": _NUMBERS,
    "--model.fsq_levels": _NUMBERS,
}


def as_read(command: str, words: Sequence[str]) -> list[str]:
    """Return the words of a command with lists in brackets, and with the names that options have in this command."""
    single = {"--expost"} if command == "sample" else set()
    return [_known_as(command, word) for word in _joined(words, single)]


def _joined(words: Sequence[str], single: Collection[str]) -> Iterator[str]:
    """Write lists of words as the parser reads them: ``--priors a,b`` and ``--priors a b`` as ``--priors=[a,b]``."""
    rest = list(words)
    while rest:
        option, _, value = rest.pop(0).partition("=")
        like = None if option in single else _LISTS.get(option)
        if like is None or (rest and not value and re.match(_NO_LIST, rest[0])) or re.match(_NO_LIST, value):
            yield f"{option}={value}" if value else option
            continue
        items = [value] if value else []
        while rest and not value and re.fullmatch(like, rest[0]):
            items.append(rest.pop(0))
        yield from [f"{option}=[{','.join(filter(None, ','.join(items).split(',')))}]"] if items else [option]


def _known_as(command: str, word: str) -> str:
    """The word with the name that an option of scores has in this command: with or without ``evaluate.``, as users take both."""
    option, equals, value = word.partition("=")
    if option == "--pair":
        return f"--pair.source{equals}{value}"
    if command == "evaluate":
        option = option.replace("--evaluate.", "--", 1) if option.startswith("--") else option
    elif command in ("compare", "report") and option in _score_options():
        option = option.replace("--", "--evaluate.", 1)
    return option + equals + value


def _score_options() -> set[str]:
    return {f"--{field.name}" for field in fields(evaluate_options())} - {"--seed"}  # in compare, a seed may be of many things
