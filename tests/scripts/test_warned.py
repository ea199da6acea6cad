"""How a command warns."""

from collections.abc import Iterator
import sys
from types import SimpleNamespace
import warnings

import pytest

from inference.scripts import cli
from inference.scripts.cli import main


@pytest.fixture
def warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command warns of two columns, of one of them twice."""

    def script(args: object) -> None:
        for column in ("age", "age", "sex"):
            warnings.warn(f"column {column}\n is constant", stacklevel=1)

    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(main=script))


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Warnings are printed as outside of tests, which record them."""

    def show(message: Warning, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", show)
        yield


def test_each_warning_is_printed_once_in_one_line(warning, printed, capsys: pytest.CaptureFixture[str]) -> None:
    before = warnings.formatwarning
    for _ in range(2):  # once for each command
        main(["runs"])
        assert capsys.readouterr().err == "warning: column age is constant\nwarning: column sex is constant\n"
        assert warnings.formatwarning is before


def test_an_error_restores_how_warnings_are_printed() -> None:
    before = warnings.formatwarning
    with pytest.raises(SystemExit):
        main(["train", "--unknown", "1"])
    assert warnings.formatwarning is before


def test_debug_shows_where_a_warning_comes_from(warning, printed, capsys: pytest.CaptureFixture[str]) -> None:
    main(["runs", "--debug"])
    assert "test_warned.py:" in capsys.readouterr().err


def test_warnings_of_a_command_stay_warnings(warning, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="constant") as record:
        main(["runs"])
    assert len(record) == 3 and not capsys.readouterr().err
    with pytest.raises(SystemExit):  # the filter of the tests makes errors of them
        main(["runs"])
