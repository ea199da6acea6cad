"""Draw the picture of the front page: ``python docs/front_picture.py`` writes docs/_static/front.png, in a minute."""

from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from inference import codes_of, fit, load_data, sample_latents
import pyro_lvm as lvm

PRIORS = {"standard normal prior": lvm.StandardNormal(2), "mixture, trained jointly": lvm.GaussianMixturePrior(2, 20)}
FILE = Path(__file__).parent / "_static" / "front.png"


def draws_and_codes(prior: object, data: object) -> tuple[Tensor, Tensor]:
    """Fit a VAE with two latents; return draws from its prior and one from q(z|x) for each training image."""
    encoder = lvm.NormalEncoder(lvm.MLP(64, [128, 128], 4))
    vae = lvm.VAE(prior, lvm.BernoulliLikelihood(lvm.MLP(2, [128, 128], 64)), encoder)
    fit(vae, data, epochs=150, learning_rate=2e-3, seed=0, progress=False)
    return sample_latents(vae, 20_000, seed=0), codes_of(vae, data)


def main() -> None:
    """Draw codes, colored by digit, over the density of the prior's draws."""
    data = load_data("digits")
    figure = Figure(figsize=(9.0, 4.4), dpi=120, layout="constrained")
    for axes, (name, prior) in zip(figure.subplots(1, 2), PRIORS.items(), strict=True):
        draws, codes = draws_and_codes(prior, data)
        low, high = codes.quantile(0.002, dim=0), codes.quantile(0.998, dim=0)
        box = [(a - 0.1 * (b - a), b + 0.1 * (b - a)) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        axes.hist2d(*draws.T.numpy(), bins=70, range=box, cmap="Greys", vmax=40)
        axes.scatter(*codes.T, c=data.labels["train"], cmap="tab10", s=5)
        axes.set(title=name, xlim=box[0], ylim=box[1], xticks=[], yticks=[])
    figure.supxlabel("codes of 1197 digits, a color for each digit; gray: the prior", fontsize="medium")
    figure.savefig(FILE)


if __name__ == "__main__":
    main()
