"""Inference for pairs of Pyro programs: fit them, score them and compare them."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.checkpoint import load_checkpoint, save_checkpoint
    from inference.comparison.recipes import compare_recipes
    from inference.comparison.table import compare
    from inference.data.load import load_data
    from inference.data.text import decode_text
    from inference.diagnostics.calibration.findings import Calibration
    from inference.diagnostics.calibration.simulated import calibrate
    from inference.diagnostics.diagnosis import Diagnosis, diagnose
    from inference.diagnostics.gradients.comparison import GradientNoise
    from inference.diagnostics.gradients.noise import gradient_noise
    from inference.estimator import LatentVariableModel
    from inference.expost.code_prior import fit_code_prior
    from inference.expost.codes import codes_of
    from inference.expost.flow import fit_flow
    from inference.expost.gaussian_mixture import fit_gaussian, fit_gaussian_mixture
    from inference.new_rows.imputing import Imputation, impute
    from inference.new_rows.reading import read_rows
    from inference.plots.curves import plot_curve, plot_history
    from inference.plots.differences import plot_comparison
    from inference.plots.images import plot_samples
    from inference.plots.planes import plot_codes
    from inference.predictive.draws import decode, encode, reconstruct, sample_latents, sample_prior
    from inference.predictive.features import classifier_features, pca_features
    from inference.predictive.quality import SampleQuality, pair_samples, quality_table, sample_quality
    from inference.recipes.build import make_pair
    from inference.runs.saved import SavedRun, load_run
    from inference.scoring.annealed.bounds import BidirectionalBounds, bidirectional
    from inference.scoring.conditional.labels import LabelPosterior, class_posterior, label_posterior
    from inference.scoring.conditional.parts import ConditionalScore, conditional_log_prob
    from inference.scoring.evaluation import Evaluation
    from inference.scoring.importance import evaluate, log_weights
    from inference.scoring.temperature import fit_temperature
    from inference.svi.fitting import fit
    from inference.svi.loop import FitResult
    from inference.svi.messengers import FreeBits, KLWeight
    from inference.svi.objectives.bounds import IWAE, STL, VIMCO, DReG
    from inference.svi.objectives.elbo import AnalyticKL
    from inference.svi.objectives.particles import ParticleObjective, Particles
    from inference.yardsticks.fitting import Baselines, baselines

_NAMES = {  # by module: each is imported when a name in it is first asked for, as torch takes seconds
    "checkpoint": "load_checkpoint save_checkpoint",
    "comparison.recipes": "compare_recipes",
    "comparison.table": "compare",
    "data.load": "load_data",
    "data.text": "decode_text",
    "diagnostics.calibration.findings": "Calibration",
    "diagnostics.calibration.simulated": "calibrate",
    "diagnostics.diagnosis": "Diagnosis diagnose",
    "diagnostics.gradients.comparison": "GradientNoise",
    "diagnostics.gradients.noise": "gradient_noise",
    "estimator": "LatentVariableModel",
    "expost.code_prior": "fit_code_prior",
    "expost.codes": "codes_of",
    "expost.flow": "fit_flow",
    "expost.gaussian_mixture": "fit_gaussian fit_gaussian_mixture",
    "new_rows.imputing": "Imputation impute",
    "new_rows.reading": "read_rows",
    "plots.curves": "plot_curve plot_history",
    "plots.differences": "plot_comparison",
    "plots.images": "plot_samples",
    "plots.planes": "plot_codes",
    "predictive.draws": "decode encode reconstruct sample_latents sample_prior",
    "predictive.features": "classifier_features pca_features",
    "predictive.quality": "SampleQuality pair_samples quality_table sample_quality",
    "recipes.build": "make_pair",
    "runs.saved": "SavedRun load_run",
    "scoring.annealed.bounds": "BidirectionalBounds bidirectional",
    "scoring.conditional.labels": "LabelPosterior class_posterior label_posterior",
    "scoring.conditional.parts": "ConditionalScore conditional_log_prob",
    "scoring.evaluation": "Evaluation",
    "scoring.importance": "evaluate log_weights",
    "scoring.temperature": "fit_temperature",
    "svi.fitting": "fit",
    "svi.loop": "FitResult",
    "svi.messengers": "FreeBits KLWeight",
    "svi.objectives.bounds": "IWAE STL VIMCO DReG",
    "svi.objectives.elbo": "AnalyticKL",
    "svi.objectives.particles": "ParticleObjective Particles",
    "yardsticks.fitting": "Baselines baselines",
}
_MODULES = {name: f"inference.{module}" for module, names in _NAMES.items() for name in names.split()}

__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'inference' has no attribute {name!r}")
    globals()[name] = getattr(import_module(_MODULES[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
