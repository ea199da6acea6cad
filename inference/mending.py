"""Priors fitted after training, by name, and how they are read again."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from inference.checkpoint import load_checkpoint, saved_shapes
from inference.code_expost import fit_code_prior
from inference.code_recipes import autoregressive_prior
from inference.data import Data
from inference.expost import codes_of, fit_flow, fit_gaussian, fit_gaussian_mixture
from inference.options import FitOptions, ModelOptions, Recipe
from inference.recipes import AnyVAE, build_vae
from inference.svi import fit
from pyro_lvm.contract import read_structure
from pyro_lvm.distributions import zuko
from pyro_lvm.flows import spline, whitened
from pyro_lvm.models import VAE, TwoStageVAE
from pyro_lvm.priors import FlowPrior, FullGaussianMixturePrior, StandardNormal
from pyro_lvm.vqvae import VQVAE


def mend_vae(vae: AnyVAE, data: Data, expost: str, recipe: Recipe, *, device: str | None = None) -> AnyVAE | TwoStageVAE:
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
    if expost not in CODE_EXPOST:
        _check_vectors(vae, codes, data.train[:2].to(device))  # before a fit that takes minutes
    return EXPOST[expost](vae, codes, codes_of(vae, data.valid.to(device), seed=seed), recipe)


def _check_kind(vae: AnyVAE, expost: str) -> None:
    if isinstance(vae, VQVAE) != (expost in CODE_EXPOST):
        kinds = [kind for kind in EXPOST if (kind in CODE_EXPOST) == isinstance(vae, VQVAE)]
        raise ValueError(f"expost must be {' or '.join(kinds)} for a {type(vae).__name__}; got {expost!r}. Choose another --expost, or --expost_of.")


def _check_vectors(vae: VAE, codes: Tensor, x: Tensor) -> None:
    refusal = read_structure(vae.with_prior(StandardNormal(codes.shape[1]).to(codes)), x).refusal
    if refusal is not None:
        raise ValueError(refusal)


def load_mended_vae(vae: AnyVAE, expost: str, recipe: Recipe, path: Path) -> AnyVAE | TwoStageVAE:
    """What :func:`mend_vae` gave, from a checkpoint of it; arguments as there."""
    with torch.random.fork_rng():
        mended = BLANK_EXPOST[expost](vae, recipe, saved_shapes(path))
    load_checkpoint(mended, path)
    return mended


def _expost_flow(vae: VAE, codes: Tensor, valid: Tensor, recipe: Recipe) -> VAE:
    return vae.with_prior(fit_flow(codes, valid, flow=_flow_of_codes(recipe.model), **_density_budget(recipe.fit, codes)))


def _flow_of_codes(options: ModelOptions) -> zuko.lazy.Flow:
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        return spline(options.latent_dim, transforms=options.flow_transforms, hidden=options.flow_hidden)


def _autoregressive(vae: VQVAE, codes: Tensor, valid: Tensor, recipe: Recipe) -> VQVAE:
    codes, valid = (z.argmax(-1) if z.is_floating_point() else z for z in (codes, valid))  # of indicators
    prior = _prior_of_codes(vae, recipe).to(codes.device)
    return vae.with_prior(fit_code_prior(prior, codes, valid, **_density_budget(recipe.fit, codes)))


def _prior_of_codes(vae: VQVAE, recipe: Recipe) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(recipe.model.seed)
        return autoregressive_prior(vae.encoder.code_shape, vae.encoder.num_codes)


def _two_stage(vae: VAE, codes: Tensor, valid: Tensor, recipe: Recipe) -> TwoStageVAE:
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


EXPOST: dict[str, Callable[[AnyVAE, Tensor, Tensor, Recipe], AnyVAE | TwoStageVAE]] = {
    "gaussian": lambda vae, codes, valid, recipe: vae.with_prior(fit_gaussian(codes)),
    "mixture": lambda vae, codes, valid, recipe: vae.with_prior(fit_gaussian_mixture(codes, valid, seed=recipe.fit.seed)),
    "flow": _expost_flow,
    "two-stage": _two_stage,
    "autoregressive": _autoregressive,
}
CODE_EXPOST = {"autoregressive"}
BLANK_EXPOST: dict[str, Callable[[AnyVAE, Recipe, dict[str, torch.Size]], AnyVAE | TwoStageVAE]] = {
    "gaussian": lambda vae, recipe, shapes: vae.with_prior(FullGaussianMixturePrior(recipe.model.latent_dim, 1)),
    "mixture": lambda vae, recipe, shapes: vae.with_prior(
        FullGaussianMixturePrior(recipe.model.latent_dim, shapes["module0.prior.logits"].numel())
    ),
    "flow": lambda vae, recipe, shapes: vae.with_prior(
        FlowPrior(whitened(_flow_of_codes(recipe.model), torch.zeros(recipe.model.latent_dim), torch.eye(recipe.model.latent_dim)))
    ),
    "autoregressive": lambda vae, recipe, shapes: vae.with_prior(_prior_of_codes(vae, recipe)),
    "two-stage": lambda vae, recipe, shapes: TwoStageVAE(vae, _second_stage(recipe, torch.randn(2, recipe.model.latent_dim))),
}
