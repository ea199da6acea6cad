"""Evaluations against NumPy, to files and back, and compared datum by datum."""

from decimal import Decimal
from math import floor, inf, isnan, log, log10
from pathlib import Path

import arviz
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from xarray import DataTree

from inference.comparison.table import Comparison, compare
from inference.scoring.evaluation import Evaluation
from inference.scoring.reduction import curve_particles, reduce_log_weights

NUM_DATA = 50


def evaluation_of(
    log_weights: Tensor,
    *,
    is_bound: bool | None = None,
    measure: str = "mass",
    data_id: str = "a",
    num_dims: int = 64,
) -> Evaluation:
    is_bound = len(log_weights) == 1 if is_bound is None else is_bound
    return Evaluation(
        **reduce_log_weights(log_weights, is_bound=is_bound)._asdict(),
        curve_particles=curve_particles(len(log_weights)),
        num_particles=len(log_weights),
        seed=3,
        measure=measure,
        data_id=data_id,
        is_bound=is_bound,
        num_dims=num_dims,
    )


def lognormal(num_particles: int, *, seed: int = 0, scale: float = 0.5, shift: float = 0.0) -> Tensor:
    """Log weights of 50 data whose log-likelihoods scatter by 9 nats around -90 + shift."""
    level = -90 + shift + 9 * torch.randn(NUM_DATA, generator=torch.Generator().manual_seed(9)).double()
    noise = torch.randn(num_particles, NUM_DATA, generator=torch.Generator().manual_seed(seed)).double()
    return level + scale * noise - scale**2 / 2


@pytest.fixture
def scores() -> dict[str, Evaluation]:
    return {
        "standard": evaluation_of(lognormal(1000, seed=1)),
        "vamp": evaluation_of(lognormal(1000, seed=2, shift=0.7)),
        "flow": evaluation_of(lognormal(1000, seed=3, shift=0.4)),
    }


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
    assert curve_particles(99) == (1, 2, 5, 10, 20, 50, 99)
    assert curve_particles(1000)[-3:] == (200, 500, 1000)


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
        "3 data, K = 1000, seed 3",
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
    monkeypatch.delattr(arviz, "InferenceData", raising=False)
    assert isinstance(score.to_arviz(), DataTree)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "score.nc"
    evaluation_of(lognormal(100)).to_netcdf(path)

    def fail(*paths: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("inference.files.os.replace", fail)
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


def test_comparison_is_paired_and_best_first(scores: dict[str, Evaluation]) -> None:
    table = compare(scores)
    assert table.index.tolist() == ["vamp", "flow", "standard"]
    log_px = {name: score.log_px.numpy() for name, score in scores.items()}
    for name, row in table.iterrows():
        difference = log_px[name] - log_px["vamp"]
        assert row["log_px"] == pytest.approx(log_px[name].mean(), rel=1e-12)
        assert row["se"] == pytest.approx(log_px[name].std(ddof=1) / NUM_DATA**0.5, rel=1e-12)
        assert row["difference"] == pytest.approx(difference.mean(), abs=1e-12)
        assert row["difference_se"] == pytest.approx(difference.std(ddof=1) / NUM_DATA**0.5, rel=1e-12)
        assert row["elbo"] == pytest.approx(scores[name].elbo.numpy().mean(), rel=1e-12)
    assert table.loc["flow", "difference_se"] < table.loc["flow", "se"] / 100


def test_bits_per_dim_turn_the_sign_and_keep_the_order(scores: dict[str, Evaluation]) -> None:
    nats, bits = compare(scores), compare(scores, unit="bits/dim")
    assert bits.index.tolist() == nats.index.tolist()
    np.testing.assert_allclose(bits["bits_per_dim"], [scores[name].bits_per_dim for name in bits.index])
    for name in ("difference", "difference_se", "mc_error"):
        np.testing.assert_allclose(bits[name], nats[name].abs() / (64 * np.log(2)), rtol=1e-12)
    assert "in bits/dim; less is better" in repr(bits)


def test_exact_values_are_neither_bounds_nor_estimates(scores: dict[str, Evaluation], tmp_path: Path) -> None:
    exact = evaluation_of(lognormal(1), is_bound=False)
    assert exact.is_exact and exact.mc_standard_error == 0 and isnan(exact.bad_k_share)
    exact.to_netcdf(tmp_path / "exact.nc")
    assert Evaluation.from_netcdf(tmp_path / "exact.nc").is_exact
    assert not any(score.is_exact for score in (*scores.values(), evaluation_of(lognormal(1)), evaluation_of(lognormal(40), is_bound=True)))
    table = compare({"exact": exact, **scores})
    assert "exact: every latent is summed out, so log p(x) is exact." in table.notes and not table.attrs["fewer"]
    assert not any("blank" in note or "bound" in note for note in compare({"exact": exact}).notes)
    impossible = lognormal(1)
    impossible[0, 3] = -torch.inf
    assert evaluation_of(impossible, is_bound=False).mc_error[3] == 0


def test_print(scores: dict[str, Evaluation]) -> None:
    sampled_less = evaluation_of(lognormal(20, shift=-1))
    bound = evaluation_of(lognormal(1, shift=-2))
    wild = evaluation_of(lognormal(1000, shift=-3, scale=4.0))
    table = compare({"vamp": scores["vamp"], "fewer": sampled_less, "vq": bound, "wild": wild})
    assert table.formatted().loc["vamp"].tolist()[:4] == ["-90", f"{table['se'].iloc[0]:.1f}", "0", "0"]
    assert table.formatted()["num_particles"].tolist() == ["1000", "20*", "1", "1000"]
    assert table.formatted()["is_bound"].tolist() == ["", "", "yes", ""]
    assert table.formatted().loc["vq", ["mc_error", "bad_k"]].tolist() == ["", ""]
    for part in ("fewer than for another", "beats an estimate", "k-hat above", "blank where 20"):
        assert sum(part in note for note in table.notes) == 1
    for text in (repr(table), table.to_markdown(), table._repr_html_()):
        assert "20*" in text and all(note in text for note in table.notes)


def test_notes_only_where_needed(scores: dict[str, Evaluation]) -> None:
    assert compare({"a": evaluation_of(lognormal(1000, scale=0.0))}).notes == (
        "Means over 50 data in nats.",
        "An estimate of log p(x) is a lower bound in expectation.",
    )
    bounds = compare({"a": evaluation_of(lognormal(1)), "b": evaluation_of(lognormal(40), is_bound=True)})
    assert bounds.notes == (
        "Means over 50 data in nats.",
        "A difference of two bounds is no bound on the difference of log p(x).",
    )


@pytest.mark.parametrize("unit", ["nats", "bits/dim"])
def test_printed_digits_stop_at_their_errors(unit: str) -> None:
    rng = np.random.default_rng(0)
    names = {"nats": "log_px", "bits/dim": "bits_per_dim"}
    for seed in range(20):
        scale, shift = rng.uniform(0.1, 2), 10 ** rng.uniform(-4, 2)
        one, other = lognormal(50, seed=seed), lognormal(50, scale=scale, shift=shift)
        table = compare({"one": evaluation_of(one), "other": evaluation_of(other)}, unit=unit)
        shown = table.formatted()
        for value, error in ((names[unit], "se"), ("difference", "difference_se")):
            place = floor(log10(table[error].iloc[1]))
            assert Decimal(shown[value].iloc[1]) % Decimal(10) ** place == 0
            assert len(Decimal(shown[error].iloc[1]).normalize().as_tuple().digits) <= 2


def test_infinite_log_likelihoods_rank_last(scores: dict[str, Evaluation]) -> None:
    log_weights = lognormal(1000)
    log_weights[:, 4] = -torch.inf
    impossible = evaluation_of(log_weights)
    table = compare({"impossible": impossible, "also": impossible, **scores})
    assert table.index.tolist()[-2:] == ["impossible", "also"]
    assert table.loc["also", ["log_px", "difference"]].tolist() == [-inf, -inf]
    assert table.formatted().loc["also"].tolist()[:4] == ["-inf", "", "-inf", ""]


def test_a_single_datum_has_no_error_over_data() -> None:
    one = {name: evaluation_of(lognormal(100, seed=seed)[:, :1]) for seed, name in enumerate("ab")}
    table = compare(one)
    assert table["se"].isna().all() and table["difference_se"].isna().tolist() == [False, True]
    assert table.formatted()["se"].tolist() == ["", ""]


def test_numbers_stay_full_and_what_is_derived_is_plain(scores: dict[str, Evaluation]) -> None:
    table = compare(scores)
    assert isinstance(table, Comparison)
    assert table.loc["vamp", "log_px"] == scores["vamp"].mean
    assert type(table.head(2)) is pd.DataFrame and type(table[["log_px", "se"]]) is pd.DataFrame


def test_unlike_evaluations_are_refused(scores: dict[str, Evaluation]) -> None:
    score = scores["vamp"]
    others = {
        "data_id must be the same.*'vamp': 'a', 'other': 'b'.*same data": {"data_id": "b"},
        "measure must be the same.*'density'.*different units": {"measure": "density"},
        "num_dims must be the same": {"num_dims": 784},
    }
    for message, change in others.items():
        with pytest.raises(ValueError, match=message):
            compare({"vamp": score, "other": evaluation_of(lognormal(1000), **change)})
    with pytest.raises(ValueError, match="same length.*'vamp': 50, 'other': 49"):
        compare({"vamp": score, "other": evaluation_of(lognormal(1000)[:, 1:])})


def test_bad_arguments_are_refused(scores: dict[str, Evaluation]) -> None:
    with pytest.raises(ValueError, match="not empty; got dict {}"):
        compare({})
    with pytest.raises(ValueError, match="must be a dict"):
        compare([scores["vamp"]])
    with pytest.raises(ValueError, match="'vamp' must be an Evaluation; got float"):
        compare({"vamp": -88.8})
    with pytest.raises(ValueError, match=r"unit must be one of \('nats', 'bits/dim'\); got 'bits'"):
        compare(scores, unit="bits")
