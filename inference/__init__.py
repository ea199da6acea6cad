"""What is done to a pair: fit it, score it, compare it with others."""

from inference.checkpoint import load_checkpoint, save_checkpoint
from inference.comparison.table import compare
from inference.data.load import load_data
from inference.data.text import decode_text
from inference.diagnostics.diagnosis import Diagnosis, diagnose
from inference.expost.code_prior import fit_code_prior
from inference.expost.codes import codes_of
from inference.expost.flow import fit_flow
from inference.expost.gaussian_mixture import fit_gaussian, fit_gaussian_mixture
from inference.predictive.draws import decode, encode, reconstruct, sample_latents, sample_prior
from inference.predictive.features import classifier_features, pca_features
from inference.predictive.quality import SampleQuality, pair_samples, quality_table, sample_quality
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate, log_weights
from inference.scoring.temperature import fit_temperature
from inference.svi.fitting import FitResult, fit
from inference.svi.messengers import FreeBits, KLWeight
from inference.svi.objectives import IWAE

__all__ = [
    "IWAE",
    "Diagnosis",
    "Evaluation",
    "FitResult",
    "FreeBits",
    "KLWeight",
    "codes_of",
    "SampleQuality",
    "classifier_features",
    "compare",
    "decode",
    "decode_text",
    "diagnose",
    "encode",
    "evaluate",
    "fit",
    "fit_code_prior",
    "fit_flow",
    "fit_gaussian",
    "fit_gaussian_mixture",
    "fit_temperature",
    "load_checkpoint",
    "load_data",
    "log_weights",
    "pair_samples",
    "pca_features",
    "quality_table",
    "reconstruct",
    "sample_latents",
    "sample_prior",
    "sample_quality",
    "save_checkpoint",
]
