"""Scores runs with the guide and with refined proposals on the same random test images: ``python benchmarks/proposals.py RUN ...``.

Prints Markdown: log p(x) of either, their paired difference, k-hat, effective sample sizes, and the ratio of processor times. Both are
compiled, with one thread; compiling counts, but what torch has compiled before is taken from its cache. With --guide_images, the guide
scores only the first of the images, and differences and the ratio of times, for each image, are those of these.
"""

from argparse import ArgumentParser
from pathlib import Path
import time

import torch

from inference import Evaluation, evaluate
from inference.formatting import format_share, format_with_error
from inference.runs.folders import load_runs
from inference.scoring.reduction import standard_error_of_mean


def timed(vae: object, x: torch.Tensor, proposal: str, num_particles: int) -> tuple[Evaluation, float]:
    start = time.process_time()
    score = evaluate(vae, x, num_particles=num_particles, proposal=proposal, compile=True, progress=False)
    return score, time.process_time() - start


def share(score: Evaluation) -> str:
    return format_share(score.bad_k_share, len(score.log_px))


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--guide_particles", type=int, default=5000)
    parser.add_argument("--guide_images", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    some = options.guide_images or options.images
    sizes = f"{options.images} test images ({some} with the guide)"
    print(f"{sizes}, the guide's K = {options.guide_particles}, K = 1000 refined draws, seed 0, one thread\n")
    head = ("run", "guide", "refined", "refined - guide", "bad k, guide", "refined", "ESS / K, guide", "refined", "time, refined / guide")
    print(f"| {' | '.join(head)} |", f"| --- |{' ---: |' * 8}", sep="\n")
    for path in options.runs:
        run = load_runs({"run": path})["run"]
        rows = torch.randperm(len(run.data.test), generator=torch.Generator().manual_seed(1))[: options.images]
        x = run.data.test[rows]
        refined, seconds = timed(run.vae, x, "auto", 1000)
        guide, guide_seconds = timed(run.vae, x[:some], "guide", options.guide_particles)
        gain = refined.log_px[:some] - guide.log_px
        ratio = seconds / len(x) / (guide_seconds / some)
        cells = [
            path.name,
            format_with_error(guide.mean, guide.standard_error),
            format_with_error(refined.mean, refined.standard_error),
            format_with_error(float(gain.mean()), standard_error_of_mean(gain)),
            share(guide),
            share(refined),
            *(f"{float(score.ess.median()) / score.num_particles:.3f}" for score in (guide, refined)),
            f"{ratio:.2f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
