"""Components of latent variable models: priors, likelihoods, encoders, and the pair of Pyro programs that they form."""

from pyro_lvm.contract import check_pair
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
from pyro_lvm.networks.inputs import OneHot, Standardize
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
from pyro_lvm.structure import Structure

__all__ = [name for name, thing in list(globals().items()) if getattr(thing, "__module__", "").startswith("pyro_lvm.")]
