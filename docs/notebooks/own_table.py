# %% [markdown]
# # A table of your own
#
# Most data are tables like this one: an identifier, numbers of every scale, counts, categories, and empty cells. This notebook takes one
# from a .csv file to a comparison of three priors beside classical models, fills its gaps and checks how well, and gives its codes to a
# classifier. It also says where all of that does not beat something simpler, and what to make of it.

# %%
import os
from pathlib import Path
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression
import torch

from inference import baselines, compare, encode, evaluate, fit, impute, load_data, make_pair, plot_codes, plot_comparison, plot_history

SHORT = os.environ.get("PYRO_LVM_SHORT") == "1"
BLUE = "#0072B2"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})

# %% [markdown]
# ## 1. The table
#
# 500 made-up patients. Age and a hidden burden of illness drive the other columns, partly along curves: body mass index rises with age
# and falls again, visits rise steeply with burden. A tenth of all cells is then emptied at random.
#
# **What to see:** columns in their own units, words, numbers that are codes, and gaps. With a file of your own, begin at section 2.

# %%
draw, N = np.random.default_rng(0), 500
age = draw.uniform(20, 90, N)
burden = (age - 55) / 25 + draw.normal(size=N)
table = pd.DataFrame(
    {
        "patient_id": 100_000 + draw.permutation(N),
        "age": age.round(1),
        "sex": draw.choice(["female", "male"], N),
        "region": draw.choice(["north", "south", "east", "west"], N, p=[0.4, 0.3, 0.2, 0.1]),
        "smoker": np.select([burden + draw.normal(size=N) > 1.5, draw.random(N) < 0.3], ["current", "former"], "never"),
        "activity": (3 - burden + draw.normal(size=N)).round().clip(1, 5).astype(int),
        "bmi": (29 - ((age - 60) / 18) ** 2 + 1.5 * burden + 2 * draw.normal(size=N)).round(1),
        "systolic": (118 + 0.3 * (age - 50) + 7 * burden + 8 * draw.normal(size=N)).round(),
        "cholesterol": np.exp(5.2 + 0.12 * burden + 0.15 * draw.normal(size=N)).round(),
        "income": np.exp(3.4 - 0.25 * burden + 0.5 * draw.normal(size=N)).round(1),
        "visits": draw.poisson(np.exp(0.4 + 0.6 * burden)),
        "diabetic": np.where(burden + 0.7 * draw.normal(size=N) > 1, "yes", "no"),
    }
)
cells = table.columns[1:]
table[cells] = table[cells].mask(draw.random((N, len(cells))) < 0.1)
folder = tempfile.TemporaryDirectory()
file = Path(folder.name) / "patients.csv"
table.to_csv(file, index=False)
table.head()

# %% [markdown]
# ## 2. Reading it as it is
#
# `load_data` reads the file, splits the rows at random into training, validation and test, and finds out what each column holds. The
# identifier is left out: a model that learns it learns nothing.
#
# **What to see:** the kind of each column. Check it before anything else, since it decides which density a column has. Left alone, the
# rules would take `visits`, whole numbers from 0 up without gaps, for an ordinal scale, like `activity`; they are counts, and `kinds`
# says so.

# %%
data = load_data(file, drop=["patient_id"], kinds={"visits": "count"}, test_fraction=0.2)
print("rows:", {split: len(getattr(data, split)) for split in ("train", "valid", "test")})
pd.DataFrame(
    [(column.name, column.kind, ", ".join(column.values)) for column in data.kinds], columns=["column", "kind", "values"]
).set_index("column")

# %% [markdown]
# ## 3. Three priors, beside the yardsticks
#
# One model per prior, made of default parts: each column has the density of its kind, empty cells are left out of the likelihood, and the
# encoder is told which cells are empty. Yardsticks are classical models with an exact score: every column by itself, and latent classes.
#
# **What to see:** differences are paired, row by row, so that their errors are much smaller than those of the means. Read the notes
# before the ranking: which priors cannot be told apart, and which models do not beat the best yardstick.

# %%
PRIORS, EPOCHS = ("standard", "mixture", "vamp"), 3 if SHORT else 300
pairs = {prior: make_pair(data, prior=prior, latent_dim=3, hidden=(64,)) for prior in PRIORS}
fits = {prior: fit(pair, data, epochs=EPOCHS, patience=30, learning_rate=3e-3, progress=False) for prior, pair in pairs.items()}
yardsticks = baselines(data)
K = 100 if SHORT else 1000
scores = {name: evaluate(pair, data, num_particles=K, progress=False) for name, pair in {**pairs, **yardsticks}.items()}
compare(scores, yardsticks=yardsticks.sizes)

# %%
plot_comparison(compare(scores, yardsticks=yardsticks.sizes))

# %% [markdown]
# **What to see:** training stops when the validation rows get no better. With a few hundred rows that is soon, and the curves are noisy.

# %%
plot_history(fits)

# %% [markdown]
# Where a deep model is level with latent classes, the table holds no structure that it could find and classes could not, or too few rows
# to find it. That is an answer, too: take the simpler model, or get more rows. Where it is far above the independent columns, the columns
# do hang together, and imputing can work.

# %% [markdown]
# ## 4. Filling the gaps
#
# `impute` draws empty cells from p(missing | observed). **What to see:** several draws for each cell. Their scatter is what the model does
# not know; a single filled-in table would hide it.

# %%
best = max(PRIORS, key=lambda prior: scores[prior].mean)
rows = data.test[:5]
filled = impute(pairs[best], rows, num_draws=20, seed=0)
print("model:", best)
tables = [data.table(filled.draws[m]) for m in range(3)]
gaps = [(row, data.kinds[place].name) for row, place in rows.isnan().nonzero().tolist()]
drawn = {f"draw {m}": [each.loc[row, name] for row, name in gaps] for m, each in enumerate(tables)}
pd.DataFrame(drawn, index=pd.MultiIndex.from_tuples(gaps, names=["row", "column"]))

# %% [markdown]
# ## 5. How good is it? Hide cells on purpose
#
# A gap has no truth to compare with, so make some: a fifth of the *known* cells of the test rows are hidden, and filled in.
#
# **What to see:** errors in units of the column's standard deviation, beside two simple ways: the column's mean, and scikit-learn's
# iterative regression. Where "model" is no better than "mean", the other columns say nothing about this one, and no method can help.

# %%
generator = torch.Generator().manual_seed(0)
hidden = (torch.rand(data.test.shape, generator=generator) < 0.2) & ~data.test.isnan()
punched = data.test.masked_fill(hidden, torch.nan)
M = 20 if SHORT else 200
imputed = impute(pairs[best], punched, num_draws=M, seed=0)
regression = IterativeImputer(random_state=0, max_iter=20, tol=1e-2).fit(data.train.numpy())
ways = {
    "mean": data.train.nanmean(0).expand_as(data.test),
    "regression": torch.as_tensor(regression.transform(punched.numpy())),
    "model": imputed.mean,
}
numbers = [place for place, column in enumerate(data.kinds) if column.kind in ("real", "count", "ordinal")]
rows = {}
for place in numbers:
    own, spread = hidden[:, place], data.train[:, place][~data.train[:, place].isnan()].std()
    misses = {name: (guess[own, place] - data.test[own, place]).square().mean().sqrt() / spread for name, guess in ways.items()}
    rows[data.kinds[place].name] = {"hidden cells": int(own.sum())} | {name: float(miss) for name, miss in misses.items()}
pd.DataFrame.from_dict(rows, orient="index").round(2)

# %% [markdown]
# For categories, the share of hidden cells whose most probable value is right, beside the most frequent value of the column. `sex` and
# `region` were drawn apart from everything else, so that nothing can be gained there.

# %%
rows = {}
for place, column in enumerate(data.kinds):
    if column.kind not in ("binary", "category"):
        continue
    own = hidden[:, place]
    truth, usual = data.test[own, place], data.train[:, place].nan_to_num(-1)
    usual = usual[usual >= 0].mode().values
    guess = imputed.draws[:, own, place].mode(0).values
    rows[column.name] = {"cells": int(own.sum()), "usual value": float((truth == usual).float().mean())}
    rows[column.name]["model"] = float((truth == guess).float().mean())
pd.DataFrame.from_dict(rows, orient="index").round(2)

# %% [markdown]
# A good imputation knows how unsure it is. **What to see:** 80 % of the hidden numbers should lie between the 10th and the 90th percentile
# of their draws, and more where numbers are whole and few. A column has some dozens of hidden cells at most, so that its share is rough;
# all columns together are known better.

# %%
low, high = torch.quantile(imputed.draws, torch.tensor([0.1, 0.9]), dim=0)
inside = (low <= data.test) & (data.test <= high)
shares = {data.kinds[place].name: float(inside[hidden[:, place], place].float().mean()) for place in numbers}
pooled = inside[:, numbers][hidden[:, numbers]].float()
print({name: round(share, 2) for name, share in shares.items()})
print(f"all of them: {pooled.mean():.2f} ± {(pooled.std() / len(pooled) ** 0.5):.2f} of {len(pooled)} cells")
print("rows that are not to be trusted, by their effective draws or k-hat:", int(imputed.is_poor.sum()))

# %%
place = [column.name for column in data.kinds].index("systolic")
own = hidden[:, place]
truth, guess = data.test[own, place], imputed.mean[own, place]
_, axes = plt.subplots(figsize=(4.2, 3.8), layout="constrained")
bars = torch.stack([(guess - low[own, place]).clamp(min=0), (high[own, place] - guess).clamp(min=0)])
axes.errorbar(truth, guess, yerr=bars.numpy(), fmt="o", color=BLUE, ecolor="0.7", markersize=4)
axes.axline((float(truth.mean()), float(truth.mean())), slope=1, color="black", linewidth=0.8)
axes.set(xlabel="hidden value", ylabel="imputed: mean, 10 to 90 %", title="Systolic blood pressure")
plt.show()

# %% [markdown]
# ## 6. Codes for a classifier
#
# Is a patient diabetic? The column is blanked in all rows, so that the encoder cannot see it, and the means of q(z|x) become the features
# of a logistic regression. Two others do the same job: gradient boosting on the raw columns, gaps included, and the model itself, which
# imputes the blanked column.
#
# **What to see:** accuracies with errors; with about a hundred test rows, a few percent between two classifiers mean nothing. Codes are
# made without looking at the target. If it has little to do with what the columns share, boosting on raw columns is the better choice;
# codes pay where labels are few or where many targets are to be predicted from one representation.

# %%
target = [column.name for column in data.kinds].index("diabetic")


def blanked(x):
    return x.index_fill(1, torch.tensor([target]), torch.nan)


known, known_test = (~x[:, target].isnan() for x in (data.train, data.test))
x, x_test = blanked(data.train)[known], blanked(data.test)[known_test]
y, y_test = data.train[known, target].numpy(), data.test[known_test, target].numpy()
codes, codes_test = (encode(pairs[best], rows, means=True).numpy() for rows in (x, x_test))
raw, raw_test = (np.delete(rows.numpy(), target, axis=1) for rows in (x, x_test))
predictions = {
    "the more frequent answer": np.full(len(y_test), y.mean() > 0.5),
    "codes, logistic regression": LogisticRegression().fit(codes, y).predict(codes_test),
    "raw columns, boosting": HistGradientBoostingClassifier(random_state=0).fit(raw, y).predict(raw_test),
    "imputed by the model": impute(pairs[best], x_test, num_draws=M, seed=0).mean[:, target].numpy() > 0.5,
}
shares = {name: (guess == y_test).mean() for name, guess in predictions.items()}
rows = {name: {"accuracy": share, "se": (share * (1 - share) / len(y_test)) ** 0.5} for name, share in shares.items()}
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# **What to see:** whether the answers lie apart in the codes, and whether codes and prior are in the same places.

# %%
answers = np.where(y == 1, data.kinds[target].values[1], data.kinds[target].values[0])
folder.cleanup()
plot_codes(pairs[best], x, labels=answers)

# %% [markdown]
# ## What to take away
#
# - A table needs no preparation, but its kinds have to be looked at.
# - The comparison is worth no more than its notes: what cannot be told apart, what does not beat a yardstick.
# - Cells here were emptied at random. If cells are empty *because of* their values, as incomes often are, every method above is off, and
#   hiding known cells at random does not show it.
# - One split and one seed: a claim about priors needs several seeds, `pyro-lvm compare --data.source patients.csv --data.drop patient_id
#   --seeds 3` in the shell.
