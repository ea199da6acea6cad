"""Whatever happens to the files of a run: an error that names one, the same figures, or figures made anew; never others."""

from dataclasses import replace
from pathlib import Path
import random
import shutil

import numpy as np
import pytest
from shell import contents, refusal, say
import torch

from inference import Evaluation, load_checkpoint, load_run, save_checkpoint
from inference.recipes.options import EvaluateOptions
from inference.runs.folders import budget, load_runs
from inference.runs.scores import score_run
from inference.scripts.cli import main
import pyro_lvm as lvm

OPTIONS = EvaluateOptions(num_particles=20, proposal="guide")
TINY = "--fit.epochs 1 --fit.batch_size 40 --model.latent_dim 2 --model.hidden [4]"
WRONG = (
    "- 1\n",
    "data: 3\n",
    "{}\n",
    "seconds: [x]\n",
    "a: &a [1]\nb: *a\n",
    "!!python/object/apply:os.getcwd []\n",
    "format: 99\n",
    "\x00",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its scores, alone and under a prior fitted after training. Tests take copies."""
    folder = tmp_path_factory.mktemp("whole")
    x = np.random.default_rng(0).integers(0, 2, (120, 5)).astype(np.float32)
    np.save(folder / "data.npy", x)
    main(f"train --data.source {folder}/data.npy --out {folder}/run {TINY}".split())
    figures(folder / "run")
    return folder / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def figures(folder: Path) -> list[str]:
    """All figures that a comparison shows, digit by digit."""
    runs = load_runs({"run": folder})
    rows = list(score_run(runs["run"], folder, ["gaussian"], OPTIONS))
    table = budget({"run": folder}, {"run": rows[0].score}).to_string()
    return [table, *(str(row.score.log_px.tolist()) + repr(row.score) for row in rows)]


def mutate(folder: Path, seed: int) -> None:
    """Truncate, empty, flip, swap or replace a file."""
    rng = random.Random(seed)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in (".yaml", ".nc", ".safetensors", ".csv"))
    path, kind = rng.choice(paths), rng.choice(("truncate", "flip", "flip", "flip many", "swap", "empty", "types"))
    before = bytearray(path.read_bytes())
    if kind == "truncate":
        path.write_bytes(before[: rng.randrange(len(before))])
    elif kind.startswith("flip"):
        for _ in range(1 if kind == "flip" else 20):
            before[rng.randrange(len(before))] ^= 1 << rng.randrange(8)
        path.write_bytes(before)
    elif kind == "swap":
        other = rng.choice(paths)
        path.write_bytes(other.read_bytes())
        other.write_bytes(before)
    else:
        path.write_text("" if kind == "empty" else rng.choice(WRONG))


@pytest.mark.parametrize("part", range(4))
def test_no_damage_changes_a_figure(part: int, whole: Path, tmp_path: Path) -> None:
    expected, refused = figures(whole), 0
    for seed in range(25 * part, 25 * part + 25):
        folder = Path(shutil.copytree(whole, tmp_path / f"run{seed}"))
        mutate(folder, seed)
        try:
            assert figures(folder) == expected, seed
        except (ValueError, OSError) as error:
            assert str(folder) in str(error) or folder.name in str(error), (seed, error)
            refused += 1
    assert 0 < refused < 25


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("summary.yaml", "[", "while parsing"),
        ("summary.yaml", "a: &a [1]\nb: *a\n", "it has aliases"),
        ("summary.yaml", "a: " + "1" * 2**20, "bytes, more than 1048576"),
        ("summary.yaml", "format: 3\n", "it has the format 3, and this version reads formats up to 2"),
        ("summary.yaml", "data_id: 3\n", "data_id must be of type str"),
        ("config.yaml", "model: {prior: vamp}\n", "it is not as the run wrote it"),
        ("config.yaml", "a: &a [1]\nb: *a\n", "it has aliases"),
        ("history.csv", "epoch\nx\n", "it is not as the run wrote it"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(name: str, text: str, reason: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / name).write_text(text)
    line = refusal(capsys, "compare {} --baselines false --evaluate.num_particles 20 --evaluate.proposal guide", run)
    assert f"{run / name} is damaged: " in line and reason in line and "Restore the file, or train again." in line


@pytest.mark.parametrize("junk", [b"junk", b""])
def test_a_damaged_score_is_made_anew(junk: bytes, run: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "test-K20-seed0.nc").write_bytes(junk)
    assert figures(run) == figures(whole)
    said = capsys.readouterr().err
    assert f"{run}/test-K20-seed0.nc must hold an evaluation" in said and said.count("Scored anew.") == 1
    assert Evaluation.from_netcdf(run / "test-K20-seed0.nc").num_particles == 20


def test_other_weights_are_scored_and_fitted_to_anew(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = figures(run)
    fitted = load_runs({"run": run})["run"]
    with torch.no_grad():
        for tensor in fitted.pair.parameters():
            tensor.mul_(1.5)
    save_checkpoint(fitted.pair, run / "checkpoint.safetensors")
    anew = figures(run)
    assert all(old != new for old, new in zip(before[1:], anew[1:], strict=True))
    said = capsys.readouterr().err
    assert f"{run}: the weights have changed since test-K20-seed0.nc was written; scored anew." in said
    assert f"{run}/expost-gaussian: the weights have changed since checkpoint.safetensors was written; fitted anew." in said
    shutil.rmtree(run / "expost-gaussian")
    assert anew == figures(run)


def test_a_score_of_other_options_is_not_taken_for_that_asked_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted, other = load_runs({"run": run})["run"], replace(OPTIONS, seed=1)
    (row,) = score_run(fitted, run, (), other)
    shutil.copy(run / "test-K20-seed0.nc", run / "test-K20-seed1.nc")
    (again,) = score_run(fitted, run, (), other)
    assert torch.equal(row.score.log_px, again.score.log_px) and again.score.seed == 1
    assert "evaluate.seed was 0 and is 1 since test-K20-seed1.nc was written; scored anew" in capsys.readouterr().err


def test_a_temperature_is_that_of_the_present_weights(tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = whole.parent / "data.npy"
    codes = "--model.encoder vq --model.prior uniform --model.num_codes 4 --model.num_slots 1"
    say(capsys, f"train --data.source {x} {codes} {TINY} --out {{}}", tmp_path / "codes")
    command = "compare {} --baselines false --evaluate.num_particles 20"
    say(capsys, command, tmp_path / "codes")
    before = contents(tmp_path)
    say(capsys, command, tmp_path / "codes")
    assert contents(tmp_path) == before and set(load_run(tmp_path / "codes").scores) == {"test-K20-seed0-auto", "soft/test-K20-seed0-auto"}

    path = tmp_path / "codes" / "proposal.yaml"
    path.write_text(path.read_text().replace("temperature: ", "temperature: 1"))
    main(command.format(tmp_path / "codes").split())
    assert f"{path} is damaged: its values do not match its checksum. Fitted anew." in " ".join(capsys.readouterr().err.split())
    assert contents(tmp_path) == before


def vae(size: int) -> lvm.VAE:
    networks = torch.nn.Sequential(torch.nn.Linear(3, 2 * size)), torch.nn.Sequential(torch.nn.Linear(size, 3))
    return lvm.VAE(lvm.StandardNormal(size), lvm.BernoulliLikelihood(networks[1]), lvm.NormalEncoder(networks[0]))


def foreign(folder: Path, number: int) -> Path:
    """A checkpoint of something else."""
    from safetensors.torch import save_file

    path, rng = folder / "foreign.safetensors", random.Random(number)
    size, dtype = rng.randrange(1, 5), rng.choice((torch.float64, torch.int64, torch.bfloat16, torch.float32, torch.bool))
    tensors = {rng.choice(("a", "prior.loc", "encoder.network.0.weight")): torch.zeros(size, size).to(dtype)}
    match number % 5:
        case 0:
            save_file(tensors, path)
        case 1:
            save_file(
                tensors, path, metadata={"pyro_lvm": rng.choice(("[]", "{", "3", '{"format": "2"}', '{"format": "9"}', '{"digest": "0"}'))}
            )
        case 2:
            torch.save(tensors, path)
        case 3:
            path.write_bytes(rng.randbytes(rng.randrange(100)))
        case 4:
            save_checkpoint(vae(size), path)
    return path


@pytest.mark.parametrize("number", range(30))
def test_a_foreign_checkpoint_is_refused_and_changes_nothing(number: int, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = foreign(run, number)
    shutil.move(path, run / "checkpoint.safetensors")
    assert str(run / "checkpoint.safetensors") in refusal(capsys, "evaluate {} --num_particles 2", run)


def test_weights_are_not_rounded_on_loading(tmp_path: Path) -> None:
    pair, double = vae(2), vae(2).double()
    before = pair.encoder.network[0].weight.detach().clone()
    save_checkpoint(double, tmp_path / "double")
    with pytest.raises(
        ValueError, match=r"double does not fit the pair: .* must have the dtype torch.float32; the state has torch.float64"
    ):
        load_checkpoint(pair, tmp_path / "double")
    assert torch.equal(pair.encoder.network[0].weight, before)
    save_checkpoint(pair, tmp_path / "single")
    load_checkpoint(double, tmp_path / "single")
    assert torch.equal(double.encoder.network[0].weight, before.double())
