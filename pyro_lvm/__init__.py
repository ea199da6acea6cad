"""Components of latent variable models: priors, likelihoods, encoders, and the pair of Pyro programs that they form."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from pyro_lvm.likelihoods.counts import (
        MultinomialLikelihood,
        NegativeBinomialLikelihood,
        PoissonLikelihood,
        ZeroInflatedNegativeBinomialLikelihood,
    )
    from pyro_lvm.likelihoods.discretized_logistic import DiscretizedLogisticLikelihood
    from pyro_lvm.likelihoods.mixed import MixedLikelihood
    from pyro_lvm.likelihoods.real import GaussianLikelihood, StudentTLikelihood
    from pyro_lvm.models.conditional import ConditionalVAE
    from pyro_lvm.models.hierarchical import HierarchicalVAE
    from pyro_lvm.models.levels import Levels, conv_ladder, ladder, stacked
    from pyro_lvm.models.replaced import WithPrior
    from pyro_lvm.models.semi_supervised import SemiSupervisedVAE
    from pyro_lvm.models.vae import VAE, TwoStageVAE
    from pyro_lvm.models.vqvae import VQVAE
    from pyro_lvm.networks.columns import ColumnInputs
    from pyro_lvm.networks.conv import ConvDecoder, ConvEncoder
    from pyro_lvm.networks.flows import InverseFlow, iaf, inverse_spline, maf, spline, whitened
    from pyro_lvm.networks.grids import GridDecoder, GridEncoder, SequenceDecoder, SequenceEncoder
    from pyro_lvm.networks.initialize import glorot_uniform_, he_normal_, set_output_bias_
    from pyro_lvm.networks.inputs import Conditions, LabelIndicators, LogCounts, Offset, OneHot, Standardize
    from pyro_lvm.networks.mlp import MLP, GatedMLP
    from pyro_lvm.networks.network import Join
    from pyro_lvm.pair import Pair
    from pyro_lvm.priors.autoregressive import PixelCNNPrior, TransformerPrior
    from pyro_lvm.priors.codes import CategoricalCodePrior, UniformCodePrior
    from pyro_lvm.priors.flow import FlowPrior
    from pyro_lvm.priors.gaussian_mixture import FullGaussianMixturePrior, GaussianMixturePrior
    from pyro_lvm.priors.heavy_tails import LaplacePrior, StudentTPrior
    from pyro_lvm.priors.labels import LabelPrior
    from pyro_lvm.priors.normal import StandardNormal
    from pyro_lvm.priors.resampled import ResampledPrior
    from pyro_lvm.priors.simplex import DirichletPrior, LogisticNormalPrior
    from pyro_lvm.priors.sphere import UniformSpherePrior
    from pyro_lvm.priors.vamp import VampPrior
    from pyro_lvm.sites import penalty
    from pyro_lvm.structure import Structure

_NAMES = {  # by module: each is imported when a name in it is first asked for, as torch takes seconds
    "contract": "check_pair",
    "distributions.codes": "AutoregressiveCodes CategoricalCodes UniformCodes",
    "distributions.flow": "FlowDistribution",
    "distributions.indicators": "IndicatorCodes RelaxedCodes",
    "distributions.normal_mixture": "DiagNormalMixture FullNormalMixture mixture",
    "distributions.simplex": "LogisticNormal",
    "distributions.sphere": "PowerSpherical",
    "encoders.codebook": "VectorQuantizer",
    "encoders.codes": "code_use",
    "encoders.flow": "FlowEncoder",
    "encoders.fsq": "FSQ",
    "encoders.gradients": "rotated straight_through",
    "encoders.heavy_tails": "LaplaceEncoder StudentTEncoder",
    "encoders.normal": "FullRankNormalEncoder NormalEncoder ResidualNormalEncoder",
    "encoders.quantizer": "Quantizer",
    "encoders.relaxed": "GumbelEncoder StraightThroughEncoder",
    "encoders.simplex": "DirichletEncoder LogisticNormalEncoder",
    "encoders.soft": "SoftQuantizer",
    "encoders.sphere": "PowerSphericalEncoder",
    "likelihoods.binary": "BernoulliLikelihood",
    "likelihoods.categorical": "CategoricalLikelihood",
    "likelihoods.counts": "MultinomialLikelihood NegativeBinomialLikelihood PoissonLikelihood ZeroInflatedNegativeBinomialLikelihood",
    "likelihoods.discretized_logistic": "DiscretizedLogisticLikelihood",
    "likelihoods.mixed": "MixedLikelihood",
    "likelihoods.real": "GaussianLikelihood StudentTLikelihood",
    "models.conditional": "ConditionalVAE",
    "models.hierarchical": "HierarchicalVAE",
    "models.levels": "Levels conv_ladder ladder stacked",
    "models.replaced": "WithPrior",
    "models.semi_supervised": "SemiSupervisedVAE",
    "models.vae": "VAE TwoStageVAE",
    "models.vqvae": "VQVAE",
    "networks.columns": "ColumnInputs",
    "networks.conv": "ConvDecoder ConvEncoder",
    "networks.flows": "InverseFlow iaf inverse_spline maf spline whitened",
    "networks.grids": "GridDecoder GridEncoder SequenceDecoder SequenceEncoder",
    "networks.initialize": "glorot_uniform_ he_normal_ set_output_bias_",
    "networks.inputs": "Conditions LabelIndicators LogCounts Offset OneHot Standardize",
    "networks.mlp": "MLP GatedMLP",
    "networks.network": "Join",
    "pair": "Pair",
    "priors.autoregressive": "PixelCNNPrior TransformerPrior",
    "priors.codes": "CategoricalCodePrior UniformCodePrior",
    "priors.flow": "FlowPrior",
    "priors.gaussian_mixture": "FullGaussianMixturePrior GaussianMixturePrior",
    "priors.heavy_tails": "LaplacePrior StudentTPrior",
    "priors.labels": "LabelPrior",
    "priors.normal": "StandardNormal",
    "priors.resampled": "ResampledPrior",
    "priors.simplex": "DirichletPrior LogisticNormalPrior",
    "priors.sphere": "UniformSpherePrior",
    "priors.vamp": "VampPrior",
    "sites": "penalty",
    "structure": "Structure",
}
_MODULES = {name: f"pyro_lvm.{module}" for module, names in _NAMES.items() for name in names.split()}

__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'pyro_lvm' has no attribute {name!r}")
    globals()[name] = getattr(import_module(_MODULES[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
