"""Messengers of training: the weight of the KL, and free bits."""

from collections.abc import Callable, Mapping, Sequence

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_lvm.sites import penalty

Weight = float | Tensor


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


class Steering:
    """What steers training besides the objective: the weight of the KL over the epochs, and free bits.

    Args:
        warmup_epochs: The weight rises linearly from ``1 / warmup_epochs`` to 1; for all latent sites, or by site.
        free_bits: Nats of each latent site's KL that cost nothing; for all, or by site.
    """

    def __init__(self, warmup_epochs: int | Mapping[str, int], free_bits: float | Mapping[str, float]) -> None:
        self.warmup_epochs, self.free_bits, self.kl = warmup_epochs, free_bits, KLWeight()
        self.longest_warmup = max(values_of(warmup_epochs), default=0)

    def wrap(self, model: Callable, guide: Callable) -> tuple[Callable, Callable]:
        """A pair's programs under those messengers that do anything, as each takes time at every site."""
        if any(values_of(self.warmup_epochs)):
            model, guide = self.kl(model), self.kl(guide)
        if any(values_of(self.free_bits)):
            free = FreeBits(self.free_bits, self.kl)
            model, guide = free.model(model), free.guide(guide)
        return model, guide

    def begin_epoch(self, epoch: int) -> dict[str, float]:
        """Sets the weight of an epoch; gives it as columns of the history."""
        if isinstance(self.warmup_epochs, Mapping):
            self.kl.weight = {site: _warmed_up(epoch, length) for site, length in self.warmup_epochs.items()}
            return {f"kl_weight_{site}": weight for site, weight in self.kl.weight.items()}
        self.kl.weight = _warmed_up(epoch, self.warmup_epochs)
        return {"kl_weight": self.kl.weight}


def _warmed_up(epoch: int, length: int) -> float:
    return min(1.0, epoch / length) if length else 1.0
