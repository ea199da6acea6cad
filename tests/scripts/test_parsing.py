"""What the words of a command line mean, and what they are refused with."""

from argparse import ArgumentError
from pathlib import Path

import pytest
import torch

from inference.scripts.arguments import OPTIONS
from inference.scripts.cli import COMMANDS
from inference.scripts.parsing import parse


def read(line: str):
    command, *words = line.split()
    return parse(command, "", words)


def test_every_command_has_its_options() -> None:
    assert list(OPTIONS) == list(COMMANDS)


@pytest.mark.parametrize("words", ["[standard,vamp]", "standard,vamp", "standard vamp", "standard, vamp"])
def test_lists_have_brackets_commas_or_spaces(words: str) -> None:
    assert tuple(read(f"compare --priors {words} --out x").priors) == ("standard", "vamp")
    assert read(f"compare --out x --priors {words}").out == "x"


@pytest.mark.parametrize("words", ["[16,8]", "16,8", "16 8", "16,8 --fit.epochs 3"])
def test_sizes_have_brackets_commas_or_spaces(words: str) -> None:
    for command in (f"train --out x --model.hidden {words}", f"compare --model.hidden {words} "):
        assert tuple(read(command).model.hidden) == (16, 8)


def test_lists_end_where_other_words_begin() -> None:
    args = read("compare --model.hidden 16 runs/a runs/b --expost=flow,mixture --model.decoder_hidden null")
    assert args.runs == ["runs/a", "runs/b"] and args.expost == ["flow", "mixture"] and args.model.decoder_hidden is None
    assert read("sample runs/a --expost flow").expost == "flow"
    assert read("compare --model.hidden [16] runs/a").runs == ["runs/a"]


def test_options_of_scores_have_one_name_in_every_command() -> None:
    for words in ("--num_particles 7 --split=valid", "--evaluate.num_particles 7 --evaluate.split=valid"):
        evaluated = read(f"evaluate r {words}")
        assert (evaluated.num_particles, evaluated.split) == (7, "valid")
        for command in ("compare", "report"):
            options = read(f"{command} r {words}").evaluate
            assert (options.num_particles, options.split) == (7, "valid")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --out x --fit.epoch 3", r"unrecognized arguments: --fit.epoch 3. Did you mean --fit.epochs\?"),  # an abbreviation is none
        ("train --out x --model.laten_dim=3", r"Did you mean --model.latent_dim\?"),
        ("train --out x --fit.epoch 3 --model.prio vamp", r"Did you mean --fit.epochs and --model.prior\?"),
        ("evaluate r --num_particle 3", r"Did you mean --num_particles\?"),
        ("train --out x --zzz 3", "unrecognized arguments: --zzz 3$"),
        ("compare --priors standard,vmp", "each one of standard, .*; got .*standard,vmp.*Did you mean vamp"),
        ("train --out x --model.hidden 16,x", "model.hidden"),
        ("compare --priors", "priors"),
    ],
)
def test_wrong_words_are_refused_with_what_is_near(line: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read(line)


@pytest.mark.parametrize("command", ["train --out x", "evaluate r", "compare", "diagnose r", "report r"])
@pytest.mark.parametrize("device", ["banana", "cuda:99", "cuda:-1", "cpu:3", ""])
def test_devices_that_are_not_there_are_refused_by_every_command(command: str, device: str) -> None:
    with pytest.raises(ValueError, match=f"--device must name a device of this machine, cpu.*; got '{device}'"):
        parse(command.split()[0], "", [*command.split()[1:], "--device", device])


def test_an_accelerator_is_known_by_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    for device in ("cpu", "cuda", "cuda:1"):
        assert read(f"evaluate r --device {device}").device == device
    with pytest.raises(ValueError, match="cpu or cuda or cuda:0 or cuda:1; got 'cuda:2'"):
        read("evaluate r --device cuda:2")


@pytest.mark.parametrize("seed", [-1, 2**63, 10**30])
def test_seeds_out_of_range_are_refused_by_name(seed: int) -> None:
    for line in (
        "train --out x --data.seed",
        "train --out x --model.seed",
        "compare --evaluate.seed",
        "evaluate r --seed",
        "sample r --seed",
    ):
        with pytest.raises(ValueError, match=rf"{line.split()[-1]} must be a whole number from 0 to 2\*\*63 - 1; got {seed}"):
            read(f"{line} {seed}")


def test_options_that_come_twice_in_a_file_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("fit: {learning_rate: 0.1}\nmodel: {prior: vamp}\nfit: {epochs: 2}\n")
    with pytest.raises(ValueError, match="must name each option once; fit comes twice, of which YAML drops the first"):
        read(f"train --out x --config {config}")
    config.write_text("fit: {learning_rate: 0.1, epochs: 2}\n")
    assert read(f"train --out x --config {config}").fit.learning_rate == 0.1


def test_names_that_no_file_of_a_run_can_hold_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be text in UTF-8.*got 'caf\\udce9.csv'. Rename the file"):
        parse("train", "", ["--out", "x", "--data.source", "caf\udce9.csv"])
    assert parse("train", "", ["--out", "x", "--data.source", "café.csv"]).data.source == "café.csv"


def test_help_says_what_seeds_are_of_and_what_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("evaluate --help")
    assert "Seed of the draws." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        read("compare --help")
    assert "without any, priors are trained. (type:" in " ".join(capsys.readouterr().out.split())
