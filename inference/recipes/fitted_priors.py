"""Priors fitted after training: how each is fitted, and how it is loaded from a checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from pyro import poutine
import torch
from torch import Tensor, nn

from inference.checkpoint import device_of, load_checkpoint, move_, saved_shapes
from inference.data.load import Data
from inference.expost.code_prior import fit_code_prior
from inference.expost.codes import codes_of
from inference.expost.flow import fit_flow
from inference.expost.gaussian_mixture import fit_gaussian, fit_gaussian_mixture
from inference.numerics import check_device, seeded
from inference.recipes.build import build_model
from inference.recipes.options import FitOptions, Recipe, model_options
from inference.recipes.parts.priors import autoregressive_codes
from inference.recipes.registries import EXPOST
from inference.svi.fitting import fit
from pyro_lvm.checks import check_types
from pyro_lvm.contract import check_pair, read_structure
from pyro_lvm.distributions.flow import zuko
from pyro_lvm.models.replaced import WithPrior
from pyro_lvm.models.vae import VAE, TwoStageVAE
from pyro_lvm.networks.flows import spline, whitened
from pyro_lvm.pair import Pair, programs
from pyro_lvm.priors.flow import FlowPrior
from pyro_lvm.priors.gaussian_mixture import FullGaussianMixturePrior
from pyro_lvm.priors.normal import StandardNormal
from pyro_lvm.scopes import belongings, isolated
from pyro_lvm.sites import Site, innermost_support, num_values, sample_sites
from pyro_lvm.structure import known_row_parameters, template_of

VERSION = 1  # of the fits: raised when they give other priors for the same arguments, so that kept ones are fitted anew


@dataclass(frozen=True)
class Expost:
    """A kind of prior fitted after training.

    Attributes:
        fit: Returns the pair with the fitted prior, from the pair, codes of training and of validation data, and the recipe.
        blank: Returns the pair with a prior that is not yet fitted, from the pair, a few codes, the recipe and the shapes in a checkpoint.
    """

    fit: Callable[[Any, Tensor, Tensor, Recipe], Any]
    blank: Callable[[Any, Tensor, Recipe, dict[str, torch.Size]], Any]


def fit_expost(pair: Any, data: Data, expost: str, recipe: Recipe, *, device: str | None = None) -> Any:
    """Fit a prior to the codes of a pair and return the pair with that prior; test data are not used.

    Args:
        pair: The fitted pair; its weights are left unchanged.
        data: Its data: the prior is fitted to codes of ``train``, and its size or its epoch is chosen by codes of ``valid``.
        expost: Kind of prior.
        recipe: Recipe of the pair, for the sizes of networks, the length of a fit and its seed.
        device: Device to encode and fit on.

    Raises:
        ValueError: If the kind of prior does not suit the pair's latents (vectors or discrete codes), the pair has several latents, or its
            codes are proportions or unit vectors, for which there is no fitted prior.
    """
    check_device(device)
    seed = recipe.fit.seed
    if known_row_parameters(pair):
        raise ValueError(
            "a prior is fitted to codes of training and of validation data; the parameters of this pair belong to the rows of its training "
            "data, and give no codes of others. Leave --expost out."
        )
    move_(pair, device)
    _check_kind(pair, data, expost)
    train, valid = (tuple(x.to(device) for x in data.batch(split)) for split in ("train", "valid"))
    codes = codes_of(pair, train, transform=data.transform, seed=seed)
    if not EXPOST[expost].facts["is_of_codes"]:
        _check_vectors(pair, codes, *(x[:2] for x in train))  # before a fit that takes minutes
    return _expost(expost, recipe).fit(pair, codes, codes_of(pair, valid, seed=seed), recipe)


def _expost(name: str, recipe: Recipe) -> Expost:
    return EXPOST.build(name, asdict(recipe.model))


def under(pair: Any, prior: nn.Module) -> Any:
    """Return a pair with another prior of its only latent."""
    if hasattr(pair, "with_prior") and not isinstance(pair, Pair):
        return pair.with_prior(prior)
    template: Any = template_of(pair)  # there is one, as the pair has been checked
    other = WithPrior(pair, prior, site=template.structure.latents[0])
    check_pair(other, *template.rows)  # which shows its networks, if the pair's programs are functions
    return other


def _check_kind(pair: Any, data: Data, expost: str) -> None:
    is_of_codes = read_structure(pair, *(x[:2].to(device_of(pair)) for x in data.batch("train"))).is_discrete
    if is_of_codes != EXPOST[expost].facts["is_of_codes"]:
        kinds = [name for name, kind in EXPOST.items() if kind.facts["is_of_codes"] == is_of_codes]
        latents = "discrete codes" if is_of_codes else "vectors"
        raise ValueError(f"expost must be {' or '.join(kinds)} for latents that are {latents}; got {expost!r}. Choose another --expost.")


def _check_vectors(pair: Any, codes: Tensor, *batch: Tensor) -> None:
    if codes.dim() != 2:
        raise ValueError(f"a prior of vectors is fitted to codes [N, D]; got codes of shape {tuple(codes.shape)}. Leave --expost out.")
    read_structure(under(pair, StandardNormal(codes.shape[1]).to(codes)), *batch).scorable()
    for site in _latent_sites(pair, *batch):
        support: Any = innermost_support(site["fn"])
        if support is not None and not bool(support.check(codes.new_tensor([-3.0, 0.0, 3.0])).all()):
            raise ValueError(
                f"the prior lives on the whole space, the latent {site['name']} on {support}, so that mass would lie where no code can be. "
                "Write the model with a latent on the whole space, or leave --expost out."
            )


def _latent_sites(pair: Any, *batch: Tensor) -> list[Site]:
    """The latent sites of the model and of the guide."""
    with isolated(pair), torch.no_grad(), torch.random.fork_rng():
        traces = [poutine.trace(program).get_trace(*batch) for program in programs(pair)]
    return [site for trace in traces for site in sample_sites(trace) if not site["is_observed"]]


def load_expost(pair: Any, data: Data, expost: str, recipe: Recipe, path: Path) -> Any:
    """Load a result of :func:`fit_expost` from its checkpoint; the arguments are the same."""
    few = codes_of(pair, tuple(x[:2].to(device_of(pair)) for x in data.batch("train")))
    with torch.random.fork_rng():
        blank = _expost(expost, recipe).blank(pair, few, recipe, saved_shapes(path))
    load_checkpoint(blank, path)
    belongings(blank).fitted = belongings(pair).fitted  # of which the file knows less
    return blank


def _fit_autoregressive(pair: Any, codes: Tensor, valid: Tensor, recipe: Recipe) -> Any:
    prior = _autoregressive(pair, codes, recipe).to(codes.device)
    codes, valid = (z.argmax(-1) if z.is_floating_point() else z for z in (codes, valid))  # indices of indicators
    return under(pair, fit_code_prior(prior, codes, valid, **_density_budget(recipe.fit, codes)))


def _autoregressive(pair: Any, codes: Tensor, recipe: Recipe) -> nn.Module:
    shape = codes.shape[1:-1] if codes.is_floating_point() else codes.shape[1:]
    with seeded(recipe.model.seed):
        return autoregressive_codes(shape, _num_codes(pair))


def _num_codes(pair: Any) -> int:
    """The number of values of each code, from the model's own prior."""
    template: Any = template_of(pair)
    with isolated(pair), torch.no_grad(), torch.random.fork_rng():
        site: Any = poutine.trace(programs(pair)[0]).get_trace(*template.rows).nodes[template.structure.latents[0]]
    return num_values(site["fn"])


def _fit_two_stage(vae: VAE, codes: Tensor, valid: Tensor, recipe: Recipe) -> TwoStageVAE:
    check_types(VAE, "Two stages are made of VAEs; choose another --expost.", pair=vae)  # before a fit that takes minutes
    second = _second_stage(recipe, codes.cpu()).to(codes)
    # Without warm-up, the noise scale, initialized at the codes' standard deviation, often explains all of them and u nothing.
    fit(second, codes, valid=valid, warmup_epochs=recipe.fit.epochs // 5, progress=False, **_budget(recipe.fit, codes))
    return TwoStageVAE(vae, second)


def _second_stage(recipe: Recipe, codes: Tensor) -> VAE:
    options = model_options()(likelihood="gaussian", feature_noise=True, latent_dim=codes.shape[1], seed=recipe.model.seed)
    second: Any = build_model(options, codes)  # these options make a VAE
    return second


def _like_codes(codes: Tensor, shapes: dict[str, torch.Size]) -> Tensor:
    """Two codes for which the second stage is built as in a checkpoint: with a standardizing layer unless all lie in [0, 1]."""
    lowest = -1.0 if "code_encoder.network.0.loc" in shapes else 0.0
    return torch.linspace(lowest, 1, 2 * codes.shape[1]).reshape(2, -1)  # [2, D]


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


def gaussian() -> Expost:
    """A normal distribution with full covariance."""
    return Expost(
        fit=lambda pair, codes, valid, recipe: under(pair, fit_gaussian(codes)),
        blank=lambda pair, codes, recipe, shapes: under(pair, FullGaussianMixturePrior(codes.shape[1], 1)),
    )


def mixture() -> Expost:
    """A mixture of normal distributions with full covariances."""
    return Expost(
        fit=lambda pair, codes, valid, recipe: under(pair, fit_gaussian_mixture(codes, valid, seed=recipe.fit.seed)),
        blank=lambda pair, codes, recipe, shapes: under(pair, FullGaussianMixturePrior(codes.shape[1], shapes["prior.logits"].numel())),
    )


def flow(transforms: int, hidden: Sequence[int]) -> Expost:
    """A spline flow of whitened codes."""

    def make(codes: Tensor, recipe: Recipe) -> zuko.lazy.Flow:
        with seeded(recipe.model.seed):
            return spline(codes.shape[1], transforms=transforms, hidden=hidden)

    def fitted(pair: Any, codes: Tensor, valid: Tensor, recipe: Recipe) -> Any:
        return under(pair, fit_flow(codes, valid, flow=make(codes, recipe), **_density_budget(recipe.fit, codes)))

    def blank(pair: Any, codes: Tensor, recipe: Recipe, shapes: dict[str, torch.Size]) -> Any:
        D = codes.shape[1]
        return under(pair, FlowPrior(whitened(make(codes, recipe), torch.zeros(D), torch.eye(D))))

    return Expost(fit=fitted, blank=blank)


def two_stage() -> Expost:
    """A second VAE of the codes."""
    return Expost(
        fit=_fit_two_stage,
        blank=lambda pair, codes, recipe, shapes: TwoStageVAE(pair, _second_stage(recipe, _like_codes(codes, shapes))),
    )


def autoregressive() -> Expost:
    """An autoregressive prior of discrete codes."""
    return Expost(
        fit=_fit_autoregressive,
        blank=lambda pair, codes, recipe, shapes: under(pair, _autoregressive(pair, codes, recipe)),
    )
