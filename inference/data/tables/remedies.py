"""Options that name columns of a table, as they are typed into a shell."""

from collections.abc import Sequence
import json
import re
import shlex

_PLAIN = re.compile(r"[^\W\d][\w.-]*")
_OTHER = re.compile(r"(?i:y|n|yes|no|on|off|true|false|null|auto)")  # what YAML or an option takes for something else than a word
_LOST = re.compile(r"(?<=\s)\s|[^\S ]")  # of white space, where an error is made one line


def drop(*names: str) -> str:
    """The option that leaves columns out.

    >>> drop("id", "row"), drop("Unnamed: 0")
    ('--data.drop id row', '--data.drop \\'["Unnamed: 0"]\\'')
    """
    are_plain = all(map(_is_plain, names))
    return f"--data.drop {' '.join(names) if are_plain else shlex.quote(f'[{_listed(names)}]')}"


def kind_of(name: str, kind: str) -> str:
    """The option that says what kind a column is of.

    >>> kind_of("visits", "count")
    "--data.kinds '{visits: count}'"
    """
    return f"--data.kinds {shlex.quote(f'{{{name if _is_plain(name) else _listed([name])}: {kind}}}')}"


def _is_plain(name: str) -> bool:
    return bool(_PLAIN.fullmatch(name)) and not _OTHER.fullmatch(name)


def _listed(names: Sequence[str]) -> str:
    """Names as JSON, which YAML reads as well, separated by commas."""
    listed = ", ".join(json.dumps(name, ensure_ascii=False) for name in names)
    return _LOST.sub(lambda space: f"\\u{ord(space[0]):04x}", listed)
