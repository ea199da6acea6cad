"""``pyro-lvm COMMAND``: dispatches to the scripts; and what all scripts share: options in, errors out."""

from argparse import ArgumentError
from collections.abc import Callable, Sequence
from importlib import import_module
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMMANDS = {
    "train": "fit a model and keep it as a run folder",
    "evaluate": "score runs by importance-sampled log-likelihood",
    "compare": "compare priors on one data set, or finished runs",
    "diagnose": "show prior holes, what the KL is made of, and active units of runs",
    "report": "write tables, pictures and a verdict on runs to one page of HTML",
    "sample": "draw samples, reconstructions and codes from a run",
}


def main(argv: Sequence[str] | None = None) -> None:
    """The console command."""
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in COMMANDS:
        report_errors(import_module(f"inference.scripts.{command}").main, rest)
    elif command in ("-h", "--help"):
        print(_usage())
    else:
        print(f"error: the command must be one of {', '.join(COMMANDS)}; got {command!r}.", file=sys.stderr)
        sys.exit(2)


def report_errors(script: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> None:
    """Runs a script; what a user can mend is said in one line, with exit status 2."""
    try:
        script(argv)
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError, ArgumentError) as error:
        _say_and_exit("error:", error, 2)
    except KeyboardInterrupt as error:
        _say_and_exit("interrupted", error, 130)


def _say_and_exit(what: str, error: BaseException, status: int) -> None:
    words = " ".join([what, str(error), *getattr(error, "__notes__", [])])
    print(" ".join(words.split()), file=sys.stderr)
    sys.exit(status)


def make_parser(script: str, usage: str) -> "ArgumentParser":
    """A parser that knows ``--config FILE``; unknown names and wrong types raise an ArgumentError."""
    from jsonargparse import ArgumentParser

    purpose = f"{COMMANDS[script].capitalize()}."
    parser = ArgumentParser(usage=f"pyro-lvm {script} {usage}", description=purpose, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file of options; options that follow it win.")
    return parser


def _usage() -> str:
    lines = [f"  {command:<9} {purpose}" for command, purpose in COMMANDS.items()]
    closing = "pyro-lvm COMMAND --help lists the options of a command."
    return "\n".join(["usage: pyro-lvm COMMAND [options]", "", *lines, "", closing])
