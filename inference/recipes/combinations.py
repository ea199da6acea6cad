"""Which parts of a model go together, by their names alone: asked before data are loaded."""

from inference.recipes.codes import CODE_ENCODERS, CODE_PRIORS
from inference.recipes.encoders import ENCODERS
from inference.recipes.options import ModelOptions
from inference.recipes.priors import PRIORS

_REAL, _SIMPLEX, _SPHERE, _CODES = "the whole space", "the simplex", "the sphere", "discrete codes"
_OTHER_LATENTS = {"dirichlet": _SIMPLEX, "logistic-normal": _SIMPLEX, "sphere": _SPHERE, "power-spherical": _SPHERE}
_OF_THE_ENCODER = ("vamp",)  # priors made of the encoder's distributions, whatever their latents


def check_parts(options: ModelOptions) -> None:
    """Check that the named parts of a model go together.

    Raises:
        ValueError: If structure, prior, encoder and network do not.
    """
    if options.structure == "flat":
        _check_latents(options)
    else:
        _check_levels(options)


def _check_latents(options: ModelOptions) -> None:
    ours, theirs = _latents(options.prior), _latents(options.encoder)
    if ours == theirs or (options.prior in _OF_THE_ENCODER and theirs != _CODES):
        return
    encoders = _names_of(ours, *ENCODERS, *CODE_ENCODERS)
    if ours == _CODES:
        raise ValueError(
            f"prior {options.prior!r} needs an encoder of codes; got {options.encoder!r}. Choose one for model.encoder: {encoders}."
        )
    if theirs == _CODES:
        raise ValueError(
            f"encoder {options.encoder!r} needs a prior of codes; got {options.prior!r}. Choose one for model.prior: "
            f"{', '.join(CODE_PRIORS)}."
        )
    raise ValueError(
        f"prior {options.prior!r} does not go with encoder {options.encoder!r}: the prior lives on {ours}, the guide on {theirs}. Choose "
        f"another model.encoder ({encoders}) or model.prior ({_names_of(theirs, *PRIORS)})."
    )


def _check_levels(options: ModelOptions) -> None:
    structure, latents = options.structure, _latents(options.prior)
    if options.encoder != "normal":
        raise ValueError(
            f"a {structure} structure has normal guides; got encoder {options.encoder!r}. Leave model.encoder out, or take "
            "model.structure flat."
        )
    if latents != _REAL:
        raise ValueError(
            f"a {structure} structure needs a prior on {_REAL}; got prior {options.prior!r} on {latents}. Choose another model.prior "
            f"({_names_of(_REAL, *PRIORS)}), or take model.structure flat."
        )
    if structure == "stacked" and options.network == "conv":
        raise ValueError("a stacked structure has mlp or gated networks; got network 'conv'. Take model.structure ladder.")
    if options.network == "conv" and len(options.hidden) != options.levels:
        raise ValueError(
            f"hidden must hold the channels of each of {options.levels} levels; got {options.hidden}. Set model.hidden or model.levels."
        )


def _latents(part: str) -> str:
    """The kind of latents of a prior or an encoder."""
    return _CODES if part in CODE_PRIORS or part in CODE_ENCODERS else _OTHER_LATENTS.get(part, _REAL)


def _names_of(latents: str, *parts: str) -> str:
    return ", ".join(part for part in parts if _latents(part) == latents or part in _OF_THE_ENCODER)
