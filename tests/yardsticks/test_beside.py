"""Yardsticks beside models: what is fitted to which data, what is left out with which word, and what a comparison says."""

from dataclasses import replace

import numpy as np
from oracles import LinearGaussian
import pytest
import torch

from inference import compare, load_data
from inference.comparison.verdict import verdict
from inference.data.load import Data
from inference.runs.sweep import Job, _compared
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate
from inference.yardsticks import fitting
from inference.yardsticks.catalogue import YARDSTICKS
from inference.yardsticks.fitting import baselines, num_latents, score_beside
from inference.yardsticks.pairs import Yardstick
from inference.yardsticks.rows import NotApplicable, TableOfRows

TRUTH = LinearGaussian()


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(TRUTH.sample(1500), test_fraction=0.2)


@pytest.fixture(scope="module")
def score(data: Data) -> Evaluation:
    return evaluate(TRUTH, data, num_particles=10, progress=False)


def shifted(score: Evaluation, shift: float) -> Evaluation:
    return replace(score, log_px=score.log_px + shift)


def test_yardsticks_are_scored_on_the_same_rows_with_as_many_latents(data: Data, score: Evaluation) -> None:
    beside = score_beside(data, "test", {"truth": TRUTH}, {"truth": score})
    assert set(beside.scores) == {name for name in YARDSTICKS if name != "n-grams"} and not beside.notes
    assert beside.sizes["factor-analysis"] == beside.sizes["ppca"] == "with 2 latents" and num_latents(TRUTH, (data.train,)) == 2
    exact = TRUTH.log_px(data.test.double())
    gap = exact - beside.scores["factor-analysis"].log_px
    assert abs(float(gap.mean())) < 3 * float(gap.std()) / len(gap) ** 0.5 + 0.02  # 20 parameters of 1050 rows cost 10 / 1050 nats
    assert set(score_beside(data, "test", {"truth": TRUTH}, {"truth": score}, ["ppca"]).scores) == {"ppca"}
    assert score_beside(data, "test", {"truth": TRUTH}, {"truth": score}, False) == fitting.NOTHING_BESIDE
    valid = score_beside(
        data, "valid", {"truth": TRUTH}, {"truth": evaluate(TRUTH, data.valid, num_particles=10, progress=False)}, ["ppca"]
    )
    assert len(valid.scores["ppca"].log_px) == len(data.valid) and not valid.scores["ppca"].num_fitted
    (ppca,) = baselines(data, latent_dim=2, names=["ppca"]).values()
    assert evaluate(ppca, data.train[:50], progress=False).num_fitted == 50


def test_a_comparison_says_who_does_not_beat_the_best_yardstick(data: Data, score: Evaluation) -> None:
    found = baselines(data, latent_dim=2, names=["factor-analysis", "independent-columns"])
    yardsticks = {name: evaluate(pair, data, progress=False) for name, pair in found.items()}
    best = yardsticks["factor-analysis"]
    scores = {"good": shifted(score, 0.5), "poor": shifted(score, -2.0), **yardsticks}
    table = compare(scores, yardsticks=found.sizes)
    assert table.loc["good", "difference"] == 0 and table.index[0] == "good"
    printed = table.formatted()
    assert (printed.loc[list(found), "num_particles"] == "exact").all()
    assert (printed.loc[list(found), ["mc_error", "bias", "bad_k"]] == "").all(axis=None) and printed.loc["poor", "mc_error"] != ""
    gap = scores["poor"].log_px - best.log_px
    amount = f"{-float(gap.mean()):.3f} ± {float(gap.std()) / len(gap) ** 0.5:.4f}"
    (sentence,) = [note for note in table.notes if "the best yardstick" in note]
    assert sentence == f"poor is {amount} nats below factor-analysis with 2 latents, the best yardstick."
    assert sentence in verdict(scores, yardsticks=found.sizes)
    first = verdict(scores, yardsticks=found.sizes)[0]
    assert first.startswith("good is best") and "factor" not in "".join(verdict({"good": scores["good"]}))

    scores = {"poor": scores["poor"], "bound": replace_bound(shifted(score, -1.0)), **yardsticks}
    table = compare(scores, yardsticks=found.sizes)
    assert table.attrs["best"] == "bound" and table.index[0] == "factor-analysis" and table.loc["factor-analysis", "difference"] > 0
    assert "bound is" in "".join(table.notes) and "the best yardstick, if only by its lower bound." in "".join(table.notes)


def replace_bound(score: Evaluation) -> Evaluation:
    nothing = torch.full_like(score.log_px, torch.nan)
    return replace(score, is_bound=True, mc_error=nothing, ess=nothing, pareto_k=nothing)


def test_models_that_beat_the_yardsticks_or_cannot_be_told_apart_are_said_to(data: Data, score: Evaluation) -> None:
    found = baselines(data, latent_dim=2, names=["factor-analysis"])
    best = evaluate(found["factor-analysis"], data, progress=False)
    noise = torch.randn(len(best.log_px), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alike = replace(score, log_px=best.log_px + noise - noise.mean() + 0.01)
    both = {"good": shifted(score, 0.5), "better": shifted(score, 1.0), "factor-analysis": best}
    assert (
        compare(both, yardsticks=found.sizes)
        .notes[-1]
        .startswith("Every model is above factor-analysis with 2 latents, the best yardstick")
    )
    note = compare({"alike": alike, "factor-analysis": best}, yardsticks=found.sizes).notes[-1]
    assert note.startswith("alike cannot be told apart from factor-analysis") and "it is 0.01 ± 0.056 nats above" in note
    with pytest.raises(ValueError, match="yardsticks must be names of evaluations; got 'ppca'"):
        compare(both, yardsticks={"ppca": ""})


def test_recipes_are_compared_with_a_yardstick_over_data_and_seeds(data: Data, score: Evaluation) -> None:
    best = evaluate(baselines(data, latent_dim=2, names=["factor-analysis"])["factor-analysis"], data, progress=False)
    scores = {"a0": shifted(score, -2.0), "a1": shifted(score, -3.0), "b0": shifted(score, -1.0), "factor-analysis": best}
    lines = verdict(scores, {"a": ["a0", "a1"], "b": ["b0"]}, {"factor-analysis": ""})
    behind = [line for line in lines if "the best yardstick" in line]
    assert behind[0].startswith("a cannot be told apart from factor-analysis, the best yardstick: it is 2.5 ± 0.50 nats below")  # two seeds
    assert behind[1].startswith("b is 1.0") and len(behind) == 2


def test_what_is_left_out_is_said_with_the_reason(data: Data, score: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    def reasons(rows: np.ndarray, **options: object) -> dict[str, str]:
        return baselines(load_data(rows), **options).left_out

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 3))
    assert "singular" in reasons(np.column_stack([rows, rows.sum(1)]))["full-normal"]
    assert "1 column is constant" in reasons(np.column_stack([rows, np.ones(100)]))["independent-columns"]
    proportions = np.abs(rows) / np.abs(rows).sum(1, keepdims=True)
    assert "on a surface" in reasons(proportions)["independent-columns"]
    assert "on a surface" in reasons(rows / np.linalg.norm(rows, axis=1, keepdims=True))["latent-classes"]
    assert "share a value of column 3" in reasons(np.column_stack([rows, rows[:, 0] > 0]))["normal-mixture"]
    assert "a full normal" in reasons(rows, latent_dim=3)["ppca"] and "no number of real latents" in reasons(rows)["ppca"]
    assert "the columns would have a density" in reasons(rows, measure="mass")["latent-classes"]
    assert set(reasons((rows > 0).astype(float))) == {"full-normal", "factor-analysis", "ppca", "normal-mixture"}
    with pytest.raises(ValueError, match="yardstick must be one of"):
        baselines(data, names=["full"])
    with pytest.raises(TypeError, match="load_data"):
        baselines(data.train)  # type: ignore[arg-type]

    def notes(data: Data, score: Evaluation, asked: fitting.Asked = "auto") -> str:
        return " ".join(score_beside(data, "test", {"truth": TRUTH}, {"truth": score}, asked).notes)

    assert "they are of p(x) with other arguments" in notes(data, replace(score, given_id="labels"))
    assert "its num_dims is 5, and that of the models 4" in notes(data, replace(score, num_dims=4), ["ppca"])
    monkeypatch.setattr(fitting, "MOST_CELLS", 100)
    assert "5,250 cells of training data are more than the 100" in notes(data, score) and not notes(data, score, ["ppca"])


def test_a_yardstick_of_ones_own_is_registered_like_the_others(data: Data) -> None:
    @YARDSTICKS.register("own")
    def own(data: TableOfRows, *, patience: int = 3) -> Yardstick:
        raise NotApplicable(f"it has a patience of {patience}")

    try:
        assert baselines(data, names=["own"], options={"patience": 5}).left_out == {"own": "it has a patience of 5"}
    finally:
        YARDSTICKS.forget("own")


def test_sweeps_say_which_recipes_do_not_beat_the_yardsticks(data: Data, score: Evaluation) -> None:
    jobs = [Job(f"a-seed{seed}", "a", {"model.seed": f"{seed}"}) for seed in (0, 1)]
    scores = {"a-seed0": shifted(score, -2.0), "a-seed1": shifted(score, -2.1)}
    beside = score_beside(data, "test", {"truth": TRUTH}, {"truth": score}, ["ppca", "n-grams"])
    *_, behind, left_out = _compared(jobs, scores, beside).notes
    assert behind.startswith("a is ") and "below ppca with 2 latents, the best yardstick" in behind
    assert left_out == "Yardsticks left out: n-grams, as it is for text."
    assert "ppca" in _compared(jobs[:1], {"a-seed0": scores["a-seed0"]}, beside).index
