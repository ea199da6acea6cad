"""Runs that go on: one that was interrupted, or a finished one for more epochs."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
import shutil

from inference.files.claims import dead_partials, live_partials
from inference.files.folders import recover, resolved
from inference.files.manifest import MANIFEST
from inference.recipes.options import Recipe
from inference.recipes.registries import TRACKERS
from inference.recipes.user_code import CODE
from inference.runs.folders import parse_recipe, read_history, read_summary
from inference.runs.kinds import RUN
from inference.runs.run import CHECKPOINT, CONFIG, HISTORY, SUMMARY, Run, fit_run, load_weights
from inference.svi.state import last_path

LAST = last_path(CHECKPOINT).name
_MAY_CHANGE = ("epochs", "patience")


def begun(out: Path, holds: str = CONFIG) -> Path | None:
    """Return the folder from which what belongs at ``out`` can go on: the newest unfinished one, or ``out`` itself.

    Args:
        out: Path of the finished folder.
        holds: Pattern of a file in a folder from which one can go on.

    Raises:
        ValueError: If another process is writing the folder.
    """
    folder = resolved(out)
    recover(folder)
    for partial in live_partials(folder):
        raise ValueError(f"another process is writing {out} (in {partial}). Wait for it, or stop it.")
    places = [*reversed(dead_partials(folder)), folder]
    return next((place for place in places if any(place.glob(holds))), None)


def own_options(out: Path) -> list[str]:
    """Return the options with which a run was begun, as words for the command line."""
    earlier = begun(out)
    if earlier is not None:
        parse_recipe(earlier)  # whose error names the file
    return [] if earlier is None else ["--config", str(earlier / CONFIG)]


def go_on(run: Run, folder: Path, *, device: str | None = None, track: str | None = None) -> None:
    """Fit a run in a folder where it may have been begun, or even finished, and write the folder; the run's model gets the best weights.

    Raises:
        ValueError: If what was begun there had other options.
    """
    if (folder / CONFIG).is_file():
        check_same(run.recipe, parse_recipe(folder), folder)
    if is_done(run.recipe, folder):
        load_weights(run, folder)
        return
    (folder / SUMMARY).unlink(missing_ok=True)  # as long as the fit goes on, the run is not finished
    fit_run(run, folder, resume=(folder / LAST).is_file(), device=device, track=track)


def check_same(recipe: Recipe, earlier: Recipe, folder: Path) -> None:
    """Check that a run goes on with its options, but for the number of epochs and the patience.

    Raises:
        ValueError: If another option differs, or there are fewer epochs.
    """
    kept = replace(recipe, fit=replace(recipe.fit, **{name: getattr(earlier.fit, name) for name in _MAY_CHANGE}))
    before = earlier.kept().flat()
    for name, value in kept.kept().flat().items():
        if value != before.get(name):
            if name.startswith("code."):
                raise ValueError(f"{name[5:]} has changed since {folder} was begun, which goes on. Train anew under another --out.")
            raise ValueError(
                f"--{name} must be {before.get(name)}, as in {folder}, which goes on; got {value}. Leave it out, or train anew under "
                "another --out."
            )
    if RUN.is_finished(folder) and recipe.fit.epochs < earlier.fit.epochs:
        raise ValueError(f"--fit.epochs must be {earlier.fit.epochs} or more, as in {folder}, which goes on; got {recipe.fit.epochs}.")
    if recipe.fit.schedule != "constant" and recipe.fit.epochs != earlier.fit.epochs:
        raise ValueError(
            f"--fit.epochs must be {earlier.fit.epochs}, as the schedule {recipe.fit.schedule!r} of {folder} depends on it; got "
            f"{recipe.fit.epochs}. Leave it out, or train anew under another --out."
        )


def check_begun(recipes: Mapping[str, Recipe], folder: Path) -> None:
    """Check that a folder of several runs goes on with these alone, by name, and with their options.

    Raises:
        ValueError: If there are others in it, or a run had other options.
    """
    for path in sorted(folder.glob(f"*/{CONFIG}")):
        if path.parent.name not in recipes:
            raise ValueError(f"{folder} has a run {path.parent.name}, which is none of {', '.join(recipes)}. Name it too, or start anew.")
        check_same(recipes[path.parent.name], parse_recipe(path.parent), path.parent)


def is_done(recipe: Recipe, folder: Path) -> bool:
    """Whether a folder holds a finished run for which no epochs are left."""
    if not RUN.is_finished(folder):
        return False
    with suppress(OSError, ValueError):  # damaged, and therefore fitted again from the last state
        stopped = read_summary(folder)["stopped_early"] and recipe.fit.patience == parse_recipe(folder).fit.patience
        return stopped or len(read_history(folder)) >= recipe.fit.epochs
    return False


def copy_state(source: Path, folder: Path) -> None:
    """Copy what a finished run needs in order to go on elsewhere.

    Raises:
        FileNotFoundError: If the run has not kept its last state, as those of earlier versions.
    """
    if not (source / LAST).is_file():
        raise FileNotFoundError(f"{source} has no {LAST}, from which it could go on. Train it anew: leave out --resume, add --overwrite.")
    for name in TRACKERS:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name)
    if (source / CODE).is_dir():
        shutil.copytree(source / CODE, folder / CODE, dirs_exist_ok=True)
    for name in (CHECKPOINT, LAST, CONFIG):  # the options last, as they tell that a run has been begun
        shutil.copyfile(source / name, folder / name)


def is_continued(out: Path, partial: Path) -> bool:
    """Whether an unfinished run goes on from the finished one whose place it is to take: one of the same options and no more epochs."""
    if not RUN.is_finished(out):
        return False
    try:
        check_same(parse_recipe(partial), parse_recipe(out), out)
    except (OSError, ValueError):
        return False
    return True


def keep_what_holds(earlier: Path, folder: Path) -> None:
    """Copy what other commands have written into a run that went on, unless it has other weights now; then say what is removed."""
    own = {CONFIG, CHECKPOINT, LAST, SUMMARY, HISTORY, MANIFEST, CODE, "history.png", *TRACKERS}
    others = [path for path in earlier.iterdir() if path.name not in own and not path.name.startswith(".")]
    if not others:
        return
    if weights(earlier) != weights(folder):
        print(f"Of the earlier weights, and removed with them: {', '.join(sorted(path.name for path in others))}.")
        return
    for path in others:
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns(MANIFEST))
        else:
            shutil.copyfile(path, folder / path.name)


def weights(folder: Path) -> bytes:
    """Return the file of a run's best weights."""
    return (folder / CHECKPOINT).read_bytes()
