"""Bits a character of models that count: uniform, unigram, bigram and trigram, on the test windows of tiny-shakespeare.

``python benchmarks/text_baselines.py``. Needs PYRO_LVM_DATA or a network connection for the data. A model knows only the characters
before in the same window, as a latent variable model of windows does. The distribution of a character c after a context is interpolated
with that after the context without its first character,

    p(c | context) = (count(context, c) + alpha p(c | shorter context)) / (count(context) + alpha),

down to the uniform distribution; see MacKay, Peto (1995), A hierarchical Dirichlet language model. Counts are of the training split, and
each order's alpha is the best of a grid on the validation split.
"""

import math

import torch
from torch import Tensor

from inference import load_data
from inference.formatting import format_with_error
from inference.scoring.reduction import standard_error_of_mean

SOURCE, SHAPE = "tiny-shakespeare", (64,)
NAMES = ("unigram", "bigram", "trigram")
ALPHAS = [2.0**power for power in range(-6, 11)]


def counted(codes: Tensor, order: int, size: int) -> Tensor:
    """How often each sequence of ``order`` characters occurs in a text ``[n]``, of shape ``[V] * order``."""
    places = sum(codes[i : len(codes) - order + 1 + i] * size ** (order - 1 - i) for i in range(order))
    return torch.bincount(places, minlength=size**order).double().reshape((size,) * order)


def smoothed(counts: Tensor, shorter: Tensor, alpha: float) -> Tensor:
    return (counts + alpha * shorter) / (counts.sum(-1, keepdim=True) + alpha)


def bits(models: list[Tensor], windows: Tensor) -> Tensor:
    """Bits a character of each window ``[N, T]``; the first characters, whose context is short, are left to models of lower order."""
    total = torch.zeros(len(windows)).double()
    for place in range(windows.shape[1]):
        probs = models[min(place + 1, len(models) - 1)]
        total -= probs[tuple(windows[:, place - probs.dim() + 1 : place + 1].T)].log2()
    return total / windows.shape[1]


def main() -> None:
    data = load_data(SOURCE, shape=SHAPE)
    train, valid, test = (x.long() for x in (data.train, data.valid, data.test))
    size = len(data.alphabet)
    models = [torch.full((size,), 1 / size).double()]
    print(f"{'uniform':<8} {math.log2(size):.2f} bits a character")
    for order, name in enumerate(NAMES, start=1):
        counts = counted(train.flatten(), order, size)  # windows follow each other without a gap
        found = {alpha: smoothed(counts, models[-1], alpha) for alpha in ALPHAS}
        alpha = min(found, key=lambda alpha: float(bits([*models, found[alpha]], valid).mean()))
        models.append(found[alpha])
        each = bits(models, test)
        figure = format_with_error(float(each.mean()), standard_error_of_mean(each))
        print(f"{name:<8} {figure} bits a character, alpha = {alpha:g}")


if __name__ == "__main__":
    main()
