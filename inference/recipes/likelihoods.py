"""Likelihoods by name, initialized from the data."""

from collections.abc import Callable
import math

import torch
from torch import Tensor, nn

from inference.recipes.sizes import MakeNetwork, Sizes
import pyro_lvm as lvm
from pyro_lvm.rows.lazy import computed, some_rows

MakeLikelihood = Callable[[Sizes, MakeNetwork, Tensor], nn.Module]


def _bernoulli(sizes: Sizes, network: MakeNetwork, train: Tensor) -> lvm.BernoulliLikelihood:
    # The rule of succession keeps the logits of pixels that are always off finite.
    mean = (train.sum(0) + 1) / (len(train) + 2)
    return lvm.BernoulliLikelihood(_biased(network(train.shape[1:]), mean.logit()))


def _gaussian(sizes: Sizes, network: MakeNetwork, train: Tensor) -> lvm.GaussianLikelihood:
    network = _biased(network(train.shape[1:]), train.mean(0))
    return lvm.GaussianLikelihood(network, scale=_noise(sizes, train), learn_scale=True)


def _student_t(sizes: Sizes, network: MakeNetwork, train: Tensor) -> lvm.StudentTLikelihood:
    network = _biased(network(train.shape[1:]), some_rows(train).median(0).values)
    return lvm.StudentTLikelihood(network, scale=_noise(sizes, train), learn_scale=True, learn_df=True)


def _discretized_logistic(sizes: Sizes, network: MakeNetwork, train: Tensor) -> lvm.DiscretizedLogisticLikelihood:
    C, y = sizes.logistic_components, computed(train, lambda x: x / 127.5 - 1)
    loc = y.mean(0)  # [*X]
    log_scale = torch.full_like(loc, float(y.std() * math.sqrt(3) / math.pi)).log()
    params = torch.stack([torch.zeros_like(loc), loc, log_scale], -1).repeat_interleave(C, -1)  # [*X, 3C]
    return lvm.DiscretizedLogisticLikelihood(_biased(network(params.shape), params), num_components=C)


def _categorical(sizes: Sizes, network: MakeNetwork, train: Tensor) -> lvm.CategoricalLikelihood:
    return lvm.CategoricalLikelihood(network((*train.shape[1:], num_categories(train))))


def _poisson(sizes: Sizes, network: MakeNetwork, train: Tensor) -> lvm.PoissonLikelihood:
    return lvm.PoissonLikelihood(_biased(network(train.shape[1:]), _log_mean(train)))


def _negative_binomial(sizes: Sizes, network: MakeNetwork, train: Tensor) -> lvm.NegativeBinomialLikelihood:
    dispersion = torch.ones(train.shape[1:] if sizes.feature_noise else ())
    network = _biased(network(train.shape[1:]), _log_mean(train))
    return lvm.NegativeBinomialLikelihood(network, dispersion=dispersion, learn_dispersion=True)


def _biased(network: nn.Module, bias: Tensor) -> nn.Module:
    lvm.set_output_bias_(network, bias)
    return network


def _noise(sizes: Sizes, train: Tensor) -> Tensor:
    noise = train.std(0) if sizes.feature_noise else train.std()
    if not (noise > 0).all():
        raise ValueError(
            "the data's standard deviation, at which noise scales are initialized, must be positive; got 0 for "
            f"{int((noise == 0).sum())} of the scales. Drop constant features, or leave feature_noise out."
        )
    return noise


def _log_mean(train: Tensor) -> Tensor:
    # One extra count per feature keeps the logarithm of a feature that is always 0 finite.
    return ((train.sum(0) + 1) / len(train)).log()


def num_categories(train: Tensor) -> int:
    """Number of categories of categorical data, whose codes count from 0."""
    return int(train.max()) + 1


LIKELIHOODS: dict[str, MakeLikelihood] = {  # from sizes, a function that makes a network with a given output shape, and the training data
    "bernoulli": _bernoulli,
    "gaussian": _gaussian,
    "student-t": _student_t,
    "discretized-logistic": _discretized_logistic,
    "categorical": _categorical,
    "poisson": _poisson,
    "negative-binomial": _negative_binomial,
}
