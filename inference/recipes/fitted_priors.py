"""Priors fitted after training, by name, and how they are read again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from inference.checkpoint import load_checkpoint, saved_shapes
from inference.data.load import Data
from inference.expost.code_prior import fit_code_prior
from inference.expost.codes import codes_of
from inference.expost.flow import fit_flow
from inference.expost.gaussian_mixture import fit_gaussian, fit_gaussian_mixture
from inference.numerics import seeded
from inference.recipes.build import build_vae
from inference.recipes.codes import autoregressive_prior
from inference.recipes.options import FitOptions, ModelOptions, Recipe, names
from inference.recipes.structures import AnyVAE
from inference.svi.fitting import fit
from pyro_lvm.contract import read_structure
from pyro_lvm.distributions.flow import zuko
from pyro_lvm.models.vae import VAE, TwoStageVAE
from pyro_lvm.models.vqvae import VQVAE
from pyro_lvm.networks.flows import spline, whitened
from pyro_lvm.priors.flow import FlowPrior
from pyro_lvm.priors.gaussian_mixture import FullGaussianMixturePrior
from pyro_lvm.priors.normal import StandardNormal


@dataclass(frozen=True)
class Expost:
    """A kind of prior fitted after training.

    Attributes:
        fit: From a fitted VAE, codes of training and of validation data, and the recipe, to the pair under the fitted prior.
        blank: The same pair with a prior that is not fitted, from the VAE, the recipe and the shapes in a checkpoint.
        is_of_codes: Whether it is a prior of discrete codes, not of vectors.
    """

    fit: Callable[[AnyVAE, Tensor, Tensor, Recipe], AnyVAE | TwoStageVAE]
    blank: Callable[[AnyVAE, Recipe, dict[str, torch.Size]], AnyVAE | TwoStageVAE]
    is_of_codes: bool = False


def fit_expost(vae: AnyVAE, data: Data, expost: str, recipe: Recipe, *, device: str | None = None) -> AnyVAE | TwoStageVAE:
    """A fitted VAE's likelihood and encoder under a prior fitted to its codes; test data play no part.

    Args:
        vae: The fitted VAE; it stays as it is.
        data: Its data: codes of ``train`` fit the prior, codes of ``valid`` choose its size or its epoch.
        expost: What kind of prior.
        recipe: What the VAE was made from, for the sizes of networks, the length of a fit and its seed.
        device: Where to encode and to fit.

    Raises:
        ValueError: If the kind does not suit the VAE's latents, vectors or discrete codes; if the VAE has several latents, or its codes are
            proportions or unit vectors, which no fitted prior is of.
    """
    vae, seed = vae.to(device), recipe.fit.seed
    _check_kind(vae, expost)
    codes = codes_of(vae, data.train.to(device), transform=data.transform, seed=seed)
    if not EXPOST[expost].is_of_codes:
        _check_vectors(vae, codes, data.train[:2].to(device))  # before a fit that takes minutes
    return EXPOST[expost].fit(vae, codes, codes_of(vae, data.valid.to(device), seed=seed), recipe)


def _check_kind(vae: AnyVAE, expost: str) -> None:
    if isinstance(vae, VQVAE) != EXPOST[expost].is_of_codes:
        kinds = [name for name, kind in EXPOST.items() if kind.is_of_codes == isinstance(vae, VQVAE)]
        raise ValueError(
            f"expost must be {' or '.join(kinds)} for a {type(vae).__name__}; got {expost!r}. Choose another --expost, or --expost_of."
        )


def _check_vectors(vae: VAE, codes: Tensor, x: Tensor) -> None:
    refusal = read_structure(vae.with_prior(StandardNormal(codes.shape[1]).to(codes)), x).refusal
    if refusal is not None:
        raise ValueError(refusal)


def load_expost(vae: AnyVAE, expost: str, recipe: Recipe, path: Path) -> AnyVAE | TwoStageVAE:
    """What :func:`fit_expost` gave, from a checkpoint of it; arguments as there."""
    with torch.random.fork_rng():
        blank = EXPOST[expost].blank(vae, recipe, saved_shapes(path))
    load_checkpoint(blank, path)
    return blank


def _fit_flow(vae: VAE, codes: Tensor, valid: Tensor, recipe: Recipe) -> VAE:
    return vae.with_prior(fit_flow(codes, valid, flow=_flow_of_codes(recipe.model), **_density_budget(recipe.fit, codes)))


def _flow_of_codes(options: ModelOptions) -> zuko.lazy.Flow:
    with seeded(options.seed):
        return spline(options.latent_dim, transforms=options.flow_transforms, hidden=options.flow_hidden)


def _blank_flow(vae: VAE, recipe: Recipe, shapes: dict[str, torch.Size]) -> VAE:
    D = recipe.model.latent_dim
    return vae.with_prior(FlowPrior(whitened(_flow_of_codes(recipe.model), torch.zeros(D), torch.eye(D))))


def _fit_autoregressive(vae: VQVAE, codes: Tensor, valid: Tensor, recipe: Recipe) -> VQVAE:
    codes, valid = (z.argmax(-1) if z.is_floating_point() else z for z in (codes, valid))  # of indicators
    prior = _autoregressive(vae, recipe).to(codes.device)
    return vae.with_prior(fit_code_prior(prior, codes, valid, **_density_budget(recipe.fit, codes)))


def _autoregressive(vae: VQVAE, recipe: Recipe) -> nn.Module:
    with seeded(recipe.model.seed):
        return autoregressive_prior(vae.encoder.code_shape, vae.encoder.num_codes)


def _fit_two_stage(vae: VAE, codes: Tensor, valid: Tensor, recipe: Recipe) -> TwoStageVAE:
    second = _second_stage(recipe, codes.cpu()).to(codes)
    # Without warm-up the noise, which starts at the codes' own spread, often explains them all and u nothing.
    fit(second, codes, valid=valid, warmup_epochs=recipe.fit.epochs // 5, progress=False, **_budget(recipe.fit, codes))
    return TwoStageVAE(vae, second)


def _second_stage(recipe: Recipe, codes: Tensor) -> VAE:
    options = ModelOptions(likelihood="gaussian", feature_noise=True, latent_dim=codes.shape[1], seed=recipe.model.seed)
    return build_vae(options, codes)


def _budget(options: FitOptions, codes: Tensor) -> dict[str, int | float | None]:
    same = {name: getattr(options, name) for name in ("epochs", "learning_rate", "patience", "seed")}
    return same | {"batch_size": min(options.batch_size, len(codes))}


def _density_budget(options: FitOptions, codes: Tensor) -> dict[str, int | float | None]:
    """A third of the epochs, as codes without new noise are overfitted sooner than data, and batches of at least a fiftieth of the codes."""
    batch_size = min(max(options.batch_size, len(codes) // 50), len(codes))
    return _budget(options, codes) | {"epochs": -(-options.epochs // 3), "batch_size": batch_size}


EXPOST: dict[str, Expost] = {
    "gaussian": Expost(
        fit=lambda vae, codes, valid, recipe: vae.with_prior(fit_gaussian(codes)),
        blank=lambda vae, recipe, shapes: vae.with_prior(FullGaussianMixturePrior(recipe.model.latent_dim, 1)),
    ),
    "mixture": Expost(
        fit=lambda vae, codes, valid, recipe: vae.with_prior(fit_gaussian_mixture(codes, valid, seed=recipe.fit.seed)),
        blank=lambda vae, recipe, shapes: vae.with_prior(
            FullGaussianMixturePrior(recipe.model.latent_dim, shapes["module0.prior.logits"].numel())
        ),
    ),
    "flow": Expost(fit=_fit_flow, blank=_blank_flow),
    "two-stage": Expost(
        fit=_fit_two_stage,
        blank=lambda vae, recipe, shapes: TwoStageVAE(vae, _second_stage(recipe, torch.randn(2, recipe.model.latent_dim))),
    ),
    "autoregressive": Expost(
        fit=_fit_autoregressive, blank=lambda vae, recipe, shapes: vae.with_prior(_autoregressive(vae, recipe)), is_of_codes=True
    ),
}
ExpostName = str if TYPE_CHECKING else names(EXPOST)
