"""Registries of parts: what a builder is given, which options it has, and what is refused."""

from dataclasses import dataclass

import pytest

from inference.recipes.options import ModelOptions, model_options
from inference.recipes.registries import MODEL_PARTS, PRIORS
from inference.registry import Registry, accepted, make_options, takers, union


@dataclass(frozen=True)
class Names:
    """Parts by name.

    Args:
        shape: The shape.
    """

    shape: str = "square"
    seed: int = 0


@pytest.fixture
def shapes():
    registry = Registry("shape", given={"ink": "a color"}, facts={"is_round": False})

    @registry.register("square")
    def square(ink, *, width: int = 2):
        """Draw a square.

        Args:
            width: Its width.
        """
        return "square", ink, width

    @registry.register("disc", is_round=True)
    def disc(*, radius: float = 1.0, width: int = 2):
        return "disc", radius, width

    return registry


def test_a_builder_gets_what_it_names_and_its_own_options(shapes):
    assert shapes.build("square", {"width": 3, "radius": 9.0}, ink="red") == ("square", "red", 3)
    assert shapes.build("disc", {"radius": 0.5}, ink="red") == ("disc", 0.5, 2)
    with pytest.raises(ValueError, match="shape must be one of square, disc; got 'star'"):
        shapes.build("star", {}, ink="red")


def test_options_of_all_parts_become_fields(shapes):
    options = make_options("Options", Names, [shapes])
    assert options(shape="disc", radius=3.0).width == 2
    assert "width: Its width." in options.__doc__ and "shape: The shape." in options.__doc__
    assert accepted(options(), [shapes]) == {"width"} and accepted(options(shape="disc"), [shapes]) == {"radius", "width"}
    assert takers("radius", [shapes]) == ["shape disc"] and set(union([shapes])) == {"width", "radius"}
    assert shapes["disc"].facts == {"is_round": True} and shapes["square"].facts == {"is_round": False}


def test_parts_that_cannot_be_registered_are_refused(shapes):
    with pytest.raises(ValueError, match="'square' is registered already"):
        shapes.register("square")
    with pytest.raises(ValueError, match="has the facts is_round; got is_flat"):
        shapes.register("plane", is_flat=True)
    with pytest.raises(TypeError, match="can be given ink; got a parameter paper"):
        shapes.register("star")(lambda paper: None)
    with pytest.raises(TypeError, match="option width of a shape must have a type and a default"):
        shapes.register("star")(lambda *, width: None)

    def star(*, width: float = 5.0):
        return width

    with pytest.raises(ValueError, match="option width must be of type .*int.* with default 2, as that of shape 'square'"):
        shapes.register("star")(star)
    assert list(shapes) == ["square", "disc"]


def test_a_part_of_ones_own_is_an_option_at_once():
    @PRIORS.register("my-prior")
    def mine(*, my_option: float = 0.5):
        """Build it.

        Args:
            my_option: What it is.
        """

    try:
        options = model_options()(prior="my-prior", my_option=2.0)
        assert options.my_option == 2 and options != model_options()(prior="my-prior")
        assert takers("my_option", MODEL_PARTS) == ["prior my-prior"]
    finally:
        PRIORS.forget("my-prior")
    assert model_options()() == ModelOptions() and not hasattr(model_options()(), "my_option")
