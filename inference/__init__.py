"""Inference for pairs of Pyro programs: fit them, score them and compare them."""

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
from inference.runs.saved import SavedRun, load_run
from inference.scoring.annealed.bounds import BidirectionalBounds, bidirectional
from inference.scoring.evaluation import Evaluation
from inference.scoring.importance import evaluate, log_weights
from inference.scoring.temperature import fit_temperature
from inference.svi.fitting import fit
from inference.svi.loop import FitResult
from inference.svi.messengers import FreeBits, KLWeight
from inference.svi.objectives import IWAE

__all__ = [name for name, thing in list(globals().items()) if getattr(thing, "__module__", "").startswith("inference.")]
