"""Misuse of the command line: each kind is refused in one sentence that names the option, what it must be, and what it got."""

from argparse import ArgumentError
from pathlib import Path
import shlex

from jsonargparse.typing import PositiveInt
import pytest

from inference.scripts.checks.messages import described
from inference.scripts.parsing import parse

COUNT, COUNTS = "an integer of at least 1", "values separated by commas or spaces, each an integer of at least 1"
KINDS = {
    "train --out x --fit.epochs banana": f"--fit.epochs must be {COUNT}; got 'banana'.",
    "train --out x --fit.epochs 0": f"--fit.epochs must be {COUNT}; got '0'.",
    "train --out x --fit.epochs=1.5": f"--fit.epochs must be {COUNT}; got '1.5'.",
    "train --out x --fit.epochs null": f"--fit.epochs must be {COUNT}; got 'null'.",
    "train --out x --fit.epochs": f"--fit.epochs must be {COUNT}; got nothing.",
    "train --out x --model.latent_dim 'two words'": f"--model.latent_dim must be {COUNT}; got 'two words'.",
    "train --out x --fit.patience none": f"--fit.patience must be {COUNT}, or null; got 'none'.",
    "train --out x --fit.learning_rate fast": "--fit.learning_rate must be a number above 0; got 'fast'.",
    "train --out x --fit.alternating maybe": "--fit.alternating must be true or false; got 'maybe'.",
    "train --out x --data.seed 1.5": "--data.seed must be an integer; got '1.5'.",
    "train --out x --data.valid_fraction half": "--data.valid_fraction must be a number, or null; got 'half'.",
    "train --out x --model.hidden x": f"--model.hidden must be {COUNTS}; got 'x'.",
    "train --out x --model.hidden 16,x": f"--model.hidden must be {COUNTS}; got '16,x'.",
    "train --out x --model.hidden [16,0]": f"--model.hidden must be {COUNTS}; got '[16,0]'.",
    "train --out x --data.shape 8x8": f"--data.shape must be {COUNTS}, or null; got '8x8'.",
    "train --out x --model.codebook avrages": "--model.codebook must be one of averages, gradient; got 'avrages'. Did you mean averages?",
    "train --out x --data.binarize no": "--data.binarize must be one of default, half, static, dynamic, or null; got 'no'.",
    "train --out x --fit.warmup_epochs '{z1: -1}'": "--fit.warmup_epochs must be an integer of at least 0, or '{NAME: VALUE}', each value "
    "an integer of at least 0; got '{z1: -1}'.",
    "train --out x --fit 3": "--fit must be a YAML file, or '{NAME: VALUE}', of its options; got '3'.",
    "train --out x --fit '{epochs: many}'": f"--fit.epochs in --fit must be {COUNT}; got '{{epochs: many}}'.",
    "train --out x --overwrite=3": "--overwrite takes no value; got '3'.",
    "train --out x --fit.epochs 3 4": "unrecognized arguments: 4. Write options as --NAME VALUE, and quote values that hold spaces.",
    "train --fit.epochs 3": "--out (Run folder to write) must be given; got --fit.epochs 3.",
    "evaluate": "RUN (Run folder) must be given; got nothing.",
    "evaluate r --split tets": "--split must be one of train, valid, test; got 'tets'. Did you mean test?",
    "evaluate r --num_particles 1e3": f"--num_particles must be {COUNT}, or null; got '1e3'.",
    "compare --expost flow,mixtures": "--expost must be values separated by commas or spaces, each one of gaussian, mixture, flow, "
    "two-stage, autoregressive; got '[flow,mixtures]'. Did you mean mixture?",
    "diagnose r --quantile x": "--quantile must be a number; got 'x'.",
    "train --out x --track wandb": "--track must be one of tensorboard, or null; got 'wandb'.",
    "sweep --over seed 0 --out x --engine rays": "--engine must be one of processes, ray; got 'rays'. Did you mean ray?",
}


@pytest.mark.parametrize("line", KINDS)
def test_kinds_of_misuse(line: str) -> None:
    command, *words = shlex.split(line)
    with pytest.raises(ArgumentError) as caught:
        parse(command, "", words)
    assert str(caught.value) == KINDS[line]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fit: {epochs: banana}", f"--fit.epochs must be {COUNT}; got 'banana'."),
        ("fit: {epochs: 0}", f"--fit.epochs must be {COUNT}; got '0'."),
        ("model: {hidden: null}", f"--model.hidden must be {COUNTS}; got null."),
        ("fit: 3", "--fit must be '{NAME: VALUE}' of its options; got 3. Correct it in the --config file."),
        ("fit: [", "--config must be a YAML file of options by name; got 'c.yaml' (while parsing a flow node"),
        ("- 1", "--config must be a YAML file of options by name; got 'c.yaml' (- 1)."),
        ("banana: 3", "--config must be a YAML file of options by name; 'c.yaml' has 'banana', which is none."),
    ],
)
def test_kinds_of_wrong_files(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(text)
    with pytest.raises((ArgumentError, ValueError)) as caught:
        parse("train", "", ["--out", "x", "--config", "c.yaml"])
    assert " ".join(str(caught.value).split()).startswith(message)


@pytest.mark.parametrize("option", ["--track tensorboard", "--engine ray"])
def test_extras_that_are_not_installed_are_named_before_any_work(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.recipes.options.find_spec", lambda name: None)
    package = option.split()[1]
    with pytest.raises(ImportError, match=rf"{option} needs {package}, .*: pip install 'pyro-lvm\[{package}\]'"):
        parse("sweep", "", ["--over", "seed", "0", "--out", "x", *option.split()])


def test_types_that_are_not_known_are_named() -> None:
    assert described(dict[str, PositiveInt]) == f"'{{NAME: VALUE}}', each value {COUNT}"
    assert "Path" in described(Path)
