"""Lists what commands have written into a folder, and removes what killed ones have left: ``pyro-lvm runs runs --clean``."""

from datetime import datetime
from pathlib import Path

from jsonargparse import Namespace

from inference.files.leftovers import LEFT_OVER, UNFINISHED, Found, find_folders
from inference.runs.kinds import KINDS
from inference.runs.run import CHECKPOINT


def main(args: Namespace) -> None:
    """List finished and unfinished folders with sizes and dates, and remove left-overs if asked to."""
    if args.unfinished and not args.clean:
        raise ValueError("--unfinished has no effect without --clean. Leave it out.")
    folder = Path(args.folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} must be an existing folder. Name one that holds runs: pyro-lvm runs FOLDER")

    unwanted = ((LEFT_OVER, UNFINISHED) if args.unfinished else (LEFT_OVER,)) if args.clean else ()
    found = list(find_folders(folder, KINDS, worth_keeping=CHECKPOINT))
    for one in found:
        print(_line(one), _remove(one) if one.state in unwanted else "", flush=True)
    if not found:
        print(f"No runs in {folder}.")
    elif not args.clean and any(one.state == LEFT_OVER for one in found):
        print("--clean removes what is left over.")


def _line(found: Found) -> str:
    what = "file" if found.kind is None else found.kind.command
    when = datetime.fromtimestamp(found.modified).isoformat(" ", "minutes")
    return f"{what:<8} {found.state:<13} {found.num_bytes / 1e6:>9.1f} MB  {when}  {found.path}"


def _remove(found: Found) -> str:
    return "removed" if found.remove() else "kept, as it holds files of others"
