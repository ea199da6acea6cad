"""Fingerprints of data."""

from hashlib import sha256

from torch import Tensor

from inference.data.load import Data
from inference.data.treatments import Dequantize


def data_id(*batch: Tensor) -> str:
    """Compute a fingerprint of the values of a data set, independent of dtype, device and the shape of one datum."""
    digest = sha256()
    for tensor in batch:
        digest.update(f"{len(tensor)}x{tensor[0].numel()};".encode())
        for rows in tensor.detach().reshape(len(tensor), -1).split(4096):
            digest.update(rows.double().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def training_id(data: Data) -> str:
    """Compute a fingerprint of training data without the noise that their transform replaces."""
    noise = getattr(data.transform, "__self__", None)
    return data_id(noise.levels_of(data.train) if isinstance(noise, Dequantize) else data.train)
