"""Evaluations against NumPy, for readers, and to files and back."""

from math import inf, isnan, log
from pathlib import Path

import arviz
from evaluations import NUM_DATA, evaluation_of, lognormal
import numpy as np
import pytest
import torch
from torch import Tensor
from xarray import DataTree

from inference.scoring.evaluation import Evaluation
from inference.scoring.reduction import curve_particles, reduce_log_weights


def test_reduction_is_that_of_numpy() -> None:
    log_weights = lognormal(200, scale=2.0)
    summary = reduce_log_weights(log_weights)
    weights = np.exp(log_weights.numpy() + 90)
    mean, error = weights.mean(0), weights.std(0, ddof=1) / np.sqrt(200)
    np.testing.assert_allclose(summary.log_px, np.log(mean) - 90, rtol=1e-12)
    np.testing.assert_allclose(summary.mc_error, error / mean, rtol=1e-10)
    np.testing.assert_allclose(summary.ess, weights.sum(0) ** 2 / (weights**2).sum(0), rtol=1e-10)
    np.testing.assert_allclose(summary.elbo, log_weights.numpy().mean(0), rtol=1e-12)
    for row, count in zip(summary.curve, curve_particles(200), strict=True):
        np.testing.assert_allclose(row, np.log(weights[:count].mean(0)) - 90, rtol=1e-12)


def test_error_is_the_scatter_over_repetitions() -> None:
    log_weights = 0.7 * torch.randn(300, 4000, generator=torch.Generator().manual_seed(0)).double()
    summary = reduce_log_weights(log_weights)
    ratio = float(summary.mc_error.mean() / summary.log_px.std())
    assert ratio == pytest.approx(1, abs=4 / (2 * 4000) ** 0.5)


def test_curve_ends_at_all_particles() -> None:
    assert curve_particles(1) == (1,)
    assert curve_particles(5) == (1, 2, 5)
    assert curve_particles(99) == (1, 2, 5, 10, 20, 49, 50, 99)
    assert curve_particles(1000)[-3:] == (200, 500, 1000)
    assert curve_particles(5000)[-4:] == (1000, 2000, 2500, 5000)


def test_zero_and_equal_weights() -> None:
    log_weights = lognormal(100).float()
    log_weights[:, 0] = -torch.inf
    log_weights[1:, 1] = -torch.inf
    log_weights[:, 2] = -7.3
    summary = reduce_log_weights(log_weights)
    assert summary.log_px.dtype == torch.float64
    first = float(log_weights[0, 1]) - log(100)
    np.testing.assert_allclose(summary.log_px[:3], [-inf, first, float(log_weights[0, 2])], rtol=1e-12)
    np.testing.assert_allclose(summary.ess[:3], [0, 1, 100], rtol=1e-12)
    np.testing.assert_allclose(summary.mc_error[:3], [inf, 1, 0], atol=1e-7)
    score = evaluation_of(log_weights)
    assert score.bad_k_share == float((score.pareto_k > 0.5).sum() + 2) / NUM_DATA


def test_bounds_have_no_error() -> None:
    for summary in (reduce_log_weights(lognormal(1)), reduce_log_weights(lognormal(40), is_bound=True)):
        assert torch.stack([summary.mc_error, summary.ess, summary.pareto_k]).isnan().all()
        assert summary.log_px.isfinite().all()
    score = evaluation_of(lognormal(1))
    assert isnan(score.bad_k_share) and isnan(score.mc_standard_error)
    assert f"log p(x) >= {score.mean:.0f} ± " in str(score) and "ESS" not in str(score)


def test_means_and_their_errors() -> None:
    score = evaluation_of(lognormal(100))
    log_px, mc_error = score.log_px.numpy(), score.mc_error.numpy()
    assert score.mean == pytest.approx(log_px.mean(), rel=1e-12)
    assert score.standard_error == pytest.approx(log_px.std(ddof=1) / NUM_DATA**0.5, rel=1e-12)
    assert score.mc_standard_error == pytest.approx(np.sqrt((mc_error**2).sum()) / NUM_DATA, rel=1e-12)
    assert score.bits_per_dim == pytest.approx(-log_px.mean() / np.log(2) / 64, rel=1e-12)
    assert score.curve_frame().loc[100].tolist() == [score.mean, score.standard_error]


def test_summary_for_readers() -> None:
    level = torch.tensor([-80.0, -90.0, -100.0])
    log_weights = level + torch.tensor([[0.25], [-0.25]]).repeat(500, 1)
    assert str(evaluation_of(log_weights.double())).splitlines() == [
        "log p(x) = -90 ± 5.8 nats per datum (mass)",
        "ELBO -90 ± 5.8",
        "3 data, K = 1000, seed 3, proposal: the guide",
        "95% interval of the mean in the population: -114.8 to -65.1",
        "95% interval of the mean of these data: -89.9883 to -89.9498",
        "bias -0.000030, not corrected; rise from K/2 to K: 0",
        "Monte Carlo error 0.0045, median ESS 940",
        "k-hat above 0.67 for 0% of the data",
    ]


@pytest.mark.parametrize("num_particles", [1, 100])
def test_files_return_what_was_written(tmp_path: Path, num_particles: int) -> None:
    score = evaluation_of(lognormal(num_particles))
    score.to_netcdf(tmp_path / "score.nc")
    back = Evaluation.from_netcdf(tmp_path / "score.nc")
    for name, value in vars(score).items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(getattr(back, name), value, rtol=0, atol=0, equal_nan=True)
        else:
            assert getattr(back, name) == value and type(getattr(back, name)) is type(value), name
    score.to_csv(tmp_path / "score.csv")
    table = np.genfromtxt(tmp_path / "score.csv", delimiter=",", names=True)
    for name, column in score.to_frame().reset_index().items():
        np.testing.assert_array_equal(table[name], column)


def test_arviz_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = evaluation_of(lognormal(100))
    score.to_netcdf(tmp_path / "score.nc")
    for data in (score.to_arviz(), arviz.from_netcdf(tmp_path / "score.nc")):
        np.testing.assert_array_equal(data["is_stats"]["log_px"], score.log_px)
        np.testing.assert_array_equal(data["is_stats"]["curve"].sel(curve_particles=20), score.curve[4])
    monkeypatch.delitem(vars(arviz), "InferenceData", raising=False)
    assert isinstance(score.to_arviz(), DataTree)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "score.nc"
    evaluation_of(lognormal(100)).to_netcdf(path)

    def fail(*paths: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("inference.files.atomic.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        evaluation_of(lognormal(1)).to_netcdf(path)
    assert [file.name for file in tmp_path.iterdir()] == ["score.nc"]
    assert Evaluation.from_netcdf(path).num_particles == 100


def test_another_file_is_refused(tmp_path: Path) -> None:
    DataTree.from_dict({"/posterior": None}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"other.nc must hold an evaluation; got groups \['posterior'\]"):
        Evaluation.from_netcdf(tmp_path / "other.nc")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"elbo": torch.zeros(3).double()}, r"elbo must be .*\(50,\).*got .*\(3,\)"),
        ({"ess": torch.zeros(50)}, "ess must be .*float64.*got .*float32"),
        ({"curve": torch.zeros(2, 50).double()}, r"curve must be .*\(7, 50\).*got .*\(2, 50\)"),
        ({"log_px": torch.full((50,), torch.nan).double()}, "log_px must not be NaN"),
        ({"measure": "probability"}, "measure must be one of .*got 'probability'"),
        ({"num_particles": 1}, "is_bound must be True"),
        ({"is_bound": True}, "of a bound must be NaN"),
    ],
)
def test_inconsistent_evaluations_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Evaluation(**vars(evaluation_of(lognormal(100))) | change)
