"""Rows whose missing cells a run's model fills in: ``pyro-lvm impute runs/vamp --data.source gaps.csv --out filled.csv``."""

from jsonargparse import Namespace
import numpy as np
import pandas as pd
import torch

from inference.new_rows.cells import write_filled
from inference.new_rows.centers import centers, probabilities
from inference.new_rows.imputing import Imputation, impute
from inference.new_rows.tables import TABLES, as_named, write_table, write_values
from inference.scripts.rows import Asked, asked

_LISTED = 10  # rows that are named
_DRAWS_OF_CENTERS = 100


def main(args: Namespace) -> None:
    """Write rows with their missing cells filled in, and beside them a table that says how far each can be trusted."""
    if args.data.source is None:
        raise ValueError("--data.source must name a file with missing cells; got none.")
    rows = asked(args, has_gaps=True)
    x = rows.batch[0]
    if not x.isnan().any():
        raise ValueError(f"{args.data.source} must have missing cells, empty or NaN, to be filled in; it has none.")
    count = args.draws or (_DRAWS_OF_CENTERS if args.center else 1)
    found = impute(rows.run.pair, *rows.batch, num_draws=count, num_particles=args.num_particles, site=args.site, seed=args.seed)
    quality = rows.out.with_name(f"{rows.out.stem}-rows.csv")
    written = [args.out, str(quality), *_write(rows, x, found, args)]
    write_table(quality, _quality(x, found))
    print(f"{rows.said}\n{_said(rows, x, found, args, count)}\nWrote {', '.join(written[:-1])} and {written[-1]}.")


def _write(rows: Asked, x: torch.Tensor, found: Imputation, args: Namespace) -> list[str]:
    """Write the rows, and return the names of other files beside them."""
    kinds, frame = rows.run.data.kinds, None if rows.new is None else rows.new.frame
    if args.center:
        if kinds is None:
            raise ValueError("--center needs a run on a table whose columns have kinds; means of other data are in Imputation.mean.")
        beside = rows.out.with_name(f"{rows.out.stem}-probabilities.csv")
        draws = centers(found.draws, kinds).cpu().double().numpy()
        write_table(beside, probabilities(found.draws.cpu(), x.isnan().cpu(), kinds))
    else:
        draws = _as_given(rows, found)  # [M, N, *X]
        draws = draws if len(draws) > 1 else draws[0]
    if kinds is None or rows.out.suffix not in TABLES:
        write_values(rows.out, {"x": draws}, {"x": rows.columns}, has_draws=draws.ndim > x.dim())
    elif frame is None:
        write_table(rows.out, as_named(draws, kinds))
    else:
        write_filled(rows.out, draws, kinds, frame, args.data.source)
    return [str(beside)] if args.center else []


def _as_given(rows: Asked, found: Imputation) -> np.ndarray:
    """Draws ``[M, N, *X]``; observed cells have all digits of the file, unless the model sees them otherwise."""
    draws, given = found.draws.cpu().double().numpy(), None if rows.new is None else rows.new.source
    return draws if given is None or rows.run.data.treatment.name is not None else np.where(np.isnan(given), draws, given)


def _quality(x: torch.Tensor, found: Imputation) -> pd.DataFrame:
    missing = x.isnan().reshape(len(x), -1).sum(1).cpu()
    columns = {"missing": missing, "ess": found.ess, "pareto_k": found.pareto_k, "is_poor": found.is_poor}
    return pd.DataFrame({"row": np.arange(len(x))} | {name: value.cpu().numpy() for name, value in columns.items()})


def _said(rows: Asked, x: torch.Tensor, found: Imputation, args: Namespace, count: int) -> str:
    poor = (found.is_poor.cpu() & x.isnan().reshape(len(x), -1).any(1).cpu()).nonzero().flatten().tolist()
    missing = int(x.isnan().sum())
    lines = [
        f"{missing} missing cell{'s' * (missing > 1)} drawn {count} time{'s' * (count > 1)} from p(x_mis | x_obs), seed {args.seed}; "
        f"effective draws of z: median {float(found.ess.median()):.0f} of {args.num_particles}, least {float(found.ess.min()):.0f}."
    ]
    if args.center:
        lines.append("Written are means of real cells, medians of counts and ordinal values, and the most frequent of other values.")
    if poor:
        named = ", ".join(map(str, poor[:_LISTED])) + (", ..." if len(poor) > _LISTED else "")
        lines.append(
            f"Not to be trusted: {len(poor)} row{'s' * (len(poor) > 1)} ({named}, counted from 0), whose draws of z are too few or miss a "
            "part of p(z | x_obs). Raise --num_particles."
        )
    if rows.run.data.treatment.name is not None:
        lines.append(f"All cells are as the model sees them: {rows.run.data.treatment.said}.")
    return "\n".join(lines)
