"""Commands that torchrun starts in several processes: they write what one process writes, once."""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from safetensors.torch import load_file
from shell import SMALL
from together import together
import torch

from inference.scripts.cli import main

MODEL = f"--model.prior vamp --model.num_components 5 {SMALL}"


def commands(folder):
    """What each command prints and writes on stderr, and its exit status."""
    run = folder / "run"
    return [
        said(command)
        for command in (
            f"train --out {run} {MODEL}",
            f"train --out {run} {MODEL}",
            f"train --out {run} --resume --fit.epochs 3",
            f"train --out {run} --resume --fit.epochs 3",
            f"evaluate {run} --num_particles 50",
            f"evaluate {run} --num_particles 50 --if_missing",
            f"diagnose {run} --num_draws 40 --quantile 0.05",
            f"report {run}",
        )
    ]


def said(command):
    status = 0
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            main(command.split())
        except SystemExit as error:
            status = error.code
    return out.getvalue(), err.getvalue(), status


def test_commands_in_two_processes_write_the_run_of_one(tmp_path: Path):
    first, second = together(commands, tmp_path)
    assert [status for *_, status in first] == [0, 2, 0, 0, 0, 0, 0, 2] == [status for *_, status in second]
    assert "Best epoch" in first[0][0] and "already exists" in first[1][1] and "is finished" in first[3][0]
    assert "which several processes do together; got report" in first[7][1]
    assert not any(out for out, *_ in second)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    said(f"train --out {tmp_path / 'one'} {MODEL} --fit.epochs 3")
    files, expected = ({path.name for path in (tmp_path / name).iterdir()} for name in ("run", "one"))
    assert files - expected == {"test-K50-seed0-auto.nc", "test-K50-seed0-auto.csv", "diagnosis.csv"} and expected < files
    got, expected = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("run", "one"))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
