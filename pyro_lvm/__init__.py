"""What a latent variable model is made of: priors, likelihoods, encoders, and the pair of Pyro programs they make."""

from pyro_lvm.contract import Structure, check_pair
from pyro_lvm.distributions.codes import AutoregressiveCodes, CategoricalCodes, UniformCodes
from pyro_lvm.distributions.flow import FlowDistribution
from pyro_lvm.distributions.indicators import IndicatorCodes, RelaxedCodes
from pyro_lvm.distributions.normal_mixture import DiagNormalMixture, FullNormalMixture, mixture
from pyro_lvm.distributions.simplex import LogisticNormal
from pyro_lvm.distributions.sphere import PowerSpherical
from pyro_lvm.encoders.codebook import VectorQuantizer
from pyro_lvm.encoders.codes import code_use
from pyro_lvm.encoders.flow import FlowEncoder
from pyro_lvm.encoders.fsq import FSQ
from pyro_lvm.encoders.gradients import rotated, straight_through
from pyro_lvm.encoders.heavy_tails import LaplaceEncoder, StudentTEncoder
from pyro_lvm.encoders.normal import FullRankNormalEncoder, NormalEncoder, ResidualNormalEncoder
from pyro_lvm.encoders.quantizer import Quantizer
from pyro_lvm.encoders.relaxed import GumbelEncoder, StraightThroughEncoder
from pyro_lvm.encoders.simplex import DirichletEncoder, LogisticNormalEncoder
from pyro_lvm.encoders.soft import SoftQuantizer
from pyro_lvm.encoders.sphere import PowerSphericalEncoder
from pyro_lvm.likelihoods.binary import BernoulliLikelihood
from pyro_lvm.likelihoods.categorical import CategoricalLikelihood
from pyro_lvm.likelihoods.counts import NegativeBinomialLikelihood, PoissonLikelihood
from pyro_lvm.likelihoods.discretized_logistic import DiscretizedLogisticLikelihood
from pyro_lvm.likelihoods.real import GaussianLikelihood, StudentTLikelihood
from pyro_lvm.models.hierarchical import HierarchicalVAE
from pyro_lvm.models.levels import Levels, conv_ladder, ladder, stacked
from pyro_lvm.models.vae import VAE, TwoStageVAE
from pyro_lvm.models.vqvae import VQVAE
from pyro_lvm.networks.conv import ConvDecoder, ConvEncoder
from pyro_lvm.networks.flows import InverseFlow, iaf, inverse_spline, maf, spline, whitened
from pyro_lvm.networks.grids import GridDecoder, GridEncoder, SequenceDecoder, SequenceEncoder
from pyro_lvm.networks.initialize import he_normal_, set_output_bias_
from pyro_lvm.networks.mlp import MLP, GatedMLP
from pyro_lvm.networks.network import Join
from pyro_lvm.pair import Pair
from pyro_lvm.priors.autoregressive import PixelCNNPrior, TransformerPrior
from pyro_lvm.priors.codes import CategoricalCodePrior, UniformCodePrior
from pyro_lvm.priors.flow import FlowPrior
from pyro_lvm.priors.gaussian_mixture import FullGaussianMixturePrior, GaussianMixturePrior
from pyro_lvm.priors.heavy_tails import LaplacePrior, StudentTPrior
from pyro_lvm.priors.normal import StandardNormal
from pyro_lvm.priors.simplex import DirichletPrior, LogisticNormalPrior
from pyro_lvm.priors.sphere import UniformSpherePrior
from pyro_lvm.priors.vamp import VampPrior
from pyro_lvm.sites import penalty

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
