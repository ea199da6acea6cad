"""Evaluations compared datum by datum."""

from decimal import Decimal
from math import floor, inf, isnan, log10
from pathlib import Path

from evaluations import NUM_DATA, evaluation_of, lognormal
import numpy as np
import pandas as pd
import pytest
import torch

from inference.comparison.table import Comparison, compare
from inference.scoring.evaluation import Evaluation


@pytest.fixture
def scores() -> dict[str, Evaluation]:
    return {
        "standard": evaluation_of(lognormal(1000, seed=1)),
        "vamp": evaluation_of(lognormal(1000, seed=2, shift=0.7)),
        "flow": evaluation_of(lognormal(1000, seed=3, shift=0.4)),
    }


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
    for name in ("difference", "difference_se", "mc_error", "bias"):
        np.testing.assert_allclose(bits[name], nats[name].abs() / (64 * np.log(2)), rtol=1e-12)
    assert (nats["bias"] < 0).all()
    assert "in bits/dim; less is better" in repr(bits)


def test_exact_values_are_neither_bounds_nor_estimates(scores: dict[str, Evaluation], tmp_path: Path) -> None:
    exact = evaluation_of(lognormal(1), is_bound=False)
    assert exact.is_exact and exact.mc_standard_error == 0 and isnan(exact.bad_k_share)
    exact.to_netcdf(tmp_path / "exact.nc")
    assert Evaluation.from_netcdf(tmp_path / "exact.nc").is_exact
    assert not any(score.is_exact for score in (*scores.values(), evaluation_of(lognormal(1)), evaluation_of(lognormal(40), is_bound=True)))
    table = compare({"exact": exact, **scores})
    assert "exact: no latent is drawn, so log p(x) is exact." in table.notes and not table.attrs["fewer"]
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
    assert table.formatted().loc["vq", ["mc_error", "bias", "bad_k"]].tolist() == ["", "", ""]
    for part in ("fewer than for another", "beats an estimate", "k-hat above", "blank where 20"):
        assert sum(part in note for note in table.notes) == 1
    for text in (repr(table), table.to_markdown(), table._repr_html_().replace("\u2011", "-")):
        assert "20*" in text and all(note in text for note in table.notes)


def test_notes_only_where_needed(scores: dict[str, Evaluation]) -> None:
    assert compare({"a": evaluation_of(lognormal(1000, scale=0.0))}).notes == (
        "Means over 50 data in nats.",
        "An estimate of log p(x) is a lower bound in expectation: off by about bias, which is not subtracted.",
    )
    bounds = compare({"a": evaluation_of(lognormal(1)), "b": evaluation_of(lognormal(40), is_bound=True)})
    assert bounds.notes == (
        "Means over 50 data in nats.",
        "A difference of two bounds is no bound on the difference of log p(x).",
        "At 95%, with biases allowed for, the difference from b may be zero: a.",
        "These are single fits: another seed of a recipe may differ by more than these errors, which are over data and draws.",
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
