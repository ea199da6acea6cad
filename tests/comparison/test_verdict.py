"""What the verdict on a comparison says."""

import torch

from inference.comparison.table import compare
from inference.comparison.verdict import verdict
from inference.scoring.evaluation import Evaluation
from inference.scoring.reduction import curve_particles, reduce_log_weights


def score(mean, *, num_particles=1000, scale=0.3, seed=0, is_bound=False, noise=0.1):
    """An evaluation of 400 data whose log p(x) share a spread of 2, and have ``noise`` of their own."""
    generator = torch.Generator().manual_seed(seed)
    common = 2 * torch.randn(400, generator=torch.Generator().manual_seed(99)).double()
    own = noise * torch.randn(400, generator=generator).double()
    weights = mean + common + own + scale * torch.randn(num_particles, 400, generator=generator).double() - scale**2 / 2
    is_bound = is_bound or num_particles == 1
    summary = reduce_log_weights(weights, is_bound=is_bound)._asdict()
    fields = {"num_particles": num_particles, "seed": 0, "measure": "mass", "data_id": "d", "num_dims": 9}
    fields |= {"curve_particles": curve_particles(num_particles), "is_bound": is_bound}
    return Evaluation(**summary, **fields)


def test_the_verdict_names_the_best_and_what_cannot_be_told_apart():
    scores = {"c": score(-15, seed=1), "a": score(-10, seed=2), "b": score(-10.0, seed=3, noise=3.0)}
    gap = float((scores["a"].log_px - scores["b"].log_px).mean())
    assert abs(gap) < 2 * 3 / 20
    first, second, third, fits, *rest = verdict(scores)
    best, other = ("a", "b") if gap > 0 else ("b", "a")
    assert first.startswith(f"{best} comes first, with log p(x) = -10.")
    assert second.startswith("It is ahead of c (by 5.") and "the 95% interval of the paired difference excludes zero" in second
    assert third.startswith(f"It cannot be told apart from {other} (by ")
    assert fits.startswith("These are single fits: another seed of a recipe may differ by more")
    assert rest[0].startswith("Estimated biases in nats, which are not subtracted: ") and rest[0].count("-0.0000") == 3
    assert rest[1:] == ["Pareto k-hat finds no datum whose estimate is unreliable."]
    assert verdict({"a": scores["a"], "c": scores["c"]})[0].startswith("a is best, with log p(x) = -10.")


def test_the_verdict_says_what_cannot_be_trusted():
    lines = verdict({"wide": score(-10, scale=1.6), "narrow": score(-12)})
    unreliable = score(-10, scale=1.6).bad_k_share
    assert 0.05 < unreliable < 0.5 and f"wide {100 * unreliable:.0f}%, narrow 0%" in lines[-1]
    first, *_, last = verdict({"wide": score(0, scale=6.0), "narrow": score(-12)})
    assert first.startswith("wide comes first")
    assert last == "That is most of the data for wide: read the figure as a lower bound, or draw more."


def test_no_figure_is_of_data_selected_by_their_own_k_hat():
    lines = verdict({"wide": score(-10, scale=1.6), "narrow": score(-12)})
    shown = [line for line in lines if "wide" in line and "narrow" in line]
    assert not any("reliable for both" in line or " minus " in line for line in shown)


def test_a_lead_within_the_biases_is_not_a_lead():
    """Both models are equally good, but the guide of b is far worse, so that its figure is too low."""
    scores = {"a": score(-10, noise=0.0), "b": score(-10, scale=2.8, noise=0.0, seed=1)}
    gap = compare(scores).attrs["differences"]["b"]
    assert gap.mean < -4 * gap.standard_error and gap.exceeds_scatter and not gap.is_clear
    first, second, *_ = verdict(scores)
    assert first.startswith("a comes first") and second.startswith("Its lead over b (by 0.")
    assert "At 95%, with biases allowed for, the difference from a may be zero: b." in compare(scores).notes


def test_the_verdict_says_what_is_a_bound():
    lines = verdict({"bound": score(-10, is_bound=True), "estimate": score(-12)})
    assert lines[0].startswith("bound comes first, with log p(x) at least -10")
    assert any(line.startswith("For bound, only a lower bound on log p(x) is known") for line in lines)
    alone = verdict({"one": score(-10, num_particles=1)})
    assert alone[0].endswith("there is nothing to compare it with.") and len(alone) == 2
    assert any("Twenty draws or fewer" in line for line in verdict({"few": score(-10, num_particles=15)}))


def fits(mean, *, scatter, number=3, seed=0):
    return [score(mean + offset, seed=seed + i) for i, offset in enumerate(torch.linspace(-scatter, scatter, number).tolist())]


def test_the_verdict_on_recipes_counts_the_scatter_of_their_seeds():
    groups = {"a": fits(-10, scatter=0.02), "b": fits(-10.05, scatter=0.3, seed=10), "c": fits(-15, scatter=0.1, seed=20)}
    scores = {f"{name}-seed{i}": own for name, several in groups.items() for i, own in enumerate(several)}
    names = {name: [f"{name}-seed{i}" for i in range(3)] for name in groups}
    first, second, third, *rest = verdict(scores, names)
    assert first.startswith("a comes first, with log p(x) = -10.")
    assert first.endswith("nats per datum, the mean of 3 fits with different seeds, whose standard deviation is 0.018.")
    assert second.startswith("It is ahead of c (by 5.0") and "over data and seeds, excludes zero" in second
    assert third.startswith("It cannot be told apart from b (by 0.1 ± 0.17)") and "over data and seeds and with biases" in third
    assert not any("single fits" in line for line in rest)
    sure = verdict({name: own for name, own in scores.items() if name[0] != "b"}, {name: names[name] for name in "ac"})
    assert sure[0].startswith("a is best")


def test_a_recipe_with_one_fit_has_no_scatter():
    scores = {"a0": score(-10), "a1": score(-10.1, seed=1), "b": score(-12, seed=2)}
    lines = verdict(scores, {"a": ["a0", "a1"], "b": ["b"]})
    assert "Over b (by 1.95" in lines[1] and lines[1].endswith("a recipe with a single fit has no scatter over seeds.")
    assert lines[0].startswith("a comes first")


def test_one_datum_has_no_interval():
    def single(mean):
        weights = torch.full((50, 1), float(mean)).double() + 0.1 * torch.randn(50, 1, generator=torch.Generator().manual_seed(0)).double()
        fields = {"num_particles": 50, "seed": 0, "measure": "mass", "data_id": "d", "num_dims": 9, "is_bound": False}
        return Evaluation(**reduce_log_weights(weights, is_bound=False)._asdict(), **fields, curve_particles=curve_particles(50))

    scores = {"a": single(-1), "b": single(-2), "classes": single(-3)}
    lines = verdict(scores, yardsticks={"classes": ""})
    assert lines[1].startswith("It cannot be told apart from b") and lines[1].endswith(": one datum has no interval.")
    assert not any("includes zero" in line for line in lines)
    notes = compare(scores, yardsticks={"classes": ""}).notes
    assert "Of one datum, in nats: no error can be given." in notes and not any("includes zero" in note for note in notes)
