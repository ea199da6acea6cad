"""Rows encoded and decoded by a run's model: ``pyro-lvm reconstruct runs/vamp --data.source new.csv --out again.csv``."""

from functools import partial

from jsonargparse import Namespace
import torch
from torch import Tensor

from inference.new_rows.tables import TABLES, as_named, names_of, write_table, write_values
from inference.numerics import block_seed
from inference.predictive.draws import in_blocks, reconstruct
from inference.scripts.rows import Asked, asked


def main(args: Namespace) -> None:
    """Write the reconstructions of rows, in their order, in the columns of the data."""
    rows, count = asked(args), args.draws or 1
    is_mean = args.draws is None and rows.run.has_means
    parts = [_again(rows, args.seed if count == 1 else block_seed(args.seed, number), is_mean) for number in range(count)]
    values = parts[0] if count == 1 else {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
    columns = names_of(parts[0]) if len(parts[0]) > 1 else dict.fromkeys(parts[0], rows.columns)
    kinds = rows.run.data.kinds
    if kinds is not None and len(values) == 1 and rows.out.suffix in TABLES:
        write_table(rows.out, as_named(next(iter(values.values())).double().numpy(), kinds))
    else:
        write_values(rows.out, {name: value.numpy() for name, value in values.items()}, columns, has_draws=count > 1)
    what = "means of p(x|z) at one draw of z" if is_mean else f"{count} draw{'s' * (count > 1)} of z and x"
    treated = f" They are of data as the model sees them: {rows.run.data.treatment.said}." if rows.run.data.treatment.name else ""
    print(f"{rows.said}\nReconstructions: {what}, seed {args.seed}.{treated}\nWrote {args.out}.")


def _again(rows: Asked, seed: int, is_mean: bool) -> dict[str, Tensor]:
    """Reconstructions by site, each ``[N, *X]``."""
    found = in_blocks(partial(reconstruct, rows.run.pair, draws=not is_mean), *rows.batch, seed=seed, size=rows.size)
    named = found if isinstance(found, dict) else {rows.site("observed"): found}
    return {name: value.cpu() for name, value in named.items()}
