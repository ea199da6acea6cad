"""Features of columns of several kinds, some of whose cells are missing."""

import math

import pytest
import torch

import pyro_lvm as lvm

NAN = float("nan")
KINDS, NUM_VALUES = ["category", "real", "count", "ordinal", "binary"], [3, 0, 0, 4, 2]
TRAIN = torch.tensor([[0.0, 1000.0, 0.0, 0.0, 1.0], [2.0, 3000.0, 7.0, 3.0, 0.0], [NAN, NAN, 2.0, 1.0, 1.0]]).double()


def test_numbers_are_standardized_categories_indicated_and_gaps_marked():
    inputs = lvm.ColumnInputs(TRAIN, KINDS, NUM_VALUES)
    features = inputs(TRAIN)
    assert tuple(inputs.out_shape) == (4 + 3 + 2,) == tuple(features.shape[1:])
    for column, values in enumerate((TRAIN[:, 1], torch.log1p(TRAIN[:, 2]), TRAIN[:, 3], TRAIN[:, 4])):
        known = values[~values.isnan()]
        torch.testing.assert_close(features[: len(known), column], (known - known.mean()) / known.std())
    assert features[:, 4:7].tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]  # the missing category has no indicator
    assert features[:, 7:].tolist() == [[0, 0], [0, 0], [1, 1]] and features[2, 0] == 0
    far = TRAIN.clone()
    far[0, 1], far[0, 2] = 1e9, NAN
    assert inputs(far)[0, 0] == 10 and inputs(far)[0, 1] == 0


def test_what_it_computes_is_kept_in_files():
    other = lvm.ColumnInputs(TRAIN * 2 + 1, KINDS, NUM_VALUES)
    other.load_state_dict(lvm.ColumnInputs(TRAIN, KINDS, NUM_VALUES).state_dict())
    torch.testing.assert_close(other(TRAIN), lvm.ColumnInputs(TRAIN, KINDS, NUM_VALUES)(TRAIN))
    assert math.isclose(other.loc[1], (math.log(8) + math.log(3)) / 3)


def test_data_of_other_columns_are_refused():
    with pytest.raises(ValueError, match=r"train must have shape \[N, 5\]"):
        lvm.ColumnInputs(TRAIN[:, :4], KINDS, NUM_VALUES)
