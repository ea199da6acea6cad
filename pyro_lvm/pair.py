"""A latent variable model as a pair of Pyro programs.

A pair is any object with a ``model`` that declares p(x, z) and a ``guide`` that declares q(z|x). Its contract, checked by
:mod:`pyro_lvm.contract`, is:

1. Every positional argument is a tensor with the data along its first dimension; the first argument is the observed batch.
2. Every sample site of a datum is inside a single ``pyro.plate`` of the batch's size at dim -1.
3. The guide samples every latent of the model, except discrete ones marked for enumeration.
4. Terms that affect only training are declared with :func:`~pyro_lvm.sites.penalty`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import TracebackType
from weakref import WeakKeyDictionary

import pyro
from pyro.params.param_store import ParamStoreDict
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_lvm.checks import check_types
from pyro_lvm.sites import Site, is_subsample

Batch = tuple[Tensor, ...]

_STORES: WeakKeyDictionary = WeakKeyDictionary()
_NAMES: WeakKeyDictionary = WeakKeyDictionary()
_NUMBERS = count()
_is_known = False  # whether the parameters are already known, so that none need be registered


class Pair:
    r"""Pair of a model p(x, z) and a guide q(z|x), written as plain Pyro functions, with its own parameter store.

    Both are called with the same batch, ``[B, *X]`` first. Values of ``pyro.param`` and ``pyro.module`` are kept in
    ``param_store``, which is active during every call, so that pairs that use the same names do not affect one another.

    Args:
        model: Function that declares :math:`p(z)\,p(x \mid z)`, with ``obs=`` on what is observed.
        guide: Function that declares :math:`q(z \mid x)`.
        param_store: Existing parameters, such as ``pyro.get_param_store()`` after plain SVI; by default a new store.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from pyro_lvm import Pair, check_pair
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> check_pair(Pair(model, guide), torch.randn(5)).latents
        ('z',)
    """

    def __init__(self, model: Callable[..., object], guide: Callable[..., object], *, param_store: ParamStoreDict | None = None) -> None:
        for name, program in (("model", model), ("guide", guide)):
            if not callable(program):
                raise TypeError(f"{name} must be a callable Pyro program; got {type(program).__name__}.")
        self.param_store = ParamStoreDict() if param_store is None else param_store
        self._programs = (model, guide)

    def model(self, *batch: Tensor) -> object:
        """Run the model with this pair's parameters."""
        with param_scope(self):
            return self._programs[0](*batch)

    def guide(self, *batch: Tensor) -> object:
        """Run the guide with this pair's parameters."""
        with param_scope(self):
            return self._programs[1](*batch)

    def with_prior(self, prior: nn.Module, *, site: str) -> "Pair":
        r"""Return a pair in which one latent site has another prior; programs and parameters are shared, not copied.

        .. math:: p(z)\, p(x \mid z) \;\to\; p'(z)\, p(x \mid z)

        Args:
            prior: Module whose call returns the distribution. A fit of the new pair does not train it, and warns about it.
            site: Name of the latent site.

        Raises:
            TypeError: If the prior is not a module.
            ValueError: If (on a run of the model) there is no such latent.
        """
        check_types(nn.Module, "Its call returns a distribution.", prior=prior)
        model, guide = self._programs

        def model_with_prior(*batch: Tensor) -> object:
            with _PriorMessenger(site, prior):
                return model(*batch)

        return Pair(model_with_prior, guide, param_store=self.param_store)


class _PriorMessenger(Messenger):
    """Handler that replaces the prior of a latent site, whatever its plates."""

    def __init__(self, site: str, prior: nn.Module) -> None:
        super().__init__()
        self.site, self.prior = site, prior

    def __enter__(self) -> "_PriorMessenger":
        self.latents: list[str] = []
        return super().__enter__()

    def _pyro_sample(self, msg: Site) -> None:
        if msg["is_observed"] or is_subsample(msg):
            return
        self.latents.append(msg["name"])
        if msg["name"] == self.site:
            msg["fn"] = self.prior().expand(msg["fn"].batch_shape)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        super().__exit__(kind, error, traceback)
        if error is None and self.site not in self.latents:
            raise ValueError(f"site must be a latent of the model, one of {self.latents}; got '{self.site}'. Give its name.")


@contextmanager
def param_scope(pair: object) -> Iterator[None]:
    """Use the pair's parameter store as Pyro's global one within a ``with`` block; blocks may be nested."""
    own = _store_of(pair)
    shared = pyro.get_param_store()
    outer = dict(vars(shared))
    vars(shared).update(vars(own))
    try:
        yield
    finally:
        vars(own).update(vars(shared))
        vars(shared).update(outer)


def _store_of(pair: object) -> ParamStoreDict:
    if isinstance(pair, Pair):
        return pair.param_store
    try:
        return _STORES.setdefault(pair, ParamStoreDict())
    except TypeError as error:
        raise TypeError(f"a {type(pair).__name__} cannot own parameters ({error}). Use Pair(model, guide).") from error


def register(pair: nn.Module, *parts: str) -> None:
    """Register parts of a pair with Pyro under unique names; a program registers only what it uses, as each parameter costs time."""
    if _is_known:
        return
    # Not an attribute: a deep copy is another pair and needs another name.
    name = _NAMES.get(pair) or _NAMES.setdefault(pair, f"vae{next(_NUMBERS)}")
    for part in parts:
        pyro.module(f"{name}.{part}", getattr(pair, part))


@contextmanager
def parameters_known() -> Iterator[None]:
    """Skip the registration of parts within a ``with`` block, whose code already knows their parameters."""
    global _is_known
    before, _is_known = _is_known, True
    try:
        yield
    finally:
        _is_known = before


def programs(pair: object) -> tuple[Callable[..., object], Callable[..., object]]:
    """Return the model and the guide as the user wrote them.

    Raises:
        TypeError: If ``pair`` has no callable ``model`` and ``guide``.
    """
    if isinstance(pair, Pair):
        return pair._programs
    model, guide = getattr(pair, "model", None), getattr(pair, "guide", None)
    if not (callable(model) and callable(guide)):
        raise TypeError(f"a pair has callable .model and .guide; got {type(pair).__name__}. Use Pair(model, guide).")
    return model, guide
