"""A device that is not there is refused in one sentence wherever one is named."""

import pytest
import torch

from inference import fit, load_data
from inference.recipes.build import bound_pair, build_model, evaluate_pair, fit_pair
from inference.recipes.fitted_priors import fit_expost
from inference.recipes.options import DataOptions, EvaluateOptions, Recipe, fit_options, model_options
from inference.scripts.parsing import parse

SAID = "device must name a device of this machine, cpu.*; got 'banana'. Choose one of these.$"


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


@pytest.fixture(scope="module")
def vae(data):
    return build_model(model_options()(hidden=(8,), latent_dim=2), data.train)


def test_functions_that_take_a_device(vae, data) -> None:
    options, recipe = EvaluateOptions(num_particles=2), Recipe(DataOptions(), model_options()(), fit_options()())
    for call in (
        lambda: fit(vae, data, device="banana", epochs=1, progress=False),
        lambda: fit_pair(vae, data, fit_options()(epochs=1), device="banana"),
        lambda: evaluate_pair(vae, data, options, device="banana"),
        lambda: bound_pair(vae, data, options, 2, device="banana"),
        lambda: fit_expost(vae, data, "flow", recipe, device="banana"),
    ):
        with pytest.raises(ValueError, match=SAID):
            call()


def test_devices_are_names_or_torch_devices(vae, data) -> None:
    fit(vae, data.train[:100], epochs=1, device=torch.device("cpu"), progress=False)
    with pytest.raises(ValueError, match="got 'meta'"):
        fit(vae, data.train[:100], epochs=1, device=torch.device("meta"), progress=False)


@pytest.mark.parametrize(
    "command", ["train --out x", "evaluate r", "compare", "sweep --over seed 0 --out x", "diagnose r", "report r", "sample r"]
)
def test_every_command_that_runs_a_model_takes_a_device(command: str) -> None:
    name, *words = command.split()
    assert parse(name, "", [*words, "--device", "cpu"]).device == "cpu"
    with pytest.raises(ValueError, match=f"--{SAID}"):
        parse(name, "", [*words, "--device", "banana"])
