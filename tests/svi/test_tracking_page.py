"""The programs of docs/tracking.md run as they stand, with clients that note what they are told."""

from pathlib import Path
import re
import sys
from types import ModuleType

import pytest

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "tracking.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


class Client(ModuleType):
    """A module, a run of it and the ``with`` block of a run, all in one."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.told: list[tuple[int, set[str]]] = []

    def log(self, values: dict[str, float], step: int) -> None:
        assert all(isinstance(value, float) for value in values.values())
        self.told.append((step, set(values)))

    def init(self, **named: object) -> "Client":
        return self

    def finish(self) -> None:
        self.told.append((-1, set()))

    log_metrics, start_run, __enter__ = log, init, init

    def __exit__(self, *_: object) -> None:
        self.finish()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_programs_tell_a_client_of_every_epoch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(name)
    monkeypatch.setitem(sys.modules, name, client)
    (program,) = [program for program in PROGRAMS if f"import {name}" in program]
    exec(compile(program, "tracking.md", "exec"), {})
    columns = {"kl_weight", "train_loss", "valid_loss", "learning_rate", "seconds"}
    assert client.told == [(1, columns), (2, columns), (-1, set())]


def test_the_program_with_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    (program,) = [program for program in PROGRAMS if "TensorBoard(" in program]
    exec(compile(program, "tracking.md", "exec"), {})
    assert len(list((tmp_path / "runs" / "mine").iterdir())) == 1


def test_every_program_of_the_page_is_tested() -> None:
    assert len(PROGRAMS) == 3
