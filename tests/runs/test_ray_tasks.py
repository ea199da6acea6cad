"""Sweeps on a Ray cluster of this machine; skipped where ray, an extra, is not installed."""

from pathlib import Path
import threading
import time

import pytest

from inference.files.claims import dead_partials
from inference.runs.ray_tasks import _Tasks, run_on_ray
from inference.runs.sweep import make_jobs

ray = pytest.importorskip("ray")
TINY = "--model.hidden [8] --model.latent_dim 2 --fit.batch_size 400 --fit.patience null"


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A cluster of two cores and a GPU that is not there, which Ray takes our word for."""
    ray.init(num_cpus=2, num_gpus=1, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    yield
    ray.shutdown()


def test_tasks_run_the_same_commands_and_say_how_they_end(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # paths are relative to where the sweep was given
    jobs = make_jobs({"model.prior": ["standard", "vamp"]})
    commands = {"standard": [["--help"]], "vamp": [["--help"], ["runs", "absent"], ["--help"]]}
    failures = run_on_ray(jobs, lambda job: commands[job.name], Path())
    assert list(failures) == ["vamp"] and "absent must be an existing folder" in failures["vamp"]
    assert "usage: pyro-lvm" in Path("standard.log").read_text()
    assert "standard: done" in capsys.readouterr().out


def test_a_job_may_have_a_gpu(tmp_path: Path) -> None:
    failures = run_on_ray(make_jobs({"seed": ["0"]}), lambda job: [["--help"]], tmp_path, num_gpus=1)
    assert not failures and "usage: pyro-lvm" in (tmp_path / "seed0.log").read_text()


def test_stopped_tasks_keep_what_they_have_done(tmp_path: Path) -> None:
    tasks, ends = _Tasks(0), []
    words = f"train --out {tmp_path}/run --fit.epochs 100000 {TINY}".split()
    thread = threading.Thread(target=lambda: ends.append(tasks.run([words], tmp_path / "run.log")))
    thread.start()
    partial = tmp_path / "run.partial"
    wait_for(lambda: (partial / "checkpoint.last.safetensors").is_file())
    tasks.stop()
    thread.join(30)
    wait_for(lambda: dead_partials(tmp_path / "run") == [partial])  # from which the run goes on
    assert "TaskCancelledError" in ends[0] and (partial / "history.csv").is_file()
    assert tasks.run([words], tmp_path / "other.log") == "stopped" and not (tmp_path / "other.log").exists()


def wait_for(condition) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("took a minute")
