"""What a latent variable model is made of: priors, likelihoods, encoders, and the pair of Pyro programs they make."""

from pyro_lvm.contract import Structure, check_pair
from pyro_lvm.distributions import DiagNormalMixture, FlowDistribution, FullNormalMixture, mixture
from pyro_lvm.encoders import FlowEncoder, FullRankNormalEncoder, NormalEncoder
from pyro_lvm.flows import InverseFlow, iaf, inverse_spline, maf, spline, standardized
from pyro_lvm.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    StudentTLikelihood,
)
from pyro_lvm.models import VAE, TwoStageVAE
from pyro_lvm.networks import MLP, ConvDecoder, ConvEncoder, GatedMLP, set_output_bias_
from pyro_lvm.pair import Pair, penalty
from pyro_lvm.priors import FlowPrior, FullGaussianMixturePrior, GaussianMixturePrior, StandardNormal, VampPrior

__all__ = [
    "MLP",
    "VAE",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "ConvDecoder",
    "ConvEncoder",
    "DiagNormalMixture",
    "DiscretizedLogisticLikelihood",
    "FlowDistribution",
    "FlowEncoder",
    "FlowPrior",
    "FullGaussianMixturePrior",
    "FullNormalMixture",
    "FullRankNormalEncoder",
    "GatedMLP",
    "GaussianLikelihood",
    "GaussianMixturePrior",
    "InverseFlow",
    "NegativeBinomialLikelihood",
    "NormalEncoder",
    "Pair",
    "PoissonLikelihood",
    "StandardNormal",
    "Structure",
    "StudentTLikelihood",
    "TwoStageVAE",
    "VampPrior",
    "check_pair",
    "iaf",
    "inverse_spline",
    "maf",
    "mixture",
    "penalty",
    "set_output_bias_",
    "spline",
    "standardized",
]
