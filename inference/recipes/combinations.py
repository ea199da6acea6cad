"""Which parts of a model go together, and which options have an effect, by names alone: asked before data are loaded."""

from argparse import ArgumentError
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from jsonargparse import ArgumentParser

from inference.recipes.options import ModelOptions, Recipe, changed, without_effect
from inference.recipes.registries import (
    CODES,
    CONDITIONS,
    ENCODERS,
    EXPOST,
    FIT_PARTS,
    LABEL,
    MODEL_PARTS,
    NETWORKS,
    NOTHING,
    PRIORS,
    REAL,
    STRUCTURES,
)
from inference.registry import Registry, union


def options_of(name: str, kind: type[Any], given: Mapping[str, Any], registries: Collection[Registry]) -> Any:
    """Options of a kind by name, such as ``{"prior": "vamp"}``.

    Args:
        name: What they are called in errors.
        kind: The class of options.
        given: The options that differ from their defaults.
        registries: The registries of the parts that they name.

    Raises:
        ValueError: If there is no option of a name, no part, or a value is of another type.
    """
    known = [option.name for option in fields(kind)]
    for option in given:
        if option not in known:
            near = "".join(f" Did you mean {word}?" for word in get_close_matches(option, known, n=1))
            raise ValueError(f"{name} must hold options by name, such as {known[0]}; got {option!r}.{near}")
    for registry in registries:
        registry.part(given.get(registry.kind, getattr(kind, registry.kind)))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, name)
    try:
        return parser.instantiate(parser.parse_object({name: dict(given)}))[name]
    except ArgumentError as error:
        raise ValueError(f"{name} must have values of their types, as on the command line; got {' '.join(str(error).split())}.") from error


def checked_recipes(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Check that the parts of each recipe go together, and that every option which differs from its default has an effect on some of them.

    Returns:
        The recipes by name; an option that has an effect on others alone has its default.

    Raises:
        ValueError: If parts do not go together, or an option has no effect on any.
    """
    for recipe in recipes.values():
        if recipe.pair is None:
            check_parts(recipe.model)
            check_given(recipe.model, len(recipe.data.condition or ()))
    checked = dict(recipes)
    for section, registries in (("model", MODEL_PARTS), ("fit", FIT_PARTS)):
        vain = {name: _vain(recipe, section, registries) for name, recipe in recipes.items()}
        for option in set.intersection(*map(set, vain.values())):
            takers = next(iter(vain.values()))[option]
            raise ValueError(f"--{section}.{option} has no effect here: it is an option of {' and '.join(takers)}. Leave it out.")
        checked = {name: _without(recipe, section, vain[name]) for name, recipe in checked.items()}
    return checked


def _without(recipe: Recipe, section: str, vain: Collection[str]) -> Recipe:
    """The recipe with the defaults of options that have no effect on it."""
    options = getattr(recipe, section)
    defaults = {one.name: one.default for one in fields(options) if one.name in vain}
    return replace(recipe, **{section: replace(options, **defaults)}) if defaults else recipe


def _vain(recipe: Recipe, section: str, registries: Collection[Registry]) -> dict[str, list[str]]:
    options = getattr(recipe, section)
    if section == "model" and recipe.pair is not None:  # which has options of its own
        return {name: ["models made of parts, not of --pair"] for name in changed(options) if name not in {"seed", *union([EXPOST])}}
    return without_effect(options, registries)


def check_parts(options: ModelOptions) -> None:
    """Check that the named parts of a model go together.

    Raises:
        ValueError: If structure, prior, encoder and network do not.
    """
    if STRUCTURES[options.structure].facts["is_flat"]:
        _check_latents(options)
        _check_conditional(options)
    else:
        _check_levels(options)


def check_given(options: ModelOptions, num_given: int) -> None:
    """Check that a structure takes as many conditions as there are.

    Raises:
        ValueError: If it does not.
    """
    takes = STRUCTURES[options.structure].facts["takes"]
    if takes == NOTHING and num_given:
        others = " or ".join(name for name, part in STRUCTURES.items() if part.facts["takes"] != NOTHING)
        raise ValueError(
            f"structure {options.structure!r} takes nothing besides the data; got data.condition. Leave it out, or take model.structure "
            f"{others}."
        )
    if takes == CONDITIONS and not num_given or takes == LABEL and num_given != 1:
        raise ValueError(
            f"structure {options.structure!r} takes {takes} besides the data; got {num_given or 'none'}. Give data.condition, such "
            "as labels."
        )


def _check_conditional(options: ModelOptions) -> None:
    takes = STRUCTURES[options.structure].facts["takes"]
    if takes != NOTHING and _latents(ENCODERS, options.encoder) == CODES:
        raise ValueError(
            f"structure {options.structure!r} has latents that are vectors; got encoder {options.encoder!r} of codes. Choose another "
            "model.encoder."
        )
    if takes == CONDITIONS and options.prior != "standard":
        raise ValueError(
            f"structure {options.structure!r} has a normal prior, with mean and scale by the condition; got prior {options.prior!r}. "
            "Leave model.prior out, or take model.structure flat."
        )
    if takes == LABEL and PRIORS[options.prior].facts["of_encoder"]:
        raise ValueError(
            f"prior {options.prior!r} is made of q(z|x), and the guide of structure {options.structure!r} also takes labels. Choose "
            "another model.prior."
        )


def _check_latents(options: ModelOptions) -> None:
    ours, theirs = _latents(PRIORS, options.prior), _latents(ENCODERS, options.encoder)
    if ours == theirs or (PRIORS[options.prior].facts["of_encoder"] and theirs != CODES):
        return
    encoders = _names_of(ENCODERS, ours)
    if ours == CODES:
        raise ValueError(
            f"prior {options.prior!r} needs an encoder of codes; got {options.encoder!r}. Choose one for model.encoder: {encoders}."
        )
    if theirs == CODES:
        raise ValueError(
            f"encoder {options.encoder!r} needs a prior of codes; got {options.prior!r}. Choose one for model.prior: "
            f"{_names_of(PRIORS, CODES)}."
        )
    raise ValueError(
        f"prior {options.prior!r} does not go with encoder {options.encoder!r}: the prior lives on {ours}, the guide on {theirs}. Choose "
        f"another model.encoder ({encoders}) or model.prior ({_names_of(PRIORS, theirs)})."
    )


def _check_levels(options: Any) -> None:
    structure, latents, is_conv = options.structure, _latents(PRIORS, options.prior), NETWORKS[options.network].facts["is_conv"]
    if options.encoder != "normal":
        raise ValueError(
            f"a {structure} structure has normal guides; got encoder {options.encoder!r}. Leave model.encoder out, or take "
            "model.structure flat."
        )
    if latents != REAL:
        raise ValueError(
            f"a {structure} structure needs a prior on {REAL}; got prior {options.prior!r} on {latents}. Choose another model.prior "
            f"({_names_of(PRIORS, REAL)}), or take model.structure flat."
        )
    if structure == "stacked" and is_conv:
        raise ValueError("a stacked structure has mlp or gated networks; got network 'conv'. Take model.structure ladder.")
    if is_conv and len(options.hidden) != options.levels:
        raise ValueError(
            f"hidden must hold the channels of each of {options.levels} levels; got {options.hidden}. Set model.hidden or model.levels."
        )


def _latents(registry: Registry, name: str) -> str:
    """The kind of latents of a prior or an encoder."""
    return registry[name].facts["latents"]


def _names_of(registry: Registry, latents: str) -> str:
    names = [name for name, part in registry.items() if part.facts["latents"] == latents or part.facts.get("of_encoder")]
    return ", ".join(names)
