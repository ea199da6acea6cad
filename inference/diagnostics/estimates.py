"""The figures of a diagnosis, computed from codes and prior draws with known log densities."""

import math
from typing import NamedTuple

from pyro import poutine
from pyro.distributions import TorchDistribution
import torch
from torch import Tensor

from inference.densities.layout import Latents, Layout
from inference.diagnostics.active_units import THRESHOLD, Units, active_units
from inference.diagnostics.aggregate import log_marginals, site_marginals
from inference.diagnostics.codebook_use import codebook_use
from inference.diagnostics.draws import Codes
from inference.diagnostics.holes import share_below, two_sample_auc
from pyro_lvm.pair import Batch, programs
from pyro_lvm.sites import is_discrete, sites_of, space
from pyro_lvm.structure import Structure

_MAX_CLASSIFIED = 10_000
_MIN_DIMENSION_CODES = 100
_ROUNDING = 1e-6  # nats; a smaller scatter comes from rounding, not from the draws


class Figure(NamedTuple):
    """A number, its standard error, and what it is."""

    value: float
    error: float
    note: str


class Sample(NamedTuple):
    """Codes and prior draws, scored by model, guide and aggregate posterior; all in nats.

    Attributes:
        codes: K draws for each of S data.
        draws: M prior draws by site.
        log_q: Log density of the aggregate posterior of all data at the codes, shape ``[K, S]``.
        log_q_held_out: The same with the code's own fold of the data left out, shape ``[K, S]``.
        log_p_draws: log p(z) at the draws, shape ``[M]``.
        log_q_draws: Log density of the aggregate posterior of all data at the draws, shape ``[M]``.
        log_q_draws_left: The same with each of the folds left out, shape ``[G, M]``.
    """

    codes: Codes
    draws: Latents
    log_q: Tensor
    log_q_held_out: Tensor
    log_p_draws: Tensor
    log_q_draws: Tensor
    log_q_draws_left: Tensor


class Draws(NamedTuple):
    """Codes and prior draws that are not scored by the aggregate posterior.

    Attributes:
        codes: K draws for each of S data.
        draws: M prior draws by site.
    """

    codes: Codes
    draws: Latents


def rate_figures(sample: Sample, size: int) -> dict[str, Figure]:
    """The rate and its terms, the reverse KL, and the distortion."""
    codes, cap = sample.codes, math.log(size)
    information = mean_over_data(codes.log_q - sample.log_q)
    is_capped = information[0] > cap - 1
    return {
        "rate": Figure(*mean_over_data(codes.log_q - codes.log_p), "E_q[log q(z|x) - log p(z)] = mutual_information + marginal_kl"),
        "mutual_information": Figure(
            *information, f"between datum and code; cannot exceed log N = {cap:.2f}{'; too low this close to it' * is_capped}"
        ),
        "marginal_kl": Figure(
            *mean_over_data(sample.log_q - codes.log_p),
            "KL(q(z) || p(z)), q(z) of all N data; for new data, too high by as much as mutual_information is too low",
        ),
        "marginal_kl_held_out": Figure(
            *mean_over_data(sample.log_q_held_out - codes.log_p),
            "the same, q(z) at a code without its own tenth of the data; for new data, too low on average",
        ),
        "reverse_kl": _reverse_kl(sample),
        "distortion": Figure(*mean_over_data(-codes.log_px), "-E_q[log p(x|z)]; rate + distortion = -ELBO"),
    }


def mean_over_data(values: Tensor) -> tuple[float, float]:
    """Mean of ``[K, S]`` and its standard error over the S data."""
    means = values.mean(0)
    return float(means.mean()), max(float(means.std()) / len(means) ** 0.5, _ROUNDING)


def _reverse_kl(sample: Sample) -> Figure:
    values = sample.log_p_draws - sample.log_q_draws
    without = (sample.log_p_draws - sample.log_q_draws_left).mean(1)  # [G]
    jackknife = (1 - 1 / len(without)) * (without - without.mean()).square().sum()
    error = float((values.var() / len(values) + jackknife).sqrt())
    return Figure(float(values.mean()), error, "KL(p(z) || q(z)) from prior draws; for new data, too high on average")


def hole_figures(sample: Sample, quantile: float, seed: int) -> dict[str, Figure]:
    """Shares of prior draws outside the codes and of codes outside the prior, and how well a classifier tells them apart."""
    num_draws, num_data = len(sample.log_p_draws), sample.log_q.shape[1]
    index = torch.arange(num_draws, device=sample.log_q.device)
    log_q_draws = sample.log_q_draws_left[index % len(sample.log_q_draws_left), index]  # one fold left out, as for a code
    prior = share_below(log_q_draws, sample.log_q_held_out, quantile, num_scores=num_draws, num_reference=num_data)
    codes = share_below(sample.codes.log_p, sample.log_p_draws, quantile, num_scores=num_data, num_reference=num_draws)
    features = _features(sample)
    return {
        "holes_prior": Figure(*prior, f"share of prior draws where q(z) is below its {quantile:g} quantile at held-out codes"),
        "holes_codes": Figure(*codes, f"share of codes where p(z) is below its {quantile:g} quantile at prior draws"),
        "auc": Figure(
            *two_sample_auc(*features, seed=seed),
            f"how well boosted trees tell {len(features[1])} prior draws from {len(features[0])} codes; 0.5 is chance; a lower bound",
        ),
    }


def _features(sample: Sample) -> tuple[Tensor, Tensor]:
    """The classifier's features of codes and of prior draws: the latents, and log p(z), which reveals a shell."""
    codes = [z[0, :_MAX_CLASSIFIED] for z in sample.codes.latents.values()] + [sample.codes.log_p[0, :_MAX_CLASSIFIED]]
    draws = [z[:_MAX_CLASSIFIED] for z in (*sample.draws.values(), sample.log_p_draws)]
    return _columns(codes), _columns(draws)


def _columns(values: list[Tensor]) -> Tensor:
    return torch.cat([value.reshape(len(value), -1).double() for value in values], 1)


def dimension_figures(
    pair: object, batch: Batch, structure: Structure, sample: Sample, chunk_size: int
) -> tuple[dict[str, Figure], list[Figure]]:
    """Total correlation and dimension-wise KL, and the KL of each dimension; blank where a marginal has no closed form."""
    if len(structure.latents) > 1:
        reason = "blank: defined for a single latent only"
        return {"total_correlation": blank(reason), "dimension_kl": blank(reason)}, []
    where = space(sites_of(_prior_trace(pair, batch))[structure.latents[0]]["fn"])
    if where != "whole space":
        reason = f"blank: on the {where} the elements of z cannot be independent"
        return {"total_correlation": blank(reason), "dimension_kl": blank(reason)}, []
    z, log_q = _few_codes(sample)  # [K, S, *Z], [K, S]
    log_q_d = log_marginals(pair, batch, z.flatten(0, 1), chunk_size=chunk_size)  # [K * S, D]
    if log_q_d is None:
        reason = "blank: q(z|x) has no marginals in closed form"
        return {"total_correlation": blank(reason), "dimension_kl": blank(reason)}, []
    log_q_d = log_q_d.unflatten(0, log_q.shape)  # [K, S, D]
    note = f"KL(q(z) || product of q(z_d)), from {log_q.numel()} codes; too high for new data, like marginal_kl"
    correlation = Figure(*mean_over_data(log_q - log_q_d.sum(-1)), note)
    prior = None if structure.enumerated else site_marginals(_prior_trace(pair, batch))
    if prior is None:
        return {"total_correlation": correlation, "dimension_kl": blank("blank: p(z) has no marginals in closed form")}, []
    ratio = log_q_d - prior.log_prob(z).reshape(log_q_d.shape).double()
    note = f"sum of KL(q(z_d) || p(z_d)), from {log_q.numel()} codes; the remainder of marginal_kl if p(z) is a product"
    figures = {"total_correlation": correlation, "dimension_kl": Figure(*mean_over_data(ratio.sum(-1)), note)}
    return figures, [Figure(*mean_over_data(ratio[..., d]), f"KL(q(z_{d}) || p(z_{d}))") for d in range(ratio.shape[-1])]


def _few_codes(sample: Sample) -> tuple[Tensor, Tensor]:
    """As many codes as make D marginals cost as much as the joint density of all codes and draws, and log q(z) at them."""
    (z,) = sample.codes.latents.values()
    num_particles, num_data = sample.log_q.shape
    features = z[0, 0].numel()
    count = max(_MIN_DIMENSION_CODES, (sample.log_q.numel() + len(sample.log_p_draws)) // features)
    rows = min(num_data, count)
    particles = max(1, min(num_particles, count // rows))
    return z[:particles, :rows], sample.log_q[:particles, :rows]


def _prior_trace(pair: object, batch: Batch) -> poutine.Trace:
    return poutine.trace(programs(pair)[0]).get_trace(*(x[:1] for x in batch))


def blank(reason: str) -> Figure:
    return Figure(math.nan, math.nan, reason)


def level_figures(
    pair: object, batch: Batch, rows: Tensor, structure: Structure, sample: Sample | Draws, layout: Layout, seed: int
) -> tuple[dict[str, Figure], dict[str, Units]]:
    """Figures of single latents, with names like ``rate[z]``, and the units of the continuous ones."""
    sites = sites_of(_prior_trace(pair, batch))
    discrete = [name for name in structure.latents if is_discrete(sites[name]["fn"])]
    continuous = [name for name in structure.latents if name not in discrete]
    units = {
        name: unit._replace(threshold=_threshold(sites[name]["fn"], sample.draws[name]))
        for name, unit in active_units(pair, batch, rows, continuous, layout, seed).items()
    }
    figures = {}
    if len(structure.latents) > 1:
        for name, rate in sample.codes.site_rates.items():
            note = f"term of the rate: E_q[log q - log p] of {name} given the latents before it"
            figures[f"rate[{name}]"] = Figure(*mean_over_data(rate.double()), note)
        figures |= {f"active_units[{name}]": total_units({name: unit}) for name, unit in units.items()}
    for name in discrete:
        figures |= _codebook_figures(name, sites[name]["fn"], sample.codes.latents[name][0])
    return figures, units


def _threshold(fn: TorchDistribution, draws: Tensor) -> float:
    """The usual threshold; for proportions and unit vectors, which are small, the same share of the prior's variance."""
    return THRESHOLD * (1.0 if space(fn) == "whole space" else float(draws.double().var(0).mean()))


def total_units(units: dict[str, Units]) -> Figure:
    """Number of active units of several continuous latents."""
    total = sum(len(unit.variance) for unit in units.values())
    error = sum(unit.active_error**2 for unit in units.values()) ** 0.5
    least = " or ".join(dict.fromkeys(f"{unit.threshold:.2g}" for unit in units.values()))
    note = f"of {total} continuous units: Var_x(E_q[z_d|x]) > {least}" if units else "no latent is continuous"
    return Figure(sum(unit.active for unit in units.values()), error, note)


def _codebook_figures(name: str, fn: TorchDistribution, codes: Tensor) -> dict[str, Figure]:
    use = codebook_use(fn, codes)
    return {
        f"codes_used[{name}]": Figure(
            use.share, use.share_error, f"share of the code values that occur among {len(codes)} data; grows with their number"
        ),
        f"perplexity[{name}]": Figure(
            use.perplexity, use.perplexity_error, "exp(entropy of the values' frequencies), their effective number"
        ),
    }
