"""What a latent variable model is made of: priors, likelihoods, encoders, and the pair of Pyro programs they make."""

from pyro_lvm.contract import Structure, check_pair
from pyro_lvm.distributions import DiagNormalMixture, FlowDistribution, FullNormalMixture, mixture
from pyro_lvm.encoders import (
    DirichletEncoder,
    FlowEncoder,
    FullRankNormalEncoder,
    LaplaceEncoder,
    LogisticNormalEncoder,
    NormalEncoder,
    PowerSphericalEncoder,
    ResidualNormalEncoder,
    StudentTEncoder,
)
from pyro_lvm.flows import InverseFlow, iaf, inverse_spline, maf, spline, standardized
from pyro_lvm.hierarchical import HierarchicalVAE
from pyro_lvm.levels import Levels, conv_ladder, ladder, stacked
from pyro_lvm.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretizedLogisticLikelihood,
    GaussianLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    StudentTLikelihood,
)
from pyro_lvm.manifolds import LogisticNormal, PowerSpherical
from pyro_lvm.models import VAE, TwoStageVAE
from pyro_lvm.networks import MLP, ConvDecoder, ConvEncoder, GatedMLP, Join, set_output_bias_
from pyro_lvm.nongaussian import DirichletPrior, LaplacePrior, LogisticNormalPrior, StudentTPrior, UniformSpherePrior
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
    "DirichletEncoder",
    "DirichletPrior",
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
    "HierarchicalVAE",
    "InverseFlow",
    "Join",
    "LaplaceEncoder",
    "LaplacePrior",
    "Levels",
    "LogisticNormal",
    "LogisticNormalEncoder",
    "LogisticNormalPrior",
    "NegativeBinomialLikelihood",
    "NormalEncoder",
    "Pair",
    "PoissonLikelihood",
    "PowerSpherical",
    "PowerSphericalEncoder",
    "ResidualNormalEncoder",
    "StandardNormal",
    "Structure",
    "StudentTEncoder",
    "StudentTLikelihood",
    "StudentTPrior",
    "TwoStageVAE",
    "UniformSpherePrior",
    "VampPrior",
    "check_pair",
    "conv_ladder",
    "iaf",
    "inverse_spline",
    "ladder",
    "maf",
    "mixture",
    "penalty",
    "set_output_bias_",
    "spline",
    "stacked",
    "standardized",
]
