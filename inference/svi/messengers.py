"""Messengers for training: the weight of the KL, and free bits."""

from collections.abc import Callable, Mapping, Sequence
import math
from numbers import Real
from typing import TypeVar

from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_lvm.sites import Site, is_subsample, penalty

Weight = float | Tensor
KLSchedule = float | Mapping[str, float] | Callable[[int], float | Mapping[str, float]]
Number = TypeVar("Number", int, float, Weight)


def of_site(value: Number | Mapping[str, Number], site: str, default: Number) -> Number:
    """Return the value for one site, given one value for all sites or values by site name."""
    return value.get(site, default) if isinstance(value, Mapping) else value


def values_of(value: Number | Mapping[str, Number]) -> list[Number]:
    """Return the value for all sites, or the values of the named sites, in a list."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


class KLWeight(Messenger):
    r"""Messenger that scales the latent sites of model and guide: the objective becomes E[log p(x|z)] - weight KL(q(z|x) || p(z)).

    Enumerated sites are not scaled: their sum is part of the likelihood.

    Args:
        weight: A non-negative number or scalar tensor; or one for each site by name, with 1 for sites that are not named. It may be
            changed between steps.

    References:
        Bowman et al. (2016), Generating Sentences from a Continuous Space. https://arxiv.org/abs/1511.06349
    """

    def __init__(self, weight: Weight | Mapping[str, Weight] = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def of(self, site: str) -> Weight:
        """Return the weight of one site."""
        return of_site(self.weight, site, 1.0)

    def set(self, numbers: Sequence[Weight]) -> None:
        """Change the weight, or the weights of the named sites in their order."""
        self.weight = dict(zip(self.weight, numbers, strict=True)) if isinstance(self.weight, Mapping) else numbers[0]

    def _pyro_sample(self, msg: Site) -> None:
        if not msg["is_observed"] and not is_subsample(msg) and msg["infer"].get("enumerate") != "parallel":
            msg["infer"] = {"scale_without_kl": msg["scale"]} | msg["infer"]
            msg["scale"] = self.of(msg["name"]) * msg["scale"]


class FreeBits:
    r"""Messengers that leave the first ``nats`` of each latent site's KL free: the objective pays max(nats, mean KL of the batch).

    .. math:: \sum_j \max\big(\lambda, \tfrac{1}{B} \textstyle\sum_b \mathrm{KL}_{jb}\big)

    The KL of site j is estimated at the objective's own draws. A messenger around the guide records log q(z|x), and one around the
    model adds a penalty site for each latent, which enters no likelihood.

    Args:
        nats: The free amount for each latent site and datum, :math:`\lambda`; or amounts by site, with 0 for
            sites that are not named.
        kl: The messenger that weights the KL; its weight also applies to the free amount.

    Raises:
        ValueError: If ``nats`` is negative; or, when the guide runs, if a latent is masked, enumerated or auxiliary.

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

    def _pyro_post_sample(self, msg: Site) -> None:
        if msg["is_observed"] or is_subsample(msg):
            return
        kinds = {
            "masked": msg["mask"] is not None,
            "enumerated": msg["infer"].get("enumerate"),
            "auxiliary": msg["infer"].get("is_auxiliary"),
        }
        for kind, found in kinds.items():
            if found:
                raise ValueError(f"free bits need plain latents; '{msg['name']}' is {kind}. Set free_bits=0, or change the guide.")
        self.densities[msg["name"]] = msg["fn"].log_prob(msg["value"])


class _ChargeFreeBits(Messenger):
    def __init__(self, posteriors: dict[str, Tensor], nats: float | Mapping[str, float], kl: KLWeight) -> None:
        super().__init__()
        self.posteriors = posteriors
        self.nats = nats
        self.kl = kl

    def _pyro_post_sample(self, msg: Site) -> None:
        free = of_site(self.nats, msg["name"], 0.0)
        if msg["is_observed"] or msg["name"] not in self.posteriors or free == 0:
            return
        log_q, log_p = self.posteriors[msg["name"]], msg["fn"].log_prob(msg["value"])  # [B]
        if log_q.shape[-1:] != log_p.shape[-1:]:
            return  # a trial of the model on other rows than the guide's last ones
        kl = log_q - log_p
        unpaid = (free - kl.mean()).clamp(min=0)
        penalty(f"{msg['name']}_free_bits", self.kl.of(msg["name"]) * unpaid.expand(kl.shape))


class Steering:
    """The weight of the KL over the epochs, and free bits.

    Args:
        kl_weight: The weight; for all latent sites, or by site; or a function of the epoch, from 1, that returns it. None for the warm-up.
        warmup_epochs: Number of epochs over which the weight rises linearly to 1; for all latent sites, or by site.
        free_bits: Nats of each latent site's KL that cost nothing; for all latent sites, or by site.

    Attributes:
        longest_warmup: Number of epochs of the longest warm-up.
        weighs: Whether the weight is ever different from 1.
    """

    def __init__(
        self, kl_weight: KLSchedule | None, warmup_epochs: int | Mapping[str, int], free_bits: float | Mapping[str, float]
    ) -> None:
        self.schedule: KLSchedule = _Warmup(warmup_epochs) if kl_weight is None else kl_weight
        self.free_bits, self.kl = free_bits, KLWeight()
        self.longest_warmup = max(values_of(warmup_epochs), default=0)
        self.weighs = kl_weight is not None or any(values_of(warmup_epochs))

    def wrap(self, model: Callable, guide: Callable) -> tuple[Callable, Callable]:
        """Wrap a pair's programs in the messengers that have an effect, as each takes time at every site."""
        if self.weighs:
            model, guide = self.kl(model), self.kl(guide)
        if any(values_of(self.free_bits)):
            free = FreeBits(self.free_bits, self.kl)
            model, guide = free.model(model), free.guide(guide)
        return model, guide

    def weight(self, epoch: int) -> float | Mapping[str, float]:
        """Return the weight of an epoch.

        Raises:
            ValueError: If it is not finite and at least 0.
        """
        weight = self.schedule(epoch) if callable(self.schedule) else self.schedule
        for value in values_of(weight):
            if not (isinstance(value, Real) and 0 <= value < math.inf):
                raise ValueError(
                    f"kl_weight must be a finite number of at least 0, or such numbers by site; got {weight!r} in epoch {epoch}."
                )
        return weight

    def begin_epoch(self, epoch: int) -> dict[str, float]:
        """Set the weight of an epoch, and return it as columns of the history.

        Raises:
            ValueError: If the weight is not valid, or is given for other sites than before.
        """
        weight = self.weight(epoch)
        if epoch > 1 and _names(weight) != _names(self.kl.weight):
            raise ValueError(f"kl_weight must name the same sites in every epoch; got {_names(weight)} after {_names(self.kl.weight)}.")
        self.kl.weight = dict(weight) if isinstance(weight, Mapping) else weight
        return {f"kl_weight_{site}": value for site, value in weight.items()} if isinstance(weight, Mapping) else {"kl_weight": weight}


def _names(weight: object) -> list[str] | None:
    return list(weight) if isinstance(weight, Mapping) else None


class _Warmup:
    """The weight of the KL in a warm-up: it rises linearly to 1."""

    def __init__(self, lengths: int | Mapping[str, int]) -> None:
        self.lengths = lengths

    def __call__(self, epoch: int) -> float | dict[str, float]:
        if isinstance(self.lengths, Mapping):
            return {site: _warmed_up(epoch, length) for site, length in self.lengths.items()}
        return _warmed_up(epoch, self.lengths)


def _warmed_up(epoch: int, length: int) -> float:
    return min(1.0, epoch / length) if length else 1.0
