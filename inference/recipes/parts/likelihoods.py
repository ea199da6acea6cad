"""Likelihoods by name, initialized from the data."""

from collections.abc import Mapping
import math
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

from inference.recipes.parts.columns import CountDensity, RealDensity, as_real, mixed_likelihood
from inference.recipes.registries import LIKELIHOODS
from inference.recipes.sizes import MakeNetwork
import pyro_lvm as lvm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from inference.data.columns import Column


@LIKELIHOODS.register("auto", takes_columns=True)
def _auto(
    network: MakeNetwork,
    train: "Tensor",
    columns: "tuple[Column, ...] | None",
    *,
    real_density: RealDensity = "normal",
    count_density: CountDensity = "negative-binomial",
) -> "nn.Module":
    if columns is None:
        return _bernoulli(network, train)
    return mixed_likelihood(network, train, columns, real_density, count_density)


@LIKELIHOODS.register("mixed", takes_columns=True)
def _mixed(
    network: MakeNetwork,
    train: "Tensor",
    columns: "tuple[Column, ...] | None",
    *,
    real_density: RealDensity = "normal",
    count_density: CountDensity = "negative-binomial",
) -> "nn.Module":
    """Build a likelihood of a table, whose columns are of several kinds.

    Args:
        real_density: Density of real columns of a table, for auto and mixed.
        count_density: Distribution of the counts of a table, for auto and mixed.
    """
    return mixed_likelihood(network, train, columns, real_density, count_density)


@LIKELIHOODS.register("bernoulli")
def _bernoulli(network: MakeNetwork, train: "Tensor") -> "nn.Module":
    # The rule of succession keeps the logits of pixels that are always off finite.
    mean = (train.sum(0) + 1) / (len(train) + 2)
    return lvm.BernoulliLikelihood(_biased(network(train.shape[1:]), mean.logit()))


@LIKELIHOODS.register("gaussian", takes_columns=True)
def _gaussian(network: MakeNetwork, train: "Tensor", columns: "tuple[Column, ...] | None", *, feature_noise: bool = False) -> "nn.Module":
    """Build a normal likelihood.

    Args:
        feature_noise: Learn a noise scale (gaussian, student-t) or dispersion (negative-binomial) for each
            feature instead of one for all. On a table, scales are in standard deviations of each column.
    """
    if columns is not None:
        return mixed_likelihood(network, train, as_real(columns), "normal", feature_noise=feature_noise)
    decoder = _biased(network(train.shape[1:]), train.mean(0))
    return lvm.GaussianLikelihood(decoder, scale=_noise(train, feature_noise), learn_scale=True)


@LIKELIHOODS.register("student-t", takes_columns=True)
def _student_t(network: MakeNetwork, train: "Tensor", columns: "tuple[Column, ...] | None", *, feature_noise: bool = False) -> "nn.Module":
    if columns is not None:
        return mixed_likelihood(network, train, as_real(columns), "student-t", feature_noise=feature_noise)
    from pyro_lvm.rows.lazy import some_rows

    decoder = _biased(network(train.shape[1:]), some_rows(train).median(0).values)
    return lvm.StudentTLikelihood(decoder, scale=_noise(train, feature_noise), learn_scale=True, learn_df=True)


@LIKELIHOODS.register("discretized-logistic")
def _discretized_logistic(network: MakeNetwork, train: "Tensor", *, logistic_components: PositiveInt = 1) -> "nn.Module":
    """Build a likelihood of gray levels.

    Args:
        logistic_components: Logistics in the mixture of each pixel, for discretized-logistic.
    """
    import torch

    from pyro_lvm.rows.lazy import computed

    C, y = logistic_components, computed(train, lambda x: x / 127.5 - 1)
    loc = y.mean(0)  # [*X]
    log_scale = torch.full_like(loc, float(y.std() * math.sqrt(3) / math.pi)).log()
    params = torch.stack([torch.zeros_like(loc), loc, log_scale], -1).repeat_interleave(C, -1)  # [*X, 3C]
    return lvm.DiscretizedLogisticLikelihood(_biased(network(params.shape), params), num_components=C)


@LIKELIHOODS.register("categorical", is_categorical=True)
def _categorical(network: MakeNetwork, train: "Tensor") -> "nn.Module":
    return lvm.CategoricalLikelihood(network((*train.shape[1:], num_categories(train))))


@LIKELIHOODS.register("poisson", is_counts=True)
def _poisson(network: MakeNetwork, train: "Tensor", given: "Mapping[str, Tensor]", *, offset: str | None = None) -> "nn.Module":
    """Build a Poisson likelihood.

    Args:
        offset: Name of the condition, a positive exposure such as total, by which the rates of counts are multiplied. For multinomial, it
            is the total that is given. Scores are then of log p(x | offset).
    """
    return lvm.PoissonLikelihood(_log_rates(network, train, given, offset))


@LIKELIHOODS.register("negative-binomial", is_counts=True)
def _negative_binomial(
    network: MakeNetwork, train: "Tensor", given: "Mapping[str, Tensor]", *, feature_noise: bool = False, offset: str | None = None
) -> "nn.Module":
    decoder = _log_rates(network, train, given, offset)
    return lvm.NegativeBinomialLikelihood(decoder, dispersion=_ones(train, feature_noise), learn_dispersion=True)


@LIKELIHOODS.register("zero-inflated-negative-binomial", is_counts=True)
def _zero_inflated(
    network: MakeNetwork, train: "Tensor", given: "Mapping[str, Tensor]", *, feature_noise: bool = False, offset: str | None = None
) -> "nn.Module":
    return lvm.ZeroInflatedNegativeBinomialLikelihood(
        _log_rates(network, train, given, offset),
        dispersion=_ones(train, feature_noise),
        learn_dispersion=True,
        gate=0.1 * _ones(train, True),
        learn_gate=True,
    )


@LIKELIHOODS.register("multinomial", is_counts=True)
def _multinomial(network: MakeNetwork, train: "Tensor", given: "Mapping[str, Tensor]", *, offset: str | None = None) -> "nn.Module":
    if offset is None:
        return lvm.MultinomialLikelihood(_log_rates(network, train, given, None), dispersion=_ones(train, False), learn_dispersion=True)
    if not _totals(train).equal(_exposure(given, offset)):
        raise ValueError(
            f"offset of likelihood 'multinomial' must be the total of each row; got {offset!r}, which is not. Give data.condition total "
            "and model.offset total, or choose another model.likelihood."
        )
    decoder = _biased(network(train.shape[1:]), _log_mean(train))
    return lvm.MultinomialLikelihood(decoder, total=list(given).index(offset))


def _log_rates(network: MakeNetwork, train: "Tensor", given: "Mapping[str, Tensor]", offset: str | None) -> "nn.Module":
    """A network of log rates that starts at the columns' mean rates, per unit of an exposure if there is one."""
    if offset is None:
        return _biased(network(train.shape[1:]), _log_mean(train))
    exposure = _exposure(given, offset)
    decoder = _biased(network(train.shape[1:]), _log_mean(train) - exposure.mean().log())
    return lvm.Offset(decoder, list(given).index(offset))


def _exposure(given: "Mapping[str, Tensor]", offset: str) -> "Tensor":
    """The values of the condition that is the offset, ``[N]``."""
    values = given.get(offset)
    if values is None:
        raise ValueError(
            f"offset must name a condition, {', '.join(given) or 'of which there are none'}; got {offset!r}. Give data.condition {offset} "
            "and model.structure conditional, or leave model.offset out."
        )
    if values.shape[1:] != (1,) or not (values > 0).all():
        raise ValueError(
            f"offset {offset!r} must be one positive number for each row, such as a total; got values of shape "
            f"{tuple(values.shape)} from {values.min():g} to {values.max():g}. Leave out rows without counts."
        )
    return values[:, 0]


def _totals(train: "Tensor") -> "Tensor":
    """The total of each row, ``[N]``."""
    import torch

    from pyro_lvm.rows.lazy import in_parts

    return torch.cat([part.flatten(1).sum(1) for part in in_parts(train)])


def _ones(train: "Tensor", each: bool) -> "Tensor":
    import torch

    return torch.ones(train.shape[1:] if each else ())


def _biased(network: "nn.Module", bias: "Tensor") -> "nn.Module":
    lvm.set_output_bias_(network, bias)
    return network


def _noise(train: "Tensor", feature_noise: bool) -> "Tensor":
    noise = train.std(0) if feature_noise else train.std()
    if not (noise > 0).all():
        raise ValueError(
            "the data's standard deviation, at which noise scales are initialized, must be positive; got 0 for "
            f"{int((noise == 0).sum())} of the scales. Drop constant features, or leave feature_noise out."
        )
    return noise


def _log_mean(train: "Tensor") -> "Tensor":
    # One extra count per feature keeps the logarithm of a feature that is always 0 finite.
    return ((train.sum(0) + 1) / len(train)).log()


def num_categories(train: "Tensor") -> int:
    """Number of categories of categorical data, whose codes count from 0."""
    return int(train.max()) + 1
