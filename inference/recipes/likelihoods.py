"""Likelihoods by name, started from the data."""

from collections.abc import Callable
import math

import torch
from torch import Tensor, nn

from inference.recipes.sizes import MakeNetwork, Sizes
from pyro_lvm.likelihoods.binary import BernoulliLikelihood
from pyro_lvm.likelihoods.categorical import CategoricalLikelihood
from pyro_lvm.likelihoods.counts import NegativeBinomialLikelihood, PoissonLikelihood
from pyro_lvm.likelihoods.discretized_logistic import DiscretizedLogisticLikelihood
from pyro_lvm.likelihoods.real import GaussianLikelihood, StudentTLikelihood
from pyro_lvm.networks.initialize import set_output_bias_

MakeLikelihood = Callable[[Sizes, MakeNetwork, Tensor], nn.Module]


def _bernoulli(sizes: Sizes, network: MakeNetwork, train: Tensor) -> BernoulliLikelihood:
    # The rule of succession: finite logits for pixels that are always off.
    mean = (train.sum(0) + 1) / (len(train) + 2)
    return BernoulliLikelihood(_biased(network(train.shape[1:]), mean.logit()))


def _gaussian(sizes: Sizes, network: MakeNetwork, train: Tensor) -> GaussianLikelihood:
    network = _biased(network(train.shape[1:]), train.mean(0))
    return GaussianLikelihood(network, scale=_noise(sizes, train), learn_scale=True)


def _student_t(sizes: Sizes, network: MakeNetwork, train: Tensor) -> StudentTLikelihood:
    network = _biased(network(train.shape[1:]), train.median(0).values)
    return StudentTLikelihood(network, scale=_noise(sizes, train), learn_scale=True, learn_df=True)


def _discretized_logistic(sizes: Sizes, network: MakeNetwork, train: Tensor) -> DiscretizedLogisticLikelihood:
    C, y = sizes.logistic_components, train / 127.5 - 1
    loc = y.mean(0)  # [*X]
    log_scale = torch.full_like(loc, float(y.std() * math.sqrt(3) / math.pi)).log()
    params = torch.stack([torch.zeros_like(loc), loc, log_scale], -1).repeat_interleave(C, -1)  # [*X, 3C]
    return DiscretizedLogisticLikelihood(_biased(network(params.shape), params), num_components=C)


def _categorical(sizes: Sizes, network: MakeNetwork, train: Tensor) -> CategoricalLikelihood:
    return CategoricalLikelihood(network((*train.shape[1:], num_categories(train))))


def _poisson(sizes: Sizes, network: MakeNetwork, train: Tensor) -> PoissonLikelihood:
    return PoissonLikelihood(_biased(network(train.shape[1:]), _log_mean(train)))


def _negative_binomial(sizes: Sizes, network: MakeNetwork, train: Tensor) -> NegativeBinomialLikelihood:
    dispersion = torch.ones(train.shape[1:] if sizes.feature_noise else ())
    network = _biased(network(train.shape[1:]), _log_mean(train))
    return NegativeBinomialLikelihood(network, dispersion=dispersion, learn_dispersion=True)


def _biased(network: nn.Module, bias: Tensor) -> nn.Module:
    set_output_bias_(network, bias)
    return network


def _noise(sizes: Sizes, train: Tensor) -> Tensor:
    noise = train.std(0) if sizes.feature_noise else train.std()
    if not (noise > 0).all():
        raise ValueError(
            "a noise scale starts at the data's standard deviation, which must be positive; got 0 for "
            f"{int((noise == 0).sum())} of the scales. Drop constant features, or leave feature_noise out."
        )
    return noise


def _log_mean(train: Tensor) -> Tensor:
    # One more count in the whole column keeps the logarithm of a feature that is always 0 finite.
    return ((train.sum(0) + 1) / len(train)).log()


def num_categories(train: Tensor) -> int:
    """How many different codes, counted from 0, categorical data have."""
    return int(train.max()) + 1


LIKELIHOODS: dict[str, MakeLikelihood] = {  # from sizes, what makes a network of an output shape, and the training data
    "bernoulli": _bernoulli,
    "gaussian": _gaussian,
    "student-t": _student_t,
    "discretized-logistic": _discretized_logistic,
    "categorical": _categorical,
    "poisson": _poisson,
    "negative-binomial": _negative_binomial,
}
