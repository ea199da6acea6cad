"""What is done to a pair: fit it, score it, compare it with others."""

from inference.checkpoint import load_checkpoint, save_checkpoint
from inference.code_expost import fit_code_prior
from inference.compare import compare
from inference.data import load_data
from inference.diagnosis import Diagnosis
from inference.diagnostics import diagnose
from inference.evaluation import Evaluation
from inference.expost import codes_of, fit_flow, fit_gaussian, fit_gaussian_mixture
from inference.features import classifier_features, pca_features
from inference.importance import evaluate, log_weights
from inference.objectives import IWAE, FreeBits, KLWeight
from inference.proposals import fit_temperature
from inference.quality import SampleQuality, pair_samples, quality_table, sample_quality
from inference.svi import FitResult, fit
from inference.text import decode_text
from inference.verbs import decode, encode, reconstruct, sample_latents, sample_prior

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
