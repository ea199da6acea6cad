"""Scores runs by importance-sampled log-likelihood: ``pyro-lvm evaluate runs/vamp --num_particles 5000``."""

from dataclasses import fields
import math
from pathlib import Path
import sys

from jsonargparse import Namespace

from inference.formatting import format_error, format_with_error
from inference.processes import first_then_others
from inference.recipes.options import evaluate_options
from inference.runs.folders import load_runs
from inference.runs.scores import bound_run, score_run
from inference.scoring.annealed.bounds import BidirectionalBounds
from inference.scoring.evaluation import Evaluation


def main(args: Namespace) -> None:
    """Score runs, print each score and save it in the run's folder."""
    kind = evaluate_options()
    options = kind(**{field.name: getattr(args, field.name) for field in fields(kind)})

    folders = {name: Path(name) for name in args.runs}

    for name, run in first_then_others(lambda: load_runs(folders)).items():
        print(f"{name}: {run.data.description}", flush=True)
        for row in score_run(run, folders[name], (), options, anew=not args.if_missing, device=args.device):
            part = "dimension" if run.data.alphabet is None else "character"
            print(f"{name}{row.suffix}\n{row.score}\n{_bits(row.score, part)}\n", flush=True)
        if args.bidirectional:
            bounds, score = bound_run(run, folders[name], options, args.bidirectional, device=args.device, progress=sys.stderr.isatty())
            print(f"{bounds}\n{_shortfall(bounds, score)}\n", flush=True)
        print(f"Wrote {folders[name]}.\n", flush=True)


def _shortfall(bounds: BidirectionalBounds, score: Evaluation) -> str:
    how = f"method {score.method}, K = {score.num_particles}, proposal: {score.proposal}"
    return f"A score of these data ({how}) is too low by at most {format_with_error(*bounds.shortfall(score))} on average."


def _bits(score: Evaluation, part: str) -> str:
    nats_per_bit = score.num_dims * math.log(2) if score.num_dims else math.nan
    bits = format_with_error(score.bits_per_dim, score.standard_error / nats_per_bit)
    bias = format_error(-score.bias_of_mean / nats_per_bit)
    off = f"by about {bias} too high" if bias not in ("", "0") else ""
    return ", ".join(filter(None, [f"{bits} bits per {part}", off, score.bits_note]))
