"""A latent variable model as a pair of Pyro programs.

A pair is any object with a ``model`` that declares p(x, z) and a ``guide`` that declares q(z|x). The contract, which :mod:`pyro_lvm.contract` checks:

1. every positional argument is a tensor with the data along its first dimension; the first is the observed batch;
2. every sample site of one datum is inside one ``pyro.plate`` of the batch's size at dim -1;
3. the guide samples every latent of the model, except discrete ones marked for enumeration;
4. terms that only steer training are declared with :func:`penalty`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from weakref import WeakKeyDictionary

import pyro
from pyro.params.param_store import ParamStoreDict
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyro_lvm.checks import check_types

Batch = tuple[Tensor, ...]

_STORES: WeakKeyDictionary = WeakKeyDictionary()
_NAMES: WeakKeyDictionary = WeakKeyDictionary()
_NUMBERS = count()
_is_known = False  # whether parameters are, so that none need be registered


class Pair:
    r"""A model p(x, z) and a guide q(z|x) written as plain Pyro functions, with a parameter store of their own.

    Both are called with the same batch, ``[B, *X]`` first. The pair's ``pyro.param`` and ``pyro.module`` values live in
    ``param_store``, which is entered on every call, so that pairs that use the same names do not touch one another.

    Args:
        model: Declares :math:`p(z)\,p(x \mid z)`, with ``obs=`` on what is observed.
        guide: Declares :math:`q(z \mid x)`.
        param_store: Parameters made before, such as ``pyro.get_param_store()`` after plain SVI; by default a new store.

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
        """Runs the model with this pair's parameters."""
        with param_scope(self):
            return self._programs[0](*batch)

    def guide(self, *batch: Tensor) -> object:
        """Runs the guide with this pair's parameters."""
        with param_scope(self):
            return self._programs[1](*batch)

    def with_prior(self, prior: nn.Module, *, site: str) -> "Pair":
        r"""The same programs and parameters, shared and not copied, with another density of one latent site.

        .. math:: p(z)\, p(x \mid z) \;\to\; p'(z)\, p(x \mid z)

        Args:
            prior: Module whose call returns the distribution. A fit of the new pair leaves it as it is, with a warning.
            site: Name of the latent site.

        Raises:
            TypeError: If the prior is no module.
            ValueError: If (on a run of the model) there is no such latent.
        """
        check_types(nn.Module, "Its call returns a distribution.", prior=prior)
        model, guide = self._programs

        def mended(*batch: Tensor) -> object:
            with _PriorMessenger(site, prior):
                return model(*batch)

        return Pair(mended, guide, param_store=self.param_store)


class _PriorMessenger(Messenger):
    """Gives a latent site another prior, whatever its plates."""

    def __init__(self, site: str, prior: nn.Module) -> None:
        super().__init__()
        self.site, self.prior = site, prior

    def __enter__(self) -> "_PriorMessenger":
        self.latents: list[str] = []
        return super().__enter__()

    def _pyro_sample(self, msg: dict) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        self.latents.append(msg["name"])
        if msg["name"] == self.site:
            msg["fn"] = self.prior().expand(msg["fn"].batch_shape)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        super().__exit__(kind, error, traceback)
        if error is None and self.site not in self.latents:
            raise ValueError(f"site must be a latent of the model, one of {self.latents}; got '{self.site}'. Give its name.")


@contextmanager
def param_scope(pair: object) -> Iterator[None]:
    """Lends the pair's own parameter store to Pyro's global one for the length of a ``with`` block; may be nested."""
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
    """Registers parts of a pair with Pyro, under names of their own; a program registers what it uses, as each parameter takes Pyro time."""
    if _is_known:
        return
    # Not an attribute: a deep copy is another pair and needs another name.
    name = _NAMES.get(pair) or _NAMES.setdefault(pair, f"vae{next(_NUMBERS)}")
    for part in parts:
        pyro.module(f"{name}.{part}", getattr(pair, part))


@contextmanager
def parameters_known() -> Iterator[None]:
    """Pairs do not register their parts for the length of a ``with`` block, as what runs there knows their parameters."""
    global _is_known
    before, _is_known = _is_known, True
    try:
        yield
    finally:
        _is_known = before


def programs(pair: object) -> tuple[Callable[..., object], Callable[..., object]]:
    """The model and guide as the user wrote them.

    Raises:
        TypeError: If ``pair`` has no callable ``model`` and ``guide``.
    """
    if isinstance(pair, Pair):
        return pair._programs
    model, guide = getattr(pair, "model", None), getattr(pair, "guide", None)
    if not (callable(model) and callable(guide)):
        raise TypeError(f"a pair has callable .model and .guide; got {type(pair).__name__}. Use Pair(model, guide).")
    return model, guide
