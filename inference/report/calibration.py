"""The part of a report on the calibration of guides: a sentence or two and a picture for each model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from inference.diagnostics.calibration.simulated import calibrate
from inference.report.html import Block, Notes, Paragraph, Picture
from inference.runs.run import Run

_WHAT = (
    "Calibration of each guide on data simulated from its model: where the guide is the posterior, the true latents rank uniformly among "
    "its draws. A guide whose center is off by amounts that change from one datum to the next counts as too narrow."
)


def calibration_blocks(runs: Mapping[str, Run], out: Path) -> Sequence[Block]:
    """Calibrate the guide of each model, or say why it cannot be; write a picture of each."""
    sentences, pictures = [], []
    for number, (name, run) in enumerate(runs.items(), start=1):
        try:
            calibration = calibrate(run.pair, *run.data.batch("test"))
        except ValueError as error:
            sentences.append(f"{name} cannot be calibrated: {error}")
            continue
        path = out / f"calibration-{number}.png"
        calibration.plot(path)
        sentences.append(f"{name}: {calibration.verdict}")
        pictures.append(Picture(path, f"Calibration of {name}: {calibration.num_data} data, {calibration.num_draws} draws for each."))
    return [Paragraph(_WHAT), Notes(sentences), *pictures]
