"""Tables of scikit-learn as they come, with default options, beside factor analysis with as many latents."""

from typing import Any
import warnings

import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import FactorAnalysis
import torch
from torch import Tensor

from inference import evaluate, fit, load_data, make_pair
from inference.data.load import Data

LATENT_DIM, NUM_PARTICLES = 4, 200
TABLES: dict[str, tuple[Any, list[str]]] = {
    "breast cancer": (lambda: load_breast_cancer(as_frame=True).frame, ["target"]),
    "wine": (lambda: load_wine(as_frame=True).frame, ["target"]),
    "diabetes": (lambda: load_diabetes(as_frame=True, scaled=False).frame, ["sex"]),
}


def factor_analysis(data: Data) -> Tensor:
    """log p(x) of test rows under factor analysis, fitted to the standardized training rows, in the units of the data."""
    train, test = data.train.double().numpy(), data.test.double().numpy()
    loc, scale = train.mean(0), train.std(0)
    fitted = FactorAnalysis(LATENT_DIM, tol=1e-4, max_iter=20_000, svd_method="lapack").fit((train - loc) / scale)
    return torch.as_tensor(fitted.score_samples((test - loc) / scale)) - torch.as_tensor(scale).log().sum()


def main() -> None:
    rows = {}
    for name, (read, drop) in TABLES.items():
        data = load_data(read(), drop=drop)
        pair = make_pair(data, latent_dim=LATENT_DIM)
        fit(pair, data, epochs=300, patience=30, learning_rate=3e-3, progress=False)  # the defaults of the shell
        model = evaluate(pair, data.test, num_particles=NUM_PARTICLES, progress=False).log_px.double()
        classical = factor_analysis(data)
        gap = model - classical
        error = gap.std() / len(gap) ** 0.5
        rows[name] = {key: float(value) for key, value in (("model", model.mean()), ("factor analysis", classical.mean()))}
        rows[name] |= {"difference": float(gap.mean()), "se": float(error)}
    print(pd.DataFrame.from_dict(rows, orient="index").round(2).to_string())


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
