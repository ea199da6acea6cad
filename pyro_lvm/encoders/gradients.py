"""Ways in which the gradient of code vectors reaches the features that were rounded to them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

PassGradient = Callable[[Tensor, Tensor], Tensor]


def straight_through(features: Tensor, vectors: Tensor) -> Tensor:
    r"""Return the code vectors with the gradient of the features.

    .. math:: e + h - \operatorname{sg}(h)

    Args:
        features: Features h before rounding, ``[*lead, d]``.
        vectors: Code vectors e, ``[*lead, d]``.

    References:
        Bengio, Léonard, Courville (2013), Estimating or Propagating Gradients Through Stochastic Neurons. https://arxiv.org/abs/1308.3432
    """
    return vectors.detach() + (features - features.detach())


def rotated(features: Tensor, vectors: Tensor) -> Tensor:
    r"""Return the code vectors with the gradient of the features, rotated and scaled as rounding rotated and scaled the features.

    .. math:: e = \frac{\lVert e \rVert}{\lVert h \rVert} R h, \qquad R = I - 2 r r^\top + 2 \hat e \hat h^\top, \quad
        r = \frac{\hat h + \hat e}{\lVert \hat h + \hat e \rVert}

    with R and the norms held fixed, so that the angle between gradient and vector is preserved.

    Args:
        features: Features h before rounding, ``[*lead, d]``.
        vectors: Code vectors e, ``[*lead, d]``.

    References:
        Fifty et al. (2025), Restructuring Vector Quantization with the Rotation Trick. https://arxiv.org/abs/2410.06424
    """
    h, e = features.detach(), vectors.detach()
    h_unit, e_unit = F.normalize(h, dim=-1), F.normalize(e, dim=-1)
    r = F.normalize(h_unit + e_unit, dim=-1)
    scale = e.norm(dim=-1, keepdim=True) / h.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(h.dtype).tiny)
    along_r, along_h = ((features * unit).sum(-1, keepdim=True) for unit in (r, h_unit))
    return straight_through(scale * (features - 2 * along_r * r + 2 * along_h * e_unit), vectors)
