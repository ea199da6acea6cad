"""Priors fitted after training, by name: how each is fitted, and how it is loaded from a checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from inference.checkpoint import load_checkpoint, saved_shapes
from inference.data.load import Data
from inference.expost.code_prior import fit_code_prior
from inference.expost.codes import codes_of
from inference.expost.flow import fit_flow
from inference.expost.gaussian_mixture import fit_gaussian, fit_gaussian_mixture
from inference.numerics import check_device, seeded
from inference.recipes.build import build_vae
from inference.recipes.codes import autoregressive_prior
from inference.recipes.options import FitOptions, ModelOptions, Recipe
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

VERSION = 1  # of the fits: raised when they give other priors for the same arguments, so that kept ones are fitted anew


@dataclass(frozen=True)
class Expost:
    """A kind of prior fitted after training.

    Attributes:
        fit: Returns the VAE with the fitted prior, from the VAE, codes of training and of validation data, and the recipe.
        blank: Returns the VAE with a prior that is not yet fitted, from the VAE, the recipe and the shapes in a checkpoint.
        is_of_codes: Whether it is a prior over discrete codes instead of vectors.
    """

    # Any: a VQVAE if it is of codes, else a VAE.
    fit: Callable[[Any, Tensor, Tensor, Recipe], AnyVAE]
    blank: Callable[[Any, Recipe, dict[str, torch.Size]], AnyVAE]
    is_of_codes: bool = False


def fit_expost(vae: AnyVAE, data: Data, expost: str, recipe: Recipe, *, device: str | None = None) -> AnyVAE:
    """Fit a prior to the codes of a VAE and return the VAE with that prior; test data are not used.

    Args:
        vae: The fitted VAE; its weights are left unchanged.
        data: Its data: the prior is fitted to codes of ``train``, and its size or its epoch is chosen by codes of ``valid``.
        expost: Kind of prior.
        recipe: Recipe of the VAE, for the sizes of networks, the length of a fit and its seed.
        device: Device to encode and fit on.

    Raises:
        ValueError: If the kind of prior does not suit the VAE's latents (vectors or discrete codes), the VAE has several latents, or its
            codes are proportions or unit vectors, for which there is no fitted prior.
    """
    check_device(device)
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


def _check_vectors(vae: Any, codes: Tensor, x: Tensor) -> None:
    refusal = read_structure(vae.with_prior(StandardNormal(codes.shape[1]).to(codes)), x).refusal
    if refusal is not None:
        raise ValueError(refusal)


def load_expost(vae: AnyVAE, expost: str, recipe: Recipe, path: Path) -> AnyVAE:
    """Load a result of :func:`fit_expost` from its checkpoint; the arguments are the same."""
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
    codes, valid = (z.argmax(-1) if z.is_floating_point() else z for z in (codes, valid))  # indices of indicators
    prior = _autoregressive(vae, recipe).to(codes.device)
    return vae.with_prior(fit_code_prior(prior, codes, valid, **_density_budget(recipe.fit, codes)))


def _autoregressive(vae: VQVAE, recipe: Recipe) -> nn.Module:
    with seeded(recipe.model.seed):
        return autoregressive_prior(vae.encoder.code_shape, vae.encoder.num_codes)


def _fit_two_stage(vae: VAE, codes: Tensor, valid: Tensor, recipe: Recipe) -> TwoStageVAE:
    second = _second_stage(recipe, codes.cpu()).to(codes)
    # Without warm-up, the noise scale, initialized at the codes' standard deviation, often explains all of them and u nothing.
    fit(second, codes, valid=valid, warmup_epochs=recipe.fit.epochs // 5, progress=False, **_budget(recipe.fit, codes))
    return TwoStageVAE(vae, second)


def _second_stage(recipe: Recipe, codes: Tensor) -> VAE:
    options = ModelOptions(likelihood="gaussian", feature_noise=True, latent_dim=codes.shape[1], seed=recipe.model.seed)
    second: Any = build_vae(options, codes)  # these options make a VAE
    return second


def _like_codes(recipe: Recipe, shapes: dict[str, torch.Size]) -> Tensor:
    """Two codes for which the second stage is built as in a checkpoint: with a standardizing layer unless all lie in [0, 1]."""
    lowest = -1.0 if "code_encoder.network.0.loc" in shapes else 0.0
    return torch.linspace(lowest, 1, 2 * recipe.model.latent_dim).reshape(2, -1)  # [2, D]


class _Budget(TypedDict):
    epochs: int
    batch_size: int
    learning_rate: float
    patience: int | None
    seed: int


def _budget(options: FitOptions, codes: Tensor) -> _Budget:
    return {
        "epochs": options.epochs,
        "batch_size": min(options.batch_size, len(codes)),
        "learning_rate": options.learning_rate,
        "patience": options.patience,
        "seed": options.seed,
    }


def _density_budget(options: FitOptions, codes: Tensor) -> _Budget:
    """Options for codes, whose noise stays the same and which are overfitted sooner than data: a third of the epochs, larger batches."""
    batch_size = min(max(options.batch_size, len(codes) // 50), len(codes))
    return {**_budget(options, codes), "epochs": -(-options.epochs // 3), "batch_size": batch_size}


EXPOST: dict[str, Expost] = {
    "gaussian": Expost(
        fit=lambda vae, codes, valid, recipe: vae.with_prior(fit_gaussian(codes)),
        blank=lambda vae, recipe, shapes: vae.with_prior(FullGaussianMixturePrior(recipe.model.latent_dim, 1)),
    ),
    "mixture": Expost(
        fit=lambda vae, codes, valid, recipe: vae.with_prior(fit_gaussian_mixture(codes, valid, seed=recipe.fit.seed)),
        blank=lambda vae, recipe, shapes: vae.with_prior(FullGaussianMixturePrior(recipe.model.latent_dim, shapes["prior.logits"].numel())),
    ),
    "flow": Expost(fit=_fit_flow, blank=_blank_flow),
    "two-stage": Expost(
        fit=_fit_two_stage,
        blank=lambda vae, recipe, shapes: TwoStageVAE(vae, _second_stage(recipe, _like_codes(recipe, shapes))),
    ),
    "autoregressive": Expost(
        fit=_fit_autoregressive, blank=lambda vae, recipe, shapes: vae.with_prior(_autoregressive(vae, recipe)), is_of_codes=True
    ),
}
