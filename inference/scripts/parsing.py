"""Words of a command line as values of options, or one line that says which word is wrong and what is near it."""

from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
import re
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from inference.scripts.arguments import OPTIONS
from inference.scripts.own import add_pair, load_own
from inference.scripts.words import as_read


def parse(command: str, purpose: str, words: Sequence[str]) -> Namespace:
    """Read the options of a command.

    Args:
        command: Name of the command.
        purpose: What it is for.
        words: What follows the name on the command line; ``words`` of the result, with lists as the parser reads them.

    Raises:
        ArgumentError: If an option is unknown, missing, or has a value that it cannot have.
        ValueError: If the device does not exist, or a seed is out of range.
    """
    words = as_read(command, words)
    parsed, args = _parsed(command, purpose, words)
    if command == "train" and parsed.resume:
        from inference.runs.resuming import own_options  # here, as it imports torch

        parsed, args = _parsed(command, purpose, [*own_options(Path(parsed.out)), *words])
    _check_seeds({name: value for name, value in parsed.items() if name.split(".")[-1] == "seed"})
    _check_device(getattr(args, "device", "cpu"))
    args.words = words
    return args


def _parsed(command: str, purpose: str, words: Sequence[str]) -> tuple[Namespace, Namespace]:
    """Parse words, and make objects of what is parsed; files of the user's own that they name are loaded first."""
    usage, add_options = OPTIONS[command]
    source = load_own(words)
    parser = ArgumentParser(usage=f"pyro-lvm {command} {usage}", description=purpose, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file of options; options that follow it take precedence.")
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    add_options(parser)
    if source is not None:
        add_pair(parser, source)
    try:
        parsed = parser.parse_args(words)
        return parsed, parser.instantiate(parsed)
    except ArgumentError as error:
        _add_nearest(error, known=[*parser.get_defaults(skip_validation=True).keys()])
        raise


def _add_nearest(error: ArgumentError, known: Sequence[str]) -> None:
    """Name the nearest known options after the unknown ones that an error names."""
    unknown = re.match(r"unrecognized arguments: (.*)", error.message, re.S)
    keys = re.search(r"(?:(?:Group|Key) '([\w.]+)' )?does not accept (?:option|nested key) '([\w.]+)'", error.message)
    options = [word.split("=")[0] for word in unknown[1].split() if word.startswith("--")] if unknown else []
    options += ["--" + ".".join(filter(None, keys.groups()))] if keys else []
    nearest = [near for option in options for near in get_close_matches(option, [f"--{name}" for name in known], n=1)]
    if nearest:
        error.message = f"{error.message.rstrip('.')}. Did you mean {' and '.join(nearest)}?"


def _check_seeds(seeds: Mapping[str, int]) -> None:
    for name, seed in seeds.items():
        if not 0 <= seed < 2**63:
            raise ValueError(f"--{name} must be a whole number from 0 to 2**63 - 1; got {seed}. Take a smaller one, such as 0.")


def _check_device(name: Any) -> None:
    """Check that there is a device of that name."""
    if name == "cpu":
        return
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    count = torch.accelerator.device_count() if accelerator else 0
    there = ["cpu", *([accelerator.type, *(f"{accelerator.type}:{i}" for i in range(count))] if accelerator else [])]
    if name not in there:
        raise ValueError(f"--device must name a device of this machine, {' or '.join(there)}; got {name!r}. Choose one of these.")
