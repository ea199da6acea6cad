"""Distributions of discrete codes: grids, sequences or sets of indices, each as one event."""

from collections.abc import Callable, Sequence
import math

from pyro.distributions import TorchDistribution, constraints
import torch
from torch import Size, Tensor
from torch.distributions.utils import lazy_property

from pyro_lvm.distributions import SizeLike

_MOST_STATES = 2**20  # joint values that can be enumerated


class CodeDistribution(TorchDistribution):
    """Base class of distributions of codes.

    A value is an integer tensor ``[*lead, *S]`` of indices ``0..V - 1``, where S is the shape of the M slots.

    Args:
        batch_shape: Batch shape.
        event_shape: Shape of the slots, :math:`S`, with at least one dimension.
        num_codes: Number of codes, :math:`V`.
        device: Device of the codes; by default torch's.

    Raises:
        ValueError: If there is no slot dimension, or a size is below 1.
    """

    arg_constraints = {}
    has_enumerate_support = True

    def __init__(
        self,
        batch_shape: Sequence[int],
        event_shape: Sequence[int],
        num_codes: int,
        *,
        device: torch.device | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if not event_shape or min(*event_shape, num_codes) < 1:
            raise ValueError(
                f"{type(self).__name__} needs at least one slot dimension, and sizes of at least 1; got slots of shape "
                f"{tuple(event_shape)} and {num_codes} codes. Give a single slot the shape (1,)."
            )
        self.num_codes, self.device = num_codes, device
        super().__init__(Size(batch_shape), Size(event_shape), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.integer_interval(0, self.num_codes - 1), len(self.event_shape))

    def expand(self, batch_shape: SizeLike, _instance: TorchDistribution | None = None) -> "CodeDistribution":
        """Return the distribution with a larger batch shape; nothing is copied."""
        batch_shape = Size(batch_shape)
        if not _expands(self.batch_shape, batch_shape):
            raise ValueError(
                f"{type(self).__name__} with batch shape {tuple(self.batch_shape)} cannot be expanded to {tuple(batch_shape)}. "
                "Only sizes of 1 can be expanded, and new dimensions can only be added on the left."
            )
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        TorchDistribution.__init__(new, batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def enumerate_support(self, expand: bool = True) -> Tensor:
        r"""Return all :math:`V^M` joint values; the last slot changes fastest.

        Args:
            expand: Whether to expand the values to the batch shape.

        Returns:
            Codes, shape ``[V**M, *batch, *S]``; without expansion, with batch sizes of 1.

        Raises:
            ValueError: If there are more than :math:`2^{20}` values.
        """
        num_slots, num_states = self.event_shape.numel(), self.num_codes ** self.event_shape.numel()
        if num_states > _MOST_STATES:
            raise ValueError(
                f"{type(self).__name__}: at most {_MOST_STATES} joint values can be enumerated; got {self.num_codes}**{num_slots}. "
                "Use fewer slots or codes, or let the guide sample the site."
            )
        weights = self.num_codes ** torch.arange(num_slots - 1, -1, -1, device=self.device)
        values = torch.arange(num_states, device=weights.device)[:, None] // weights % self.num_codes  # [V**M, M]
        values = values.reshape(num_states, *(1 for _ in self.batch_shape), *self.event_shape)
        return values.expand(num_states, *self.batch_shape, *self.event_shape) if expand else values

    def conditional_logits(self, z: Tensor) -> Tensor:
        r"""Return the log probabilities :math:`\log p(z_m = v \mid z_{<m})` of every code at every slot, given the slots before it.

        Args:
            z: Codes, shape ``[*lead, *S]``.

        Returns:
            Log probabilities in nats, shape ``[*lead, *S, V]``; lead is broadcast with the batch shape of the parameters.
        """
        raise NotImplementedError

    def _lead(self, z: Tensor) -> Size:
        return z.shape[: z.dim() - len(self.event_shape)]


class UniformCodes(CodeDistribution):
    r"""Uniform distribution of all joint values.

    .. math:: \log p(z) = -M \log V

    Args:
        event_shape: Shape of the slots, :math:`S`.
        num_codes: Number of codes, :math:`V`.
        dtype: Data type of the densities; by default torch's.
        device: Device of the draws; by default torch's.

    Raises:
        ValueError: If there is no slot dimension, or a size is below 1.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        num_codes: int,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.dtype = dtype
        super().__init__(Size(), event_shape, num_codes, device=device, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(self._lead(value), self.batch_shape)
        return self._constant(-self.event_shape.numel() * math.log(self.num_codes)).expand(shape)

    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        return torch.randint(self.num_codes, self._extended_shape(sample_shape), device=self.device)

    def conditional_logits(self, z: Tensor) -> Tensor:
        return self._constant(-math.log(self.num_codes)).expand(*z.shape, self.num_codes)

    def _constant(self, value: float) -> Tensor:
        return torch.full((), value, dtype=self.dtype or torch.get_default_dtype(), device=self.device)


class CategoricalCodes(CodeDistribution):
    r"""Independent categorical slots.

    .. math:: p(z) = \prod_{m=1}^M \pi_{m z_m}, \quad \pi_m = \operatorname{softmax}(l_m)

    The table of logits is never expanded: a density or a draw of ``[K, B, *S]`` codes takes memory for only that many numbers,
    gradients included, not for V times that many. Draws invert the distribution function in float64, and never give a code of zero
    mass.

    Args:
        logits: :math:`l`, shape ``[*batch, *S, V]``; minus infinity means a mass of zero.
        event_dims: Number of slot dimensions, i.e. of dimensions of :math:`S`.

    Raises:
        ValueError: If there is no slot dimension, a size is below 1, or, with validation on, a logit is NaN.
    """

    arg_constraints = {"logits": constraints.real_vector}

    def __init__(self, logits: Tensor, event_dims: int, *, validate_args: bool | None = None) -> None:
        if not 1 <= event_dims < logits.dim():
            raise ValueError(
                "CategoricalCodes needs logits [*batch, *S, V] and event_dims, the number of dimensions of S, at least 1; got logits of "
                f"shape {tuple(logits.shape)} and event_dims={event_dims}. Give a single slot the shape (1,)."
            )
        batch_dims = logits.dim() - 1 - event_dims
        self.logits = logits
        self._own_shape = logits.shape[:batch_dims]
        shapes = self._own_shape, logits.shape[batch_dims:-1], logits.shape[-1]
        super().__init__(*shapes, device=logits.device, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        lead = torch.broadcast_shapes(self._lead(value), self._own_shape)
        free = _free_dims(lead, self._own_shape)
        index = _to_rows(value.long().expand(lead + self.event_shape), free)  # [*own, *S, N]
        # With an expanded table, the gradient of gather would take V numbers for every code.
        terms = self._rows(self._log_mass).gather(-1, index)
        total = terms.sum(tuple(range(-1 - len(self.event_shape), -1)))  # [*own, N]
        return _from_rows(total, free, lead).expand(torch.broadcast_shapes(lead, self.batch_shape))

    @torch.no_grad()
    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        lead = Size(sample_shape) + self.batch_shape
        free = _free_dims(lead, self._own_shape)
        codes = _draw(self._rows(self.logits), math.prod(lead[d] for d in free))  # [*own, *S, N]
        return _from_rows(codes, free, lead).contiguous()  # [*sample, *batch, *S]

    def conditional_logits(self, z: Tensor) -> Tensor:
        lead = torch.broadcast_shapes(self._lead(z), self._own_shape)
        return self._log_mass.expand(*lead, *self.event_shape, self.num_codes)

    @lazy_property
    def _log_mass(self) -> Tensor:
        return self.logits.log_softmax(-1)

    def _rows(self, table: Tensor) -> Tensor:
        """Return a table without its batch dimensions of size 1."""
        return table.reshape(*(n for n in self._own_shape if n != 1), *self.event_shape, self.num_codes)


class AutoregressiveCodes(CodeDistribution):
    r"""Autoregressive distribution of codes, in raster order of the slots.

    .. math:: \log p(z) = \sum_{m=1}^M \log p(z_m \mid z_{<m})

    The density takes one call of ``conditional``, a draw takes M calls.

    Args:
        conditional: Maps codes ``[*lead, *S]`` to logits ``[*lead, *S, V]``; the logits of a slot may depend only on the slots before it.
        event_shape: Shape of the slots, :math:`S`.
        num_codes: Number of codes, :math:`V`.
        device: Device of the draws; by default torch's.

    Raises:
        ValueError: If there is no slot dimension, a size is below 1, or (on use) the logits have the wrong shape or, with validation on,
            are NaN.
    """

    def __init__(
        self,
        conditional: Callable[[Tensor], Tensor],
        event_shape: Sequence[int],
        num_codes: int,
        *,
        device: torch.device | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.conditional = conditional
        super().__init__(Size(), event_shape, num_codes, device=device, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_prob = self._given(value).log_prob(value)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    @torch.no_grad()
    def sample(self, sample_shape: SizeLike = Size()) -> Tensor:
        lead, num_slots = Size(sample_shape) + self.batch_shape, self.event_shape.numel()
        z = torch.zeros(*lead, num_slots, dtype=torch.long, device=self.device)
        for m in range(num_slots):
            logits = self._given(z.unflatten(-1, self.event_shape)).logits
            logits = logits.reshape(*lead, num_slots, self.num_codes)[..., m, :]
            z = z.select_scatter(_draw(logits, 1)[..., 0], -1, m)
        return z.unflatten(-1, self.event_shape)  # [*sample, *batch, *S]

    def conditional_logits(self, z: Tensor) -> Tensor:
        return self._given(z).logits.log_softmax(-1)

    def _given(self, z: Tensor) -> CategoricalCodes:
        """Return the distributions of the slots, each given its predecessors in ``z``."""
        logits, lead = self.conditional(z.long()), self._lead(z)
        if logits.shape != (*lead, *self.event_shape, self.num_codes):
            raise ValueError(
                f"conditional must return logits of shape {(*lead, *self.event_shape, self.num_codes)} for codes of shape "
                f"{tuple(z.shape)}; got {tuple(logits.shape)}. Keep the leading dimensions, and give every slot {self.num_codes} logits."
            )
        return CategoricalCodes(logits, len(self.event_shape), validate_args=self._validate_args)


def _draw(logits: Tensor, num_draws: int) -> Tensor:
    """Return draws ``[*rows, N]`` from categorical distributions with logits ``[*rows, V]``."""
    mass = logits.double().softmax(-1).cumsum(-1)
    mass = (mass / mass[..., -1:]).contiguous()
    uniform = torch.rand(*mass.shape[:-1], num_draws, dtype=mass.dtype, device=mass.device)
    # NaN is found past the end: without the clamp, a later index error would hide it.
    return torch.searchsorted(mass, uniform, right=True).clamp(max=logits.shape[-1] - 1)


def _free_dims(lead: Size, own: Size) -> tuple[int, ...]:
    """Return the dimensions of ``lead`` along which a table with batch shape ``own`` is shared."""
    padding = len(lead) - len(own)
    return tuple(d for d in range(len(lead)) if d < padding or own[d - padding] == 1)


def _to_rows(z: Tensor, free: tuple[int, ...]) -> Tensor:
    """Reshape ``[*lead, *S]`` to ``[*own, *S, N]``; the N codes that share a row of the table come last."""
    z = z.movedim(free, tuple(range(-len(free), 0)))
    rows = z.shape[: z.dim() - len(free)]
    return z.reshape(*rows, z.shape[len(rows) :].numel())


def _from_rows(z: Tensor, free: tuple[int, ...], lead: Size) -> Tensor:
    """Reshape ``[*own, *rest, N]`` back to ``[*lead, *rest]``."""
    z = z.reshape(z.shape[:-1] + Size(lead[d] for d in free))
    return z.movedim(tuple(range(-len(free), 0)), free)


def _expands(shape: Size, larger: Size) -> bool:
    if len(shape) > len(larger):
        return False
    return all(n in (1, m) for n, m in zip(shape[::-1], larger[::-1], strict=False))
