"""Where prior and aggregate posterior disagree: shares of one outside the other, and a classifier that tells them apart."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
import torch
from torch import Tensor

from pyro_lvm.checks import SKLEARN_SEEDS

Estimate = tuple[float, float]


def share_below(scores: Tensor, reference: Tensor, quantile: float, *, num_scores: int, num_reference: int) -> Estimate:
    r"""The share of scores below a quantile of reference scores, with its standard error.

    .. math:: \hat s = \frac{1}{n} \sum_i 1[s_i < t_\alpha], \quad
        \mathrm{se}^2 = \frac{\tilde s (1 - \tilde s)}{n}
        + \left( \frac{\hat s(t_{\alpha + \delta}) - \hat s(t_{\alpha - \delta})}{2} \right)^2, \quad
        \delta^2 = \frac{\alpha (1 - \alpha)}{m}

    with :math:`\tilde s = (n \hat s + 1/2) / (n + 1)`, so that a share of 0 has a positive error; the second term is the error of the
    threshold.

    Args:
        scores: Log densities, of any shape.
        reference: Log densities whose quantile is the threshold, of any shape.
        quantile: :math:`\alpha`.
        num_scores: Number of independent scores among them, n.
        num_reference: Number of independent reference scores among them, m.

    Returns:
        The share and its standard error.
    """
    delta = (quantile * (1 - quantile) / num_reference) ** 0.5
    levels = torch.tensor([quantile, max(quantile - delta, 0.0), min(quantile + delta, 1.0)]).to(reference)
    # No interpolation: it is undefined between a finite score and minus infinity.
    thresholds = reference.flatten().quantile(levels, interpolation="lower")
    share, low, high = (float((scores < threshold).double().mean()) for threshold in thresholds)
    shrunk = (num_scores * share + 0.5) / (num_scores + 1)
    return share, (shrunk * (1 - shrunk) / num_scores + ((high - low) / 2) ** 2) ** 0.5


def two_sample_auc(codes: Tensor, draws: Tensor, *, seed: int) -> Estimate:
    """The area under the ROC curve of a classifier that tells codes from prior draws, by two-fold cross-validation.

    The classifier is an ensemble of gradient-boosted trees, which recognize rings and shells. An area of 1/2 means that it cannot tell
    the two apart; a better classifier might, so the area is a lower bound on how well they can be told apart. The areas of the two
    halves are dependent, so the error of their mean is bounded by the error of one of them.

    Args:
        codes: Features of codes, shape ``[n, F]``.
        draws: Features of prior draws, shape ``[m, F]``.
        seed: Seed of the halves and of the trees.

    Returns:
        The area and its standard error by Hanley and McNeil's formula, for half the sample.

    References:
        Hanley, McNeil (1982), The meaning and use of the area under a receiver operating characteristic (ROC) curve.
        https://doi.org/10.1148/radiology.143.1.7063747

        Lopez-Paz, Oquab (2017), Revisiting Classifier Two-Sample Tests. https://arxiv.org/abs/1610.06545
    """
    features = torch.cat([codes, draws]).cpu().numpy()
    labels, seed = np.repeat([0, 1], [len(codes), len(draws)]), seed % SKLEARN_SEEDS
    trees = HistGradientBoostingClassifier(learning_rate=0.2, max_iter=50, max_leaf_nodes=8, early_stopping=False, random_state=seed)
    halves = StratifiedKFold(2, shuffle=True, random_state=seed)
    auc = float(cross_val_score(trees, features, labels, cv=halves, scoring="roc_auc").mean())
    return auc, _auc_error(auc, len(codes) // 2, len(draws) // 2)


def _auc_error(auc: float, n: int, m: int) -> float:
    fewer = min(n, m)
    auc = (fewer * auc + 0.5) / (fewer + 1)  # as in share_below, so that an area of 1 has a positive error
    two_draws, two_codes = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (m - 1) * (two_draws - auc**2) + (n - 1) * (two_codes - auc**2)
    return (variance / (n * m)) ** 0.5
