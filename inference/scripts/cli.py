"""``pyro-lvm COMMAND``: dispatches to the scripts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from importlib import import_module
import os
import sys

from inference.scripts.errors import reported_errors, terminable
from inference.scripts.warned import plain_warnings

COMMANDS = {
    "train": "fit a model and save it as a run folder",
    "evaluate": "score runs by importance-sampled log-likelihood",
    "compare": "compare priors on one data set, or finished runs",
    "sweep": "train and compare all combinations of some options and seeds",
    "diagnose": "show prior holes, terms of the KL, and active units of runs",
    "report": "write tables, pictures and a verdict on runs to one page of HTML",
    "encode": "write the codes of new data, or of a split, under a run's model",
    "reconstruct": "encode and decode new data, or a split",
    "impute": "fill in the missing cells of new data",
    "sample": "draw samples, reconstructions and codes from a run",
    "runs": "list runs, and remove what killed commands have left",
}

TOGETHER = ("train", "evaluate", "diagnose")  # which several processes run as one


def main(argv: Sequence[str] | None = None) -> None:
    """Run the console command."""
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in COMMANDS:
        with reported_errors(rest), plain_warnings(rest), terminable():
            _run(command, rest)
    elif command in ("-h", "--help"):
        print(_usage())
    else:
        near = "".join(f" Did you mean {name}?" for name in get_close_matches(command, COMMANDS, n=1))
        print(f"error: the command must be one of {', '.join(COMMANDS)}; got {command!r}.{near}", file=sys.stderr)
        sys.exit(2)


def _run(command: str, words: Sequence[str]) -> None:
    from inference.scripts.parsing import parse  # here, as the parser takes a quarter of a second

    purpose = f"{COMMANDS[command][0].upper()}{COMMANDS[command][1:]}."
    args = parse(command, purpose, words)
    script: Callable[[object], None] = import_module(f"inference.scripts.commands.{command}_command").main
    with _joined(command, getattr(args, "device", "cpu")):
        script(args)


@contextmanager
def _joined(command: str, device: str) -> Iterator[None]:
    """Join the other processes, if torchrun has started this one; only the first then prints.

    All of them have read their options by then, before the first one writes what these may depend on.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    if command not in TOGETHER:
        raise ValueError(f"torchrun can start {', '.join(TOGETHER)}, which several processes do together; got {command}. Start it alone.")
    from inference.processes import from_first, is_first, join  # here, as it imports torch

    join(device)
    with open(os.devnull, "w") as nowhere, redirect_stdout(sys.stdout if is_first() else nowhere):
        yield
    from_first(lambda: None)  # so that all end once the first has written everything


def _usage() -> str:
    lines = [f"  {command:<11} {purpose}" for command, purpose in COMMANDS.items()]
    closing = "pyro-lvm COMMAND --help lists the options of a command."
    return "\n".join(["usage: pyro-lvm COMMAND [options]", "", *lines, "", closing])
