"""Posterior probabilities of a label: of one that the model sums out, or of one that the pair is given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inference.densities.broadcasting import choose_layout
from inference.densities.layout import Layout, run_model
from inference.densities.log_density import guide_draws, log_joint
from inference.densities.scope import check_scorable, scoring
from inference.formatting import format_share
from inference.markup import Lines
from inference.numerics import seeded_blocks
from inference.scoring.chunks import Chunks
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate
from inference.scoring.pareto import pareto_k, pareto_k_threshold
from pyro_lvm.checks import check_counts, check_seeds
from pyro_lvm.contract import check_batch
from pyro_lvm.pair import Batch, programs
from pyro_lvm.reading import read_batch, read_rows
from pyro_lvm.sites import sites_of
from pyro_lvm.structure import Structure


@dataclass(frozen=True, eq=False, repr=False)
class LabelPosterior(Lines):
    """Posterior probabilities p(y|x) of a label with V values, float64, on the CPU.

    Attributes:
        probabilities: Estimates of p(y = v|x), ``[N, V]``, which add up to one.
        errors: Their standard errors over the draws, by the delta method, ``[N, V]``; zero where nothing is drawn.
        pareto_k: k-hat of the weights that they are made of, the largest over the values if these have weights of their own, ``[N]``; NaN
            where nothing is drawn, or draws are too few.
        num_particles: Draws for each datum.
        seed: Seed of the draws.
    """

    probabilities: Tensor
    errors: Tensor
    pareto_k: Tensor
    num_particles: int
    seed: int

    @property
    def most_probable(self) -> Tensor:
        """The most probable value of each datum, int64 ``[N]``."""
        return self.probabilities.argmax(1)

    @property
    def is_unreliable(self) -> Tensor:
        """Which data have a k-hat above :func:`~inference.scoring.pareto.pareto_k_threshold`, ``[N]``."""
        return self.pareto_k > pareto_k_threshold(max(self.num_particles, 2))

    def accuracy(self, labels: Any) -> tuple[float, float]:
        """Return the share of data whose most probable value is their label, and its standard error over the data.

        Args:
            labels: The true values, ``[N]``.

        Raises:
            ValueError: If there are more or fewer labels than data.
        """
        truth = torch.as_tensor(labels).cpu().reshape(-1)
        if len(truth) != len(self.probabilities):
            raise ValueError(f"labels must have one value for each of {len(self.probabilities)} data; got {len(truth)}.")
        share = float((self.most_probable == truth).double().mean())
        return share, (share * (1 - share) / len(truth)) ** 0.5

    def _lines(self) -> Iterator[tuple[str, str]]:
        surest = self.probabilities.max(1).values
        error = float(self.errors.gather(1, self.most_probable[:, None]).mean())
        yield "", f"p(y|x) of {len(surest)} data, {self.probabilities.shape[1]} values, K = {self.num_particles}, seed {self.seed}"
        yield "mean of the largest probability", f"{float(surest.mean()):.3f}, mean of its error over the draws {error:.2g}"
        if not bool(self.pareto_k.isnan().all()):
            share = format_share(float(self.is_unreliable.double().mean()), len(surest))
            yield f"k-hat above {pareto_k_threshold(max(self.num_particles, 2)):.2f}", f"for {share} of the data"


def label_posterior(pair: object, *data: Any, site: str | None = None, num_particles: int = 1000, seed: int = 0) -> LabelPosterior:
    r"""Estimate the posterior of a label that the model sums out, by importance sampling of the other latents.

    .. math:: p(y = v \mid x) = \frac{\sum_k w_k\, p(y = v \mid x, z_k)}{\sum_k w_k}, \quad
        w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

    Here p(y|x, z) is exact, and other latents that are summed out are so here, too. Where a label is observed, its posterior is certain.

    Args:
        pair: Any pair whose model marks the label for enumeration.
        data: Observations ``[N, *X]``, then any other arguments of the pair; or data in any other form that
            :func:`~inference.scoring.importance.evaluate` takes.
        site: Name of the label; by default, the only latent that is summed out.
        num_particles: Draws of the other latents for each datum, K.
        seed: Seed of the draws.

    Returns:
        A :class:`LabelPosterior`, with the values in the order of the site's support.

    Raises:
        ValueError: As for :func:`~inference.scoring.importance.evaluate`; also if no latent of that name is summed out, or it is summed out
            under ``pyro.markov``, or the guide is certain of another latent.
    """
    check_counts(num_particles=num_particles)
    check_seeds(seed=seed)
    batch = read_batch(pair, data)
    size = check_batch(*batch)
    with scoring(pair, batch[0].device):
        structure = check_scorable(pair, batch)
        name = _label_site(structure, site)
        if structure.is_bound or structure.is_deterministic:
            raise ValueError("p(y|x) needs draws of all other latents; the guide is certain of one. Use a guide that draws it.")
        count = 1 if structure.is_exact else num_particles
        layout = choose_layout(pair, batch, bool(structure.row_parameters), size)
        rows = size if layout.needs_all_rows else Chunks(None, layout).shape(batch, count)[0]
        order = torch.arange(size, device=batch[0].device)
        blocks = [
            _reduced(_log_weights(pair, tuple(x[part] for x in batch), name, count, layout)) for part in seeded_blocks(order, rows, seed)
        ]
    probabilities, errors, k_hat = (torch.cat(parts).cpu() for parts in zip(*blocks, strict=True))
    return LabelPosterior(probabilities, errors, k_hat, count, seed)


def class_posterior(
    pair: object,
    data: Any,
    *,
    num_labels: int,
    place: int = 1,
    log_prior: Sequence[float] | Tensor | None = None,
    **options: Any,
) -> LabelPosterior:
    r"""Estimate the posterior of a label that a pair is given as an argument, from the likelihood of the data with each value of it.

    .. math:: p(y = v \mid x) \propto p(y = v)\, p(x \mid y = v) = p(x, y = v)

    A model that is given the label, such as a :class:`~pyro_lvm.models.conditional.ConditionalVAE`, has p(x|y) and needs a prior; one that
    observes it, such as a :class:`~pyro_lvm.models.semi_supervised.SemiSupervisedVAE`, has p(x, y). The data are scored V times.

    Args:
        pair: Any pair that takes the label as an argument.
        data: As for :func:`~inference.scoring.importance.evaluate`; the values of the label are ignored.
        num_labels: Number of values, V, from 0 to V - 1.
        place: Place of the label among the arguments.
        log_prior: log p(y) up to a constant, ``[V]``; by default, all values are equally probable if the pair is given the label.
        options: Options of :func:`~inference.scoring.importance.evaluate`.

    Returns:
        A :class:`LabelPosterior`; its errors allow for those of all V scores.

    Raises:
        ValueError: As for :func:`~inference.scoring.importance.evaluate`; also if there is no such argument, the prior has another length,
            or a prior is given although the pair has its own, or scores are only bounds.
    """
    check_counts(2, num_labels=num_labels)
    rows = read_rows(data, pair=pair)
    if not 0 < place < len(rows):
        raise ValueError(
            f"place must be that of an argument after the observations, 1 to {len(rows) - 1}; got {place}. Pass data with labels."
        )
    label = rows[place]
    scores = [evaluate(pair, (*rows[:place], torch.full_like(label, v), *rows[place + 1 :]), **options) for v in range(num_labels)]
    if scores[0].is_bound:
        raise ValueError("p(y|x) needs estimates of log p(x); the pair has only bounds, as its guide is certain of a latent.")
    log_p = torch.stack([score.log_px for score in scores], 1) + _prior(log_prior, scores[0], num_labels)
    probabilities = log_p.softmax(1)  # [N, V]
    variances = torch.stack([score.mc_error for score in scores], 1).square()
    total = (probabilities.square() * variances).sum(1, keepdim=True)
    errors = probabilities * (total + (1 - 2 * probabilities) * variances).clamp_min(0).sqrt()
    k_hat = torch.stack([score.pareto_k for score in scores], 1).amax(1)
    return LabelPosterior(probabilities, errors, k_hat, scores[0].num_particles, scores[0].seed)


def _prior(log_prior: Sequence[float] | Tensor | None, score: Evaluation, num_labels: int) -> Tensor:
    if log_prior is None:
        return torch.zeros(num_labels, dtype=torch.float64)
    if not score.given_id:
        raise ValueError("log_prior must be left out for a pair that observes the label, whose scores hold its p(y). Leave it out.")
    prior = torch.as_tensor(log_prior, dtype=torch.float64)
    if prior.shape != (num_labels,):
        raise ValueError(f"log_prior must have one number for each of {num_labels} labels; got shape {tuple(prior.shape)}.")
    return prior


def _label_site(structure: Structure, site: str | None) -> str:
    names = structure.enumerated
    if site in names or (site is None and len(names) == 1):
        return site or names[0]
    known = ", ".join(names) or "none"
    raise ValueError(f"site must be a latent that the model sums out, of which there are: {known}; got {site!r}. Give its name.")


def _log_weights(pair: object, batch: Batch, name: str, num_particles: int, layout: Layout) -> Tensor:
    """Return log p(x, z, y = v) - log q(z|x), ``[V, K, B]``, with other summed-out latents summed out."""
    model, guide = programs(pair)
    log_q, latents = guide_draws(guide, batch, num_particles, layout)
    trace = run_model(model, batch, latents, num_particles, layout)
    dims = {site: msg["infer"]["_enumerate_dim"] for site, msg in sites_of(trace).items() if msg.get("infer", {}).get("_enumerate_dim")}
    if len(set(dims.values())) < len(dims):
        raise ValueError(
            f"the posterior of '{name}' is not known where pyro.markov sums latents out. Use encode(pair, x, enumerated=True)."
        )
    joint = log_joint(trace)  # [..., K, B], or [..., K * B]
    num_rows = 2 if layout.style != "tiled" else 1
    joint = joint.expand(*joint.shape[: joint.dim() - num_rows], *((num_particles, len(batch[0])) if num_rows == 2 else joint.shape[-1:]))
    others = [dim for dim in range(-joint.dim(), -num_rows) if dim != dims[name]]
    joint = joint.logsumexp(others) if others else joint  # [V, K, B]
    return joint.reshape(-1, num_particles, len(batch[0])).double() - log_q.double()


def _reduced(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return probabilities and their errors ``[B, V]``, and k-hat ``[B]``, of log weights ``[V, K, B]``."""
    log_total = log_w.logsumexp(0)  # [K, B]
    shares, weights = (log_w - log_total).exp(), log_total.softmax(0)
    probabilities = (weights * shares).sum(1)  # [V, B]
    K = len(log_total)
    if K == 1:
        return probabilities.T, torch.zeros_like(probabilities.T), torch.full_like(log_total[0], torch.nan)
    variances = (weights.square() * (shares - probabilities[:, None]).square()).sum(1) * K / (K - 1)
    return probabilities.T, variances.sqrt().T, pareto_k(log_total)
