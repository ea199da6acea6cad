"""How far the ELBO lies below log p(x), and what of it a normal distribution fitted to each datum would win back."""

import torch

from inference.densities.unconstrained import ConstrainedError
from inference.diagnostics.estimates import Figure, blank, mean_over_data
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate
from pyro_lvm.pair import Batch

MOST_DATA = 256
_NUM_PARTICLES = 1000
_NAMES = ("approximation_gap", "amortization_gap")


def gap_figures(pair: object, batch: Batch, seed: int) -> dict[str, Figure]:
    """Score data with refined proposals and return :func:`gaps`; blank, with the reason, where this is refused."""
    try:
        score = evaluate(pair, batch, num_particles=_NUM_PARTICLES, proposal="refined", seed=seed, progress=False, compile=False)
    except ValueError as error:
        reason = error.__cause__ if isinstance(error.__cause__, ConstrainedError) else error  # without advice on evaluate's arguments
        return dict.fromkeys(_NAMES, blank(f"blank: {reason}"))
    return gaps(score)


def gaps(score: Evaluation) -> dict[str, Figure]:
    r"""Split log p(x) - ELBO at the ELBO of the normal distribution r that batch and match fits to p(z|x) of each datum.

    .. math:: \log p(x) - \mathrm{ELBO}(q) = \underbrace{\log p(x) - \mathrm{ELBO}(r)}_{\mathrm{approximation}}
        + \underbrace{\mathrm{ELBO}(r) - \mathrm{ELBO}(q)}_{\mathrm{amortization}}

    Args:
        score: An evaluation with refined proposals of all data.

    Returns:
        Means over the data in nats. Their standard errors include the scatter of the draws.

    References:
        Cremer, Li, Duvenaud (2018), Inference Suboptimality in Variational Autoencoders. https://arxiv.org/abs/1801.03558
    """
    fitted = torch.as_tensor(score.normal_elbo)
    size, marked = len(score.log_px), int(score.is_unreliable.sum())
    infinite = int((~torch.stack([fitted, score.elbo]).isfinite().all(0)).sum())
    notes = (
        f"log p(x) - ELBO of a normal distribution fitted to p(z|x), from {size} data; it matches scores and does not maximize the ELBO, "
        "so that this is an upper bound for full-covariance normal guides; "
        f"k-hat marks {marked} of {size}{', where it is too low' * (marked > 0)}",
        "ELBO of that normal distribution - ELBO of the guide; includes what a full covariance gains over a diagonal guide, and is "
        "negative if the guide is better; the sum of both gaps is log p(x) - ELBO",
    )
    values = score.log_px - fitted, fitted - score.elbo
    warning = f"; an ELBO is not finite for {infinite} of {size}" if infinite else ""
    return {name: Figure(*mean_over_data(value[None]), note + warning) for name, value, note in zip(_NAMES, values, notes, strict=True)}
