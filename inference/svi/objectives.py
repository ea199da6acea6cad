"""Objectives that Pyro does not provide."""

from collections.abc import Callable
import math

import pyro
from pyro.infer import ELBO, Trace_ELBO, TraceEnum_ELBO
from pyro.poutine.messenger import unwrap
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from inference.densities.broadcasting import choose_layout
from inference.densities.layout import LOOPED, Layout, run_guide, run_model
from inference.densities.log_density import guide_density, latents_of, log_density
from pyro_lvm.checks import check_counts
from pyro_lvm.contract import check_pair
from pyro_lvm.modules import eval_mode
from pyro_lvm.pair import Batch, Pair
from pyro_lvm.sites import Site, density_sites, frames_of, is_data, is_penalty, masked_log_prob, sample_sites
from pyro_lvm.structure import Structure


def default_objective(structure: Structure, *, num_particles: int = 1) -> ELBO:
    """Return the evidence lower bound of a pair, in which latents that the model marks for enumeration are summed out."""
    kind, nesting = TraceEnum_ELBO if structure.enumerated else Trace_ELBO, 1 if structure.refusal is None else float("inf")
    return kind(num_particles=num_particles, vectorize_particles=num_particles > 1, max_plate_nesting=nesting)


class IWAE(ELBO):
    r"""Importance-weighted bound of each datum, correct under mini-batch scaling.

    .. math:: \mathcal{L}_K(x) = \mathbb{E}\Big[\log \frac{1}{K} \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k \mid x)}\Big]
        \le \log p(x)

    The plate's scale multiplies the bound of each datum, not its log weights; a messenger that scales latent sites (KL warm-up)
    scales :math:`\log p(z) - \log q(z \mid x)` inside the weights.

    Args:
        num_particles: Draws per datum, :math:`K`.

    Raises:
        ValueError: If ``num_particles`` is below 1; or, at the first loss, if the pair has no likelihood per datum or a latent of the
            guide is not reparameterized.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders. https://arxiv.org/abs/1509.00519
    """

    def __init__(self, num_particles: int) -> None:
        check_counts(num_particles=num_particles)
        super().__init__(num_particles=num_particles, vectorize_particles=True)
        self._parts: tuple[object, ...] = ()
        self._choice, self._is_current = LOOPED, False

    def begin_epoch(self) -> None:
        """Let the next loss choose again how draws are laid out, as the parameters have changed."""
        self._is_current = False

    def differentiable_loss(self, model: Callable[..., object], guide: Callable[..., object], *batch: Tensor) -> Tensor:
        """Return minus the sum of the data's bounds, each times its plate's scale, plus penalties."""
        layout, count, size = self._layout(model, guide, batch), self.num_particles, len(batch[0])
        guide_trace = run_guide(guide, batch, count, layout)
        latents = latents_of(guide_trace, count, size, layout)
        model_trace = run_model(model, batch, latents, count, layout)
        site = next(site for site in density_sites(model_trace) if is_data(site))
        data_scale = site["scale"]
        scale = data_scale * (count if layout.style == "tiled" and _subsamples(site) else 1)  # the plate was given K times the data

        def weight(site: Site) -> float | Tensor:
            return site["scale"] / data_scale

        log_p = log_density(model_trace, count, size, layout, weight)
        log_w = log_p - guide_density(guide_trace, count, size, layout, weight)  # [K, B]
        bound = log_w.logsumexp(0) - math.log(count)  # [B]
        # A tiled plate that subsamples scales each of the K copies by 1 / K too little, as it scales the data.
        costs = [masked_log_prob(site).sum() * site["scale"] * scale / data_scale for site in sample_sites(model_trace) if is_penalty(site)]
        return -(scale * bound).sum() - sum(costs) / count

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
        raise TypeError("IWAE combines all particles in one run of the pair; it has no single traces.")

    def _layout(self, model: Callable[..., object], guide: Callable[..., object], batch: Batch) -> Layout:
        parts = tuple(part for program in (model, guide) for part in _parts(unwrap(program)))
        is_known = len(parts) == len(self._parts) and all(a is b for a, b in zip(parts, self._parts, strict=True))
        is_traced = get_proxy_mode() is not None  # a graph holds no choices; the compiled step is compared with an eager one
        if not is_known or not (self._is_current or is_traced):
            pair = Pair(model, guide, param_store=pyro.get_param_store())
            structure = check_pair(pair, *batch)
            _check_reparameterized(structure, guide, batch)
            with eval_mode(pair):
                self._choice = choose_layout(pair, batch, bool(structure.row_parameters))
            self._parts, self._is_current = parts, True
        return self._choice


def _parts(program: Callable[..., object]) -> tuple[object, object]:
    """Return a method's function and owner, which tell it from those of equal objects."""
    return getattr(program, "__func__", program), getattr(program, "__self__", None)


def _subsamples(site: Site) -> bool:
    """Return whether the data plate around a site declares more data than it is given."""
    return any(frame.dim == -1 and frame.full_size not in (None, -1, frame.size) for frame in frames_of(site))


def _check_reparameterized(structure: Structure, guide: Callable[..., object], batch: Batch) -> None:
    structure.scorable()
    with torch.random.fork_rng(), torch.no_grad():
        trace = run_guide(guide, batch, 1, LOOPED)
    for site in density_sites(trace):
        if not site["is_observed"] and not getattr(site["fn"], "has_rsample", False):
            raise ValueError(
                f"IWAE needs reparameterized latents; '{site['name']}' has no rsample. Enumerate it in the model, or use "
                "pyro.infer.TraceGraph_ELBO."
            )
