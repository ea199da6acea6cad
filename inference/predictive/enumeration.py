"""Values of summed-out latents given the data and the other latents."""

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from pyro import poutine
from pyro.distributions import Categorical, TorchDistribution
from pyro.infer import infer_discrete
from pyro.poutine.messenger import Messenger
import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from inference.predictive.conditioning import Latents, SizeMessenger, unmasked
from pyro_lvm.contract import Structure
from pyro_lvm.pair import Batch
from pyro_lvm.sites import Site, is_penalty, is_subsample, sample_sites

_MOST_STATES = 2**18  # joint states times rows that are enumerated at once; under pyro.markov, fewer than that are held in memory
_FEWEST_ROWS = 64


class _InDouble(TorchDistribution):
    """A distribution whose log densities are in double precision; Pyro adds only those of one kind."""

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, fn: TorchDistribution) -> None:
        self.fn = fn
        super().__init__(fn.batch_shape, fn.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.fn.log_prob(value).double()


class _StateMessenger(Messenger):
    """Lets Pyro see the numbers of the states at enumerated sites, ``[B]``, and the program the states themselves, ``[B, *event]``.

    Pyro's ``infer_discrete`` takes every dimension of a value for a batch dimension, as those of numbers are.
    """

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self.names = names
        self.states: dict[str, Tensor] = {}
        self.last: dict[str, tuple[Tensor, tuple[int, ...]]] = {}

    def _pyro_sample(self, msg: Site) -> None:
        fn = msg["fn"]
        if msg["name"] not in self.names:
            msg["fn"] = fn if is_subsample(msg) else _InDouble(fn)
            return
        support = fn.enumerate_support(expand=False)  # [V, 1..., *event]
        self.states[msg["name"]] = support.reshape(len(support), *fn.event_shape)
        msg["fn"] = Categorical(logits=unmasked(fn).log_prob(support).double().movedim(0, -1))  # [..., B, V]
        msg["mask"] = None

    def _pyro_post_sample(self, msg: Site) -> None:
        if msg["name"] in self.names:
            self.last[msg["name"]] = msg["value"], msg["fn"].batch_shape
            msg["value"] = self.states[msg["name"]][msg["value"]]

    def values(self) -> dict[str, Tensor]:
        """The states of the last run by site, in the batch shapes of the sites."""
        numbers = {name: number.reshape(number.shape[-len(shape) :]) if shape else number for name, (number, shape) in self.last.items()}
        return {name: self.states[name][number.expand(self.last[name][1])] for name, number in numbers.items()}


def draw_enumerated(
    model: Callable[..., object], batch: Batch, latents: Latents, structure: Structure, *, most_probable: bool = False
) -> dict[str, Tensor]:
    r"""Draw summed-out latents from their joint posterior, :math:`c \sim p(c \mid x, z)`, exactly.

    A subsampling scale and penalties do not count. Where data are masked, they are missing; a mask on a summed-out latent is ignored, as
    in draws from the model, so that padding has its prior.

    Args:
        model: The model as a plain program.
        batch: A batch with the observed data.
        latents: Values of all other latents, ``[B, *Z]``.
        structure: The structure of the pair.
        most_probable: Whether to return the jointly most probable values instead of a draw.

    Returns:
        Values by site, ``[B, *C]``.
    """
    if not structure.enumerated:
        return {}
    size, num_rows = _block_size(structure, len(batch[0])), len(batch[0])
    if size >= num_rows:
        return _draw_block(model, batch, latents, structure.enumerated, most_probable)
    blocks = []
    for rows in torch.arange(num_rows, device=batch[0].device).split(size):
        some, given = tuple(x[rows] for x in batch), {name: z[rows] for name, z in latents.items()}
        blocks.append(_draw_block(model, some, given, structure.enumerated, most_probable))
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


def _block_size(structure: Structure, num_rows: int) -> int:
    """Rows whose states are enumerated at once: all, unless memory matters and every site is of one datum."""
    if structure.refusal is not None or structure.num_states * num_rows <= _MOST_STATES:
        return num_rows
    return max(_FEWEST_ROWS, _MOST_STATES // structure.num_states)


def _draw_block(
    model: Callable[..., object], batch: Batch, latents: Latents, enumerated: Collection[str], most_probable: bool
) -> dict[str, Tensor]:
    states = _StateMessenger(enumerated)

    def conditioned(*rows: Tensor) -> None:
        with poutine.condition(data=dict(latents)), states, poutine.block(hide_fn=_is_hidden), SizeMessenger(len(rows[0])):
            model(*rows)

    depth = _plate_depth(poutine.trace(conditioned).get_trace(*batch))
    infer_discrete(conditioned, first_available_dim=-1 - depth, temperature=0 if most_probable else 1, strict_enumeration_warning=False)(
        *batch
    )
    return states.values()


def _is_hidden(msg: Any) -> bool:
    return msg["type"] == "sample" and is_penalty(msg)


def _plate_depth(trace: poutine.Trace) -> int:
    frames = [frame for site in sample_sites(trace) for frame in site["cond_indep_stack"]]
    return max((-frame.dim for frame in frames if frame.vectorized and frame.dim is not None), default=0)
