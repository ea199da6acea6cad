"""A table of pandas for any function of a pair is read by names and with the codes of the data that the pair is made for or fitted to."""

from copy import deepcopy
import pickle

import numpy as np
import pandas as pd
import pyarrow
import pyro
import pyro.distributions as dist
import pytest
from shell import say
import torch
from torch.testing import assert_close

from inference import LatentVariableModel, class_posterior, encode, evaluate, fit, impute, load_data, load_run, make_pair, read_rows
from pyro_lvm import Pair, StandardNormal
from pyro_lvm.models.replaced import WithPrior

SMALL = {"latent_dim": 2, "hidden": (6,)}


def table(num_rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    whole = pd.DataFrame(
        {
            "customer_id": np.arange(num_rows) + 1000,
            "income": rng.normal(3e4, 1e4, num_rows),
            "grade": rng.permutation(np.arange(num_rows) % 5 + 1),  # an ordinal column, whose codes are 0 to 4
            "plan": rng.choice(["basic", "premium"], num_rows),
        }
    )
    gaps = rng.random(whole.shape) < 0.1
    gaps[:, 0] = False
    gaps[:6] = False
    return whole.mask(gaps)


FRAME = table()
DATA = load_data(FRAME, drop=["customer_id"])
FITTED = make_pair(DATA, **SMALL)
fit(FITTED, DATA, epochs=1, progress=False)


def log_px(pair, *data):
    return evaluate(pair, data[0] if len(data) == 1 else data, num_particles=5, compile=False, progress=False).log_px


def own_rows() -> pd.DataFrame:
    """The rows of the table that are the test data, in their order."""
    income = torch.from_numpy(FRAME["income"].to_numpy(np.float32))
    key = torch.stack([income, torch.from_numpy(FRAME["grade"].to_numpy(np.float32)) - 1], 1).nan_to_num(-1)
    places = [int((key == row[:2].nan_to_num(-1)).all(1).nonzero()[0]) for row in DATA.test]
    return FRAME.iloc[places]


def test_raw_rows_have_the_figures_of_the_test_data():
    frame, expected = own_rows(), log_px(FITTED, DATA)
    for same in (
        frame,
        frame[frame.columns[::-1]],
        frame.drop(columns="customer_id"),
        pyarrow.Table.from_pandas(frame),
        [frame[:2], frame[2:]],
    ):
        assert_close(log_px(FITTED, same), expected, rtol=0, atol=1e-6)
    assert_close(encode(FITTED, frame, means=True), encode(FITTED, DATA.test, means=True))


def test_all_rows_are_read_in_the_order_of_the_file(tmp_path):
    FRAME.to_csv(tmp_path / "customers.csv", index=False)
    rows = read_rows(DATA, tmp_path / "customers.csv")
    assert len(rows) == 1 and rows[0].shape == (60, 3)
    assert_close(encode(FITTED, *rows, means=True), encode(FITTED, FRAME, means=True))


def test_imputation_keeps_known_cells_and_has_one_best_value():
    found = impute(FITTED, FRAME[["plan", "income", "grade"]], num_draws=9, seed=0)
    filled, known = DATA.table(found.center(DATA.kinds)), FRAME.notna()
    assert not filled.isna().any(axis=None)
    for name in ("grade", "plan"):
        assert (filled[name].astype(object)[known[name]] == FRAME[name][known[name]]).all()
    np.testing.assert_allclose(filled["income"][known["income"]], FRAME["income"][known["income"]], rtol=1e-6)
    place, row = 1, int((~known["grade"]).to_numpy().argmax())
    assert found.center(DATA.kinds)[row, place] == found.draws[:, row, place].median()
    with pytest.raises(ValueError, match=r"kinds must have one column for each of the rows \[B, D\]; got 2 for \(60, 3\)"):
        found.center(DATA.kinds[:2])
    with pytest.raises(ValueError, match=r"column grade must hold codes.*got .*A mean of codes.*Imputation.center\(data.kinds\)"):
        DATA.table(found.draws[:2, :, :].mean(0) + torch.tensor([0.0, 0.5, 0.0]))


def test_copies_and_other_priors_read_alike():
    expected = log_px(FITTED, FRAME)
    copies = [
        deepcopy(FITTED),
        pickle.loads(pickle.dumps(FITTED)),
        FITTED.with_prior(FITTED.prior),
        WithPrior(FITTED, FITTED.prior, site="z"),
    ]
    for copy in copies:
        assert_close(log_px(copy, FRAME), expected, rtol=0, atol=1e-6)
    assert len(pickle.dumps(FITTED)) < 40_000  # without the rows


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop(columns="plan"), "the table of new rows must have the 3 columns of the table; it lacks plan"),
        (FRAME.assign(age=3.0), "it also has age"),
        (FRAME.assign(plan="gold"), "column plan must hold one of basic, premium; got 'gold' in row 0"),
        (FRAME.assign(grade=0), "column grade must hold one of 1, 2, 3, 4, 5; got '0' in row 0"),
    ],
)
def test_other_columns_and_values_are_refused(frame, message):
    for use in (encode, impute):
        with pytest.raises(ValueError, match=message):
            use(FITTED, frame)


def test_data_with_other_codes_are_refused():
    other = load_data(FRAME.assign(grade=FRAME["grade"].where(FRAME["grade"] < 5)), drop=["customer_id"])
    assert other.kinds[1].values == ("1", "2", "3", "4")
    with pytest.raises(ValueError, match="column grade has codes of 1, 2, 3, ... there, and of 1, 2, 3, ... here"):
        log_px(FITTED, other)
    with pytest.raises(ValueError, match="column grade has codes"):
        fit(make_pair(DATA, **SMALL), DATA, valid=other, epochs=1, progress=False)


def test_a_fit_remembers_how_its_data_were_read():
    other = load_data(FRAME, drop=["customer_id"], kinds={"grade": "real"})
    pair = make_pair(DATA, likelihood="gaussian", **SMALL)
    assert encode(pair, FRAME[:3], means=True).shape == (3, 2)
    expected = encode(pair, *read_rows(other, FRAME), means=True)
    fit(pair, other, epochs=1, learning_rate=1e-12, progress=False)
    assert_close(encode(pair, FRAME, means=True), expected, rtol=1e-4, atol=1e-4)


def of_functions() -> Pair:
    """A pair that knows no columns."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).mask(~x.isnan()).to_event(1), obs=x.nan_to_num())

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("a", torch.tensor(0.5)) * x.nan_to_num(), 1.0).to_event(1))

    return Pair(model, guide)


def test_a_pair_of_ones_own_reads_what_it_was_fitted_to():
    frame = FRAME.assign(income=FRAME["income"] / 1e4)
    data, pair = load_data(frame, drop=["customer_id"]), of_functions()
    with pytest.raises(TypeError, match="got columns 'plan'.*read the table with load_data, and fit the pair to what it returns"):
        encode(pair, frame)
    fit(pair, data, epochs=1, progress=False)
    expected = encode(pair, *read_rows(data, frame), means=True)
    assert_close(encode(pair, frame[frame.columns[::-1]], means=True), expected)
    assert_close(encode(pair.with_prior(StandardNormal(3), site="z"), frame, means=True), expected)


def test_a_run_reads_tables_as_its_data_were_read(tmp_path, capsys):
    FRAME.to_csv(tmp_path / "customers.csv", index=False)
    options = "--fit.epochs 1 --fit.batch_size 48 --model.latent_dim 2 --model.hidden [6]"
    say(capsys, f"train --data.source {{}} --data.drop customer_id {options} --out {{}}", tmp_path / "customers.csv", tmp_path / "run")
    run = load_run(tmp_path / "run")
    expected = encode(run.pair, run.read(tmp_path / "customers.csv"), means=True)
    assert_close(encode(run.pair, FRAME[FRAME.columns[::-1]], means=True), expected)


def test_what_is_given_comes_from_the_table_unless_it_is_passed():
    data = load_data(FRAME.fillna({"plan": "basic"}), drop=["customer_id"], condition="plan")
    pair = make_pair(data, structure="conditional", **SMALL)
    x, plan = read_rows(data, FRAME.fillna({"plan": "basic"}))
    frame = FRAME.fillna({"plan": "basic"})
    assert_close(log_px(pair, frame), log_px(pair, x, plan), rtol=0, atol=1e-6)
    assert_close(log_px(pair, frame, 1 - plan), log_px(pair, x, 1 - plan), rtol=0, atol=1e-6)
    options = {"num_particles": 5, "compile": False, "progress": False}
    both = [class_posterior(pair, rows, num_labels=2, **options).probabilities for rows in (frame, (x, plan))]
    assert_close(*both)


def test_a_table_without_kinds_is_read_by_name():
    numbers = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)) * [1, 5, 9], columns=list("abc"))
    data = load_data(numbers, binarize=None)
    pair = make_pair(data, likelihood="gaussian", **SMALL)
    assert data.kinds is None
    assert_close(log_px(pair, numbers[["c", "a", "b"]]), log_px(pair, numbers.to_numpy()), rtol=0, atol=1e-6)


def test_few_rows_are_read_as_many_are():
    row = FRAME[FRAME["income"].isna() | FRAME["grade"].isna()][:1]
    assert encode(FITTED, row, means=True).shape == (1, 2)
    alike = FRAME[:2].assign(income=[31257.30, 31257.301])
    assert len(log_px(FITTED, alike)) == len(*read_rows(DATA, alike)) == 2


def test_an_estimator_says_that_it_takes_complete_numbers():
    for frame, what in ((FRAME, "no numbers in plan"), (FRAME[["income", "grade"]], "missing cells in income, grade")):
        with pytest.raises(ValueError, match=f"takes complete numbers; got a table with {what}.*load_data.*make_pair"):
            LatentVariableModel().fit(frame)
