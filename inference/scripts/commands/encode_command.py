"""Codes of rows under a run's model: ``pyro-lvm encode runs/vamp --data.source new.csv --out codes.parquet``."""

from functools import partial

from jsonargparse import Namespace
import torch
from torch import Tensor

from inference.new_rows.tables import names_of, write_values
from inference.numerics import block_seed
from inference.predictive.draws import encode, in_blocks
from inference.scripts.rows import Asked, asked


def main(args: Namespace) -> None:
    """Write the codes of rows, in their order."""
    if args.means and args.draws:
        raise ValueError(f"--means are no draws; got --draws {args.draws} too. Leave one of them out.")
    rows, count = asked(args), args.draws or 1
    parts = [_codes(rows, args, args.seed if count == 1 else block_seed(args.seed, number)) for number in range(count)]
    if not parts[0]:
        raise ValueError("every latent of the model is summed out, so that there are no codes. Ask for their posterior with --enumerated.")
    values = parts[0] if count == 1 else {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
    write_values(rows.out, {name: value.numpy() for name, value in values.items()}, names_of(parts[0]), has_draws=count > 1)
    what = "means of q(z|x)" if args.means else f"{count} draw{'s' * (count > 1)} from q(z|x), seed {args.seed}"
    shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in values.items())
    print(f"{rows.said}\n{shapes}: {what}.\nWrote {args.out}.")


def _codes(rows: Asked, args: Namespace, seed: int) -> dict[str, Tensor]:
    """Codes by site, each ``[N, *Z]``."""
    encoded = partial(encode, rows.run.pair, means=args.means, enumerated=args.enumerated)
    found = in_blocks(encoded, *rows.batch, seed=seed, size=rows.size)
    named = found if isinstance(found, dict) else {rows.site("latents"): found}
    return {name: value.cpu() for name, value in named.items()}
