"""What is done to a pair: fit it, score it, compare it with others."""

from inference.checkpoint import load_checkpoint, save_checkpoint
from inference.compare import compare
from inference.data import load_data
from inference.diagnosis import Diagnosis
from inference.diagnostics import diagnose
from inference.evaluation import Evaluation
from inference.expost import codes_of, fit_flow, fit_gaussian, fit_gaussian_mixture
from inference.importance import evaluate, log_weights
from inference.objectives import IWAE, FreeBits, KLWeight
from inference.svi import FitResult, fit
from inference.verbs import decode, encode, reconstruct, sample_prior

__all__ = [
    "IWAE",
    "Diagnosis",
    "Evaluation",
    "FitResult",
    "FreeBits",
    "KLWeight",
    "codes_of",
    "compare",
    "decode",
    "diagnose",
    "encode",
    "evaluate",
    "fit",
    "fit_flow",
    "fit_gaussian",
    "fit_gaussian_mixture",
    "load_checkpoint",
    "load_data",
    "log_weights",
    "reconstruct",
    "sample_prior",
    "save_checkpoint",
]
