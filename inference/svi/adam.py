"""The update of Adam as part of a graph."""

from collections.abc import Iterator

import torch
from torch import Tensor

_OPTIONS = ("weight_decay", "amsgrad", "maximize", "differentiable", "decoupled_weight_decay")


class Adam:
    r"""Adam's update as tensor operations on the state of torch's own optimizer, so that eager steps may come in between.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        \theta \leftarrow \theta - \frac{\eta}{1 - \beta_1^t} \frac{m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Args:
        optimizer: The optimizer; :meth:`suits` says whether it can be used.
        parameters: Its parameters that have gradients.

    References:
        Kingma, Ba (2015), Adam: A Method for Stochastic Optimization. https://arxiv.org/abs/1412.6980
    """

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> None:
        self.optimizer, self.parameters = optimizer, parameters
        states = [optimizer.state[p] for p in parameters]
        self.steps, self.means, self.squares = ([state[name] for state in states] for name in ("step", "exp_avg", "exp_avg_sq"))

    @staticmethod
    def is_plain(optimizer: torch.optim.Optimizer) -> bool:
        """Return whether an optimizer is Adam on one group, with no options besides learning rate, betas and epsilon, and no hooks."""
        if type(optimizer) is not torch.optim.Adam or len(optimizer.param_groups) > 1:
            return False
        if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            return False
        return not any(map(optimizer.param_groups[0].get, _OPTIONS))

    @staticmethod
    def suits(optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> bool:
        """Return whether the update of parameters can be part of a graph.

        The optimizer must be plain, and must have made the same number of steps for every parameter, counted on the parameter's device.
        """
        if not Adam.is_plain(optimizer) or not parameters or not all(p in optimizer.state for p in parameters):
            return False
        steps = [optimizer.state[p]["step"] for p in parameters]
        return all(step.device == p.device for step, p in zip(steps, parameters, strict=True)) and len(set(map(float, steps))) == 1

    def tensors(self) -> Iterator[Tensor]:
        """Yield step counts and running averages."""
        yield from (*self.steps, *self.means, *self.squares)

    def numbers(self) -> list[float]:
        """Return learning rate, betas and epsilon of the next step."""
        group = self.optimizer.param_groups[0]
        return [float(group["lr"]), *map(float, group["betas"]), float(group["eps"])]

    def update(self, gradients: list[Tensor], numbers: list[Tensor], is_finite: Tensor) -> None:
        """Update step counts, averages and, if the loss is finite, parameters; the numbers are those of :meth:`numbers`, in float64."""
        torch._foreach_add_(self.steps, 1)
        number = self.steps[0].double()
        factors = {dtype: _factors(number, numbers, dtype) for dtype in {p.dtype: None for p in self.parameters}}
        for parameter, gradient, mean, square in zip(self.parameters, gradients, self.means, self.squares, strict=True):
            rate, root, new, old_square, new_square, epsilon = factors[parameter.dtype]
            mean.lerp_(gradient, new)
            square.mul_(old_square).add_(gradient * gradient * new_square)
            moved = parameter - rate * mean / (square.sqrt() / root + epsilon)
            parameter.copy_(torch.where(is_finite, moved, parameter))


def _factors(number: Tensor, numbers: list[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return the factors of the update after a number of steps, stored so that they are not computed again in every parameter's loop."""
    rate, beta1, beta2, epsilon = numbers
    factors = torch.stack([rate / (1 - beta1**number), (1 - beta2**number).sqrt(), 1 - beta1, beta2, 1 - beta2, epsilon])
    return factors.to(dtype).as_strided((6,), (1,)).unbind()
