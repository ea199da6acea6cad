"""Convert text to windows of character codes, and back."""

import numpy as np
import torch
from torch import Tensor

WINDOW = 64


def encode_text(text: str) -> tuple[np.ndarray, str]:
    """Return the codes of the characters, float32 ``[n]``, and the alphabet of sorted, distinct characters in which they are positions."""
    points, codes = np.unique(np.frombuffer(text.encode("utf-32-le"), np.dtype("<u4")), return_inverse=True)
    return codes.astype(np.float32), points.tobytes().decode("utf-32-le")


def encode_like(text: str, alphabet: str, name: str) -> np.ndarray:
    """Return the codes of the characters of a text, their positions in the alphabet of another, float32 ``[n]``.

    Raises:
        ValueError: If a character is not in the alphabet; the error calls the text by its name.
    """
    points, alphabet_points = (np.frombuffer(each.encode("utf-32-le"), np.dtype("<u4")) for each in (text, alphabet))
    codes = np.searchsorted(alphabet_points, points).clip(max=len(alphabet) - 1)
    unknown = np.unique(points[alphabet_points[codes] != points])
    if len(unknown):
        words = ", ".join(repr(chr(point)) for point in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise ValueError(f"{name} must have no characters but the {len(alphabet)} of the run's text; it has {words}. Replace them.")
    return codes.astype(np.float32)


def decode_text(codes: Tensor | np.ndarray, alphabet: str) -> list[str]:
    r"""Turn windows of codes back into text.

    Args:
        codes: Whole numbers below the length V of the alphabet, of any dtype, ``[N, T]``.
        alphabet: The character of each code, as in ``Data.alphabet``.

    Returns:
        N strings of T characters.

    Raises:
        ValueError: If there is no alphabet, or the shape or the values of the codes are invalid.

    >>> decode_text(torch.tensor([[0.0, 1.0], [2.0, 2.0]]), "abc")
    ['ab', 'cc']
    """
    if not alphabet:
        raise ValueError(f"alphabet must be a string of characters; got {alphabet!r}. Only text has one, as Data.alphabet.")
    codes = torch.as_tensor(codes).detach().cpu()
    if codes.dim() != 2:
        raise ValueError(f"codes must have shape [N, T]; got {tuple(codes.shape)}. Flatten leading dimensions into one, or add one.")
    places = codes.long()
    wrong = int(((places != codes) | (places < 0) | (places >= len(alphabet))).sum())
    if wrong:
        raise ValueError(
            f"codes must be whole numbers from 0 to {len(alphabet) - 1}; got {wrong} other values. "
            "Give draws or modes, not means or logits."
        )
    return ["".join(alphabet[place] for place in window) for window in places.tolist()]


def windows(codes: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """Cut codes ``[n]`` into windows ``[n // T, T]`` without overlap, where ``shape`` is ``(T,)``; the remainder is dropped."""
    (T,) = _checked_window((WINDOW,) if shape is None else shape)
    if len(codes) < T:
        raise ValueError(
            f"each split of a text must have at least one window of {T} characters; got a split of {len(codes)}. "
            "Give a shorter shape=(T,), a longer text, or larger fractions."
        )
    return codes[: len(codes) // T * T].reshape(-1, T)  # [N, T]


def _checked_window(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 1 or shape[0] < 1:
        raise ValueError(f"shape must be (T,) for text, the characters in a window; got {shape}. Give one positive length.")
    return shape
