"""Commands as a user types them, on small models."""

from hashlib import sha256
from pathlib import Path

import pytest

from inference.scripts.cli import main

SMALL = "--fit.epochs 2 --fit.batch_size 200 --model.latent_dim 2 --model.hidden [16] --model.flow_hidden [8] --model.flow_transforms 2"
PRIORS = ("standard", "vamp")


def say(capsys: pytest.CaptureFixture[str], command: str, *folders: Path) -> str:
    """What a command prints; folders stand for the {} in it."""
    capsys.readouterr()
    main(command.format(*folders).split())
    return capsys.readouterr().out


def train(folder: Path, options: str) -> None:
    main(f"train --out {folder} {options} {SMALL}".split())


def refusal(capsys: pytest.CaptureFixture[str], command: str, *folders: Path) -> str:
    """The one line in which a command refuses."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        main(command.format(*folders).split())
    lines = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith("fit:")]
    assert exit.value.code == 2 and len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}
