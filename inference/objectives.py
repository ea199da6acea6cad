"""Objectives and messengers that Pyro lacks: the importance-weighted bound, KL warm-up and free bits."""

from collections.abc import Callable, Mapping, Sequence
import math

import pyro
from pyro.infer import ELBO
from pyro.poutine.messenger import Messenger, unwrap
from pyro.poutine.util import site_is_subsample
import torch
from torch import Tensor

from inference.densities import Layout, choose_layout, latents_of, log_density, run_guide, run_model
from pyro_lvm.contract import Structure, check_pair
from pyro_lvm.pair import Pair, density_sites, is_data, is_penalty, penalty, sample_sites

Weight = float | Tensor


class IWAE(ELBO):
    r"""Importance-weighted bound of each datum, right under mini-batch scaling.

    .. math:: \mathcal{L}_K(x) = \mathbb{E}\Big[\log \frac{1}{K} \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k \mid x)}\Big]
        \le \log p(x)

    The plate's scale multiplies the bound of each datum, not its log weights; a messenger that scales latent sites (KL warm-up)
    scales :math:`\log p(z) - \log q(z \mid x)` inside the weights.

    Args:
        num_particles: Draws per datum, :math:`K`.

    Raises:
        ValueError: If the pair has no likelihood per datum, or a latent of the guide is not reparameterized.

    References:
        Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders. https://arxiv.org/abs/1509.00519
    """

    def __init__(self, num_particles: int) -> None:
        if num_particles < 1:
            raise ValueError(f"num_particles must be at least 1; got {num_particles}.")
        super().__init__(num_particles=num_particles, vectorize_particles=True)
        self._layouts: dict[tuple[Callable, Callable], Layout] = {}

    def differentiable_loss(self, model: Callable[..., object], guide: Callable[..., object], *batch: Tensor) -> Tensor:
        """Minus the sum of the data's bounds, each times its plate's scale, plus penalties."""
        layout, count, size = self._layout(model, guide, batch), self.num_particles, len(batch[0])
        guide_trace = run_guide(guide, batch, count, layout)
        latents = latents_of(guide_trace, count, size, layout)
        model_trace = run_model(model, batch, latents, count, layout)
        scale = next(site["scale"] for site in density_sites(model_trace) if is_data(site))

        def weight(site: dict) -> float | Tensor:
            return site["scale"] / scale

        log_p = log_density(model_trace, count, size, layout, weight)
        log_w = log_p - log_density(guide_trace, count, size, layout, weight)  # [K, B]
        bound = log_w.logsumexp(0) - math.log(count)  # [B]
        costs = [
            site["fn"].log_prob(site["value"]).sum() * site["scale"] for site in sample_sites(model_trace) if is_penalty(site)
        ]
        return -(scale * bound).sum() - sum(costs) / count

    def loss(self, model: Callable[..., object], guide: Callable[..., object], *batch: Tensor) -> float:
        """The loss as a number, without gradients."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *batch).item()

    def loss_and_grads(self, model: Callable[..., object], guide: Callable[..., object], *batch: Tensor) -> float:
        """The loss as a number, after adding its gradients to the parameters'."""
        loss = self.differentiable_loss(model, guide, *batch)
        loss.backward()
        return loss.item()

    def _get_trace(self, *_: object) -> None:
        raise TypeError("IWAE combines all particles in one run of the pair; it has no single traces.")

    def _layout(self, model: Callable[..., object], guide: Callable[..., object], batch: tuple[Tensor, ...]) -> Layout:
        key = (unwrap(model), unwrap(guide))
        if key not in self._layouts:
            pair = Pair(model, guide, param_store=pyro.get_param_store())
            structure = check_pair(pair, *batch)
            _check_reparameterized(structure, guide, batch)
            self._layouts[key] = choose_layout(pair, batch)
        return self._layouts[key]


def _check_reparameterized(structure: Structure, guide: Callable[..., object], batch: tuple[Tensor, ...]) -> None:
    if structure.refusal is not None:
        raise ValueError(structure.refusal)
    with torch.random.fork_rng(), torch.no_grad():
        trace = run_guide(guide, batch, 1, Layout(False))
    for site in density_sites(trace):
        if not site["is_observed"] and not getattr(site["fn"], "has_rsample", False):
            raise ValueError(
                f"IWAE needs reparameterized latents; '{site['name']}' has no rsample. Enumerate it in the model, or use "
                "pyro.infer.TraceGraph_ELBO."
            )


def of_site(value: Weight | Mapping[str, Weight], site: str, default: float) -> Weight:
    """What holds for one site, of a value for all sites or of values by the sites' names."""
    return value.get(site, default) if isinstance(value, Mapping) else value


def values_of(value: Weight | Mapping[str, Weight]) -> list[Weight]:
    """The value for all sites, or those of the named sites in their order."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


class KLWeight(Messenger):
    r"""Scales the latent sites of model and guide, so that the objective is E[log p(x|z)] - weight KL(q(z|x) || p(z)).

    Enumerated sites are left as they are: their sum is part of the likelihood.

    Args:
        weight: A non-negative number, or a scalar tensor; or such for each site by name, 1 where none is named. May be changed
            between steps.

    References:
        Bowman et al. (2016), Generating Sentences from a Continuous Space. https://arxiv.org/abs/1511.06349
    """

    def __init__(self, weight: Weight | Mapping[str, Weight] = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def of(self, site: str) -> Weight:
        """The weight of one site."""
        return of_site(self.weight, site, 1.0)

    def set(self, numbers: Sequence[Weight]) -> None:
        """Changes the weight, or those of the named sites in their order."""
        self.weight = dict(zip(self.weight, numbers, strict=True)) if isinstance(self.weight, Mapping) else numbers[0]

    def _pyro_sample(self, msg: dict) -> None:
        if not msg["is_observed"] and not site_is_subsample(msg) and msg["infer"].get("enumerate") != "parallel":
            msg["scale"] = self.of(msg["name"]) * msg["scale"]


class FreeBits:
    r"""Leaves the first ``nats`` of each latent site's KL free: the objective pays max(nats, KL), averaged over the batch.

    .. math:: \sum_j \max\big(\lambda, \tfrac{1}{B} \textstyle\sum_b \mathrm{KL}_{jb}\big)

    with the KL of site j estimated at the objective's own draws. A messenger around the guide notes log q(z|x), one around the
    model adds a penalty site for each latent; no likelihood sees it.

    Args:
        nats: The free amount for each latent site and datum, :math:`\lambda`; or amounts by site, 0 where none is named.
        kl: The messenger that weights the KL, whose weight applies to the free amount too.

    Raises:
        ValueError: If ``nats`` is negative or, in a run of the guide, a latent is masked, enumerated or auxiliary.

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow.
        https://arxiv.org/abs/1606.04934
    """

    def __init__(self, nats: float | Mapping[str, float], kl: KLWeight) -> None:
        if not all(n >= 0 for n in values_of(nats)):
            raise ValueError(f"free_bits must be at least 0 nats; got {nats}.")
        posteriors: dict[str, Tensor] = {}
        self.guide = _NoteDensities(posteriors)
        self.model = _ChargeFreeBits(posteriors, nats, kl)


class _NoteDensities(Messenger):
    def __init__(self, densities: dict[str, Tensor]) -> None:
        super().__init__()
        self.densities = densities

    def _pyro_post_sample(self, msg: dict) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        for kind, found in (("masked", msg["mask"] is not None), *((k, msg["infer"].get(k)) for k in ("enumerate", "is_auxiliary"))):
            if found:
                raise ValueError(f"free bits need plain latents; '{msg['name']}' is {kind}. Set free_bits=0, or change the guide.")
        self.densities[msg["name"]] = msg["fn"].log_prob(msg["value"])


class _ChargeFreeBits(Messenger):
    def __init__(self, posteriors: dict[str, Tensor], nats: float | Mapping[str, float], kl: KLWeight) -> None:
        super().__init__()
        self.posteriors = posteriors
        self.nats = nats
        self.kl = kl

    def _pyro_post_sample(self, msg: dict) -> None:
        free = of_site(self.nats, msg["name"], 0.0)
        if msg["is_observed"] or msg["name"] not in self.posteriors or free == 0:
            return
        kl = self.posteriors[msg["name"]] - msg["fn"].log_prob(msg["value"])  # [B]
        unpaid = (free - kl.mean()).clamp(min=0)
        penalty(f"{msg['name']}_free_bits", self.kl.of(msg["name"]) * unpaid.expand(kl.shape))
