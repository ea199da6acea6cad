"""One reading of data: every form gives the tensors that its numbers are, or an error that says why not."""

from collections import namedtuple

from fits import linear_vae, quick
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
from scipy.sparse import csr_matrix
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
import xarray

from inference import (
    codes_of,
    decode,
    diagnose,
    encode,
    evaluate,
    fit_gaussian,
    fit_temperature,
    load_data,
    log_weights,
    reconstruct,
    sample_latents,
    sample_prior,
)
from inference.data.load import Data
from pyro_lvm import VAE, BernoulliLikelihood, NormalEncoder, Pair, StandardNormal, check_pair
from pyro_lvm.reading import read_batch, read_rows

X = np.random.default_rng(0).normal(size=(37, 4))
TABLE = pd.DataFrame(X, columns=list("abcd"))
FLOAT = torch.float32


class Rows(Dataset):
    def __init__(self, item):
        self.item = item

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return self.item(i)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


class Duck:
    """What any library's array may look like."""

    def __array__(self, dtype=None, copy=None):
        return X


def read_only():
    x = X.copy()
    x.flags.writeable = False
    return x


FORMS = {
    "array": X,
    "Fortran order": np.asfortranarray(X),
    "backwards": X[::-1].copy()[::-1],
    "big-endian": X.astype(">f8"),
    "long double": X.astype(np.longdouble),
    "read-only": read_only(),
    "nothing masked": np.ma.masked_greater(X, 100.0),
    "xarray": xarray.DataArray(X),
    "duck": Duck(),
    "requires gradient": torch.tensor(X, requires_grad=True),
    "tuple": (X,),
    "named tuple": namedtuple("Batch", "x")(X),
    "table": TABLE,
    "table with gaps to fill": TABLE.convert_dtypes(),
    "tensors": TensorDataset(torch.tensor(X)),
    "rows": Rows(lambda i: X[i]),
    "rows in tuples": Rows(lambda i: (X[i],)),
    "stream": Stream(),
    "loader": DataLoader(torch.tensor(X), 10),
    "batches": [X[:20], X[20:]],
    "batches of tables": [TABLE[:20], TABLE[20:]],
    "splits": Data("own", "own", torch.zeros(1), torch.zeros(1), torch.tensor(X)),
}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_every_form_gives_its_numbers(data):
    (x,) = read_rows(data)
    assert x.dtype == torch.float64 and not x.requires_grad and np.array_equal(x, X)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "int32", "uint8", "uint16", "uint32", "uint64", "bool"])
def test_dtypes_of_arrays_keep_their_values(dtype):
    values = np.array([0, 1, np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" and dtype != "uint64" else 1]).astype(dtype)
    (x,) = read_rows(values)
    assert np.array_equal(x.numpy().astype(dtype), values) and x.dtype in (
        torch.float16,
        FLOAT,
        torch.int8,
        torch.int32,
        torch.int64,
        torch.uint8,
        torch.bool,
    )


def test_memory_is_shared_where_nothing_has_to_change(tmp_path):
    x = X.astype(np.float32)
    (tensor,) = read_batch(linear_vae().float(), (x,))
    assert tensor.data_ptr() == x.ctypes.data
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert read_rows(mapped)[0].data_ptr() == mapped.ctypes.data


def test_reading_a_data_set_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    read_rows(Rows(lambda i: X[i]))
    assert torch.equal(torch.rand(1), expected)


def test_tables_become_what_their_columns_have_in_common():
    whole, mixed = pd.DataFrame({"a": [1, 2], "b": [True, False]}), pd.DataFrame({"a": [1, 2], "b": [0.5, 1.0]})
    assert read_rows(whole)[0].dtype == torch.int64 and read_rows(whole > 1)[0].dtype == torch.bool
    assert read_rows(mixed)[0].tolist() == [[1.0, 0.5], [2.0, 1.0]] and read_rows(mixed.astype("float32"))[0].dtype == FLOAT
    gaps = read_rows(pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}))[0]
    assert gaps[0] == 1 and gaps[1].isnan() and read_rows(mixed["a"])[0].tolist() == [1, 2]


REFUSED = {
    "masked": (np.ma.masked_greater(X, 0.5), ValueError, "no masked values.*pyro.poutine.mask"),
    "masked rows": (Rows(lambda i: np.ma.masked_array(X[i], mask=True)), ValueError, "no masked values"),
    "masked batches": ([np.ma.masked_array(X, mask=True)], ValueError, "no masked values"),
    "words": (TABLE.assign(name="u", day=pd.Timestamp("2020")), TypeError, r"columns 'name' \(.*\), 'day' \(datetime64"),
    "categories": (TABLE.astype("category"), TypeError, r"'a' \(category\)"),
    "objects": (X.astype(object), TypeError, r"dtype object.*astype\(float\)"),
    "dates": (np.array(["2020"], "datetime64[D]"), TypeError, "datetime64"),
    "complex": (X + 1j, TypeError, "dtype complex128"),
    "complex tensor": (torch.tensor(X + 1j), TypeError, "must be real; got complex128"),
    "fields": (np.zeros(5, dtype=[("a", "f4"), ("b", "i4")]), TypeError, "got fields a, b"),
    "sparse": (torch.tensor(X).to_sparse(), TypeError, "sparse_coo"),
    "sparse matrix": (csr_matrix(X), TypeError, r"got a sparse csr_matrix. Pass data.toarray\(\)"),
    "large integers": (np.array([2**63], np.uint64), ValueError, "below 2\\^63"),
    "identifiers": (TABLE.assign(a=2**24 + 1), ValueError, "column 'a' of data must hold integers up to 16777216.*got 16777217"),
    "dict": ({"x": X, "y": X}, TypeError, r"got a dict with x, y. Yield \(batch\['x'\], batch\['y'\]\)"),
    "dict batches": ([{"x": X}], TypeError, r"got a dict with x. Yield batch\['x'\]"),
    "dict rows": (Rows(lambda i: {"x": X[i]}), TypeError, "got a dict with x"),
    "generator": ((x for x in [X]), TypeError, "iterated over more than once; got generator"),
    "lists": (X.tolist(), TypeError, "got a list of float"),
    "tuple of lists": ((X.tolist(),), TypeError, "argument 0 must be a tensor.*got a list of list"),
    "name": ("digits", TypeError, r"got str. Use load_data\(...\)"),
    "number": (3, TypeError, "got int"),
    "nothing": ([], ValueError, "at least one batch"),
    "words in rows": (Rows(lambda i: "a"), TypeError, "got a list of str"),
    "pictures in rows": (Rows(lambda i: (X[i], object())), TypeError, r"got \(ndarray, object\)"),
    "other batches": ([X, X[:, :2]], ValueError, r"\[\(4,\)\].*A list is read as batches"),
}


@pytest.mark.parametrize(("data", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_says_why(data, error, message):
    with pytest.raises(error, match=message):
        read_rows(data)


def test_rows_that_a_loader_drops_are_counted():
    with pytest.warns(UserWarning, match="drop_last leaves out 7 of 37 rows"):
        assert len(read_rows(DataLoader(torch.tensor(X), 10, drop_last=True))[0]) == 30


FUNCTIONS = {
    "evaluate": lambda pair, data: evaluate(pair, data, num_particles=np.int64(3), progress=False).log_px,
    "log_weights": lambda pair, data: log_weights(pair, data, num_particles=3, seed=0),
    "encode": lambda pair, data: encode(pair, data, seed=0),
    "reconstruct": lambda pair, data: reconstruct(pair, data, seed=0),
    "decode": lambda pair, data: decode(pair, np.ones((len(X), 2)), data, seed=0),
    "sample_prior": lambda pair, data: sample_prior(pair, data, seed=0, held={"z": np.ones((len(X), 2))}),
    "sample_latents": lambda pair, data: sample_latents(pair, data, seed=0),
    "codes_of": lambda pair, data: codes_of(pair, data),
    "diagnose": lambda pair, data: torch.tensor(diagnose(pair, data, quantile=0.05, num_draws=37, progress=False).rate),
    "fit": lambda pair, data: torch.tensor(quick(pair, data, valid=data, epochs=1, batch_size=None).history.valid_loss[0]),
    "check_pair": lambda pair, data: torch.tensor(len(check_pair(pair, data).latents)),
}


@pytest.mark.parametrize("form", ["array", "table", "rows", "loader", "batches", "tuple"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_reads_every_form_alike(name, form):
    if name == "fit" and form in ("rows", "loader", "batches"):
        pytest.skip("batches are drawn in another order")
    expected = FUNCTIONS[name](linear_vae().float(), torch.tensor(X, dtype=FLOAT))
    got = FUNCTIONS[name](linear_vae().float(), FORMS[form])
    assert got.dtype == expected.dtype
    torch.testing.assert_close(got, expected, rtol=2e-6, atol=2e-6)


def softened(temperature):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0).expand([len(x)]), obs=x.sum(-1))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.sum(-1) / 2, temperature))

    return Pair(model, guide)


@pytest.mark.parametrize("form", ["table", "rows", "loader", "tuple"])
def test_a_temperature_is_found_on_any_form(form):
    expected = fit_temperature(softened, torch.tensor(X), num_particles=20, num_data=20)
    assert fit_temperature(softened, FORMS[form], num_particles=20, num_data=20) == expected
    splits = Data("own", "own", torch.zeros(5, 4), torch.tensor(X), torch.zeros(5, 4))
    assert fit_temperature(softened, splits, num_particles=20, num_data=20) == expected  # the validation data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, np.arange(37)), r"the model takes 1 argument \(x\), and the data give it 2"),
        (DataLoader(TensorDataset(torch.tensor(X), torch.arange(37)), 10), "the data give it 2"),
        (Rows(lambda i: (X[i], i)), "the data give it 2"),
    ],
    ids=["tuple", "loader", "rows"],
)
def test_too_many_arguments_are_counted(data, message):
    for function in (quick, evaluate):
        with pytest.raises(TypeError, match=message):
            function(linear_vae(), data, **({"batch_size": None} if function is quick else {}))
    with pytest.raises(TypeError, match=r"the model takes 2 arguments \(x, y\), and the data give it 1"):
        check_pair(Pair(lambda x, y: None, lambda x, y: None), X)


def test_arguments_may_have_defaults_or_stars():
    def model(x, y=None, *others):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([4]).to_event(1), obs=x)

    for batch in ((X,), (X, X), (X, X, X)):
        check_pair(Pair(model, lambda *batch: None), *batch)


def digits_vae(likelihood=BernoulliLikelihood):
    torch.manual_seed(0)
    return VAE(StandardNormal(2), likelihood(nn.Linear(2, 64)), NormalEncoder(nn.Linear(64, 4)))


def test_a_data_set_in_splits_goes_wherever_data_go():
    data = load_data("digits", binarize="dynamic")
    whole, parts = digits_vae(), digits_vae()
    histories = [
        quick(whole, data).history,
        quick(parts, data.train, valid=data.valid, transform=data.transform).history,
    ]
    assert histories[0].drop(columns="seconds").equals(histories[1].drop(columns="seconds"))
    assert torch.equal(encode(whole, data, seed=0), encode(parts, data.test, seed=0))
    assert torch.equal(codes_of(whole, data), codes_of(parts, data.train, transform=data.transform))
    scores = [evaluate(pair, x, num_particles=2, progress=False) for pair, x in ((whole, data), (parts, data.test))]
    assert scores[0].data_id == scores[1].data_id and torch.equal(scores[0].log_px, scores[1].log_px)


def test_probabilities_without_their_transform_are_refused():
    data = load_data("digits", binarize="dynamic")
    with pytest.raises(ValueError, match="data must lie in the support"):
        quick(digits_vae(), data.train, valid=data.valid)


def test_codes_are_read_as_data_are():
    z = np.random.default_rng(0).normal(size=(50, 2))
    for codes in (z, pd.DataFrame(z)):
        assert torch.equal(fit_gaussian(codes).loc, fit_gaussian(torch.tensor(z)).loc)
