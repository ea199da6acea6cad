"""Score thousands of generated pairs: ``make torture``, or ``python -m zoo.torture 5000 [SEED [WORD ...]]`` in the folder of the tests.

Programs that contain one of the words are left out. Prints how many pairs were scored, those that were refused, by message, and the
smallest program of every kind of failure.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from math import log
import random
import re
import sys
import traceback
from unittest.mock import patch
import warnings

from hypothesis import HealthCheck, Phase, given, seed, settings
import pyro
from pyro.infer import Trace_ELBO
import torch

from inference import IWAE, evaluate, fit, log_weights
from zoo.comparison import compare_with_possible, deviation, one_row, possible_by_row
from zoo.generated import build
from zoo.grammar import programs
from zoo.reference import possible_log_weights

TOLERANCE = 1e-9


def check(program):
    """Check the log weights of a generated pair against the plain scorer.

    Raises:
        AssertionError: If they differ, or if data of another shape than their site's are scored.
        ValueError: If the library refuses the pair.
    """
    pair, batch, layers = build(program)
    num_particles = program.num_particles if program.num_rows <= 5 else min(program.num_particles, 7)
    options = {"num_particles": num_particles, "seed": program.seed, "chunk_size": program.chunk_size}
    if num_particles > 100:
        options["chunk_size"] = None if program.chunk_size is None else 800 + program.chunk_size
    if program.accident != "none":
        if program.num_rows > 1:  # a single datum broadcasts to the right figure
            refuse(pair, batch, options)
        return
    rows = sorted({0, program.num_rows // 2, program.num_rows - 1})
    if "other weights before" in program.extras:
        _score_at_zero(pair, batch, layers, rows, options)
    compare_with_possible(pair, batch, possible_by_row(pair, batch, rows), tolerance=TOLERANCE, **options)
    if has_loss(program):
        check_losses(program)


def check_losses(program):
    """Check the loss of a step on two rows, of Trace_ELBO and IWAE, against all that the guide's draws can give."""
    program = replace(program, num_rows=2, num_particles=1, accident="none")
    pair, batch, _ = build(program)
    possible = [possible_log_weights(pair, one_row(batch, i))[:, 0] for i in (0, 1)]
    for elbo, bounds in ((Trace_ELBO(), possible), (IWAE(2), [_of_two(each) for each in possible])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # networks that are not registered
            options = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-12, "compile": False, "progress": False}
            loss = fit(pair, batch, elbo=elbo, **options).history.train_loss.iloc[0]
        means = (bounds[0][:, None] + bounds[1]).flatten() / 2
        error = deviation(torch.tensor([-loss]), means)
        assert error < TOLERANCE, f"{type(elbo).__name__}: a loss of {loss} differs by {error:.3g} (relative) from all possible ones"


def check_traced(program):
    """Check the figures of the graphs that a compiled score runs, operation by operation, against eager ones from the same noise.

    A pair that cannot be traced is refused, which is no error.
    """
    program = replace(program, num_rows=6, num_particles=1000, accident="none")
    pair, batch, _ = build(program)
    options = {"num_particles": 1000, "seed": program.seed, "progress": False}
    eager = evaluate(pair, batch, compile=False, **options)
    with patch("inference.scoring.compiled.compile_graph", lambda graph, *inputs: graph):
        try:
            traced = evaluate(pair, batch, compile=True, **options)
        except ValueError as error:
            if "compil" not in str(error):
                raise
            return
    error = float((traced.log_px - eager.log_px).abs().max())
    assert error < 1e-9, f"traced: log p(x) differs by {error:.3g} from the eager figure of the same draws"


def _of_two(log_w):
    """Return the bounds that two draws give."""
    return torch.logaddexp(log_w[:, None], log_w).flatten() - log(2)


def has_loss(program):
    """Whether the loss of a step is made of the log weights of draws that IWAE takes, and there is something to train."""
    is_reparameterized = all(latent.kind == "normal" for latent in program.latents)
    steered = {"factor in the guide", "penalty", "scaled", "other weights before"} & set(program.extras)
    held = program.holder in ("module", "param") and program.plate == program.guide_plate  # other plates weigh the latents differently
    return is_reparameterized and held and not steered and program.encoder not in ("batch norm", "dropout") and len(program.latents) < 3


def refuse(pair, batch, options):
    try:
        log_weights(pair, *batch, **options)
    except (ValueError, TypeError) as error:
        if "shape" not in str(error):
            raise
        return
    raise AssertionError("data of another shape than their site's are scored")


def _score_at_zero(pair, batch, layers, rows, options):
    """Score the pair while all layers are zero, as the decision about a layout would then be taken on equal figures."""
    parameters = [p for layer in layers.values() for p in layer.parameters()]
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p in parameters:
            p.zero_()
        compare_with_possible(pair, batch, possible_by_row(pair, batch, rows), tolerance=TOLERANCE, **options)
        for p, value in zip(parameters, before, strict=True):
            p.copy_(value)


class Tally:
    """What became of the generated pairs: scored, refused or failed, by the kind of message."""

    def __init__(self):
        self.scored, self.refused, self.failed, self.smallest = 0, Counter(), Counter(), {}

    def add(self, program):
        pyro.clear_param_store()
        try:
            check(program)
            if self.scored % 20 == 0:  # tracing takes far longer than scoring
                check_traced(program)
            self.scored += 1
        except Exception as error:
            message = f"{type(error).__name__}: {error or traceback.format_exc(limit=-1)}"
            kind = re.sub(r"\[.*|\d[\d.e+-]*", "#", message)[:140]
            (self.refused if isinstance(error, ValueError | TypeError) else self.failed)[kind] += 1
            if kind not in self.smallest or len(repr(program)) < len(repr(self.smallest[kind][0])):
                self.smallest[kind] = (program, message)

    def __str__(self):
        lines = [f"{self.scored} scored rightly, {self.refused.total()} refused, {self.failed.total()} wrong or stopped by another error"]
        for title, counter in (("refused", self.refused), ("FAILED", self.failed)):
            for kind, count in counter.most_common():
                program, message = self.smallest[kind]
                lines.append(f"\n{title}, {count} times: {message[:600]}\n    {program}")
        return "\n".join(lines)


def main(count="2000", start=None, *words):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    warnings.simplefilter("error")
    start, tally = random.randrange(10**6) if start is None else int(start), Tally()

    @seed(start)
    @settings(max_examples=int(count), deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
    @given(programs())
    def run(program):
        if not any(word in repr(program) for word in words):
            tally.add(program)

    with suppress(KeyboardInterrupt):  # a shorter run is worth its figures
        run()
    print(f"seed {start}: {tally}")
    return bool(tally.failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
