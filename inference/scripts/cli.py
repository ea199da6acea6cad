"""``pyro-lvm COMMAND``: dispatches to the scripts, and has what they share: a parser of options and a report of errors."""

from argparse import ArgumentError
from collections.abc import Callable, Sequence
from importlib import import_module
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMMANDS = {
    "train": "fit a model and save it as a run folder",
    "evaluate": "score runs by importance-sampled log-likelihood",
    "compare": "compare priors on one data set, or finished runs",
    "diagnose": "show prior holes, terms of the KL, and active units of runs",
    "report": "write tables, pictures and a verdict on runs to one page of HTML",
    "sample": "draw samples, reconstructions and codes from a run",
    "runs": "list runs, and remove what killed commands have left",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the console command."""
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in COMMANDS:
        report_errors(import_module(f"inference.scripts.{command}_command").main, rest)
    elif command in ("-h", "--help"):
        print(_usage())
    else:
        print(f"error: the command must be one of {', '.join(COMMANDS)}; got {command!r}.", file=sys.stderr)
        sys.exit(2)


def report_errors(script: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> None:
    """Run a script; an error that the user can correct is printed in one line, with exit status 2."""
    try:
        script(argv)
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError, ArgumentError) as error:
        _say_and_exit("error:", error, 2)
    except KeyboardInterrupt as error:
        _say_and_exit("interrupted.", error, 130)


def _say_and_exit(what: str, error: BaseException, status: int) -> None:
    words = " ".join([what, str(error), *getattr(error, "__notes__", [])])
    print(" ".join(words.split()), file=sys.stderr)
    sys.exit(status)


def make_parser(script: str, usage: str) -> "ArgumentParser":
    """A parser with the option ``--config FILE``; unknown names and wrong types raise an ArgumentError."""
    from jsonargparse import ArgumentParser

    purpose = f"{COMMANDS[script][0].upper()}{COMMANDS[script][1:]}."
    parser = ArgumentParser(usage=f"pyro-lvm {script} {usage}", description=purpose, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file of options; options that follow it take precedence.")
    return parser


def _usage() -> str:
    lines = [f"  {command:<9} {purpose}" for command, purpose in COMMANDS.items()]
    closing = "pyro-lvm COMMAND --help lists the options of a command."
    return "\n".join(["usage: pyro-lvm COMMAND [options]", "", *lines, "", closing])
