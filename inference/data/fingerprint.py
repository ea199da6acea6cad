"""Fingerprints of data."""

from hashlib import sha256

from torch import Tensor


def data_id(*batch: Tensor) -> str:
    """Compute a fingerprint of the values of a data set, independent of dtype, device and the shape of one datum."""
    digest = sha256()
    for tensor in batch:
        digest.update(f"{len(tensor)}x{tensor[0].numel()};".encode())
        for rows in tensor.detach().reshape(len(tensor), -1).split(4096):
            digest.update(rows.double().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
