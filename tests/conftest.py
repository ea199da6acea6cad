"""Fixtures of several folders."""

import os
from pathlib import Path
import shutil

from oracles import LinearGaussian
import pyro
import pytest
import torch

# The tests' tensors are small: a second thread costs more than it computes.
torch.set_num_threads(1)
# Inductor would compile and load a trial program for each set of vector instructions that the processor names.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")


@pytest.fixture(autouse=True)
def no_parameters_of_other_tests():
    """What a test leaves in Pyro's own parameter store is not there for the next one."""
    pyro.clear_param_store()


@pytest.fixture
def double():
    """Floating-point numbers have 64 bits unless a test says otherwise."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def oracle():
    return LinearGaussian()


@pytest.fixture
def interpreted(monkeypatch):
    """Graphs run operation by operation: all of tracing, none of inductor's seconds."""
    for user in ("svi.traced", "scoring.compiled"):
        monkeypatch.setattr(f"inference.{user}.compile_graph", lambda graph, *inputs: graph)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run under each of two priors. Tests that write into runs take copies."""
    from shell import PRIORS, train  # here, as it imports all of inference

    folder = tmp_path_factory.mktemp("trained")
    for prior in PRIORS:
        train(folder / prior, f"--model.prior {prior}" + (" --model.num_components 20" if prior == "vamp" else ""))
    return folder


@pytest.fixture
def both(trained: Path, tmp_path: Path) -> list[Path]:
    """Copies of the runs with a standard and with a Vamp prior."""
    return [Path(shutil.copytree(run, tmp_path / run.name)) for run in sorted(trained.iterdir())]
