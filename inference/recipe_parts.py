"""Networks and likelihoods by name, started from the data: what models of every kind are made of."""

from collections.abc import Callable
import math

import torch
from torch import Tensor, nn

from inference.options import ModelOptions, Shape
from pyro_lvm.inputs import OneHot, Standardize
from pyro_lvm.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    StudentTLikelihood,
)
from pyro_lvm.networks import MLP, ConvDecoder, ConvEncoder, GatedMLP, set_output_bias_

MakeNetwork = Callable[..., nn.Module]


def _bernoulli(options: ModelOptions, network: MakeNetwork, train: Tensor) -> BernoulliLikelihood:
    # The rule of succession: finite logits for pixels that are always off.
    mean = (train.sum(0) + 1) / (len(train) + 2)
    return BernoulliLikelihood(_biased(network(train.shape[1:]), mean.logit()))


def _gaussian(options: ModelOptions, network: MakeNetwork, train: Tensor) -> GaussianLikelihood:
    network = _biased(network(train.shape[1:]), train.mean(0))
    return GaussianLikelihood(network, scale=_noise(options, train), learn_scale=True)


def _student_t(options: ModelOptions, network: MakeNetwork, train: Tensor) -> StudentTLikelihood:
    network = _biased(network(train.shape[1:]), train.median(0).values)
    return StudentTLikelihood(network, scale=_noise(options, train), learn_scale=True, learn_df=True)


def _discretized_logistic(
    options: ModelOptions, network: MakeNetwork, train: Tensor
) -> DiscretizedLogisticLikelihood:
    C, y = options.logistic_components, train / 127.5 - 1
    loc = y.mean(0)  # [*X]
    log_scale = torch.full_like(loc, float(y.std() * math.sqrt(3) / math.pi)).log()
    params = torch.stack([torch.zeros_like(loc), loc, log_scale], -1).repeat_interleave(C, -1)  # [*X, 3C]
    return DiscretizedLogisticLikelihood(_biased(network(params.shape), params), num_components=C)


def _categorical(options: ModelOptions, network: MakeNetwork, train: Tensor) -> CategoricalLikelihood:
    return CategoricalLikelihood(network((*train.shape[1:], num_categories(train))))


def _poisson(options: ModelOptions, network: MakeNetwork, train: Tensor) -> PoissonLikelihood:
    return PoissonLikelihood(_biased(network(train.shape[1:]), _log_mean(train)))


def _negative_binomial(
    options: ModelOptions, network: MakeNetwork, train: Tensor
) -> NegativeBinomialLikelihood:
    dispersion = torch.ones(train.shape[1:] if options.feature_noise else ())
    network = _biased(network(train.shape[1:]), _log_mean(train))
    return NegativeBinomialLikelihood(network, dispersion=dispersion, learn_dispersion=True)


def _biased(network: nn.Module, bias: Tensor) -> nn.Module:
    set_output_bias_(network, bias)
    return network


def _noise(options: ModelOptions, train: Tensor) -> Tensor:
    noise = train.std(0) if options.feature_noise else train.std()
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


def encoder_network(options: ModelOptions, train: Tensor, out_shape: int | Shape) -> nn.Module:
    """The network of an encoder, from data as they come to ``out_shape``."""
    inputs, shape = inputs_of(options, train)
    network = NETWORKS[options.network][0](shape, options.hidden, out_shape)
    return network if inputs is None else nn.Sequential(inputs, network)


def decoder_hidden(options: ModelOptions) -> Shape:
    """The decoder's hidden widths or channels, from the latents on."""
    return options.decoder_hidden or options.hidden[::-1]


def inputs_of(options: ModelOptions, train: Tensor) -> tuple[nn.Module | None, Shape]:
    """The layer that data pass first, and the shape they have after it."""
    shape = _checked_shape(options, train.shape[1:])
    if options.likelihood == "categorical":
        V = num_categories(train)
        return OneHot(V, len(shape)), (V * shape[0], *shape[1:])
    is_unit = train.min() >= 0 and train.max() <= 1
    return None if is_unit else Standardize(train), shape


def _checked_shape(options: ModelOptions, shape: Shape) -> Shape:
    if options.network == "conv" and len(shape) != 3:
        raise ValueError(
            f"the conv network needs data of shape [channels, height, width]; got {tuple(shape)}. "
            "Give data.shape, such as [1,28,28]."
        )
    return shape


LIKELIHOODS: dict[str, Callable[[ModelOptions, MakeNetwork, Tensor], nn.Module]] = {
    "bernoulli": _bernoulli,
    "gaussian": _gaussian,
    "student-t": _student_t,
    "discretized-logistic": _discretized_logistic,
    "categorical": _categorical,
    "poisson": _poisson,
    "negative-binomial": _negative_binomial,
}
NETWORKS: dict[str, tuple[MakeNetwork, MakeNetwork]] = {
    "mlp": (MLP, MLP),
    "gated": (GatedMLP, GatedMLP),
    "conv": (ConvEncoder, ConvDecoder),
}
