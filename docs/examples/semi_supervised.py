r"""A semi-supervised VAE in two plain functions, as Pyro's tutorial ss-vae writes it: few digits have labels, and the others' are latent.

.. math:: p(x, y, z) = p(y)\, p(z)\, p(x \mid y, z), \qquad q(y, z \mid x) = q(y \mid x)\, q(z \mid x, y), \qquad
    p(x) = \sum_y p(x, y)

With labels, the pair is called with (x, y), and without with x alone; the objective sums over q(y|x) exactly. A classifier's loss steers
training on labels, and is no part of a likelihood. Kingma et al. (2014), Semi-supervised learning with deep generative models.
"""

import pyro
import pyro.distributions as dist
from pyro.infer import TraceEnum_ELBO, config_enumerate
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from inference import evaluate, fit, load_data
from inference.data.load import Data
import pyro_lvm as lvm

CLASSES = 10


def make_pair(data: Data, *, latent_dim: int = 4, hidden: int = 64, classes: int = CLASSES, classifier_weight: float = 20.0) -> lvm.Pair:
    """A model of binary images ``[N, X]`` and, where given, of their labels ``[N, classes]``, rows of zeros with a single 1.

    Args:
        data: The images.
        latent_dim: Number of latents beside the label.
        hidden: Width of the networks.
        classes: Number of labels.
        classifier_weight: Weight of the classifier's loss.
    """
    num_pixels = data.train.shape[-1]
    networks = nn.ModuleDict(
        {
            "decoder": lvm.Join(network=lvm.MLP(latent_dim + classes, [hidden], num_pixels)),  # of z and y
            "classifier": lvm.MLP(num_pixels, [hidden], classes),
            "encoder": lvm.Join(network=lvm.MLP(num_pixels + classes, [hidden], 2 * latent_dim)),  # of x and y
        }
    )

    def label(x: Tensor) -> dist.TorchDistribution:
        return dist.OneHotCategorical(logits=networks["classifier"](x))

    def model(x: Tensor, y: Tensor | None = None) -> None:
        pyro.module("networks", networks)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(latent_dim), 1.0).to_event(1))
            if y is not None:
                lvm.penalty("classifier", -classifier_weight * label(x).log_prob(y))
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(classes)), obs=y)
            pyro.sample("x", dist.Bernoulli(logits=networks["decoder"](z, y)).to_event(1), obs=x)

    def guide(x: Tensor, y: Tensor | None = None) -> None:
        pyro.module("networks", networks)
        with pyro.plate("data", len(x)):
            if y is None:
                y = pyro.sample("y", label(x))
            loc, log_scale = networks["encoder"](x, y).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return lvm.Pair(model, config_enumerate(guide))


def joint(pair: lvm.Pair, x: Tensor, *, classes: int = CLASSES, num_particles: int = 300) -> Tensor:
    """log p(x, y) for images ``[N, X]`` and every label, ``[classes, N]``; summed over the labels, p(x)."""
    labels = torch.eye(classes)[:, None].expand(classes, len(x), classes)
    return torch.stack([evaluate(pair, (x, y), num_particles=num_particles, progress=False).log_px for y in labels])


def main() -> None:
    data, elbo = load_data("digits"), TraceEnum_ELBO(max_plate_nesting=1)
    x, labels = data.test[:100], data.labels["test"][:100]
    torch.manual_seed(0)
    pair = make_pair(data)
    few = (data.train[:100], one_hot(data.labels["train"][:100], CLASSES).float())
    for _ in range(6):  # labelled images, then all others, in turn
        fit(pair, few, elbo=elbo, epochs=15, batch_size=50, learning_rate=3e-3, progress=False)
        fit(pair, data.train[100:], elbo=elbo, epochs=3, learning_rate=3e-3, progress=False)
    score, by_label = evaluate(pair, x, progress=False), joint(pair, x)
    print(score)
    difference = score.log_px - by_label.logsumexp(0)
    error = score.mc_error.square().sum().sqrt() / len(x)
    print(f"less the sum over labels by hand: {difference.mean():.4f} nats; error of the draws of y and z: {error:.4f}")
    print(f"share of labels, of 100 test images, that p(y|x) finds: {(by_label.argmax(0) == labels).float().mean():.2f}")


if __name__ == "__main__":
    main()
