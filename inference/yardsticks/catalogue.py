"""The yardsticks by name; a file of one's own registers another with the same decorator. Nothing here imports torch."""

from typing import TYPE_CHECKING

from inference.registry import Registry

if TYPE_CHECKING:
    from inference.yardsticks.pairs import Yardstick
    from inference.yardsticks.rows import TableOfRows

YARDSTICKS = Registry(
    "yardstick",
    given={"data": "the rows as a TableOfRows, with the number of latents of the compared models"},
    facts={"is_of_text": False},
)
"""Yardsticks: a builder returns a :class:`~inference.yardsticks.pairs.Yardstick`, a pair with an exact score, or raises
:class:`~inference.yardsticks.rows.NotApplicable` with the reason. Facts: whether it is one of text, or of tables (``is_of_text``)."""


@YARDSTICKS.register("independent-columns")
def _independent_columns(data: "TableOfRows") -> "Yardstick":
    """Fit every column by itself: normal, negative binomial for counts, shares for codes; missing cells are left out."""
    from inference.yardsticks.classes import independent_columns

    return independent_columns(data)


@YARDSTICKS.register("latent-classes")
def _latent_classes(
    data: "TableOfRows", *, num_classes: tuple[int, ...] = (2, 3, 5, 10, 20, 40, 80), smoothing: float = 1.0
) -> "Yardstick":
    """Fit columns that are independent given a class; missing cells are left out.

    Args:
        num_classes: Numbers of classes, of which the best on the validation rows is taken.
        smoothing: Rows like the whole of the training data that every class is given beside its own.
    """
    from inference.yardsticks.classes import latent_classes

    return latent_classes(data, num_classes=num_classes, smoothing=smoothing)


@YARDSTICKS.register("full-normal")
def _full_normal(data: "TableOfRows") -> "Yardstick":
    """Fit one normal distribution with a full covariance."""
    from inference.yardsticks.normals import full_normal

    return full_normal(data)


@YARDSTICKS.register("factor-analysis")
def _factor_analysis(data: "TableOfRows") -> "Yardstick":
    """Fit factor analysis."""
    from inference.yardsticks.normals import factor_analysis

    return factor_analysis(data)


@YARDSTICKS.register("ppca")
def _ppca(data: "TableOfRows") -> "Yardstick":
    """Fit probabilistic PCA."""
    from inference.yardsticks.normals import ppca

    return ppca(data)


@YARDSTICKS.register("normal-mixture")
def _normal_mixture(data: "TableOfRows", *, num_components: tuple[int, ...] = (1, 2, 3, 5, 10)) -> "Yardstick":
    """Fit a mixture of normal distributions with full covariances.

    Args:
        num_components: Numbers of components, of which the best on the validation rows is taken.
    """
    from inference.yardsticks.normals import normal_mixture

    return normal_mixture(data, num_components=num_components)


@YARDSTICKS.register("n-grams", is_of_text=True)
def _n_grams(data: "TableOfRows", *, max_order: int = 6) -> "Yardstick":
    """Fit n-grams of characters.

    Args:
        max_order: Highest order; orders rise as long as the validation rows become more likely.
    """
    from inference.yardsticks.ngrams import n_grams

    return n_grams(data, max_order=max_order)
