"""Registries of parts by name: a part is a function, and its keyword-only arguments are the options of that part."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
import inspect
from typing import Any, Literal, TypeVar

from docstring_parser import parse as parse_docstring

Builder = TypeVar("Builder", bound=Callable[..., Any])
Options = TypeVar("Options")


@dataclass(frozen=True)
class Option:
    """An option of a part.

    Attributes:
        name: Its name.
        kind: Its type.
        default: Its default.
        help: What it is, in one sentence; empty if the part's docstring does not say it.
    """

    name: str
    kind: Any
    default: Any
    help: str


@dataclass(frozen=True)
class Part:
    """A registered part.

    Attributes:
        name: Its name.
        build: Builds it.
        facts: What is known of it by its name alone.
        options: Its options by name.
    """

    name: str
    build: Callable[..., Any]
    facts: Mapping[str, Any]
    options: Mapping[str, Option]


class Registry(Mapping[str, Part]):
    """Parts of one kind by name, in the order in which they were registered.

    A part is registered by a decorator on the function that builds it. Its positional parameters name what it is given, of what
    ``given`` offers; its keyword-only parameters, each with a type and a default, are its options.

    Args:
        kind: What the parts are, such as ``"prior"``; the option that takes their names.
        given: What a builder may ask for, by the names of its positional parameters, with a description of each.
        facts: Facts that a part may state when it is registered, with their defaults.

    Example:
        >>> PRIORS = Registry("prior", given={"encoder": "the guide"}, facts={"latents": "the whole space"})
        >>> @PRIORS.register("scaled")
        ... def scaled(encoder: object, *, scale: float = 1.0) -> tuple[object, float]:
        ...     return encoder, scale
        >>> list(PRIORS), PRIORS["scaled"].options["scale"].default
        (['scaled'], 1.0)
        >>> PRIORS.build("scaled", {"scale": 2.0, "other": 3}, encoder="guide")
        ('guide', 2.0)
    """

    def __init__(self, kind: str, *, given: Mapping[str, str], facts: Mapping[str, Any] | None = None) -> None:
        self.kind, self.given, self.facts = kind, dict(given), dict(facts or {})
        self._parts: dict[str, Part] = {}

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def register(self, name: str, **facts: Any) -> Callable[[Builder], Builder]:
        """Return a decorator that registers a builder.

        Args:
            name: Name of the part.
            **facts: What is known of it by its name alone, such as ``latents="the simplex"``.

        Raises:
            ValueError: If the name is taken, a fact is unknown, or an option differs from one of the same name of another part.
            TypeError: If the builder has parameters that it cannot be given.
        """
        if name in self._parts:
            raise ValueError(f"{self.kind} {name!r} is registered already. Choose another name.")
        if unknown := set(facts) - set(self.facts):
            raise ValueError(f"a {self.kind} has the facts {', '.join(self.facts) or 'none'}; got {', '.join(unknown)}. Leave them out.")

        def registered(build: Builder) -> Builder:
            options = {option.name: option for option in _options(build, self)}
            for option in options.values():
                self._check_alike(option)
            self._parts[name] = Part(name, build, {**self.facts, **facts}, options)
            return build

        return registered

    def forget(self, name: str) -> None:
        """Remove a part, as a test does with its own."""
        del self._parts[name]

    def part(self, name: str) -> Part:
        """Return a part.

        Raises:
            ValueError: If there is no such part.
        """
        if name not in self._parts:
            raise ValueError(f"{self.kind} must be one of {', '.join(self._parts)}; got {name!r}.")
        return self._parts[name]

    def build(self, name: str, options: Mapping[str, Any], **given: Any) -> Any:
        """Build a part with its share of the options, from what it asks for of what is given.

        Raises:
            ValueError: If there is no such part.
        """
        part = self.part(name)
        asked = [given[parameter] for parameter in _positional(part.build)]
        return part.build(*asked, **{option: options[option] for option in part.options if option in options})

    def _check_alike(self, option: Option) -> None:
        for part in self._parts.values():
            _check_alike(option, part.options.get(option.name), f"{self.kind} {part.name!r}")


def _check_alike(option: Option, other: Option | None, of: str) -> None:
    if other is not None and (option.kind, option.default) != (other.kind, other.default):
        raise ValueError(
            f"option {option.name} must be of type {other.kind} with default {other.default!r}, as that of {of}; got {option.kind} with "
            f"{option.default!r}. Give it another name, or the same type and default."
        )


def _positional(build: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(build).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]


def _options(build: Callable[..., Any], registry: Registry) -> Iterator[Option]:
    said = {entry.arg_name: entry.description or "" for entry in parse_docstring(build.__doc__ or "").params}
    for parameter in inspect.signature(build).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if inspect.Parameter.empty in (parameter.annotation, parameter.default):
                raise TypeError(f"option {parameter.name} of a {registry.kind} must have a type and a default. Give it both.")
            yield Option(parameter.name, parameter.annotation, parameter.default, " ".join(said.get(parameter.name, "").split()))
        elif parameter.name not in registry.given:
            raise TypeError(
                f"the builder of a {registry.kind} can be given {', '.join(registry.given) or 'nothing'}; got a parameter "
                f"{parameter.name}. Put a * before it, as options are keyword-only, or take it out."
            )


def union(registries: Iterable[Registry]) -> dict[str, Option]:
    """Return the options of all parts in registries by name.

    Raises:
        ValueError: If two parts have options of one name that differ in their type or default.
    """
    found: dict[str, Option] = {}
    for registry in registries:
        for part in registry.values():
            for option in part.options.values():
                earlier = found.get(option.name)
                _check_alike(option, earlier, "another part")
                found[option.name] = earlier if earlier is not None and earlier.help else option
    return found


def make_options(name: str, base: type[Options], registries: Sequence[Registry], others: Sequence[Registry] = ()) -> type[Options]:
    """Return a dataclass of options that takes the names of parts, and all options of theirs.

    Args:
        name: Name of the class.
        base: Dataclass with a field for each registry, called like its kind, and any others.
        registries: The registries.
        others: Registries of parts that are named elsewhere, whose options are nevertheless among these.

    Raises:
        ValueError: If two parts have options of one name that differ.
    """
    own: Mapping[str, Any] = base.__dataclass_fields__  # type: ignore[attr-defined]
    said = {entry.arg_name: entry.description or "" for entry in parse_docstring(base.__doc__ or "").params}
    fields: list[tuple[str, Any, Any]] = [
        (registry.kind, Literal[tuple(registry)], field(default=own[registry.kind].default)) for registry in registries if len(registry)
    ]
    for option in union([*registries, *others]).values():
        if option.name in own and own[option.name].default != option.default:
            default = own[option.name].default
            raise ValueError(f"option {option.name} is one of every model, with default {default!r}. Give that of the part another name.")
        if option.name not in own:
            fields.append((option.name, option.kind, field(default=option.default)))
            said[option.name] = option.help
    doc = "\n".join(
        [(base.__doc__ or "").splitlines()[0], "", "Args:", *(f"    {key}: {' '.join(text.split())}" for key, text in said.items())]
    )
    return make_dataclass(name, fields, bases=(base,), frozen=True, eq=False, namespace={"__doc__": doc})


def accepted(options: object, registries: Iterable[Registry]) -> set[str]:
    """Return the names of the options that the parts take which options choose by name."""
    chosen = [(registry, getattr(options, registry.kind)) for registry in registries]
    return {option for registry, name in chosen if name in registry for option in registry[name].options}


def takers(option: str, registries: Iterable[Registry]) -> list[str]:
    """Return the parts that take an option, in words such as ``"prior mixture"``."""
    return [f"{registry.kind} {part.name}" for registry in registries for part in registry.values() if option in part.options]
