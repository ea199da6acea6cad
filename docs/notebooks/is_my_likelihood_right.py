# %% [markdown]
# # Is my likelihood right?
#
# The log-likelihood of a latent variable model is an estimate: p(x) = ∫ p(z) p(x|z) dz is averaged over draws from some q(z|x), and the
# figure is only as good as these draws. This notebook takes models whose log p(x) **is known**, spoils their guides on purpose, and shows
# what each instrument says: errors, k-hat, refined proposals, annealed importance sampling, bounds from both sides, and calibration.
# At the end, the same instruments go to a trained model, of which nobody knows the truth.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
from scipy.integrate import trapezoid
from scipy.stats import norm
import torch

from inference import bidirectional, calibrate, compare, evaluate, fit, load_data, plot_curve, sample_prior
import pyro_lvm as lvm

SHORT = os.environ.get("PYRO_LVM_SHORT") == "1"
BLUE, RED, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "0.6"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})

# %% [markdown]
# ## 1. A model whose truth is known
#
# Four latents, twelve observed numbers, everything normal: z ~ N(0, I) and x ~ N(Wz, σ²I). Then p(x) and p(z|x) are normal too, and log
# p(x) needs no draws at all. The guide has the right mean and covariance, but for two dials: `scale` makes it narrower or wider, and
# `shift` moves its mean by so many standard deviations.
#
# **What to see:** nothing yet. This cell is the only place where the truth comes from.

# %%
D, X, NOISE, N = 4, 12, 0.7, 50 if SHORT else 300
torch.manual_seed(0)
W = torch.randn(X, D)
covariance = (torch.eye(D) + W.T @ W / NOISE**2).inverse()  # of p(z|x)
marginal = dist.MultivariateNormal(torch.zeros(X).double(), (W @ W.T + NOISE**2 * torch.eye(X)).double())


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z @ W.T, NOISE).to_event(1), obs=x)


def make_guide(scale=1.0, shift=0.0):
    def guide(x):
        mean = x @ W @ covariance / NOISE**2 + shift * covariance.diagonal().sqrt()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(mean, scale**2 * covariance))

    return guide


# %%
GUIDES = {
    "exact": make_guide(),
    "1.5 times as wide": make_guide(scale=1.5),
    "0.8 times as wide": make_guide(scale=0.8),
    "half as wide": make_guide(scale=0.5),
    "shifted by 2": make_guide(shift=2.0),
}
pairs = {name: lvm.Pair(model, guide) for name, guide in GUIDES.items()}
x = sample_prior(pairs["exact"], torch.zeros(N, X), seed=1)  # data from the model; of the zeros, only the shape counts
truth = marginal.log_prob(x.double())
print(f"mean of log p(x) over {N} data: {truth.mean():.4f} nats")

# %% [markdown]
# ## 2. The customary figure: K draws from the guide
#
# **What to see:** a bad guide makes the figure too *low*. `mean error` is the estimate minus the truth, `claimed` the Monte Carlo error
# that the draws themselves suggest, and `bad k-hat` the share of data whose weights the diagnostic refuses. A guide that is too wide
# does little harm; one that is too narrow does much, and its claimed error is too small, as the draws that would have shown the tail
# are the ones that were never made.


# %%
def beside_truth(scores):
    """Mean error of each score against the truth, the error that it claims, and the share of data that it marks."""
    rows = {
        name: {
            "mean error": float((score.log_px - truth).mean()),
            "claimed": score.mc_standard_error,
            "largest error": float((score.log_px - truth).abs().max()),
            "bad k-hat": float(score.is_unreliable.double().mean()),
        }
        for name, score in scores.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").round(4)


K = 200 if SHORT else 1000
by_guide = {name: evaluate(pair, x, proposal="guide", num_particles=K, progress=False) for name, pair in pairs.items()}
beside_truth(by_guide)

# %% [markdown]
# One score prints the same facts in words. Two lines deserve a look before a figure goes into a paper: the bias, which is estimated and
# never subtracted, and the share of data with a bad k-hat.

# %%
print(by_guide["half as wide"])

# %% [markdown]
# ## 3. What k-hat sees, and what it does not
#
# k-hat is the shape of the tail of a datum's weights: below 1/2, their variance is finite; near 1, even their mean is hardly there. Here
# it is known, as a normal guide of `scale` s times the posterior's has weights of shape k = 1 - s².
#
# **What to see:** the guide is equally bad for all data, yet some pass. k-hat is itself estimated from the draws: a datum passes if its
# tail happened not to be drawn, and those are the data whose estimates are too low. Marked ones scatter to both sides. So k-hat marks
# figures, and must not select them: a mean over the data that pass would be worse than the mean over all.

# %%
half = by_guide["half as wide"]
error, marked = (half.log_px - truth).numpy(), half.is_unreliable.numpy()
_, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
axes.axhline(0, color="black", linewidth=0.8)
axes.axvline(min(1 - 1 / np.log10(K), 0.7), color=GRAY, linestyle="--", label="threshold for this K")
axes.scatter(half.pareto_k[~marked], error[~marked], s=12, color=BLUE, label="passed")
axes.scatter(half.pareto_k[marked], error[marked], s=12, color=RED, label="marked")
axes.set(xlabel="k-hat of a datum", ylabel="estimate - truth, nats", title=f"A guide half as wide as p(z|x): true k = {1 - 0.5**2:.2f}")
axes.legend(loc="upper left", fontsize=8)
plt.show()
print(f"mean error of the passed {error[~marked].mean():.3f}, of the marked {error[marked].mean():.3f} nats")

# %% [markdown]
# Each datum has an interval for its log p(x), which allows for the tail that k-hat suggests.
#
# **What to see:** how often it holds the truth; it should be about 95 %. Intervals of marked data may have no upper end, which is why they
# hold. Of a guide that is bad for most data, the intervals of those few that pass hold less often than they say.

# %%
rows = {}
for name, score in by_guide.items():
    low, high = score.interval()
    inside = (low - 1e-4 <= truth) & (truth <= high + 1e-4)  # room for rounding in float32
    rows[name] = {"all": float(inside.double().mean()), "passed": float(inside[~score.is_unreliable].double().mean())}
print("share of 95 % intervals that hold log p(x)")
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# ## 4. What to do: more draws, or a better proposal
#
# More draws help, slowly: for weights of shape k above 1/2, the bias falls as K to the power 1 - 1/k. A better proposal helps at once.
# By default, `evaluate` fits a normal distribution to each datum's own p(z|x), beginning at the guide, and draws from there
# (`proposal="auto"` does so where a pilot says that the guide does not suffice).
#
# **What to see:** the guide's estimate still climbs at the right end of the curve, which is the sign of a figure that is too low; the
# refined one is flat, and on the truth.

# %%
long = evaluate(pairs["half as wide"], x, proposal="guide", num_particles=2 * K if SHORT else 20_000, compile=False, progress=False)
refined = evaluate(pairs["half as wide"], x, num_particles=K, progress=False)
_, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
plot_curve({"draws from the guide": long, "refined for each datum": refined}, ax=axes)
axes.axhline(float(truth.mean()), color="black", linewidth=0.8, label="truth")
axes.set_ylim(bottom=float(long.curve[0].mean()))  # a single draw of a proposal with heavy tails may lie far below
axes.legend(frameon=False)
plt.show()

# %%
defaults = {name: evaluate(pair, x, num_particles=K, progress=False) for name, pair in pairs.items()}
beside_truth(defaults)

# %% [markdown]
# The line `proposal:` in the print of a score says what the draws came from.

# %%
print(refined)

# %% [markdown]
# ## 5. A second opinion: annealed importance sampling
#
# AIS moves each draw in many small steps from the proposal towards p(z|x), and is unbiased for p(x) too. It takes more time, has other
# weaknesses, and so is worth its time as a check on a few data.
#
# **What to see:** it agrees with the truth within its error, although its chains begin at the worst guide.

# %%
few = 10 if SHORT else 60
ais = evaluate(pairs["half as wide"], x[:few], method="ais", num_steps=10 if SHORT else 50, progress=False)
print(ais)
print(f"\nestimate - truth: {float((ais.log_px - truth[:few]).mean()):.4f}, with a Monte Carlo error of {ais.mc_standard_error:.4f}")

# %% [markdown]
# ## 6. Bounds from both sides
#
# Data that are *simulated from the model* come with an exact draw of their z. Chains that run backwards from these bound log p(x) from
# above, so that any estimate of the simulated data has a largest possible shortfall, and no truth is needed for it.
#
# **What to see:** the two bounds are close, and log p(x) of the simulated data, known here, is where they are, up to the error of the gap.
# `shortfall` leaves the guide's figure under suspicion and clears the refined one.

# %%
settings = {"num_steps": 10 if SHORT else 50, "progress": False}
bounds = bidirectional(pairs["half as wide"], torch.zeros(few, X), **settings)
print(bounds)
print(f"log p(x) of these data: {float(marginal.log_prob(bounds.data[0].double()).mean()):.3f}\n")
for proposal in ("guide", "refined"):
    score = evaluate(pairs["half as wide"], bounds.data, proposal=proposal, num_particles=K, progress=False)
    nats, se = bounds.shortfall(score)
    print(f"draws from {proposal}: at most {nats:.3f} ± {se:.3f} nats too low")

# %% [markdown]
# ## 7. Where estimates fail together
#
# Now a posterior with 256 modes: eight latents that x knows only by their squares, x ~ N(z², 0.3²), so that every sign is free. The guide
# knows one sign of each. The truth is a product of eight one-dimensional integrals, done on a grid.
#
# **What to see:** draws from the guide give a figure that is several nats too low, and *k-hat passes most of the data*: no draw has ever
# been in another mode. Refining finds some modes, but not all; it says so, as it marks the data. AIS starts where the proposal is and is no
# better (16 chains are too few for a k-hat). So agreement of estimators that start at the same place proves little.

# %%
L, SPREAD = 8, 0.3
grid = np.linspace(-8, 8, 8001)


def folded_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(L), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.square(), SPREAD).to_event(1), obs=x)


def one_mode(x):
    with pyro.plate("data", len(x)):
        root = x.clamp(min=0.3).sqrt()
        pyro.sample("z", dist.Normal(root, SPREAD / (2 * root)).to_event(1))


def folded_truth(x):
    density = norm.pdf(grid) * norm.pdf(x.numpy()[..., None], grid**2, SPREAD)  # [N, L, grid]
    return torch.as_tensor(np.log(trapezoid(density, grid)).sum(-1))


# %%
folded = lvm.Pair(folded_model, one_mode)
y = 1.0 + 3.0 * torch.rand(few, L, generator=torch.Generator().manual_seed(2))  # far from 0, so that modes do not touch
known = folded_truth(y)
scores = {
    "guide": evaluate(folded, y, proposal="guide", num_particles=K, progress=False),
    "refined": evaluate(folded, y, num_particles=K, progress=False),
    "AIS": evaluate(folded, y, method="ais", num_steps=settings["num_steps"], progress=False),
}
rows = {
    name: {"mean error": float((score.log_px - known).mean()), "claimed": score.mc_standard_error, "bad k-hat": score.bad_k_share}
    for name, score in scores.items()
}
print(f"log of the number of modes: {np.log(2**L):.2f} nats")
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# Bounds from both sides do not start at the guide alone: the chains that run backwards start at exact draws, in any of the modes.
#
# **What to see:** the gap stays wide open. A gap is no error of anyone's; it says that nobody has shown the figure to be right.

# %%
print(bidirectional(folded, torch.zeros(few, L), **settings))

# %% [markdown]
# The remedy is in the model or in the guide: latents that the data cannot tell apart should be summed out (`infer={"enumerate":
# "parallel"}`), tied down by the prior, or covered by a guide with as many modes.

# %% [markdown]
# ## 8. Is the guide the posterior?
#
# A likelihood can be right with a bad guide, because proposals are refined. Codes, imputations and everything else that is drawn from
# q(z|x) cannot. `calibrate` simulates data from the model and asks where the true z ranks among draws of the guide; if q(z|x) is p(z|x),
# every rank is equally likely.
#
# **What to see:** the exact guide passes, and the line below the table says which departure would have been found. The narrow guide fails
# in every latent.

# %%
count = 200 if SHORT else 1000
print(calibrate(pairs["exact"], x, num_data=count))
narrow = calibrate(pairs["half as wide"], x, num_data=count)
print()
print(narrow)

# %%
ranks = {"exact": calibrate(pairs["exact"], x, num_data=count).ranks[:, 0], "half as wide": narrow.ranks[:, 0]}
_, panels = plt.subplots(1, 2, figsize=(6.4, 2.8), sharey=True, layout="constrained")
for axes, (name, values) in zip(panels, ranks.items(), strict=True):
    axes.hist(values.numpy(), bins=20, range=(0, 100), color=BLUE)
    axes.axhline(count / 20, color="black", linewidth=0.8)
    axes.set(title=name, xlabel="rank of the true z[0] among 99 draws")
panels[0].set_ylabel("simulated data")
plt.show()

# %% [markdown]
# Ranks at both ends mean that the truth lies outside of what the guide draws: the guide is too sure of itself.

# %% [markdown]
# ## 9. A trained model, whose truth nobody knows
#
# A small VAE of binary digits. The list is the same: refined score against the guide's figure; k-hat; a second opinion on a few data;
# bounds on simulated data; calibration of the guide.
#
# **What to see:** whether the customary figure lies below the refined one by more than its error, and whether AIS and bounds leave room
# for more.

# %%
data = load_data("digits")
torch.manual_seed(0)
vae = lvm.VAE(
    prior=lvm.StandardNormal(5),
    likelihood=lvm.BernoulliLikelihood(lvm.MLP(5, [64], 64)),
    encoder=lvm.NormalEncoder(lvm.MLP(64, [64], 10)),
)
fit(vae, data, epochs=2 if SHORT else 60, learning_rate=3e-3, progress=False)
test = data.test[:30] if SHORT else data.test
of_vae = {name: evaluate(vae, test, proposal=name, num_particles=K, progress=False) for name in ("guide", "refined")}
compare({"the guide's draws": of_vae["guide"], "refined draws": of_vae["refined"]})

# %%
second = evaluate(vae, test[:few], method="ais", num_steps=settings["num_steps"], progress=False)
first = of_vae["refined"].log_px[:few]
print(f"AIS - refined on the same {few} digits: {float((second.log_px - first).mean()):.3f} nats")
vae_bounds = bidirectional(vae, few, **settings)
print(vae_bounds)
nats, se = vae_bounds.shortfall(evaluate(vae, vae_bounds.data, num_particles=K, progress=False))
print(f"default score on simulated digits: at most {nats:.3f} ± {se:.3f} nats too low")

# %% [markdown]
# Of an encoder that serves all data, some departure from the posterior is the rule. **What to see:** which latents are concerned, and by
# how much of their width. Scores do not suffer from it, as proposals are refined; what is drawn from the guide does.

# %%
print(calibrate(vae, num_data=count))

# %% [markdown]
# ## What to write down
#
# - The figure with its proposal, K, the share of bad k-hat, the Monte Carlo error and the bias: all of it is in the print of a score.
# - If k-hat is bad for more than a few data: refine (the default), draw more, or say that the figure is a lower bound in expectation.
# - AIS and the shortfall on a few hundred data, once per model class; they cost minutes, and say what k-hat cannot.
# - A verdict on the guide by `calibrate`, if codes or imputations are used, and not only scores.
# - Simulated data are the model's own. If real data do not resemble them, what holds for the one need not hold for the other.
