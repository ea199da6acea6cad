"""Scores runs by importance-sampled log-likelihood: ``pyro-lvm evaluate runs/vamp --num_particles 5000``."""

from dataclasses import fields
import math
from pathlib import Path
import sys

from jsonargparse import Namespace

from inference.formatting import format_error, format_with_error
from inference.new_rows.tables import checked_file, write_table
from inference.processes import first_then_others, is_first
from inference.recipes.options import EvaluateOptions, evaluate_options
from inference.runs.folders import data_files, load_runs
from inference.runs.scores import bound_run, score_run
from inference.scoring.annealed.bounds import BidirectionalBounds
from inference.scoring.evaluation import Evaluation
from inference.scripts.rows import scored_apart


def main(args: Namespace) -> None:
    """Score runs, print each score and save it in the run's folder."""
    kind = evaluate_options()
    options = kind(**{field.name: getattr(args, field.name) for field in fields(kind)})

    folders, source = {name: Path(name) for name in args.runs}, args.data.source
    out = _checked(args, options)

    for name, run in first_then_others(lambda: load_runs(folders)).items():
        if source is not None:
            run, folders[name] = scored_apart(run, folders[name], source)
            folders[name].mkdir(parents=True, exist_ok=True)
        print(f"{name}: {run.data.description}", flush=True)
        for row in score_run(run, folders[name], (), options, anew=not args.if_missing, device=args.device):
            part = "dimension" if run.data.alphabet is None else "character"
            print(f"{name}{row.suffix}\n{row.score}\n{_bits(row.score, part)}\n", flush=True)
            if out is not None and is_first():  # of a guide of certain codes, the estimate comes after the bound
                write_table(out, row.score.to_frame().reset_index())
        if args.bidirectional:
            bounds, score = bound_run(run, folders[name], options, args.bidirectional, device=args.device, progress=sys.stderr.isatty())
            print(f"{bounds}\n{_shortfall(bounds, score)}\n", flush=True)
        print(f"Wrote {folders[name]}.\n", flush=True)


def _checked(args: Namespace, options: EvaluateOptions) -> Path | None:
    """Check options of new rows, and return the file for their scores, if any."""
    if args.data.source is None:
        if args.out is not None:
            raise ValueError(f"--out is for scores of --data.source, as others are kept in RUN; got {args.out}. Leave it out.")
        return None
    if options.split != "test":
        raise ValueError(f"--split has no effect with --data.source, whose rows are all scored; got {options.split}. Leave one out.")
    if args.out is not None and len(args.runs) > 1:
        raise ValueError(f"--out is a file for the scores of one run; got {len(args.runs)} runs. Leave it out: they are kept in RUN/new.")
    return (
        None
        if args.out is None
        else checked_file(args.out, overwrite=args.overwrite, inputs=[*data_files(Path(args.runs[0])), args.data.source])
    )


def _shortfall(bounds: BidirectionalBounds, score: Evaluation) -> str:
    how = f"method {score.method}, K = {score.num_particles}, proposal: {score.proposal}"
    return f"A score of these data ({how}) is too low by at most {format_with_error(*bounds.shortfall(score))} on average."


def _bits(score: Evaluation, part: str) -> str:
    nats_per_bit = score.num_dims * math.log(2) if score.num_dims else math.nan
    bits = format_with_error(score.bits_per_dim, score.standard_error / nats_per_bit)
    bias = format_error(-score.bias_of_mean / nats_per_bit)
    off = f"by about {bias} too high" if bias not in ("", "0") else ""
    return ", ".join(filter(None, [f"{bits} bits per {part}", off, score.bits_note]))
