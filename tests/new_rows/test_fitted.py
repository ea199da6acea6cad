"""New rows that the pair was fitted to are warned of; rows that come twice by their nature are not."""

import numpy as np
import pandas as pd
import pytest
import torch

from inference import load_data
from inference.new_rows.fitted import warn_of_fitted


def test_rows_that_were_fitted_are_counted() -> None:
    values = np.random.default_rng(0).normal(size=(60, 3))
    data = load_data(pd.DataFrame(np.where(values > 1.5, np.nan, values), columns=["a", "b", "c"]))
    with pytest.warns(UserWarning, match="5 of 11 rows of new.csv equal rows that the model was fitted to"):
        warn_of_fitted(torch.cat([data.train[:5], data.test]), data, "new.csv")
    warn_of_fitted(torch.cat([data.train[:2], data.test]), data, "new.csv")


def test_rows_that_come_twice_by_their_nature_are_not_warned_of() -> None:
    data = load_data(np.random.default_rng(0).integers(2, size=(200, 3)).astype(float))
    warn_of_fitted(data.train, data, "new.npy")
