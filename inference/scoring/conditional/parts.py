"""The likelihood of a part of the data given another part, such as one modality given another."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inference.formatting import format_error, format_with_error
from inference.markup import Lines
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate
from inference.scoring.reduction import standard_error_of_mean


@dataclass(frozen=True, eq=False, repr=False)
class ConditionalScore(Lines):
    r"""Estimates of log p(x1|x2) = log p(x1, x2) - log p(x2), in nats.

    Both terms are too low in expectation, so that their difference is no bound: :attr:`bias` may have either sign.

    Attributes:
        joint: Score of all data, log p(x1, x2).
        marginal: Score of the part that is given, log p(x2).
    """

    joint: Evaluation
    marginal: Evaluation

    @property
    def log_prob(self) -> Tensor:
        """log p(x1|x2) of each datum, float64 ``[N]``."""
        return self.joint.log_px - self.marginal.log_px

    @property
    def mc_error(self) -> Tensor:
        """Standard error of each datum over the draws, at least: the draws of both terms are taken for independent, ``[N]``."""
        return (self.joint.mc_error.square() + self.marginal.mc_error.square()).sqrt()

    @property
    def mean(self) -> float:
        """Mean over the data."""
        return float(self.log_prob.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the data; it includes the scatter of the draws."""
        return standard_error_of_mean(self.log_prob)

    @property
    def bias(self) -> float:
        """Bias of the mean due to the draws, that of the joint score minus that of the marginal one; estimated, and not corrected."""
        return self.joint.bias_of_mean - self.marginal.bias_of_mean

    @property
    def is_unreliable(self) -> Tensor:
        """Which data have a k-hat that is too high in either score, ``[N]``."""
        return self.joint.is_unreliable | self.marginal.is_unreliable

    def _lines(self) -> Iterator[tuple[str, str]]:
        mean = format_with_error(self.mean, self.standard_error)
        yield "log p(x1|x2)", f"= {mean} nats per datum, a difference of estimates and no bound"
        joint, marginal = (format_with_error(score.mean, score.standard_error) for score in (self.joint, self.marginal))
        yield "log p(x1, x2)", f"= {joint}, log p(x2) = {marginal}"
        side = "below" if self.bias < 0 else "above"
        marked = f"k-hat marks {int(self.is_unreliable.sum())} of {len(self.log_prob)} data"
        yield "bias of the difference", f"{format_error(abs(self.bias))} {side} log p(x1|x2), not corrected; {marked}"


def conditional_log_prob(pair: object, data: Any, given: Any, **options: Any) -> ConditionalScore:
    r"""Estimate the likelihood of a part of the data given the rest of them.

    .. math:: \log p(x_1 \mid x_2) = \log p(x_1, x_2) - \log p(x_2)

    The pair leaves out what is masked, as by ``pyro.poutine.mask`` with a mask among its arguments: it is scored with ``data``, in which
    both parts count, and with ``given``, in which only the second one does.

    Args:
        pair: Any pair.
        data: Data in which x1 and x2 are observed, as for :func:`~inference.scoring.importance.evaluate`.
        given: The same data with only x2 observed, such as with another mask or with labels that are missing.
        options: Options of :func:`~inference.scoring.importance.evaluate`, for both scores.

    Returns:
        A :class:`ConditionalScore`.

    Raises:
        ValueError: As for :func:`~inference.scoring.importance.evaluate`; also if both have not the same number of data, either score is
            only a bound, or ``given`` observes as many elements as ``data`` or more.
    """
    joint, marginal = evaluate(pair, data, **options), evaluate(pair, given, **options)
    if len(joint.log_px) != len(marginal.log_px):
        raise ValueError(f"given must have as many data as data, {len(joint.log_px)}; got {len(marginal.log_px)}. Pass the same rows.")
    if joint.is_bound or marginal.is_bound:
        raise ValueError("log p(x1|x2) needs estimates of both terms; the pair has only bounds, as its guide is certain of a latent.")
    if not marginal.num_dims < joint.num_dims:
        raise ValueError(
            f"given must observe a part of what data observe, {joint.num_dims:g} elements; it observes {marginal.num_dims:g}. Mask x1."
        )
    return ConditionalScore(joint, marginal)
