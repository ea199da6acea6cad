"""Parts of every kind in a file of the user's own, by name, in the commands that take such names."""

from collections.abc import Iterator
from pathlib import Path
import shutil

import pytest
from shell import refusal, say

import inference
from inference.recipes import user_code
from inference.recipes.registries import ALL

SKELETON = Path(inference.__file__).parent.parent / "docs" / "skeletons" / "my_parts.py"
SIZES = "--model.latent_dim 2 --model.hidden 4 --fit.epochs 2"


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    """The skeleton, whose parts are forgotten after the test."""
    yield Path(shutil.copy(SKELETON, tmp_path / "my_parts.py"))
    for registry in ALL:
        for name in [name for name in registry if registry[name].build.__module__.startswith("my_parts_")]:
            registry.forget(name)
    user_code._LOADED.clear()


def test_every_kind_of_part_may_be_ones_own(plugin: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run, own = tmp_path / "run", f"--plugin {plugin}"
    chosen = "--data.source stripes --model.prior learned-scale --model.start_scale 2 --track lines"
    say(capsys, f"train {own} {chosen} {SIZES} --out {{}}", run)
    assert (run / "lines" / "losses.txt").read_text().count("\n") >= 2
    assert "log p(x)" in say(capsys, f"evaluate {own} {{}} --method prior-draws", run)
    assert (run / "test-K200-seed0-prior-draws-auto.csv").is_file()
    assert "num_steps has no effect with method='prior-draws'" in refusal(
        capsys, f"evaluate {own} {{}} --method prior-draws --num_steps 3", run
    )
    table = say(capsys, f"compare {own} {{}} --expost scaled --baselines false --evaluate.num_particles 100", run)
    assert f"{run}+scaled" in table
    assert "samples" in say(capsys, f"sample {own} {{}} --expost scaled --num_draws 3", run)
    say(capsys, f"train {own} {chosen} {SIZES} --overwrite --out {{}}", run)  # its files are known to be its own


def test_names_in_help_and_refusals_are_those_that_are_registered(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        say(capsys, f"train --plugin {plugin} --help")
    words = " ".join(capsys.readouterr().out.split())
    assert "tiny-shakespeare, stripes, or the path of" in words and "Literal['tensorboard', 'lines']" in words
    assert "Initial scale of the learned-scale prior" in words
    assert "scaled" in refusal(capsys, f"compare --plugin {plugin} --expost scald --out {{}}", plugin.parent / "out")


def test_the_checks_of_a_plugin_pass(plugin: Path) -> None:
    user_code.load_file(plugin).module.test_learned_scale_prior()
