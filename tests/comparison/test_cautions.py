"""What a comparison warns of, and where it is silent."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_verdict import score
import torch

from inference.comparison.cautions import convergence, poor_samples, unused_latents
from inference.predictive.features import Features
from inference.predictive.quality import sample_quality


def history(losses):
    return pd.DataFrame({"epoch": np.arange(1, len(losses) + 1), "valid_loss": losses})


def of_fit(losses, **options):
    """The warnings about a fit with these losses, whose best epoch is that of the lowest."""
    options = {"epochs": len(losses)} | options
    return list(convergence("vamp", history(losses), int(np.nanargmin(losses)) + 1, **options))


def converged(size, seed=0):
    """Losses that fall to 20 and then only scatter by 0.1."""
    return 20 + 10 * np.exp(-np.arange(size) / 3) + 0.1 * np.random.default_rng(seed).standard_normal(size)


def test_a_fit_whose_loss_still_falls_has_not_converged():
    falling = 30 - 0.05 * np.arange(60) + 0.001 * np.tile([1, -1], 30)
    (line,) = of_fit(falling)
    assert line.startswith("vamp has not converged: the best epoch is the last of 60, and the validation loss still fell by 0.25")
    assert line.endswith("nats over the last 6. Train longer: --resume --fit.epochs 120.")
    (line,) = of_fit(falling, is_scheduled=True)
    assert line.endswith("Train anew with --fit.epochs 120.")
    interrupted = np.r_[falling[:-1], falling[-2] + 1e-4]  # the last epoch is not the best, but the loss falls
    (line,) = of_fit(interrupted)
    assert "has not converged: the best epoch is 59 of 60, and the validation loss still fell by 0.2" in line


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"epochs": 61, "patience": 1}, "with a larger --fit.patience and --fit.epochs 120"),  # more patience alone: one more epoch
        ({"epochs": 60, "patience": 1}, "with a larger --fit.patience and --fit.epochs 120"),  # more epochs alone: none
        ({"epochs": 61, "patience": 1, "is_scheduled": True}, "anew with a larger --fit.patience and --fit.epochs 120"),
        ({"epochs": 300, "patience": 1}, "with a larger --fit.patience"),
        ({"epochs": 60, "patience": 2}, "longer: --resume --fit.epochs 120"),
        ({"epochs": 300, "patience": 9}, "with a smaller --fit.learning_rate"),  # the loss was no longer finite
    ],
)
def test_the_remedy_is_more_of_what_ended_the_fit(options, remedy):
    falling = 30 - 0.05 * np.arange(60)
    falling[-1] = falling[-2] + 1e-4
    assert of_fit(falling, **options)[-1].endswith(f" Train {remedy}.")


def test_a_fit_that_has_converged_is_not_warned_of():
    losses = [converged(60, seed) for seed in range(300)]
    warned = [seed for seed, own in enumerate(losses) if of_fit(own, is_scheduled=True)]
    assert len(warned) <= 10, "the line through the last epochs falls by chance in one of a hundred fits"
    assert len([own for own in losses if of_fit(own)]) <= 25, "and the best of 60 epochs is now and then the last"


def test_the_last_epoch_as_the_best_is_told_with_what_the_loss_did():
    losses = converged(60)
    losses[-1] = losses.min() - 1e-3
    if of_fit(losses, is_scheduled=True):
        pytest.fail("the scatter alone is no fall")
    (line,) = of_fit(losses)
    assert line.startswith("vamp may not have converged: the best epoch is the last of 60, and the validation loss ")
    assert "nats over the last 6, no more than its scatter. Train longer" in line
    assert of_fit([30.0], epochs=1)[0].startswith("vamp may not have converged: the best epoch is the last of 1. Train longer")
    assert "the validation loss fell by 2.0 nats over the last 2, too few to tell from scatter" in of_fit([30.0, 28.0])[0]


def test_fits_that_broke_off_or_never_began_are_told():
    assert of_fit(converged(40), epochs=60, patience=5)[:1] == []  # stopped by patience
    (line,) = [line for line in of_fit(np.r_[converged(10), 50.0], epochs=60, patience=5) if "finite" in line]
    assert line == "vamp stopped after 11 of 60 epochs, as its loss was no longer finite. Take a smaller --fit.learning_rate."
    (line,) = convergence("vamp", history([5.0, 6.0, 7.0]), 0, epochs=3)
    assert line.startswith("vamp is as it was before training")
    assert "not finite in 1 of 60 epochs" in of_fit(np.r_[converged(59), np.nan])[0]


def use(variances, collapsed, **levels):
    figures = {f"codes_used[{name}]": value for name, (value, _) in levels.items()}
    errors = {f"codes_used[{name}]": error for name, (_, error) in levels.items()}
    variances = {name: torch.tensor(values) for name, values in variances.items()}
    return SimpleNamespace(unit_variances=variances, collapsed=collapsed, levels=figures, standard_errors=errors)


def test_unused_latents():
    assert list(unused_latents("a", use({"z": [0.5, 0.9]}, {"z": ()}, c=(0.95, 0.001)))) == []
    (some,) = unused_latents("a", use({"z": [0.5, 0.004, 0.0031]}, {"z": (1, 2)}))
    assert some.startswith(
        "a: 2 of 3 units of z are unused, as the mean of q(z|x) hardly varies over the data (its variance is at most 0.0040)"
    )
    assert ": 1, 2. Use fewer units" in some
    (all_of_it,) = unused_latents("a", use({"z1": [0.5], "z2": [-1e-9, 1e-3]}, {"z1": (), "z2": (0, 1)}))
    assert all_of_it.startswith("a does not use its latent z2: in all 2 units") and "at most 0.0010" in all_of_it
    (codes,) = unused_latents("a", use({}, {}, c=(0.4, 0.01)))
    assert codes.startswith("a leaves 60 ± 1.0% of the code values of c unused.")
    assert list(unused_latents("a", use({}, {}, c=(0.85, 0.04)))) == [], "too few draws to tell"


def quality(scale, *, num=400, seed=0):
    """Quality of normal samples of some scale beside standard normal data."""
    generator = torch.Generator().manual_seed(5)
    real = torch.randn(num, 4, generator=generator, dtype=torch.float64)
    samples = scale * torch.randn(num, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return sample_quality(samples, real, Features("x", lambda x: x))


def test_worse_samples_beside_a_better_likelihood():
    scores = {"a": score(-10, seed=1), "b": score(-12, seed=2)}
    (line,) = poor_samples(scores, {"a": quality(2.0), "b": quality(1.0, seed=1)}, quality(1.0, seed=2))
    assert line.startswith("a has a higher log p(x) than b, but worse samples: their coverage is 0.") and "Fréchet distance is" in line
    assert list(poor_samples(scores, {"a": quality(1.0), "b": quality(2.0, seed=1)}, quality(1.0, seed=2))) == []
    assert list(poor_samples(scores, {"a": quality(1.0), "b": quality(1.0, seed=1)}, quality(1.0, seed=2))) == []
    assert list(poor_samples(scores, {})) == [] and list(poor_samples(scores, {"b": quality(9.0)})) == []


def test_samples_that_cover_hardly_any_data_are_poor():
    (line,) = poor_samples({"a": score(-10)}, {"a": quality(0.1)}, quality(1.0, seed=2))
    assert line.startswith("a has the best log p(x), but its samples are poor: samples and real data come near ")
