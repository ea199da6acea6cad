"""The splits of a data set, all its rows, and rows in an order of their own."""

import numpy as np
import torch
from torch import Tensor

from inference.data.load import Data

SPLITS = ("train", "valid", "test")


def all_rows(data: Data) -> Tensor:
    return torch.cat([getattr(data, split) for split in SPLITS])


def sorted_rows(x) -> np.ndarray:
    x = np.asarray(x).reshape(len(x), -1)
    return x[np.lexsort(x.T)]
