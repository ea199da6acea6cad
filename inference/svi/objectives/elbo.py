"""The evidence lower bound of a pair, as Pyro estimates it."""

from collections.abc import Callable

from pyro import poutine
from pyro.infer import ELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from torch.distributions import kl_divergence

from pyro_lvm.sites import Site, density_sites, innermost, is_point_mass
from pyro_lvm.structure import Structure

_REMEDY = "Use Trace_ELBO, or --fit.analytic_kl false in the shell."


def default_objective(structure: Structure, *, num_particles: int = 1, analytic_kl: bool = False) -> ELBO:
    """Return the evidence lower bound of a pair, in which latents that the model marks for enumeration are summed out.

    Args:
        structure: The structure of the pair.
        num_particles: Draws per datum.
        analytic_kl: Whether KLs with a closed form are computed by it.

    Raises:
        ValueError: If ``analytic_kl`` is asked for where latents are summed out.
    """
    if analytic_kl and structure.enumerated:
        raise ValueError(f"the analytic KL takes no latents that are summed out; {structure.enumerated} are. {_REMEDY}")
    kind = AnalyticKL if analytic_kl else TraceEnum_ELBO if structure.enumerated else Trace_ELBO
    nesting = 1 if structure.refusal is None else float("inf")
    return kind(num_particles=num_particles, vectorize_particles=num_particles > 1, max_plate_nesting=nesting)


class AnalyticKL(TraceMeanField_ELBO):
    r"""The evidence lower bound, in which KLs with a closed form are computed by it; ``TraceMeanField_ELBO`` that checks what it assumes.

    .. math:: \mathbb{E}_q\Big[\log p(x \mid z) - \sum_l \mathrm{KL}\big(q(z_l \mid z_{<l}, x) \,\|\, p(z_l \mid z_{<l})\big)\Big]

    Latents whose KL has no closed form, as under a mixture, count with their draws. The arguments are those of ``pyro.infer.ELBO``.

    Raises:
        ValueError: At a loss, if no KL has a closed form; if guide and model have their latents in different orders, so that the formula
            is wrong; or if a latent of the guide is not reparameterized, or has one value with certainty, as in Pyro's automatic guides.
    """

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self._known: set[tuple[type, ...]] = set()

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple[poutine.Trace, poutine.Trace]:
        model_trace, guide_trace = super()._get_trace(model, guide, args, kwargs)
        sampled, drawn = ([site for site in density_sites(trace) if not site["is_observed"]] for trace in (model_trace, guide_trace))
        self._check_latents(sampled, drawn)
        return model_trace, guide_trace

    def _check_latents(self, sampled: list[Site], drawn: list[Site]) -> None:
        names, others = [site["name"] for site in sampled], [site["name"] for site in drawn]
        if names != others:
            raise ValueError(
                f"the analytic KL needs the same latents in the same order; the model has {names}, the guide {others}. {_REMEDY}"
            )
        for site in drawn:
            if not site["fn"].has_rsample or is_point_mass(site):
                what = "has one value with certainty" if is_point_mass(site) else "has no rsample"
                raise ValueError(f"the analytic KL needs latents with densities and gradients; '{site['name']}' {what}. {_REMEDY}")
        kinds = tuple(type(innermost(site["fn"])) for site in (*sampled, *drawn))
        if kinds not in self._known and not any(_has_closed_form(*each) for each in zip(drawn, sampled, strict=True)):
            raise ValueError(f"no KL of the latents {names} has a closed form that torch or Pyro knows. {_REMEDY}")
        self._known.add(kinds)


def _has_closed_form(drawn: Site, sampled: Site) -> bool:
    try:
        kl_divergence(drawn["fn"], sampled["fn"])
    except NotImplementedError:
        return False
    return True
