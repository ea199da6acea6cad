"""The rows that a command is given for a finished run: new ones from a file, or a split of the run's own data."""

from dataclasses import replace
from pathlib import Path
import re
from typing import NamedTuple

from jsonargparse import Namespace
from torch import Tensor

from inference.checkpoint import move_
from inference.data.fingerprint import data_id
from inference.new_rows.reading import NewRows, read_alike
from inference.new_rows.tables import checked_file
from inference.recipes.build import seen_by_model
from inference.runs.folders import data_files, load_runs, load_without_data
from inference.runs.run import Run
from pyro_lvm.pair import Batch
from pyro_lvm.rows.lazy import plain
from pyro_lvm.structure import known_row_parameters, template_of


class Asked(NamedTuple):
    """A run and the rows that it is applied to.

    Attributes:
        run: The run, on the device that is asked for.
        out: The file to write.
        batch: What its pair is called with, on the same device.
        new: The new rows, or None if they are the run's own.
        columns: Names of the columns of the data in a table.
        said: What the rows are, in words.
    """

    run: Run
    out: Path
    batch: Batch
    new: NewRows | None
    columns: list[str]
    said: str

    @property
    def size(self) -> int:
        """How many rows the pair takes at once."""
        return len(self.batch[0]) if known_row_parameters(self.run.pair) else 1000

    def site(self, kind: str) -> str:
        """Name of the first ``latents`` or ``observed`` site of the pair, for values of a single one."""
        template = template_of(self.run.pair)
        return getattr(template.structure, kind)[0] if template is not None else kind


def asked(args: Namespace, *, has_gaps: bool = False) -> Asked:
    """Load the run and read the rows, after checking the file to write.

    Raises:
        ValueError: If options do not go together, or the rows do not suit the run.
    """
    source, split = args.data.source, getattr(args, "split", None)
    if source is not None and split is not None:
        raise ValueError(f"--split has no effect with --data.source, whose rows are all taken; got {split}. Leave one of them out.")
    folder = Path(args.run)
    out = checked_file(args.out, overwrite=args.overwrite, inputs=[*data_files(folder), *([] if source is None else [source])])
    run = load_runs({"run": folder})["run"] if source is None else load_without_data(folder)[0]
    if source is None:
        batch, new, said = _own(run, split or "test", args.seed), None, f"The {split or 'test'} data of {args.run}."
        columns = run.data.columns
    else:
        new = read_alike(source, run.data, run.pair, has_gaps=has_gaps)
        batch, columns, said = new.batch, new.columns, _said(new, source)
    move_(run.pair, args.device)
    x = batch[0]
    names = list(columns) if columns and len(columns) == x[0].numel() else [f"x{i}" for i in range(x[0].numel())]
    return Asked(run, out, tuple(plain(each).to(args.device) for each in batch), new, names, said)


def _said(new: NewRows, source: str) -> str:
    return f"{len(new.x)} row{'s' * (len(new.x) != 1)} of {source}. {new.note}".rstrip()


def _own(run: Run, split: str, seed: int) -> tuple[Tensor, ...]:
    x, *given = run.data.batch(split)
    return (seen_by_model(run.data, seed=seed) if split == "train" else x, *given)


def scored_apart(run: Run, folder: Path, source: str) -> tuple[Run, Path]:
    """A run whose test data are new rows, and the folder in that of the run where scores of these rows, by their fingerprint, are kept."""
    new = read_alike(source, run.data, run.pair)
    stem = re.sub(r"[^\w-]", "-", Path(source).stem) or "rows"
    said = _said(new, source)
    given = {name: run.data.given[name] | {"test": values} for name, values in new.given.items()}
    data = replace(run.data, name=new.name, test=new.x, given=given, description=said)
    place = folder / "new" / f"{stem}-{data_id(*new.batch)[:8]}"
    return replace(run, data=data), place
