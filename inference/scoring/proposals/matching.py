"""Batch and match: fit a normal distribution to a density of which only gradients are known."""

import torch
from torch import Tensor

from inference.scoring.proposals.normal import FullNormal


def matched(normal: FullNormal, draws: Tensor, scores: Tensor, rate: float) -> FullNormal:
    r"""Move a normal distribution towards the one whose scores match those of a density p at draws from it.

    The update minimizes the covariance-weighted difference of scores, regularized towards the present distribution N(m, S):

    .. math::
        E \left\| \nabla \log q(z) - \nabla \log p(z) \right\|^2_{\mathrm{Cov}(q)} + \tfrac{2}{\lambda} \mathrm{KL}(N(m, S) \,\|\, q)

    With means :math:`\bar z, \bar g` and covariances C, G of B draws and their scores, its covariance S' solves
    :math:`S' U S' + S' = V`, where

    .. math::
        U = \lambda G + \tfrac{\lambda}{1 + \lambda} \bar g \bar g^T = F F^T, \quad
        V = S + \lambda C + \tfrac{\lambda}{1 + \lambda} (m - \bar z)(m - \bar z)^T

    As U has rank B + 1, so has the difference of V and S': with the eigenvalues w and eigenvectors Q of :math:`F^T V F`,

    .. math:: S' = V - W W^T, \quad W = V F Q \operatorname{diag} \frac{2}{1 + \sqrt{1 + 4 w}}

    The mean is :math:`m' = \tfrac{1}{1 + \lambda} m + \tfrac{\lambda}{1 + \lambda} (S' \bar g + \bar z)`. A normal density is matched
    exactly, and then left unchanged by any draws.

    Args:
        normal: The present distributions, of R data.
        draws: Draws from them, float64, shape ``[B, R, D]``.
        scores: Gradients of log p at the draws, ``[B, R, D]``.
        rate: :math:`\lambda`, positive; the larger, the less the present distribution counts.

    Returns:
        The updated distributions. Draws whose scores are not finite do not count. A distribution without any other draws, or whose
        covariance loses its rank to rounding, stays as it is.

    References:
        Cai, Modi, Margossian, Gower, Blei, Saul (2024), Batch and match: black-box variational inference with a score-based divergence.
        https://arxiv.org/abs/2402.14758
    """
    share = rate / (1 + rate)
    is_known = scores.isfinite().all(2, keepdim=True)
    draws, scores = _or_mean(draws, is_known), _or_mean(scores, is_known)
    mean_draw, mean_score = draws.mean(0), scores.mean(0)  # [R, D]
    factor = _factor(scores, mean_score, mean_score, rate)  # F, [R, D, B + 1]
    spread = _factor(draws, mean_draw, normal.loc - mean_draw, rate)
    target = normal.covariance + spread @ spread.mT  # V, [R, D, D]
    loose = target @ factor
    values, vectors = eigen(factor.mT @ loose)
    removed = loose @ vectors * (2 / (1 + (1 + 4 * values.clamp_min(0)).sqrt()))[:, None]  # W, [R, D, B + 1]
    covariance = target - removed @ removed.mT
    loc = (1 - share) * normal.loc + share * ((covariance @ mean_score[..., None]).squeeze(-1) + mean_draw)
    return _updated(normal, loc, covariance)


def matched_together(normal: FullNormal, draws: Tensor, scores: Tensor) -> FullNormal:
    r"""Match the scores of more draws than dimensions, whatever distributions they come from; those that are not finite do not count.

    Without regularization, the covariance solves :math:`S' G S' = C`, and the mean is :math:`\bar z + S' \bar g`, a step of Newton's
    method: with :math:`C = L L^T` and the eigenvalues w and eigenvectors Q of :math:`L^T G L`,

    .. math:: S' = L Q \operatorname{diag}(w^{-1/2}) Q^T L^T

    Args:
        normal: Distributions that stay as they are where rounding leaves no covariance, of R data.
        draws: Draws, float64, shape ``[B, R, D]``.
        scores: Gradients of log p at the draws, ``[B, R, D]``.
    """
    is_known = scores.isfinite().all(2, keepdim=True)
    return _newton(normal, _or_mean(draws, is_known), _or_mean(scores, is_known), is_known.sum(0))


def matched_pairs(normal: FullNormal, draws: Tensor, scores: Tensor) -> FullNormal:
    r"""Match the scores of many pairs of draws, the second of each mirrored at the mean of the distribution that they come from.

    Half the difference of a pair's scores has no terms of even order, such as that of :math:`\nabla^3 \log p`, which would pass for
    curvature.

    Args:
        normal: Distributions that stay as they are where rounding leaves no covariance, of R data.
        draws: A sets of draws, each with all first ones before all second ones, float64, shape ``[A, B, R, D]``.
        scores: Gradients of log p at the draws, ``[A, B, R, D]``.
    """
    (first, second), (score, other) = draws.unflatten(1, (2, -1)).unbind(1), scores.unflatten(1, (2, -1)).unbind(1)
    is_known = (score + other).isfinite().all(3, keepdim=True).flatten(0, 1)  # [P, R, 1]
    (middle, even), (step, odd) = (
        [((one + sign * two) / 2).flatten(0, 1) for one, two in ((first, second), (score, other))] for sign in (1, -1)
    )
    centre, mean = (_or_mean(values, is_known).mean(0) for values in (middle, even))  # [R, D]
    step, odd = (torch.where(is_known, values, 0.0) for values in (step, odd))
    return _newton(normal, centre + torch.cat([step, -step]), mean + torch.cat([odd, -odd]), 2 * is_known.sum(0))


def _newton(normal: FullNormal, draws: Tensor, scores: Tensor, num_known: Tensor) -> FullNormal:
    mean_draw, mean_score = draws.mean(0), scores.mean(0)  # [R, D]
    spread, slopes = ((values - mean).permute(1, 2, 0) for values, mean in ((draws, mean_draw), (scores, mean_score)))  # [R, D, B]
    root, failure = torch.linalg.cholesky_ex(spread @ spread.mT)
    product = root.mT @ slopes
    values, vectors = eigen(product @ product.mT)
    half = root @ (vectors * values.pow(-0.25)[:, None])
    are_enough = num_known[:, 0] > draws.shape[2]  # as rounding would give fewer a covariance of full rank
    covariance = torch.where(((failure == 0) & are_enough)[:, None, None], half @ half.mT, torch.nan)
    return _updated(normal, mean_draw + (covariance @ mean_score[..., None]).squeeze(-1), covariance)


def _updated(normal: FullNormal, loc: Tensor, covariance: Tensor) -> FullNormal:
    """Return distributions with new moments, but for those that are not finite or not of full rank."""
    scale_tril, failure = torch.linalg.cholesky_ex(covariance)
    kept = (failure == 0) & loc.isfinite().all(1) & scale_tril.isfinite().flatten(1).all(1)  # [R]
    return FullNormal(
        torch.where(kept[:, None], loc, normal.loc),
        torch.where(kept[:, None, None], covariance, normal.covariance),
        torch.where(kept[:, None, None], scale_tril, normal.scale_tril),
    )


def _or_mean(values: Tensor, is_known: Tensor) -> Tensor:
    """Return values ``[B, R, D]``, and instead of those that are not known the mean of all others, which adds nothing to any direction."""
    mean = torch.where(is_known, values, 0.0).sum(0) / is_known.sum(0)
    return torch.where(is_known, values, mean)


def _factor(values: Tensor, mean: Tensor, shift: Tensor, rate: float) -> Tensor:
    """Return a root of the covariance of values ``[B, R, D]`` and of a shift ``[R, D]``, weighted as in U and V."""
    centered = ((rate / len(values)) ** 0.5 * (values - mean)).permute(1, 2, 0)  # [R, D, B]
    root = torch.cat([centered, (rate / (1 + rate)) ** 0.5 * shift[..., None]], dim=2)
    if root.shape[1] >= root.shape[2]:
        return root
    return torch.linalg.qr(root.mT, mode="r").R.mT  # [R, D, D], as the product of roots is all that counts


def eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors of symmetric matrices; those that are not finite, which LAPACK refuses, count as zero."""
    finite = matrix.isfinite().flatten(1).all(1)[:, None, None]
    return torch.linalg.eigh(torch.where(finite, matrix, 0.0))
