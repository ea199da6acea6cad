"""Runs survive bad input and interruptions, and are not taken for what they are not."""

from pathlib import Path

import pytest
from shell import SMALL, contents, refusal, say

from inference.recipes import build as recipes
from inference.runs import run as runs
from inference.scripts.cli import main


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--overwrite --fit.batch_size 5000",
        "--overwrite --model.priro vamp",
        "--overwrite --data.source nowhere.csv",
    ],
)
def test_an_existing_run_survives_bad_input(options: str, both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(both[0].parent)
    refusal(capsys, "train --out {} " + options, both[0])
    assert contents(both[0].parent) == before


def test_an_interrupted_training_keeps_both_the_old_run_and_the_new_weights(
    both: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(both[0])

    def interrupted(*args: object, **kwargs: object) -> None:
        recipes.fit_pair(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit_pair", interrupted)
    with pytest.raises(SystemExit) as exit:
        main(f"train --overwrite --out {both[0]} --fit.seed 1 {SMALL}".split())
    assert exit.value.code == 130 and f"is kept in {both[0]}.partial" in capsys.readouterr().err
    assert contents(both[0]) == before
    assert contents(both[0].with_name("standard.partial")).keys() == {
        *("checkpoint.last.safetensors", "checkpoint.safetensors", "config.yaml", "history.csv", "unfinished.json")
    }

    monkeypatch.undo()
    say(capsys, f"train --overwrite --out {{}} --fit.seed 1 {SMALL}", both[0])
    assert contents(both[0])["checkpoint.safetensors"] != before["checkpoint.safetensors"]
    assert both[0].with_name("standard.partial").exists()


def test_a_damaged_run_is_named(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (both[0] / "checkpoint.safetensors").write_bytes(b"not tensors")
    assert "is not a readable safetensors file" in refusal(capsys, "evaluate {}", both[0])
    (both[1] / "config.yaml").write_text("model: {prior: flow}\n")
    assert "config.yaml is damaged: it is not as the run wrote it" in refusal(capsys, "evaluate {}", both[1])


def test_different_data_are_not_compared(both: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    say(capsys, f"train --overwrite --data.seed 5 --out {{}} {SMALL}", both[1])
    assert "the test rows must be the same everywhere" in refusal(capsys, "compare {} {} --evaluate.num_particles 5", *both)
