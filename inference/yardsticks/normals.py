"""One normal distribution, factor analysis, probabilistic PCA and mixtures of normal distributions, as scikit-learn fits them.

They are fitted to standardized columns, so that units do not matter, and their densities are those of the columns as they come.
"""

from collections.abc import Sequence
from typing import NamedTuple
import warnings

import numpy as np
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from inference.yardsticks.pairs import NormalYardstick
from inference.yardsticks.rows import NotApplicable, TableOfRows, best_of, check_independent, check_spread

_MOST_COLUMNS = 512  # whose covariances are factorized in seconds
_REGULARIZATIONS = (1e-4, 1e-1)  # added to variances of standardized columns in a mixture, so that no component shrinks to a point
_TOLERANCE, _MOST_STEPS = 1e-2, 2000  # of factor analysis: of the log-likelihood of all rows together, in nats


class Standardized(NamedTuple):
    """Complete rows, standardized by the training rows.

    Attributes:
        train: Training rows ``[N, D]``.
        valid: Validation rows ``[M, D]``.
        loc: What was subtracted, ``[D]``.
        scale: By what they were then divided, ``[D]``.
    """

    train: np.ndarray
    valid: np.ndarray
    loc: np.ndarray
    scale: np.ndarray

    def yardstick(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, size: str = "") -> NormalYardstick:
        """Return the mixture of normal distributions of the rows as they come, of one of standardized rows."""
        means, covariances = means * self.scale + self.loc, covariances * np.outer(self.scale, self.scale)
        return NormalYardstick(weights, means, covariances, size)


def standardized(table: TableOfRows, *, needs_rank: bool) -> Standardized:
    """Standardize the rows of a table.

    Args:
        table: The table.
        needs_rank: Whether the covariance of the columns must be regular, for which there must be more rows than columns.

    Raises:
        NotApplicable: If columns are not real, cells are missing, there are too many columns, or these are functions of each other.
    """
    if table.measure != "density":
        raise NotApplicable(f"its measure is density, and that of the models {table.measure}")
    if not table.is_complete:
        raise NotApplicable("it takes no missing cells")
    if table.train.shape[1] > _MOST_COLUMNS:
        raise NotApplicable(f"covariances of {table.train.shape[1]} columns, more than {_MOST_COLUMNS}, take too long")
    loc, scale = table.train.mean(0), table.train.std(0)
    if needs_rank or len(table.train) > len(loc):
        check_independent(table.train)
    return Standardized((table.train - loc) / scale, (table.valid - loc) / scale, loc, scale)


def full_normal(table: TableOfRows) -> NormalYardstick:
    """Fit one normal distribution by its moments."""
    rows = standardized(table, needs_rank=True)
    covariance = np.atleast_2d(np.cov(rows.train, rowvar=False, bias=True))
    return rows.yardstick(np.ones(1), np.zeros((1, len(rows.loc))), covariance[None])


def factor_analysis(table: TableOfRows) -> NormalYardstick:
    """Fit factor analysis with as many factors as the compared models have latents."""
    rows, num_factors = standardized(table, needs_rank=False), _num_latents(table)
    model = FactorAnalysis(num_factors, tol=_TOLERANCE, max_iter=_MOST_STEPS, svd_method="lapack")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows.train)
    return rows.yardstick(np.ones(1), model.mean_[None], model.get_covariance()[None], _with_latents(num_factors))


def ppca(table: TableOfRows) -> NormalYardstick:
    """Fit probabilistic PCA with as many latents as the compared models have."""
    rows, num_latents = standardized(table, needs_rank=False), _num_latents(table)
    model = PCA(num_latents, svd_solver="full").fit(rows.train)
    return rows.yardstick(np.ones(1), model.mean_[None], model.get_covariance()[None], _with_latents(num_latents))


def normal_mixture(table: TableOfRows, *, num_components: Sequence[int]) -> NormalYardstick:
    """Fit mixtures of normal distributions with full covariances, and choose the number of components on the validation rows."""
    check_spread(table)
    rows = standardized(table, needs_rank=True)

    def fitted(number: int) -> tuple[GaussianMixture, float]:
        models = [_mixture(rows.train, number, regularization, table.seed) for regularization in _REGULARIZATIONS]
        scored = [(model, float(model.score(rows.valid))) for model in models]
        return max(scored, key=lambda pair: pair[1])

    best, _ = best_of(fitted, num_components, table)
    size = f"of {best.n_components} component{'s' if best.n_components > 1 else ''}"
    return rows.yardstick(best.weights_, best.means_, best.covariances_, size)


def _mixture(rows: np.ndarray, num_components: int, regularization: float, seed: int) -> GaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(num_components, reg_covar=regularization, random_state=seed).fit(rows)


def _num_latents(table: TableOfRows) -> int:
    num_columns = table.train.shape[1]
    if table.latent_dim is None:
        raise NotApplicable("the models have no number of real latents that it could have")
    if table.latent_dim >= num_columns:
        raise NotApplicable(f"with {table.latent_dim} latents for {num_columns} columns, it is a full normal")
    return table.latent_dim


def _with_latents(number: int) -> str:
    return f"with {number} latent{'s' if number > 1 else ''}"
