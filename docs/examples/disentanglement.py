r"""Disentanglement: what a larger weight of the KL does to codes of images whose factors are known, position x, y and size of a square.

.. math:: \mathrm{E}_q[\log p(x \mid z)] - \beta\, \mathrm{KL}(q(z \mid x) \,\|\, p(z)), \qquad
    \mathrm{MIG} = \frac{1}{F} \sum_f \frac{I(z_{(1)}; v_f) - I(z_{(2)}; v_f)}{H(v_f)}

The mutual information gap (MIG) is between the two latents that know most of a factor; it is 1 if one latent alone knows all of it. beta is
the ``kl_weight`` of a fit, for training alone: log p(x), the mutual information of datum and code, and the total correlation of
``diagnose`` are of the model as it is. Higgins et al. (2017), beta-VAE; Chen et al. (2018), Isolating sources of disentanglement in VAEs.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inference import diagnose, encode, evaluate, fit
from inference.data.load import Data
import pyro_lvm as lvm

HEIGHT, WIDTH, SIZES = 8, 16, (2, 4)


def make_pair(data: Data, *, latent_dim: int = 4, hidden: int = 64) -> lvm.VAE:
    """A VAE of binary images ``[N, X]``.

    Args:
        data: The images.
        latent_dim: Number of latents.
        hidden: Width of the networks.
    """
    num_pixels = data.train.shape[-1]
    likelihood = lvm.BernoulliLikelihood(lvm.MLP(latent_dim, [hidden, hidden], num_pixels))
    return lvm.VAE(lvm.StandardNormal(latent_dim), likelihood, lvm.NormalEncoder(lvm.MLP(num_pixels, [hidden, hidden], 2 * latent_dim)))


def images() -> tuple[Data, np.ndarray]:
    """All 8 x 16 images of a square of side 2 or 4 with its corner in 5 x 13 places, flat, and their factors ``[130, 3]``.

    Training, validation and test data are the same: these are all images that there are.
    """
    rows, columns = range(HEIGHT - max(SIZES) + 1), range(WIDTH - max(SIZES) + 1)
    factors = np.array([(x, y, size) for x in columns for y in rows for size in SIZES])
    pixels = np.zeros((len(factors), HEIGHT, WIDTH), np.float32)
    for image, (x, y, size) in zip(pixels, factors, strict=True):
        image[y : y + size, x : x + size] = 1
    flat = torch.as_tensor(pixels).flatten(1)
    return Data("squares", "all squares of two sizes", flat, flat, flat), factors


def informations(loc: Tensor, scale: Tensor, z: Tensor, factor: np.ndarray) -> Tensor:
    r"""Mutual information of each latent with a factor, in nats, ``[D]``, estimated at draws z of q(z|x).

    .. math:: I(z_d; v) = \mathrm{E}[\log q(z_d \mid v) - \log q(z_d)]

    Args:
        loc: Mean of q(z|x) of each datum, ``[N, D]``; the data are all that there are, with equal weight.
        scale: Its standard deviation, ``[N, D]``.
        z: Draws of it, ``[K, N, D]``.
        factor: Value of the factor of each datum, ``[N]``.
    """
    log_q = torch.distributions.Normal(loc, scale).log_prob(z[..., None, :])  # of each draw under each datum, [K, N, N, D]
    same = torch.as_tensor(factor[:, None] == factor)  # [N, N]
    given = log_q.masked_fill(~same[..., None], -torch.inf).logsumexp(-2) - same.sum(-1)[:, None].log()
    return (given - log_q.logsumexp(-2) + np.log(len(factor))).mean((0, 1))


def gap(information: Tensor, factor: np.ndarray) -> float:
    """The difference of the two largest of the latents' informations ``[D]``, as a share of the factor's entropy."""
    shares = np.unique(factor, return_counts=True)[1] / len(factor)
    first, second = information.topk(2).values
    return float(first - second) / -(shares * np.log(shares)).sum()


def mutual_information_gap(pair: lvm.VAE, x: Tensor, factors: np.ndarray, *, num_draws: int = 50) -> float:
    """MIG of a VAE with a normal encoder, for data ``[N, X]`` with factors ``[N, F]``."""
    with torch.no_grad():
        q = pair.encoder(x).base_dist
        z = torch.stack([encode(pair, x, seed=seed) for seed in range(num_draws)])
        return float(np.mean([gap(informations(q.loc, q.scale, z, factor), factor) for factor in factors.T]))


def figures(beta: float, seed: int, *, epochs: int = 300) -> dict[str, float]:
    """Train one VAE, and return what became of it; all but the MIG in nats."""
    data, factors = images()
    torch.manual_seed(seed)
    pair = make_pair(data)
    fit(pair, data.train, kl_weight=beta, epochs=epochs, batch_size=65, learning_rate=3e-3, seed=seed, progress=False)
    codes = diagnose(pair, data.train, num_draws=300, seed=seed, progress=False)
    return {
        "log_px": evaluate(pair, data.train, num_particles=300, progress=False).mean,
        "information": codes.mutual_information,
        "total_correlation": codes.total_correlation,
        "dimension_kl": codes.dimension_kl,
        "MIG": mutual_information_gap(pair, data.train, factors),
    }


def main(betas: tuple[float, ...] = (1.0, 2.0, 4.0), num_seeds: int = 4) -> None:
    rows = {beta: pd.DataFrame([figures(beta, seed) for seed in range(num_seeds)]) for beta in betas}
    table = {beta: [f"{row[name].mean():.2f} ± {row[name].sem():.2f}" for name in row] for beta, row in rows.items()}
    print(f"Means over {num_seeds} seeds, with standard errors.")
    print(pd.DataFrame(table.values(), pd.Index(table, name="beta"), next(iter(rows.values())).columns))


if __name__ == "__main__":
    main()
