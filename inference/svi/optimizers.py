"""Make the optimizers and schedulers of a fit, and refuse those that it cannot use."""

from collections.abc import Callable
import inspect

from pyro.optim import PyroOptim
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from pyro_lvm.checks import check_callable

MakeOptimizer = Callable[..., torch.optim.Optimizer]
MakeScheduler = Callable[[torch.optim.Optimizer], LRScheduler]
LEARNING_RATE = 1e-3  # of the default optimizer


def check_optimizer(optimizer: object, learning_rate: float | None, scheduler: object) -> None:
    """Check what makes the optimizer and its scheduler, before anything is run.

    Raises:
        TypeError: If one is no callable of the right kind; the error names it and the remedy.
        ValueError: If a learning rate is given with an optimizer that takes none.
    """
    if isinstance(optimizer, PyroOptim):
        raise TypeError(
            f"optimizer must create a torch optimizer from a list of parameters; got Pyro's {type(optimizer).__name__}, which makes one "
            "for each parameter. Pass the torch class, such as optimizer=torch.optim.Adam, and learning_rate=."
        )
    if isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must create an optimizer from a list of parameters; got a {type(optimizer).__name__} of given parameters. Pass "
            f"optimizer=torch.optim.{type(optimizer).__name__}, or a lambda that makes one."
        )
    check_callable("Pass a class such as torch.optim.SGD, or a lambda of a list of parameters.", optimizer=optimizer)
    check_callable("Pass a class of torch.optim.lr_scheduler, or a lambda of an optimizer.", scheduler=scheduler)
    if optimizer is not None and learning_rate is not None and not _takes_rate(optimizer):
        raise ValueError(
            f"learning_rate={learning_rate} has no effect on an optimizer that takes no lr. Set the rate in optimizer=, or pass a class "
            "such as torch.optim.SGD."
        )


def _takes_rate(optimizer: object) -> bool:
    try:
        parameters = inspect.signature(optimizer).parameters.values()  # type: ignore[arg-type]  # it is callable
    except ValueError:
        return False
    return any(parameter.name == "lr" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def make_optimizer(optimizer: MakeOptimizer | None, learning_rate: float | None, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """Make an optimizer of parameters; by default, Adam.

    Raises:
        TypeError: If ``optimizer`` does not return a torch optimizer, or one that evaluates the loss by itself.
    """
    if optimizer is None:
        return torch.optim.Adam(parameters, lr=LEARNING_RATE if learning_rate is None else learning_rate, fused=True)
    made = optimizer(parameters) if learning_rate is None else optimizer(parameters, lr=learning_rate)
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer must return a torch.optim.Optimizer; got a {type(made).__name__}. Pass a class such as torch.optim.SGD."
        )
    if isinstance(made, torch.optim.LBFGS):
        raise TypeError(
            "optimizer must update parameters from one gradient; LBFGS evaluates the loss several times a step, which the noise of an ELBO "
            "does not allow. Use Adam, SGD or another first-order optimizer."
        )
    return made


def make_scheduler(scheduler: MakeScheduler, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Make a scheduler of an optimizer's learning rate.

    Raises:
        TypeError: If ``scheduler`` does not return a torch scheduler.
    """
    made = scheduler(optimizer)
    if not isinstance(made, LRScheduler):
        raise TypeError(f"scheduler must return a torch scheduler; got a {type(made).__name__}. Pass a class of torch.optim.lr_scheduler.")
    return made
