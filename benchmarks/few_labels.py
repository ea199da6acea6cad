"""Digits from a hundred labels, by a semi-supervised model of the codes of a first one: ``python benchmarks/few_labels.py RUN [SEED]``.

RUN is a finished run of MNIST, whose codes take the place of pixels (M1 + M2 of Kingma et al., 2014). Prints the share of test images whose
label is found, by the classifier and by the model, and by the same classifier trained on the hundred labels alone.
"""

from functools import partial
import sys

import torch
from torch import Tensor

from inference import encode, fit, label_posterior, load_run
from inference.data.given import keep_some
from inference.predictive.draws import in_blocks
from inference.runs.saved import SavedRun
import pyro_lvm as lvm

LATENTS, HIDDEN, LABELS, EPOCHS = 3, 128, 10, 60


def codes_of(run: SavedRun, split: str) -> Tensor:
    """Means of q(z|x) of a split."""
    return in_blocks(partial(encode, run.pair, means=True), *run.data.batch(split), seed=0)


def model_of(dim: int, *, classifier_weight: float = 50.0) -> lvm.SemiSupervisedVAE:
    """A semi-supervised model of codes, with noise of scale 1, which is the prior's."""
    decoder = lvm.Join(None, lvm.LabelIndicators(LABELS), lvm.MLP(LATENTS + LABELS, [HIDDEN], dim))
    encoder = lvm.Join(None, None, lvm.MLP(dim + LABELS, [HIDDEN], 2 * LATENTS))
    return lvm.SemiSupervisedVAE(
        lvm.StandardNormal(LATENTS),
        lvm.GaussianLikelihood(decoder),
        lvm.NormalEncoder(encoder),
        lvm.MLP(dim, [HIDDEN], LABELS),
        num_labels=LABELS,
        classifier_weight=classifier_weight,
    )


def main() -> None:
    run, seed = load_run(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    x, test, truth = codes_of(run, "train"), codes_of(run, "test"), torch.as_tensor(run.data.labels["test"])
    y = torch.as_tensor(keep_some(run.data.labels["train"].numpy(), 100, seed=seed))
    few = y >= 0
    for name, data in {"100 labels alone": (x[few], y[few]), f"and {int((~few).sum())} images without": (x, y)}.items():
        torch.manual_seed(seed)
        pair = model_of(x.shape[1])
        fit(pair, data, epochs=EPOCHS, batch_size=min(500, len(data[0])), learning_rate=1e-3, seed=seed, progress=False)
        share = (pair.classifier(test).argmax(-1) == truth).double().mean().item()
        some = test[:2000], torch.full((2000,), -1)
        found, error = label_posterior(pair, *some, num_particles=200).accuracy(truth[:2000])
        print(f"{name}: classifier {share:.3f} of {len(truth)}, p(y|x) {found:.3f} ({error:.3f}) of 2000", flush=True)


if __name__ == "__main__":
    main()
