"""Checks of a pair of model and guide."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from pyro import poutine
from pyro.infer import Trace_ELBO
from safetensors.torch import load, save
import torch
from torch import Tensor, nn

from pyro_lvm import contract
from pyro_lvm.pair import Batch, programs
from pyro_lvm.reading import read_batch
from pyro_lvm.sites import density_sites
from pyro_lvm.testing.failures import require, working
from pyro_lvm.testing.subjects import stir


def check_pair(build: Callable[[], Any], *data: Any, spread: float = 0.1, seed: int = 0) -> tuple[str, ...]:
    """Check a pair: its contract, as :func:`pyro_lvm.contract.check_pair` does, and what only running it more than once shows.

    Rows are independent of one another; the gradient of the ELBO reaches every parameter; a copy, and a saved and loaded pair, have the
    same ELBO; torch's seed alone decides the draws; scoring changes no parameter and no buffer.

    Args:
        build: Builds the pair: a module with ``model`` and ``guide``, or a :class:`~pyro_lvm.pair.Pair`.
        data: The arguments of the programs, a few rows of each.
        spread: Standard deviation of the noise that is added to the parameters.
        seed: Seed of weights, noise and draws.

    Returns:
        What was found, in one sentence each.

    Raises:
        AssertionError: If the pair fails; the error says what was expected, what was got, and the remedy.
        TypeError: If an argument holds no numbers, or the pair has no callable ``model`` and ``guide``.
        ValueError: If the pair breaks the contract of :func:`pyro_lvm.contract.check_pair`.
    """
    return tuple(_checked(_Whole(build, data, spread, seed)))


class _Whole:
    """A pair under test, and the sum of its log weights of one draw for each datum."""

    def __init__(self, build: Callable[[], Any], data: tuple[Any, ...], spread: float, seed: int) -> None:
        self.build, self.spread, self.seed = build, spread, seed
        pair = self.fresh(data=data)
        self.name = type(pair).__name__
        self.batch: Batch = read_batch(pair, data)

    def fresh(self, offset: int = 0, data: tuple[Any, ...] | None = None) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed + offset)
            pair = self.build()
            contract.check_pair(pair, *(self.batch if data is None else data))  # which shows its networks, if its programs are functions
            if isinstance(pair, nn.Module):
                stir(pair, self.spread)
        return pair.eval() if isinstance(pair, nn.Module) else pair

    def log_weights(self, pair: Any, batch: Batch | None = None) -> Tensor:
        """Log weights of one draw for each datum ``[B]``, with the draws of the seed."""
        batch = self.batch if batch is None else batch
        model, guide = programs(pair)
        with torch.random.fork_rng(), torch.no_grad(), working(self.name, "the guide, and the model on its draws", "Correct them."):
            torch.manual_seed(self.seed)
            drawn = poutine.trace(guide).get_trace(*batch)
            scored = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*batch)
            return _total(scored) - _total(drawn)


def _total(trace: Any) -> Tensor:
    trace.compute_log_prob()
    return sum((site["log_prob"] for site in density_sites(trace)), torch.zeros(()))


def _checked(whole: _Whole) -> Iterator[str]:
    pair = whole.fresh()
    yield "the contract holds"
    tensors = dict((*pair.named_parameters(), *pair.named_buffers())) if isinstance(pair, nn.Module) else {}
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    log_weights = whole.log_weights(pair)
    again = torch.equal(log_weights, whole.log_weights(pair))
    require(again, f"log weights of {whole.name} from one seed", "equal ones", "different ones", "Draw with torch's generator alone.")
    yield "torch's seed alone decides the draws"
    for name, tensor in tensors.items():
        remedy = "Update buffers in training mode only."
        require(torch.equal(tensor, before[name]), f"{name} of {whole.name} in evaluation mode", "no change", "a change", remedy)
    yield "scoring changes nothing"
    _check_first_row(whole, pair, log_weights)
    yield "rows are independent"
    if not isinstance(pair, nn.Module):
        return
    _check_same(whole, "copied", deepcopy(pair), log_weights, "Keep no functions that hold the module itself.")
    other = whole.fresh(1)
    with working(whole.name, "state_dict, save, load and load_state_dict", "Keep only tensors in the state."):
        other.load_state_dict(load(save({name: t.clone().contiguous() for name, t in pair.state_dict().items()})))
    _check_same(whole, "saved and loaded", other, log_weights, "Register what defines densities as parameters or persistent buffers.")
    yield "a copy, and a saved and loaded pair, are the same"
    _check_gradients(whole, pair.train())
    yield "the gradient of the ELBO reaches every parameter"


def _check_first_row(whole: _Whole, pair: Any, log_weights: Tensor) -> None:
    """Change all rows but the first: the draws of the first, and its log weight, stay."""
    changed = tuple(torch.cat([x[:1], x[:1].expand_as(x[1:])]) for x in whole.batch)
    got = whole.log_weights(pair, changed)[0].item()
    expected, remedy = log_weights[0].item(), "Compute nothing over the rows of a batch, such as its mean."
    close = abs(got - expected) <= 1e-4 * (1 + abs(expected))
    require(close, f"the log weight of the first row of {whole.name} beside other rows", f"{expected:.6g}", f"{got:.6g}", remedy)


def _check_same(whole: _Whole, how: str, other: Any, log_weights: Tensor, remedy: str) -> None:
    gap = (whole.log_weights(other) - log_weights).abs().max().item()
    require(gap < 1e-4, f"log weights of {whole.name}, {how}", "the same", f"others, off by {gap:.3g}", remedy)


def _check_gradients(whole: _Whole, pair: Any) -> None:
    model, guide = programs(pair)
    with torch.random.fork_rng(), working(whole.name, "the ELBO of Pyro and its gradient", "Correct the programs."):
        torch.manual_seed(whole.seed)
        pair.zero_grad()
        Trace_ELBO().differentiable_loss(model, guide, *whole.batch).backward()
    learned = [(name, parameter) for name, parameter in pair.named_parameters() if parameter.requires_grad]
    idle = [name for name, parameter in learned if parameter.grad is None or not parameter.grad.any()]
    remedy = "Use them, or set requires_grad to False; look for .detach() and torch.no_grad."
    require(not idle, f"gradients of the ELBO of {whole.name}", "one for every parameter", f"none for {', '.join(idle)}", remedy)
