"""Feature spaces in which samples are compared with data: principal components, or a small classifier's last hidden layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
import warnings

import numpy as np
import torch
from torch import Tensor

from pyro_lvm.checks import SKLEARN_SEEDS, check_counts, check_seeds
from pyro_lvm.networks.columns import ColumnInputs

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

MOST_CLASSES = 100


@dataclass(frozen=True)
class Features:
    """A fitted map from data to features.

    Attributes:
        description: What the features are, in words, to be shown beside every figure measured in them.
        function: The map from flat data ``[N, X]`` to features ``[N, F]``, both NumPy arrays.
    """

    description: str
    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, x: Tensor) -> Tensor:
        """Features ``[N, F]``, float64 on the CPU, of data ``[N, *X]``."""
        return torch.from_numpy(np.asarray(self.function(_flat(x)), dtype=np.float64))


def column_features(train: Tensor, kinds: Sequence[str], num_values: Sequence[int]) -> Features:
    """Return the columns of a table as a network sees them: numbers standardized by the training data, categories as indicators.

    Args:
        train: Training data ``[N, D]`` without missing cells.
        kinds: Kind of each column, as for :class:`~pyro_lvm.networks.columns.ColumnInputs`.
        num_values: Number of values of each column.
    """
    inputs = ColumnInputs(train, kinds, num_values)
    return Features("columns, standardized, and indicators of categories", lambda x: inputs(torch.as_tensor(x, dtype=train.dtype)).numpy())


def pca_features(train: Tensor, *, num_features: int = 32) -> Features:
    r"""Fit the first principal components of training data, in the data's own units.

    .. math:: f(x) = W^\top (x - \bar x)

    Args:
        train: Training data ``[N, *X]``.
        num_features: Number of components, F; fewer if there are fewer data or dimensions.

    Returns:
        The features; their description states the share of the variance that they explain.

    Raises:
        ValueError: If ``num_features`` is below 1 or there are fewer than two data.
    """
    from sklearn.decomposition import PCA

    check_counts(num_features=num_features)
    if len(train) < 2:
        raise ValueError(f"train must hold at least 2 data; got {len(train)}. Pass more.")
    x = _flat(train)
    pca = PCA(min(num_features, *x.shape), random_state=0).fit(x)
    share = f"{100 * pca.explained_variance_ratio_.sum():.0f}%"
    return Features(f"{pca.n_components_} principal components of the training data ({share} of their variance)", pca.transform)


def classifier_features(train: Tensor, labels: Tensor, *, num_features: int = 64, seed: int = 0) -> Features:
    """Fit a classifier, scikit-learn's MLPClassifier with two hidden layers, and take its last hidden layer as features.

    Args:
        train: Training data ``[N, *X]``.
        labels: Their classes ``[N]``.
        num_features: Units of the last hidden layer, F.
        seed: Seed of the classifier.

    Returns:
        The features; their description states the classifier's accuracy on the tenth of the training data used for early stopping.

    Raises:
        ValueError: If the numbers of labels and of data differ, or there are fewer than two classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    check_seeds(seed=seed)
    if len(labels) != len(train):
        raise ValueError(f"labels must have one row per datum, {len(train)}; got {len(labels)}. Take both from one split.")
    if len(labels.unique()) < 2:
        raise ValueError("labels must hold at least two classes; got one. Use pca_features(train).")
    x = _flat(train)
    scaler = StandardScaler().fit(x)
    widths, own_seed = (2 * num_features, num_features), seed % SKLEARN_SEEDS
    classifier = MLPClassifier(widths, early_stopping=True, n_iter_no_change=5, max_iter=100, random_state=own_seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the description states how accurate it is
        classifier.fit(scaler.transform(x), labels.cpu().numpy())
    description = (
        f"{num_features} units of the last hidden layer of a classifier trained on {len(train)} labelled training data "
        f"(accuracy {100 * classifier.best_validation_score_:.0f}% on those held out for early stopping)"
    )
    return Features(description, lambda x: _last_hidden_layer(classifier, scaler.transform(x)))


def default_features(train: Tensor, labels: Tensor | None = None) -> Features:
    """Fit the features of a classifier if there are labels, of at most a hundred classes, and principal components otherwise.

    Args:
        train: Training data ``[N, *X]``.
        labels: Their classes ``[N]``, or ``None``.
    """
    if labels is None or not 2 <= len(labels.unique()) <= MOST_CLASSES:
        return pca_features(train)
    return classifier_features(train, labels)


def _last_hidden_layer(classifier: "MLPClassifier", x: np.ndarray) -> np.ndarray:
    for weight, bias in zip(classifier.coefs_[:-1], classifier.intercepts_[:-1], strict=True):
        x = np.maximum(x @ weight + bias, 0)
    return x


def _flat(x: Tensor) -> np.ndarray:
    return x.detach().cpu().reshape(len(x), -1).numpy()
