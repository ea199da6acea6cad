"""A latent variable model as a pair of Pyro programs.

A pair is any object with a ``model`` that declares p(x, z) and a ``guide`` that declares q(z|x). Its contract, checked by
:mod:`pyro_lvm.contract`, is:

1. Every positional argument is a tensor with the data along its first dimension.
2. Every sample site of a datum is inside a single ``pyro.plate`` of the batch's size at dim -1, with a log density of exactly one number
   for each datum, and every observed value has the event shape of its distribution.
3. The guide samples every latent of the model, except discrete ones marked for enumeration. A factor in the guide is no density.
4. Terms that affect only training are declared with :func:`~pyro_lvm.sites.penalty`.
5. The networks of a pair are those that run when it runs, and those that it registers with Pyro.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial, wraps
import inspect
from types import TracebackType

from pyro.infer.autoguide import AutoGuide
from pyro.params.param_store import ParamStoreDict
from pyro.poutine.messenger import Messenger, unwrap
from torch import Tensor, nn

from pyro_lvm.checks import check_types
from pyro_lvm.scopes import Belongings, attach, belongings, called_directly, forget_leaves, param_scope, parameters_known, register
from pyro_lvm.sites import Site, is_subsample

__all__ = ["Batch", "Pair", "owner_of", "param_scope", "parameters_known", "programs", "register"]

Batch = tuple[Tensor, ...]


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
        attach(self, Belongings(param_store))
        self._programs = (model, guide)

    @property
    def param_store(self) -> ParamStoreDict:
        """The values of the pair's ``pyro.param`` and ``pyro.module``."""
        return belongings(self).store

    def model(self, *batch: Tensor) -> object:
        """Run the model with this pair's parameters."""
        with called_directly(self):
            return self._programs[0](*batch)

    def guide(self, *batch: Tensor) -> object:
        """Run the guide with this pair's parameters."""
        with called_directly(self):
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

        @wraps(model)
        def model_with_prior(*batch: Tensor) -> object:
            with PriorMessenger(site, prior):
                return model(*batch)

        other = Pair(model_with_prior, guide)
        attach(other, belongings(self).of_variant(self.param_store))
        return other

    def __getstate__(self) -> dict[str, object]:
        self._check_guides("pickled or copied")
        forget_leaves(self.param_store)
        return vars(self)

    def __deepcopy__(self, memo: dict) -> "Pair":
        self._check_guides("copied")
        self._check_functions()
        copy = Pair(*deepcopy(self._programs, memo))
        self._check_copied(memo)
        attach(copy, deepcopy(belongings(self), memo))
        return copy

    def _check_guides(self, what: str) -> None:
        """Refuse to copy Pyro's automatic guides, which lose their model when they are copied or pickled."""
        if any(isinstance(owner_of(program), AutoGuide) for program in self._programs):
            raise TypeError(
                f"a pair with an AutoGuide cannot be {what}, as Pyro's copy takes the model away from the guide. Build the pair anew, run "
                "check_pair(pair, x), and copy its weights with save_checkpoint and load_checkpoint."
            )

    def _check_functions(self) -> None:
        """Refuse to copy functions that have not run, so that nobody knows which networks they use."""
        networks = belongings(self).networks
        for program in map(_bare, self._programs):
            if inspect.isfunction(program) and not (networks.ran or networks.registered or networks.parameters):
                raise TypeError(
                    f"a pair of functions can be copied once it has run; '{program.__name__}' has not, so that its networks are unknown. "
                    "Run check_pair(pair, x)."
                )

    def _check_copied(self, memo: dict) -> None:
        """Refuse a copy that shares networks with the original: functions keep the networks that they use."""
        networks = belongings(self).networks
        for module in (*networks.ran.values(), *networks.registered.values()):
            if id(module) not in memo:
                raise TypeError(
                    f"a pair of functions can be copied only if these use no networks; the copy would share, and train, the original's "
                    f"{type(module).__name__}. Build the pair anew and copy its weights with save_checkpoint and load_checkpoint, or write "
                    "it as a class whose attributes are the networks."
                )


class PriorMessenger(Messenger):
    """Handler that replaces the prior of a latent site, whatever its plates."""

    def __init__(self, site: str, prior: nn.Module) -> None:
        super().__init__()
        self.site, self.prior = site, prior

    def __enter__(self) -> "PriorMessenger":
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


def owner_of(program: Callable[..., object]) -> nn.Module | None:
    """Return the module that a program is or is a method of, under all wrappers, or None."""
    bare = _bare(program)
    owner = bare.__self__ if inspect.ismethod(bare) else bare
    return owner if isinstance(owner, nn.Module) else None


def _bare(program: Callable[..., object]) -> Callable[..., object]:
    """Return a program without the wrappers of functools and of Pyro's handlers."""
    inner = inspect.unwrap(unwrap(program))
    inner = inner.func if isinstance(inner, partial) else inner
    return program if inner is program else _bare(inner)
