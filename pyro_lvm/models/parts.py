"""Exchange parts of a model."""

from copy import copy
from typing import TypeVar

from torch import nn

from pyro_lvm.checks import check_types
from pyro_lvm.scopes import attach, belongings

Model = TypeVar("Model", bound=nn.Module)


def with_parts(model: Model, **parts: nn.Module) -> Model:
    """Return a model of the same class, with what its class overrides, in which some parts are others; all else is shared, not copied.

    Args:
        model: The model, which stays as it is.
        parts: The new parts by attribute.

    Raises:
        TypeError: If a part is not a module.
    """
    check_types(nn.Module, "Its call returns a distribution.", **parts)
    other = copy(model)
    for registry in ("_parameters", "_buffers", "_modules"):
        vars(other)[registry] = dict(vars(model)[registry])
    own = belongings(model)
    attach(other, own.of_variant(own.store))
    for name, part in parts.items():
        setattr(other, name, part)
    return other
