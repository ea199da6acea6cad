"""The base class of objectives that combine the log densities of several draws of each datum."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pyro
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine.messenger import unwrap
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from inference.densities.broadcasting import choose_layout
from inference.densities.layout import LOOPED, Latents, Layout, run_guide, run_model, runs_of
from inference.densities.log_density import guide_density, latents_of, log_density
from inference.svi.objectives.paths import path_gradients, weigh_gradients
from inference.svi.objectives.scaling import of_data, scale_without_kl, site_of_datum
from pyro_lvm.checks import check_counts
from pyro_lvm.contract import check_pair
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import Batch, Pair
from pyro_lvm.sites import Site, density_sites, frames_of, is_factor, is_penalty, masked_log_prob, sample_sites, sites_of


@dataclass(frozen=True)
class Particles:
    r"""K draws of each datum's latents from the guide, :math:`z_k = z(\epsilon_k, \phi)`, and their log densities.

    Weights of the KL are part of the densities; the scale of a mini-batch is not.

    Attributes:
        log_p: :math:`\log p_\theta(x, z_k)`, shape ``[K, B]``; enumerated latents are summed out.
        log_q: :math:`\log q_\phi(z_k \mid x)`, shape ``[K, B]``.
        latents: The draws by site, ``[K, B, *Z]``.
        penalties: Names of the model's penalties, whose mean over the draws is paid besides the bound.
    """

    log_p: Tensor
    log_q: Tensor
    latents: Latents
    penalties: tuple[str, ...]
    _cost: Tensor | None
    _trace: poutine.Trace
    _layout: Layout
    _weight: Callable[[Site], float | Tensor]

    @cached_property
    def log_q_fixed(self) -> Tensor:
        r"""The same as ``log_q``, at fixed parameters: its gradient is that of the draws alone, ``[K, B]``.

        .. math:: \nabla_\phi = \sum_l \frac{\partial \log q(z \mid x)}{\partial z_l} \frac{d z_l}{d \phi}
        """
        if not torch.is_grad_enabled():
            return self.log_q
        K, B = self.log_q.shape
        gradients = path_gradients(self._sites, self._layout, K, B, self._weight)
        steps = {name: self.latents[name] - self.latents[name].detach() for name in gradients}  # zero, with a gradient
        return self.log_q.detach() + sum((gradients[name] * step).reshape(K, B, -1).sum(2) for name, step in steps.items())

    @cached_property
    def log_q_drawn(self) -> Tensor:
        """Log density ``[K, B]`` of the latents that are drawn without reparameterization, without weights of the KL."""
        K, B = self.log_q.shape
        return log_density(self._trace, K, B, self._layout, where=lambda site: _is_drawn(site) and not is_factor(site))

    @property
    def kl_weight(self) -> float | Tensor:
        """The weight of the KL that all latents have.

        Raises:
            ValueError: If they have several.
        """
        latents, (K, B) = [site for site in self._sites if not site["is_observed"]], self.log_q.shape
        weights = {site["name"]: of_data(self._weight(site), K, B, self._layout) for site in latents}
        first = next(iter(weights.values()), 1.0)
        if get_proxy_mode() is None and any(bool(torch.as_tensor(weight != first).any()) for weight in weights.values()):
            raise ValueError(
                f"the KL of all latents must have one weight, as the gradient depends on it; got {weights}. Use one kl_weight or "
                "warmup_epochs, or another objective."
            )
        return first

    def weigh_paths(self, weights: Tensor) -> None:
        """Multiply the gradients that the draws will receive from ``log_p`` and ``log_q_fixed`` by weights ``[K, B]``.

        Those of the model's parameters and of penalties stay as they are.
        """
        weigh_gradients(self.latents, weights, self._cost)

    @property
    def _sites(self) -> list[Site]:
        return [site for site in density_sites(self._trace) if not is_factor(site)]


class ParticleObjective(ELBO):
    r"""Base class of objectives of K draws from the guide for each datum, right under mini-batch scaling.

    .. math:: \max \sum_b s_b\, \mathrm{combine}(\log p(x_b, z_{1:K}), \log q(z_{1:K} \mid x_b)) - \mathrm{penalties}

    A subclass has one method, :meth:`combine`. The plate's scale s multiplies what it returns for each datum, not the densities, and so
    does one that a program gives all of its sites, such as weights of the rows. What scales some sites only, such as a weight of the KL,
    scales their densities.

    Args:
        num_particles: Draws per datum, :math:`K`.

    Raises:
        ValueError: If ``num_particles`` is below 1; or, at the first loss, if the pair has no likelihood per datum, if
            :meth:`check_latents` refuses its guide, or if it is unclear which scale is that of the datum.

    Example:
        >>> class ELBO(ParticleObjective):
        ...     def combine(self, particles):
        ...         return (particles.log_p - particles.log_q).mean(0)
    """

    def __init__(self, num_particles: int) -> None:
        check_counts(num_particles=num_particles)
        super().__init__(num_particles=num_particles, vectorize_particles=True)
        self._parts: tuple[object, ...] = ()
        self._choice, self._is_current, self._site_of_datum = LOOPED, False, ""

    @abstractmethod
    def combine(self, particles: Particles) -> Tensor:
        """Return what is to be maximized for each datum, ``[B]``; its gradient is the estimate that is followed."""

    def check_latents(self, sites: list[Site]) -> None:
        """Check the guide's latents, by their sites in one run.

        Raises:
            ValueError: If the estimate would be wrong; by default, if a latent has no ``rsample``.
        """
        for site in sites:
            if _is_drawn(site):
                raise ValueError(
                    f"{type(self).__name__} needs reparameterized latents; '{site['name']}' has no rsample. Enumerate it in the model, or "
                    "use VIMCO, or pyro.infer.TraceGraph_ELBO."
                )

    def begin_epoch(self) -> None:
        """Let the next loss choose again how draws are laid out, as the parameters have changed."""
        self._is_current = False

    def differentiable_loss(self, model: Callable[..., object], guide: Callable[..., object], *batch: Tensor) -> Tensor:
        """Return minus the sum over the data of what is maximized, each times its plate's scale, plus penalties."""
        layout, count, size = self._layout(model, guide, batch), self.num_particles, len(batch[0])
        guide_trace = run_guide(guide, batch, count, layout)
        # These are other tensors than the guide's, so that gradients from densities and those along the guide's own run are told apart.
        latents = {name: value.view_as(value) for name, value in latents_of(guide_trace, count, size, layout).items()}
        model_trace = run_model(model, batch, latents, count, layout)
        site = sites_of(model_trace)[self._site_of_datum]
        of_datum = scale_without_kl(site)
        copies = count if layout.style == "tiled" and _subsamples(site) else 1  # the plate was given K times the data

        def weight(site: Site) -> float | Tensor:
            return site["scale"] / of_datum

        penalties = [site for site in sample_sites(model_trace) if is_penalty(site)]
        costs = [-(site["scale"] * masked_log_prob(site)).sum() * copies / count for site in penalties]
        cost = sum(costs[1:], costs[0]) if costs else None
        log_p = log_density(model_trace, count, size, layout, weight)
        log_q = guide_density(guide_trace, count, size, layout, weight)
        names = tuple(site["name"] for site in penalties)
        scale = copies * of_data(of_datum, count, size, layout)
        gained = (scale * self.combine(Particles(log_p, log_q, latents, names, cost, guide_trace, layout, weight))).sum()
        return -gained if cost is None else cost - gained

    def loss(self, model: Callable[..., object], guide: Callable[..., object], *batch: Tensor) -> float:
        """Return the loss as a number, without gradients."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *batch).item()

    def loss_and_grads(self, model: Callable[..., object], guide: Callable[..., object], *batch: Tensor) -> float:
        """Return the loss as a number, after adding its gradients to those of the parameters."""
        loss = self.differentiable_loss(model, guide, *batch)
        loss.backward()
        return loss.item()

    def _get_trace(self, *_: object) -> None:
        raise TypeError(f"{type(self).__name__} combines all particles in one run of the pair; it has no single traces.")

    def _layout(self, model: Callable[..., object], guide: Callable[..., object], batch: Batch) -> Layout:
        parts = tuple(part for program in (model, guide) for part in _parts(unwrap(program)))
        is_known = len(parts) == len(self._parts) and all(a is b for a, b in zip(parts, self._parts, strict=True))
        is_traced = get_proxy_mode() is not None  # a graph holds no choices; the compiled step is compared with an eager one
        if not is_known or not (self._is_current or is_traced):
            pair = Pair(model, guide, param_store=pyro.get_param_store())
            structure = check_pair(pair, *batch)
            structure.scorable()
            with eval_mode(pair), pyro.validation_enabled(False):  # layouts are compared at latents that the guide may exclude
                drawn, sampled = _sites_of_one_run(model, guide, batch)
                self.check_latents([site for site in drawn if not site["is_observed"]])
                self._site_of_datum = site_of_datum(sampled)
                self._choice = choose_layout(pair, batch, bool(structure.row_parameters))
            self._parts, self._is_current = parts, True
        return self._choice


def _is_drawn(site: Site) -> bool:
    """Return whether a latent's draws carry no gradient."""
    return not site["is_observed"] and not getattr(site["fn"], "has_rsample", False)


def _sites_of_one_run(model: Callable[..., object], guide: Callable[..., object], batch: Batch) -> list[list[Site]]:
    """Return the sites of the densities of the guide and of the model."""
    with torch.random.fork_rng(), torch.no_grad():
        guide_trace = run_guide(guide, batch, 1, LOOPED)
        model_trace = run_guide(model, batch, 1, LOOPED, latents_of(guide_trace, 1, len(batch[0]), LOOPED))
    return [runs_of(density_sites(trace), LOOPED)[0] for trace in (guide_trace, model_trace)]


def _parts(program: Callable[..., object]) -> tuple[object, object]:
    """Return a method's function and owner, which tell it from those of equal objects."""
    return getattr(program, "__func__", program), getattr(program, "__self__", None)


def _subsamples(site: Site) -> bool:
    """Return whether the data plate around a site declares more data than it is given."""
    return any(frame.dim == -1 and frame.full_size not in (None, -1, frame.size) for frame in frames_of(site))
