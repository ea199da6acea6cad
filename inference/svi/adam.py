"""The update of Adam as part of a graph."""

from collections.abc import Iterator
from typing import TypeGuard

import torch
from torch import Tensor


class Adam:
    r"""Adam's update as tensor operations on the state of torch's own optimizer, so that eager steps may come in between.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        \theta \leftarrow \theta - \frac{\eta}{1 - \beta_1^t} \frac{m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    References:
        Kingma, Ba (2015), Adam: A Method for Stochastic Optimization. https://arxiv.org/abs/1412.6980
    """

    def __init__(self, optimizer: torch.optim.Adam) -> None:
        self.state, self.group = optimizer.state, optimizer.param_groups[0]

    @staticmethod
    def suits(optimizer: torch.optim.Optimizer) -> TypeGuard[torch.optim.Adam]:
        """Return whether the update of an optimizer can be part of a graph.

        The optimizer must be Adam with no options besides learning rate, betas and epsilon, must have made a step, and must keep its step
        counts on the device of the parameters.
        """
        if type(optimizer) is not torch.optim.Adam or len(optimizer.param_groups) > 1 or not optimizer.state:
            return False
        group = optimizer.param_groups[0]
        if any(state["step"].device != parameter.device for parameter, state in optimizer.state.items()):
            return False
        return not any(group.get(name) for name in ("weight_decay", "amsgrad", "maximize", "differentiable", "decoupled_weight_decay"))

    def tensors(self) -> Iterator[Tensor]:
        """Yield step counts and running averages."""
        for state in self.state.values():
            yield from (state["step"], state["exp_avg"], state["exp_avg_sq"])

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        return float(self.group["lr"])

    def update(self, parameters: list[Tensor], gradients: list[Tensor], rate: Tensor, is_finite: Tensor) -> None:
        """Update step counts, averages and, if the loss is finite, parameters."""
        beta1, beta2 = self.group["betas"]
        steps = [state["step"] for state in self.state.values()]
        torch._foreach_add_(steps, 1)
        number = steps[0].double()
        factors = torch.stack([rate / (1 - beta1**number), (1 - beta2**number).sqrt()]).to(rate.dtype)
        rate, root = factors.as_strided((2,), (1,)).unbind()  # so that they are computed once, not in the loop of every parameter
        for parameter, gradient in zip(parameters, gradients, strict=True):
            mean, square = self.state[parameter]["exp_avg"], self.state[parameter]["exp_avg_sq"]
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            new = parameter - rate * mean / (square.sqrt() / root + self.group["eps"])
            parameter.copy_(torch.where(is_finite, new, parameter))
