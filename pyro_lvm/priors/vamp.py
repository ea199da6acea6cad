"""The VampPrior: a mixture of the encoder's distributions."""

from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from pyro_lvm.checks import check_types
from pyro_lvm.distributions.normal_mixture import mixture


class VampPrior(nn.Module):
    r"""Variational mixture of posteriors: the encoder's mixture over learned pseudo-inputs.

    .. math:: p(z) = \sum_{c=1}^C w_c \, q(z \mid u_c)

    The encoder is shared with the guide. In evaluation mode and without gradients, the pseudo-inputs are
    encoded once, and the mixture is reused until a parameter or buffer changes.

    Args:
        encoder: Module that maps ``[C, *X]`` to a distribution with batch shape ``[C]`` and event shape ``[D]``.
        pseudo_inputs: Initial pseudo-inputs, shape ``[C, *X]``, such as rows of the training data.
        bounds: Range to which pseudo-inputs are clamped before encoding, such as ``(0., 1.)`` for pixels.

    Raises:
        TypeError: If the encoder is not a module, or the pseudo-inputs are not floating point.
        ValueError: If there is no pseudo-input, the bounds are not increasing, or (on call) the encoder does
            not return one distribution per pseudo-input.

    References:
        Tomczak, Welling (2018), VAE with a VampPrior. https://arxiv.org/abs/1705.07120
    """

    def __init__(self, encoder: nn.Module, pseudo_inputs: Tensor, *, bounds: tuple[float, float] | None = None) -> None:
        super().__init__()
        check_types(nn.Module, "Wrap the network in an encoder: NormalEncoder(network).", encoder=encoder)
        _check_pseudo_inputs(pseudo_inputs)
        _check_bounds(bounds)
        self.encoder = encoder
        self.bounds = bounds
        self.pseudo_inputs = nn.Parameter(pseudo_inputs.detach().clone())
        self.logits = nn.Parameter(pseudo_inputs.new_zeros(len(pseudo_inputs)))
        self._encoded: tuple[list[Tensor], TorchDistribution] | None = None

    def forward(self) -> TorchDistribution:
        if not self._may_reuse():
            return self._encode()
        if self._encoded is None or not _are_equal(self._encoded[0], self._state()):
            self._encoded = [t.clone() for t in self._state()], self._encode()
        return self._encoded[1]

    def _encode(self) -> TorchDistribution:
        inputs = self.pseudo_inputs if self.bounds is None else self.pseudo_inputs.clamp(*self.bounds)
        components = self.encoder(inputs)
        if components.batch_shape != self.logits.shape:
            raise ValueError(
                f"encoder(pseudo_inputs) must have batch shape ({len(self.logits)},); got "
                f"{tuple(components.batch_shape)} for pseudo_inputs of shape {tuple(inputs.shape)}. "
                "Give the pseudo-inputs the shape of the encoder's data."
            )
        return mixture(self.logits, components)

    def _may_reuse(self) -> bool:
        # A traced graph must see the parameters: a reused mixture would be baked into it as a constant.
        is_traced = torch.compiler.is_compiling() or get_proxy_mode() is not None
        is_fitted = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        return not (is_fitted or is_traced or any(m.training for m in self.modules()))

    def _state(self) -> list[Tensor]:
        return [*self.parameters(), *self.buffers()]


def _are_equal(kept: list[Tensor], current: list[Tensor]) -> bool:
    # Values are compared, not version counters, which fused optimizers and writes to `.data` do not change.
    # Encoding costs more: it reads every parameter once per pseudo-input.
    if len(kept) != len(current):
        return False
    return all(a.dtype == b.dtype and a.device == b.device and torch.equal(a, b) for a, b in zip(kept, current, strict=True))


def _check_pseudo_inputs(pseudo_inputs: Tensor) -> None:
    if pseudo_inputs.ndim < 2 or len(pseudo_inputs) < 1:
        raise ValueError(
            f"pseudo_inputs must have shape [C, *X] with C at least 1; got {tuple(pseudo_inputs.shape)}. "
            "Stack one pseudo-input per component, such as data[:C]."
        )
    if not pseudo_inputs.is_floating_point():
        raise TypeError(f"pseudo_inputs must be floating point; got {pseudo_inputs.dtype}. Use .float().")


def _check_bounds(bounds: tuple[float, float] | None) -> None:
    if bounds is not None and not bounds[0] < bounds[1]:
        raise ValueError(f"bounds must be (low, high), low < high; got {bounds}. Use (0., 1.) for pixels.")
