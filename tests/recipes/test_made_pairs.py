"""A table to fitted models and back, with public names only: docs/tables.md in small, and what `make_pair` refuses."""

from pathlib import Path
import re

import numpy as np
import pandas as pd
import pytest
import torch

import inference
from inference import load_data, make_pair
from inference.recipes.build import build_model
from inference.recipes.options import model_options

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "tables.md").read_text()
SMALL = {"latent_dim": 2, "hidden": (6,)}


def customers() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    whole = pd.DataFrame({"income": rng.normal(3e4, 1e4, 90), "visits": rng.poisson(9, 90), "plan": rng.choice(["basic", "premium"], 90)})
    gaps = whole.astype(object).mask(rng.random(whole.shape) < 0.1)
    return pd.concat([pd.DataFrame({"customer_id": np.arange(90) + 1000}), gaps], axis=1)


def test_the_page_goes_from_a_table_to_codes_and_an_imputed_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    customers().to_csv("customers.csv", index=False)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(block.splitlines()) < 25 and set(re.findall(r"from (\S+) import", block)) == {"inference"}
    made = inference.make_pair
    monkeypatch.setattr(inference, "make_pair", lambda data, **options: made(data, **options, **SMALL))
    scope: dict[str, object] = {}
    exec(compile(block.replace("epochs=300", "epochs=1"), "tables.md", "exec"), scope)
    assert "1 real (income), 1 count (visits), 1 binary (plan)" in capsys.readouterr().out
    filled = scope["data"].table(scope["filled"].draws[0])
    assert list(filled) == ["income", "visits", "plan"] and not filled.isna().any(axis=None)
    assert set(filled["plan"]) == {"basic", "premium"} and scope["codes"].shape == (len(filled), 2)


def test_it_is_the_model_of_the_recipes():
    data = load_data("digits")
    pair = make_pair(data, prior="vamp", num_components=5, seed=3, **SMALL)
    other = build_model(model_options()(prior="vamp", num_components=5, seed=3, **SMALL), data.train)
    assert all(torch.equal(a, b) for a, b in zip(pair.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dims": 2}, "options must hold options by name, such as structure; got 'latent_dims'. Did you mean latent_dim?"),
        ({"prior": "vampp"}, "prior must be one of standard, .*; got 'vampp'"),
        ({"num_components": 5}, "num_components has no effect here: it is an option of .*prior vamp"),
        ({"prior": "uniform"}, "needs an encoder of codes"),
        ({"latent_dim": 0}, "options must have values of their types.*latent_dim.*0 does not conform"),
        ({"likelihood": "categorical", "structure": "conditional"}, "takes .* besides the data; got none"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        make_pair(load_data("digits"), **options)


def test_only_a_table_has_names():
    with pytest.raises(ValueError, match="digits is no table whose columns have names and kinds"):
        load_data("digits").table(torch.zeros(1, 64))
