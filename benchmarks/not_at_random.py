"""Cells that are missing because their values are large, imputed: ``python benchmarks/not_at_random.py [--seeds 0 1 2 3 4]``.

As in Ipsen, Mattei, Frellsen (2021), not-MIWAE: the breast cancer table of scikit-learn, 569 rows of 30 standardized columns, in the first
15 of which values above the column's mean are missing. Prints the root mean square error of imputed cells in standard deviations of their
columns, with mean and standard deviation over seeds: of initial weights, batches and draws, or of an imputer's own.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  # without which scikit-learn has none
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.preprocessing import StandardScaler
import torch

from inference import IWAE, fit, impute
from inference.data.load import Data
from inference.recipes.user_code import load_file

EXAMPLE = Path(__file__).resolve().parent.parent / "docs" / "examples" / "not_at_random.py"
Impute = Callable[[np.ndarray, int], np.ndarray]  # of a table with NaN and a seed


def table() -> tuple[np.ndarray, np.ndarray]:
    """The standardized table, and the same with NaN where cells are missing."""
    x = StandardScaler().fit_transform(load_breast_cancer().data)
    is_first = np.arange(x.shape[1]) < x.shape[1] // 2
    return x, np.where(is_first & (x > x.mean(0)), np.nan, x)


def by_model(x: np.ndarray, seed: int, *, reason: str, options: Namespace) -> np.ndarray:
    """Means of the missing cells under a model that is fitted to all rows."""
    rows = torch.as_tensor(x, dtype=torch.float32)
    torch.manual_seed(seed)
    data = Data("breast cancer", "standardized, with missing cells", rows, rows, rows)
    sizes = {"latent_dim": options.latent_dim, "hidden": options.hidden, "linear": not options.nonlinear}
    pair = load_file(EXAMPLE).module.make_pair(data, reason=reason, standardized=True, **sizes)
    settings = {"epochs": options.epochs, "batch_size": options.batch_size, "learning_rate": options.learning_rate}
    fit(pair, rows, elbo=IWAE(options.num_particles), seed=seed, progress=False, **settings)
    drawn = impute(pair, rows, site="missing", num_draws=options.num_draws, num_particles=options.proposals, seed=seed)
    print(f"rows with too few effective draws: {int(drawn.is_poor.sum())}; median of effective draws: {float(drawn.ess.median()):.0f}")
    return drawn.mean.numpy()


def by_columns(x: np.ndarray, seed: int, *, make: Callable[[int], IterativeImputer]) -> np.ndarray:
    """What regressions of each column on the others say, in turn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make(seed).fit_transform(x)


def methods(options: Namespace) -> dict[str, Impute]:
    forest = partial(RandomForestRegressor, n_estimators=options.trees)
    return {
        "not-MIWAE, larger values are missing": partial(by_model, reason="larger", options=options),
        "MIWAE, missing at random": partial(by_model, reason="none", options=options),
        "MICE": partial(by_columns, make=lambda seed: IterativeImputer(random_state=seed, max_iter=options.rounds)),
        "missForest": partial(
            by_columns,
            make=lambda seed: IterativeImputer(forest(random_state=seed), random_state=seed, max_iter=options.rounds),
        ),
        "mean": lambda x, seed: SimpleImputer().fit_transform(x),
    }


def parsed() -> Namespace:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", help="beginnings of their names; by default all")
    parser.add_argument("--latent_dim", type=int, default=29)
    parser.add_argument("--hidden", type=int, default=64, help="of the encoder, and of a nonlinear decoder")
    parser.add_argument(
        "--nonlinear", action="store_true", help="a decoder with two hidden layers, as the encoder has, instead of a linear one"
    )
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=1e-2)
    parser.add_argument("--num_particles", type=int, default=20, help="draws of the objective")
    parser.add_argument("--proposals", type=int, default=1000, help="draws of z and of the missing cells for each row, in imputation")
    parser.add_argument("--num_draws", type=int, default=100, help="those of them that are kept by weight, and averaged")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10, help="of the imputers of scikit-learn")
    return parser.parse_args()


def main() -> None:
    options, (truth, x) = parsed(), table()
    errors: dict[str, list[float]] = {}
    for name, complete in methods(options).items():
        for seed in options.seeds if not options.methods or name.startswith(tuple(options.methods)) else []:
            start = time.process_time()
            error = float(np.sqrt(np.mean((complete(x, seed) - truth)[np.isnan(x)] ** 2)))
            errors.setdefault(name, []).append(error)
            print(f"{name}, seed {seed}: {error:.3f} in {time.process_time() - start:.0f} seconds", flush=True)
    rows = {name: [np.mean(found), np.std(found, ddof=1) if len(found) > 1 else np.nan] for name, found in errors.items()}
    print(pd.DataFrame.from_dict(rows, orient="index", columns=["RMSE", "sd"]).round(3).to_string())


if __name__ == "__main__":
    main()
