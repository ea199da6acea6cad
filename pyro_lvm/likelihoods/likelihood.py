"""What likelihoods p(x|z) have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pyro.distributions import TorchDistribution
import torch
from torch import Tensor, nn


class Likelihood(nn.Module, ABC):
    r"""Conditional distribution p(x|z) whose parameters a network computes from the latents.

    .. math:: \log p(x \mid z) = \sum_i \log p(x_i \mid \mathrm{network}(z)_i)

    Args:
        network: Maps latents ``[*lead, D]`` to ``[*lead, *X]``, or as the subclass says. One that has an
            ``in_shape``, as ours do, takes latents ``[*lead, *in_shape]``.

    Returns:
        On call with latents: a Pyro distribution with batch shape ``[*lead]`` and event shape ``[*X]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> TorchDistribution:
        elements = self.elements(self.network(z))
        num_lead = z.dim() - len(getattr(self.network, "in_shape", (1,)))
        return self.joined(elements, len(elements.batch_shape) - num_lead)

    @abstractmethod
    def elements(self, params: Tensor) -> TorchDistribution:
        r"""Independent univariate distributions, batch shape ``[*lead, *X]``, of the network's output."""

    def joined(self, elements: TorchDistribution, num_dims: int) -> TorchDistribution:
        """One distribution of what the last dimensions of the elements hold."""
        return elements.to_event(num_dims)


class Positive(nn.Module):
    r"""A positive number or tensor ``[*X]``, fixed, or learned through its logarithm.

    Args:
        value: The number or tensor.
        learn: Whether to learn it from there on.
        name: What errors call it.

    Returns:
        On call with parameters ``[*lead, *X]``: the tensor, ``[]`` or ``[*X]``.

    Raises:
        ValueError: If it is not positive, or does not fit the parameters it is called with.
    """

    def __init__(self, value: float | Tensor, *, learn: bool, name: str) -> None:
        super().__init__()
        tensor = torch.as_tensor(value, dtype=None if torch.is_tensor(value) else torch.get_default_dtype())
        if not ((tensor > 0) & tensor.isfinite()).all():
            raise ValueError(f"{name} must be positive and finite; got {value}. Give it, not its logarithm.")
        self.name = name
        if learn:
            self.log_value = nn.Parameter(tensor.log())
        elif torch.is_tensor(value):
            self.register_buffer("fixed", tensor)
        else:
            self.fixed = float(value)  # exact in every dtype, where a float32 buffer made double is not

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
