"""What a latent variable model is made of: priors, likelihoods, encoders, and the pair of Pyro programs they make."""

from pyro_lvm.code_distributions import AutoregressiveCodes, CategoricalCodes, UniformCodes
from pyro_lvm.code_priors import CategoricalCodePrior, PixelCNNPrior, TransformerPrior, UniformCodePrior
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
from pyro_lvm.flows import InverseFlow, iaf, inverse_spline, maf, spline, whitened
from pyro_lvm.fsq import FSQ
from pyro_lvm.grids import GridDecoder, GridEncoder, SequenceDecoder, SequenceEncoder
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
from pyro_lvm.networks import MLP, ConvDecoder, ConvEncoder, GatedMLP, Join, he_normal_, set_output_bias_
from pyro_lvm.nongaussian import DirichletPrior, LaplacePrior, LogisticNormalPrior, StudentTPrior, UniformSpherePrior
from pyro_lvm.pair import Pair, penalty
from pyro_lvm.priors import FlowPrior, FullGaussianMixturePrior, GaussianMixturePrior, StandardNormal, VampPrior
from pyro_lvm.quantization import Quantizer, VectorQuantizer, code_use, rotated, straight_through
from pyro_lvm.relaxed import GumbelEncoder, IndicatorCodes, RelaxedCodes, StraightThroughEncoder
from pyro_lvm.soft_codes import SoftQuantizer
from pyro_lvm.vqvae import VQVAE

__all__ = [
    "FSQ",
    "MLP",
    "VAE",
    "VQVAE",
    "AutoregressiveCodes",
    "BernoulliLikelihood",
    "CategoricalCodePrior",
    "CategoricalCodes",
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
    "GridDecoder",
    "GridEncoder",
    "GumbelEncoder",
    "HierarchicalVAE",
    "IndicatorCodes",
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
    "PixelCNNPrior",
    "PoissonLikelihood",
    "PowerSpherical",
    "PowerSphericalEncoder",
    "Quantizer",
    "RelaxedCodes",
    "ResidualNormalEncoder",
    "SequenceDecoder",
    "SequenceEncoder",
    "SoftQuantizer",
    "StandardNormal",
    "StraightThroughEncoder",
    "Structure",
    "StudentTEncoder",
    "StudentTLikelihood",
    "StudentTPrior",
    "TransformerPrior",
    "TwoStageVAE",
    "UniformCodePrior",
    "UniformCodes",
    "UniformSpherePrior",
    "VampPrior",
    "VectorQuantizer",
    "check_pair",
    "code_use",
    "conv_ladder",
    "he_normal_",
    "iaf",
    "inverse_spline",
    "ladder",
    "maf",
    "mixture",
    "penalty",
    "rotated",
    "set_output_bias_",
    "spline",
    "stacked",
    "straight_through",
    "whitened",
]
