"""Base class of likelihoods p(x|z)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn

from pyro_lvm.distributions.special import at_least_float32


class Likelihood(nn.Module, ABC):
    r"""Base class of likelihoods p(x|z), whose parameters a network computes from the latents.

    .. math:: \log p(x \mid z) = \sum_i \log p(x_i \mid \mathrm{network}(z)_i)

    Densities of a network in half precision are computed in float32.

    Args:
        network: Maps latents ``[*lead, D]`` to ``[*lead, *X]``, unless the subclass says otherwise. A network with an
            ``in_shape``, such as those of this package, takes latents ``[*lead, *in_shape]``. A network of several inputs, such as a
            :class:`~pyro_lvm.networks.network.Join`, makes p(x|z, y) of it, with y what is passed after the latents.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, *given: Tensor) -> TorchDistribution:
        params = at_least_float32(self.network(z, *given))
        elements, out_shape = self.elements(params), getattr(self.network, "out_shape", None)
        if given and out_shape is not None:  # whose leading dimensions may be more than those of the latents
            num_lead = params.dim() - len(out_shape)
        else:
            num_lead = z.dim() - len(getattr(self.network, "in_shape", (1,)))
        return self.joined(elements, len(elements.batch_shape) - num_lead)

    @abstractmethod
    def elements(self, params: Tensor) -> TorchDistribution:
        r"""Return univariate distributions, batch shape ``[*lead, *X]``, with the network's output as parameters."""

    def joined(self, elements: TorchDistribution, num_dims: int) -> TorchDistribution:
        """Return one distribution in which the last ``num_dims`` dimensions of the elements form the event."""
        return elements.to_event(num_dims)


class Positive(nn.Module):
    r"""Positive number or tensor ``[*X]``, fixed or learned through its logarithm.

    Args:
        value: The number or tensor.
        learn: Whether to learn it, initialized at ``value``.
        name: Name of the value in errors.

    Returns:
        On call with parameters ``[*lead, *X]``: the tensor, ``[]`` or ``[*X]``.

    Raises:
        ValueError: If the value is not positive, or (on call) its shape does not fit the parameters.
    """

    def __init__(self, value: float | Tensor, *, learn: bool, name: str) -> None:
        super().__init__()
        tensor = torch.as_tensor(value, dtype=None if torch.is_tensor(value) else torch.get_default_dtype())
        if not ((tensor > 0) & tensor.isfinite()).all():
            raise ValueError(f"{name} must be positive and finite; got {value}. Give the value, not its logarithm.")
        self.name = name
        if learn:
            self.log_value = nn.Parameter(tensor.log())
        elif torch.is_tensor(value):
            self.register_buffer("fixed", tensor)
        else:
            self.fixed = float(value)  # exact in every dtype, unlike a float32 buffer converted to double

    @property
    def value(self) -> float | Tensor:
        return self.log_value.exp() if hasattr(self, "log_value") else self.fixed

    def forward(self, params: Tensor) -> Tensor:
        value = self.value
        if not torch.is_tensor(value):
            return params.new_full((), value)
        if params.shape[params.dim() - value.dim() :] != value.shape:
            raise ValueError(
                f"{self.name} must have shape [*X] where the network gives [*lead, *X], here "
                f"{tuple(params.shape)}; got {tuple(value.shape)}. Give one number, or one for each element."
            )
        return value
