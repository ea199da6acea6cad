"""A model made of parts as an estimator of scikit-learn."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
import torch
from torch import Tensor

from inference.data.columns import some
from inference.data.load import Data
from inference.data.splits import cut_rows
from inference.predictive.draws import Values, decode, encode, of_data, sample_prior
from inference.recipes.build import build_model, fit_pair
from inference.recipes.combinations import options_of
from inference.recipes.options import fit_options, model_options
from inference.recipes.registries import FIT_PARTS, MODEL_PARTS
from inference.scoring.importance import evaluate
from pyro_lvm.arrays import as_tensor

_MODEL = {"likelihood": "gaussian", "latent_dim": 2}


class LatentVariableModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""A latent variable model of a table, for pipelines and searches of scikit-learn.

    .. math:: p(x) = \int p(z)\, p(x \mid z)\, dz

    It is built, fitted and scored as ``pyro-lvm train`` and ``pyro-lvm evaluate`` do it, without binarization or scaling of the data.

    Args:
        model: Options of the model by name, as on the command line without ``model.``; by default a normal likelihood and two latents,
            which are also the defaults of options that are left out.
        training: Options of the fit by name, without ``fit.``. A batch is never larger than the training data.
        valid_fraction: Share of rows held out to choose the epoch with the best weights.
        num_particles: Draws of z for each row, by which ``score_samples`` estimates log p(x).
        random_state: Seed of everything that is drawn, or a generator of seeds.

    Attributes:
        pair_: The fitted model, for all functions of the library.
        history_: Losses, one row per epoch.
        n_features_in_: Number of columns.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(50, 3))
        >>> LatentVariableModel(training={"epochs": 1}).fit(x).transform(x).shape
        (50, 2)
    """

    def __init__(
        self,
        model: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        *,
        valid_fraction: float = 0.1,
        num_particles: int = 1000,
        random_state: Any = 0,
    ) -> None:
        self.model, self.training = model, training
        self.valid_fraction, self.num_particles, self.random_state = valid_fraction, num_particles, random_state

    def fit(self, X: Any, y: object = None) -> Self:
        """Fit the model to the rows of a table ``[N, D]``.

        Args:
            X: The table.
            y: Not used.

        Raises:
            ValueError: If a table has words or missing cells, there are too few rows to hold some out, or the options or the values of the
                table do not go together.
        """
        _refuse_raw(X)
        x = _rows(validate_data(self, X, dtype=[np.float32, np.float64], ensure_min_samples=2))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        held_out = max(1, round(self.valid_fraction * len(x)))
        if held_out >= len(x):
            raise ValueError(f"valid_fraction must leave rows to train on; got {self.valid_fraction} of {len(x)} rows. Lower it.")
        rows = cut_rows(len(x), {"valid": held_out}, seed)
        data = Data("table", "a table", x[rows["train"]], x[rows["valid"]], x[rows["valid"]])
        fit = options_of("training", fit_options(), {"seed": seed, **(self.training or {})}, FIT_PARTS)
        model = options_of("model", model_options(), {**_MODEL, "seed": seed, **(self.model or {})}, MODEL_PARTS)
        self.pair_ = build_model(model, data.train)
        result = fit_pair(self.pair_, data, replace(fit, batch_size=min(fit.batch_size, len(data.train))), progress=False)
        self.history_, self.seed_ = result.history, seed
        self._n_features_out = self._codes(x[:2]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return means of q(z|x) for the rows of a table, ``[N, D]``; draws with a fixed seed if q has no mean in closed form."""
        x, dtype = self._checked(X)
        return self._codes(x).astype(dtype, copy=False)

    def _codes(self, x: Tensor) -> np.ndarray:
        try:
            return _table(encode(self.pair_, x, means=True))
        except NotImplementedError:
            return _table(encode(self.pair_, x, seed=self.seed_))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return means of p(x|z) for codes ``[N, D]`` of a model with a single latent site."""
        check_is_fitted(self)
        z = _rows(np.asarray(X))
        return _table(decode(self.pair_, z, len(z)))

    def score_samples(self, X: Any) -> np.ndarray:
        """Return estimates of log p(x) in nats for the rows of a table, ``[N]``; each has an error, which ``evaluate`` states."""
        return evaluate(self.pair_, self._checked(X)[0], num_particles=self.num_particles, seed=self.seed_, progress=False).log_px.numpy()

    def score(self, X: Any, y: object = None) -> float:
        """Return the mean of :meth:`score_samples`."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw rows from the model, ``[n_samples, D]``."""
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return of_data(self.pair_, sample_prior(self.pair_, n_samples, seed=seed)).numpy()

    def _checked(self, X: Any) -> tuple[Tensor, np.dtype]:
        check_is_fitted(self)
        _refuse_raw(X)
        x = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        return _rows(x), x.dtype


def _refuse_raw(table: Any) -> None:
    """Refuse a table with columns or cells that are no numbers.

    Raises:
        ValueError: If it has any.
    """
    if not isinstance(table, pd.DataFrame):
        return
    words = [name for name, dtype in table.dtypes.items() if not is_numeric_dtype(dtype)]
    gaps = [name for name, has_gaps in table.isna().any().items() if has_gaps]
    if words or gaps:
        got = f"no numbers in {some(words)}" if words else f"missing cells in {some(gaps)}"
        raise ValueError(
            f"LatentVariableModel takes complete numbers; got a table with {got}. Read the table with data = load_data(table) and fit "
            "make_pair(data), which take words, categories and missing cells, or turn its columns into complete numbers first."
        )


def _rows(x: np.ndarray) -> Tensor:
    return as_tensor(np.ascontiguousarray(x, np.float32))


def _table(values: Values) -> np.ndarray:
    """Values by site side by side, ``[N, D]``."""
    parts = values.values() if isinstance(values, dict) else [values]
    return torch.cat([part.reshape(len(part), -1) for part in parts], dim=1).numpy()
