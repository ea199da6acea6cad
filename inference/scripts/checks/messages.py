"""What a parser refuses, in one sentence: the option, what it must be, what it got, and the nearest that there is."""

from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
import re
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

_SAID: dict[Any, str] = {
    PositiveInt: "an integer of at least 1",
    NonNegativeInt: "an integer of at least 0",
    PositiveFloat: "a number above 0",
    NonNegativeFloat: "a number of at least 0",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a word, or text in quotes",
    NoneType: "null",
}
_SHARE = 0.7  # of two names alike


def explain(error: ArgumentError, parser: ArgumentParser, words: Sequence[str]) -> None:
    """Put a parser's error into our words, where it is of a kind that is known.

    Args:
        error: What the parser raised.
        parser: The parser.
        words: What it was given.
    """
    message = error.message
    known = (_wrong_value, _no_value, _missing, _no_file)
    error.message = next(filter(None, (said(message, parser, words) for said in known)), message)
    if error.message == message:
        _add_nearest(error, [*parser.get_defaults(skip_validation=True).keys()])


def check_nulls(parser: ArgumentParser, parsed: Namespace) -> None:
    """Check that no option is null, as a YAML file can make it, whose type has no null; the parser lets it pass.

    Raises:
        ValueError: If one is.
    """
    for action in parser._actions:
        hint, name = getattr(action, "_typehint", None), action.dest
        if action.default is not None and parsed.get(name) is None and hint is not None and NoneType not in get_args(hint):
            raise ValueError(f"--{name} must be {described(hint)}; got null.")


def described(hint: Any) -> str:
    """What a value of a type is, in words.

    >>> described(PositiveInt | None)
    'an integer of at least 1, or null'
    >>> described(tuple[Literal["a", "b"], ...])
    'values separated by commas or spaces, each one of a, b'
    """
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return f"one of {', '.join(parts)}"
    if kind in (Union, UnionType):
        return ", or ".join(map(described, parts))
    if kind in (tuple, list):
        return f"values separated by commas or spaces, each {described(parts[0])}"
    if kind is dict:
        return f"'{{NAME: VALUE}}', each value {described(parts[1])}"
    return _SAID.get(hint, str(hint))


def _wrong_value(message: str, parser: ArgumentParser, words: Sequence[str]) -> str:
    keys = re.findall(r'Parser key "([\w.]+)":\s+(?!File|Path)', message)
    if not keys:
        return ""
    place = f" in --{keys[0]}" if keys[-1] != keys[0] else ""  # a group of options
    hint, got = _hint(parser, keys[-1]), _given(f"--{keys[0]}", words) or _value_in(message)
    what = "a YAML file, or '{NAME: VALUE}', of its options" if hint is None else described(hint)
    return f"--{keys[-1]}{place} must be {what}; got {got!r}.{_did_you_mean(got, hint)}"


def _did_you_mean(got: str, hint: Any) -> str:
    choices = [*_choices(hint)]
    unknown = [word for word in re.split(r"[\s,\[\]]+", got) if word not in choices]
    nearest = [near for word in unknown for near in get_close_matches(word, choices, n=1)]
    return f" Did you mean {' and '.join(nearest)}?" if nearest else ""


def _no_value(message: str, parser: ArgumentParser, words: Sequence[str]) -> str:
    if found := re.match(r"argument (--[\w.]+)\S*: expected", message):
        hint = _hint(parser, found[1].removeprefix("--"))
        return f"{found[1]} must be {'a file of options' if hint is None else described(hint)}; got nothing."
    if found := re.match(r"argument (--[\w.]+)\S*: ignored explicit argument (.*)", message):
        return f"{found[1]} takes no value; got {found[2]}."
    return ""


def _missing(message: str, parser: ArgumentParser, words: Sequence[str]) -> str:
    found = re.match(r"the following arguments are required: (.*)", message)
    actions = [action for action in parser._actions if found and action.dest in found[1].split(", ")]
    named = [f"{[*action.option_strings, action.metavar][0]} ({str(action.help).rstrip('.')})" for action in actions]
    return f"{' and '.join(named)} must be given; got {' '.join(words) or 'nothing'}." if named else ""


def _no_file(message: str, parser: ArgumentParser, words: Sequence[str]) -> str:
    file = _given("--config", words)
    if found := re.match(r"(?:Problems parsing config|Unexpected config|Parser key \"config\"):\s+(.*)", message, re.S):
        return f"--config must be a YAML file of options by name; got {file!r} ({found[1].strip().rstrip('.')})."
    if found := re.match(r"Option '([\w.]+)' is not accepted", message):
        return f"--config must be a YAML file of options by name; {file!r} has {found[1]!r}, which is none."
    return ""


def _hint(parser: ArgumentParser, key: str) -> Any:
    """The type of an option, which the parser keeps for itself; ``None`` for a group of options."""
    return next((getattr(action, "_typehint", None) for action in parser._actions if action.dest == key), None)


def _given(option: str, words: Sequence[str]) -> str:
    """The value of an option among the words, or nothing."""
    for number in reversed(range(len(words))):
        name, equals, value = words[number].partition("=")
        if name == option:
            return (value if equals else " ".join(words[number + 1 : number + 2])).strip()
    return ""


def _value_in(message: str) -> str:
    """The value that a parser's message names: one that came from a file."""
    found = re.search(r"Given value: (.*)$|Got value: (.*)$|: '(.*)'$|: (\S+) does not conform|not '(\w+)'$", message.strip(), re.S)
    value = next(filter(None, found.groups()), "") if found else ""
    return {"NoneType": "null", "": "another"}.get(value, value)


def _choices(hint: Any) -> Iterator[str]:
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    for part in get_args(hint):
        yield from _choices(part)


def _add_nearest(error: ArgumentError, known: Sequence[str]) -> None:
    """Name the nearest known options after the unknown ones that an error names, or what to do with words that are none."""
    unknown = re.match(r"unrecognized arguments: (.*)", error.message, re.S)
    if unknown and "--" not in unknown[1]:
        error.message += ". Write options as --NAME VALUE, and quote values that hold spaces."
    keys = re.search(r"(?:(?:Group|Key) '([\w.]+)' )?does not accept (?:option|nested key) '([\w.]+)'", error.message)
    options = [word.split("=")[0] for word in unknown[1].split() if word.startswith("--")] if unknown else []
    options += ["--" + ".".join(filter(None, keys.groups()))] if keys else []
    nearest = [near for option in options for near in get_close_matches(option, [f"--{name}" for name in known], n=1, cutoff=_SHARE)]
    if nearest:
        error.message = f"{error.message.rstrip('.')}. Did you mean {' and '.join(nearest)}?"
