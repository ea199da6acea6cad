# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Latent variable models, from an integral to a comparison
#
# This notebook follows a lecture on latent variable models, one idea at a time, and shows each idea in numbers or in
# a picture. It begins with an integral that nobody can compute, and ends with a table that says which model of small
# digits is best, by how much, and how far the figures can be trusted.
#
# It needs neither a network connection nor a GPU, and takes a few minutes on two cores. Each section begins with what
# to see in it.
#
# 1. Latent variables, and p(x) as an integral
# 2. Variational inference: KL and ELBO
# 3. Alternating updates
# 4. The variational autoencoder
# 5. Prior and codes do not match
# 6. Four cures
# 7. Discrete codes: VQ-VAE, of images and of text
# 8. The comparison

# %%
import os
from pathlib import Path
from pydoc_data.topics import topics
import re
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
from sklearn.decomposition import PCA
import torch

from inference import (
    baselines,
    codes_of,
    compare,
    decode,
    decode_text,
    diagnose,
    encode,
    evaluate,
    fit,
    fit_code_prior,
    fit_gaussian_mixture,
    fit_temperature,
    load_data,
    log_weights,
    plot_comparison,
    plot_history,
    plot_samples,
    reconstruct,
    sample_latents,
    sample_prior,
)
import pyro_lvm as lvm

SHORT = os.environ.get("PYRO_LVM_SHORT") == "1"
EPOCHS, DRAWS, IMAGES = (1, 30, 20) if SHORT else (150, 1000, None)  # of every model below; None: all images

# %% [markdown]
# Colors and a style for all pictures, and a way to show tables:

# %%
PRIOR, CODES, HOLE, STRAY, GREEN, BLUE = "#0072B2", "0.35", "#E69F00", "#CC79A7", "#009E73", "#56B4E9"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": "medium"})
plt.rcParams.update({"figure.dpi": 100, "figure.constrained_layout.use": True, "legend.frameon": False})


def show_table(rows, columns, digits=".3f"):
    """Rows of numbers by name."""
    table = pd.DataFrame({name: [float(value) for value in values] for name, values in rows.items()}, index=columns)
    return table.T.map(f"{{:{digits}}}".format)


# %% [markdown]
# ## 1. Latent variables
#
# **What to see:** $p(x)$ is an average over the prior, and averaging draws from the prior fails long before the
# latent space is large.
#
# Here are the data of this notebook: 8×8 digits, black and white, 64 pixels each.

# %%
data = load_data("digits")  # .train, .valid and .test
print(data.description)
plot_samples(data.train[:32], columns=16)

# %% [markdown]
# Neighboring pixels depend on each other in complicated ways. A latent variable model explains them by something
# simpler that is hidden: first draw $z$ from a **prior** $p(z)$, then draw the pixels from $p(x \mid z)$,
# independently of each other. All dependence between pixels is then due to $z$. The price is that the probability of
# an image is now an integral over all $z$ that might have made it,
#
# $$p(x) = \int p(z)\, p(x \mid z)\, dz = \mathrm{E}_{p(z)}\big[p(x \mid z)\big].$$
#
# An average can be estimated by draws: $\hat p(x) = \frac{1}{K} \sum_k p(x \mid z_k)$ with $z_k \sim p(z)$. To see
# how well, take a model for which the integral is known. In the **linear model** $z \sim \mathcal N(0, I)$ and $x = W
# z + \text{noise}$, so that $x \sim \mathcal N(0, W W^\top + I)$.
#
# A model is a plain [Pyro](https://pyro.ai) program that draws $z$ and observes $x$, inside a plate over the data.
# The second program, the **guide**, says from where $z$ is drawn to estimate the integral. Here, it is the prior.


# %%
def linear_pair(W):
    D = W.shape[1]

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ W.T, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))

    return lvm.Pair(model, guide)


# %% [markdown]
# Now 50 data from such a model with 2, 4, 8 and 16 latents, and draws from the prior for each of them. `evaluate`
# averages them:

# %%
rows, curves = {}, {}
for D in (2, 4, 8, 16):
    torch.manual_seed(0)
    W = 0.5 * torch.randn(32, D)
    x = torch.randn(50, D) @ W.T + torch.randn(50, 32)
    exact = dist.MultivariateNormal(torch.zeros(32), W @ W.T + torch.eye(32)).log_prob(x)  # [50]
    score = evaluate(linear_pair(W), x, num_particles=20 * DRAWS, proposal="guide", progress=False)

    covariance = torch.linalg.inv(torch.eye(D) + W.T @ W)  # of the posterior p(z|x)
    posterior = dist.MultivariateNormal(x @ W @ covariance, covariance)
    kl = torch.distributions.kl_divergence(posterior, dist.MultivariateNormal(torch.zeros(D), torch.eye(D))).mean()
    rows[D] = [exact.mean(), score.mean, score.mc_standard_error, score.bad_k_share, kl, kl.exp()]
    curves[D] = score.curve_particles, score.curve.mean(1) - exact.mean()

columns = ["log p(x)", "estimate", "its error", "share marked", "KL(posterior, prior)", "draws needed: exp(KL)"]
show_table({f"{D} latents": row for D, row in rows.items()}, columns, ".3g")

# %%
figure, axes = plt.subplots(figsize=(6, 3.4))
for (D, (draws, error)), color in zip(curves.items(), (PRIOR, GREEN, HOLE, STRAY), strict=True):
    axes.plot(draws, error, "o-", color=color, markersize=3, label=f"{D} latents")
axes.axhline(0, color="black", linewidth=0.8)
axes.set(xscale="log", xlabel="draws from the prior, K", ylabel="estimate − log p(x), in nats", title="Plain Monte Carlo is too low")
axes.legend()
plt.show()

# %% [markdown]
# With 2 latents, all is well. With 16, the estimate is far too low, for all its draws, and by much more than its own
# standard error: that is computed from the same draws, hardly any of which came near.
#
# The integrand lives where the posterior $p(z \mid x)$ does, and draws from the prior get there about once in
# $e^{\mathrm{KL}(p(z \mid x) \,\|\, p(z))}$ times (Chatterjee, Diaconis 2018). So the number of draws needed is
# **exponential** in that divergence, which grows with every latent that matters. This is what is meant by an
# intractable integral.
#
# The column *share marked* is the library's own warning: the share of data for which the largest weights have so
# heavy a tail (by their Pareto $\hat k$) that the estimate should not be trusted.

# %% [markdown]
# ## 2. Variational inference
#
# **What to see:** $\log p(x) = \mathrm{ELBO} + \mathrm{KL}$ holds for *every* guide, in numbers.
#
# Draws should come from near the posterior. So put a distribution $q(z \mid x)$ that one can draw from in the place
# of the prior, and correct for it: $p(x) = \mathrm{E}_q[w]$ with the weight $w = p(x, z) / q(z \mid x)$. How good is
# $q$? The Kullback-Leibler divergence $\mathrm{KL}(q \,\|\, p) = \mathrm{E}_q[\log q - \log p]$ is never negative,
# and zero only if both are equal. With $p(z \mid x) = p(x, z) / p(x)$, it is
#
# $$\mathrm{KL}\big(q(z \mid x) \,\|\, p(z \mid x)\big) = \mathrm{E}_q\big[\log q(z \mid x) - \log p(x, z)\big] + \log p(x)
# = \log p(x) - \mathrm{ELBO}(q).$$
#
# The **evidence lower bound**, $\mathrm{ELBO} = \mathrm{E}_q[\log w]$, contains nothing unknown, and maximizing it
# over $q$ minimizes the divergence from a posterior that nobody can compute. In the smallest example, all of it can
# be computed: $z \sim \mathcal N(0, 1)$ and $x \mid z \sim \mathcal N(z, 1)$ give the posterior $\mathcal N(x/2,
# 1/2)$ and the marginal $\mathcal N(0, 2)$.


# %%
def small_pair(shift, scale):
    """The guide is N(x/2 + shift, scale^2): it is the posterior if shift is 0 and scale^2 is 1/2."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2 + shift, scale))

    return lvm.Pair(model, guide)


x = torch.tensor([1.5])
log_px = dist.Normal(0.0, 2**0.5).log_prob(x)
rows = {}
for name, shift, scale in (("the posterior", 0.0, 0.5**0.5), ("too wide", 0.0, 1.0), ("too narrow", 0.0, 0.4), ("shifted", 1.0, 0.5**0.5)):
    log_w = log_weights(small_pair(shift, scale), x, num_particles=100 * DRAWS, seed=0)  # log p(x, z) - log q(z|x), [K, 1]
    kl = torch.distributions.kl_divergence(dist.Normal(x / 2 + shift, scale), dist.Normal(x / 2, 0.5**0.5))
    rows[name] = [log_w.mean(), log_w.std() / len(log_w) ** 0.5, kl, log_w.mean() + kl, log_px]
show_table(rows, ["ELBO", "its error", "KL, exact", "ELBO + KL", "log p(x), exact"], ".4f")

# %% [markdown]
# The last two columns agree within the error of the draws, whatever the guide is. For the posterior itself, every
# single weight *is* $p(x)$: the error is zero. The same identity as a picture, over guides of all widths:

# %%
scales = torch.linspace(0.25, 1.6, 8 if SHORT else 28)
elbos = [log_weights(small_pair(0.0, float(scale)), x, num_particles=2 * DRAWS, seed=0).mean() for scale in scales]
kls = torch.distributions.kl_divergence(dist.Normal(x / 2, scales), dist.Normal(x / 2, 0.5**0.5))

figure, axes = plt.subplots(figsize=(6, 3.4))
axes.axhline(float(log_px), color="black", linewidth=1, label="log p(x)")
axes.plot(scales, log_px - kls, color=PRIOR, label="log p(x) − KL, in closed form")
axes.plot(scales, elbos, "o", color=HOLE, markersize=4, label="ELBO, from draws")
axes.fill_between(scales, log_px - kls, float(log_px), color=BLUE, alpha=0.25, label="KL")
axes.set(xlabel="standard deviation of q(z|x)", ylabel="nats", title="The ELBO touches log p(x) where q is the posterior")
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# ## 3. Alternating updates
#
# **What to see:** improving guide and model in turn climbs one and the same function, and here ends at maximum
# likelihood if the guide can become the posterior.
#
# The ELBO is a function of both the guide's parameters $\phi$ and the model's parameters $\theta$. **Expectation
# maximization** (EM) maximizes it over one at a time:
#
# - the E step chooses the guide, $q = p_\theta(z \mid x)$, so that the ELBO rises to $\log p_\theta(x)$,
# - the M step chooses the model: the ELBO rises further, and $\log p_\theta(x)$, which lies above it, rises at least
#   as much.
#
# Let the mean of the prior be unknown, $z \sim \mathcal N(\theta, 1)$ and $x \mid z \sim \mathcal N(z, 1)$, and the
# guide be $\mathcal N(x/2 + \phi, 1/2)$. Both steps then have a closed form: $\phi = \theta/2$, and $\theta = \bar
# x/2 + \phi$.

# %%
torch.manual_seed(0)
x = 3 + 2**0.5 * torch.randn(200)


def elbo(theta, phi):
    """Mean ELBO of the data in closed form: E_q[log p(z)] + E_q[log p(x|z)] + the entropy of q."""
    mean, variance = x / 2 + phi[..., None], 0.5
    squares = (mean - theta[..., None]) ** 2 + (x - mean) ** 2 + 2 * variance
    return (-squares / 2).mean(-1) - np.log(2 * np.pi) + 0.5 * np.log(2 * np.pi * np.e * variance)


theta, phi = torch.tensor(0.0), torch.tensor(2.0)
steps, path = [], [(0.0, 2.0)]
for _ in range(5):
    for name in ("E", "M"):
        theta, phi = (theta, theta / 2) if name == "E" else (x.mean() / 2 + phi, phi)
        path.append((float(theta), float(phi)))
        log_px = dist.Normal(theta, 2**0.5).log_prob(x).mean()
        steps.append([name, float(theta), float(phi), float(elbo(theta, phi)), float(log_px)])
pd.DataFrame(steps, columns=["step", "theta", "phi", "ELBO", "log p(x)"]).round(4)

# %%
grid = torch.meshgrid(torch.linspace(-0.5, 4, 60), torch.linspace(-0.5, 2.3, 60), indexing="xy")
figure, axes = plt.subplots(figsize=(6, 3.6))
axes.contour(*grid, elbo(*grid), levels=25, colors="0.75", linestyles="solid", linewidths=0.8)
axes.plot(*zip(*path, strict=True), "o-", color=PRIOR, markersize=4, label="E and M steps in turn")
axes.plot(float(x.mean()), float(x.mean()) / 2, "*", color=HOLE, markersize=14, label="maximum likelihood")
axes.set(xlabel="parameter of the model, θ", ylabel="parameter of the guide, φ", title="Contours of the ELBO")
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# The ELBO never falls, and equals $\log p(x)$ after each E step. When neither step has a closed form, gradients take
# their place: of both groups of parameters at once, or in turn (`fit(..., alternating=True)`). The guide is
# **amortized**: one network computes $q(z \mid x)$ from $x$, for all data.
#
# A linear model with linear networks shows that both ways come close to the maximum likelihood, which is known here:
# it is that of probabilistic principal component analysis.

# %%
torch.manual_seed(0)
x = torch.randn(500, 2) @ torch.randn(2, 8) + 0.5 * torch.randn(500, 8)


def linear_vae():
    torch.manual_seed(0)
    likelihood = lvm.GaussianLikelihood(torch.nn.Linear(2, 8), learn_scale=True)
    return lvm.VAE(lvm.StandardNormal(2), likelihood, lvm.NormalEncoder(torch.nn.Linear(8, 4)))


figure, axes = plt.subplots(figsize=(6, 3.4))
for name, alternating, color in (("both at once", False, PRIOR), ("in turn", True, HOLE)):
    result = fit(linear_vae(), x, epochs=2 if SHORT else 60, learning_rate=0.02, alternating=alternating, progress=False)
    axes.plot(result.history["epoch"], -result.history["train_loss"], color=color, label=f"ELBO, {name}")
best = PCA(2).fit(x).score(x)
axes.axhline(best, color="black", linewidth=1, label="maximum likelihood")
axes.set(xlabel="epoch", ylabel="nats per datum", ylim=(best - 4, best + 0.3), title="Gradients of guide and model")
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## 4. The variational autoencoder
#
# **What to see:** the same two programs, with neural networks in them, learn digits.
#
# A **variational autoencoder** (VAE) is a nonlinear version of the model above. A decoder network turns $z$ into the
# parameters of $p(x \mid z)$, and an encoder network turns $x$ into those of $q(z \mid x) = \mathcal N(z \mid m(x),
# s(x)^2)$. The encoder returns $\log s$: any number is a valid log scale, and a step of the optimizer multiplies $s$
# instead of pushing it below zero.
#
# To learn the encoder, the gradient has to pass through the draw. The **reparameterization** $z = m(x) + s(x)\,
# \epsilon$ with $\epsilon \sim \mathcal N(0, 1)$ makes $z$ a differentiable function of $m$ and $s$:

# %%
torch.manual_seed(0)
network = lvm.MLP(64, [128], 2 * 2)  # 64 pixels in; 2 means and 2 log scales out
encoder = lvm.NormalEncoder(network)
x = data.train[:3]

loc, log_scale = network(x).chunk(2, -1)
torch.manual_seed(1)
by_hand = loc + log_scale.exp() * torch.randn(3, 2)
torch.manual_seed(1)
print("the same draws:", torch.allclose(by_hand, encoder(x).rsample()))

# %% [markdown]
# Does it matter? Without it, one can still weight $\nabla \log q$ by the value of the function, which is the **score
# function** estimator. Both have the right mean. Here for the derivative of $\mathrm{E}[(z - 2)^2]$ with respect to
# the mean of $z \sim \mathcal N(m, 1)$, at $m = 0$, where it is $-4$:

# %%
torch.manual_seed(0)
z = torch.randn(100 * DRAWS)
estimates = {"reparameterized": 2 * (z - 2), "score function": (z - 2) ** 2 * z}
rows = {name: [values.mean(), values.std() / len(values) ** 0.5, values.std()] for name, values in estimates.items()}
show_table(rows, ["mean", "its error", "standard deviation of one draw"])

# %% [markdown]
# Now a first VAE, with only **two** latents, so that we can look at all of them. Its prior is the standard normal.


# %%
def make_vae(latent_dim, make_prior=None):
    torch.manual_seed(0)
    encoder = lvm.NormalEncoder(lvm.MLP(64, [128], 2 * latent_dim))
    likelihood = lvm.BernoulliLikelihood(lvm.MLP(latent_dim, [128], 64))  # logits of 64 pixels
    prior = lvm.StandardNormal(latent_dim) if make_prior is None else make_prior(encoder)
    return lvm.VAE(prior, likelihood, encoder)


def train(pair, epochs=EPOCHS):
    return fit(pair, data, epochs=epochs, learning_rate=3e-3, seed=0, progress=False)


result = train(make_vae(2))
plane = result.pair

# %%
plot_history(result)

# %% [markdown]
# The distance between the two curves is what the model has learned about the training images alone. `fit` keeps the
# weights of the best validation epoch.
#
# A **reconstruction** encodes an image and decodes the code. A **sample** decodes a draw from the prior; shown are
# the means of $p(x \mid z)$.

# %%
test = data.test[:16]
plot_samples({"data": test, "reconstruction": reconstruct(plane, test, seed=0), "sample": sample_prior(plane, test, seed=0, means=True)})

# %% [markdown]
# ## 5. Prior and codes do not match
#
# **What to see:** the prior is dense in places where codes are rare, and codes are frequent in places where the prior
# is thin.
#
# Training draws codes from $q(z \mid x)$; samples are decoded from $p(z)$. They would agree if the **aggregate
# posterior** $q(z) = \frac{1}{N} \sum_n q(z \mid x_n)$ were the prior. The ELBO asks for that, but not only for that:
# averaged over the data, its KL is
#
# $$\frac{1}{N} \sum_n \mathrm{KL}\big(q(z \mid x_n) \,\|\, p(z)\big) = I(x; z) + \mathrm{KL}\big(q(z) \,\|\, p(z)\big),$$
#
# the information that codes carry about images, which is worth its price, and the mismatch, which buys nothing. Here
# are both densities: $q(z)$ is a mixture of as many normal distributions as there are training images, so that it can
# be computed exactly.


# %%
def log_densities(vae, points):
    """log q(z) and log p(z) at points [P, D]."""
    with torch.no_grad():
        components = vae.encoder(data.train)  # q(z|x_n), batch shape [N]
        log_q = components.log_prob(points[:, None]).logsumexp(1) - np.log(len(data.train))
        return log_q, vae.prior().log_prob(points)


def mismatch(vae):
    """KL(q(z) || p(z)) in nats, from eight codes of each image."""
    log_q, log_p = log_densities(vae, vae.encoder(data.train).sample((8,)).flatten(0, 1))
    return float((log_q - log_p).mean())


def high(log_density, share=0.9):
    """The points of a grid that hold this share of a density's mass, the densest first."""
    order = log_density.flatten().argsort(descending=True)
    is_within = log_density.flatten()[order].softmax(0).cumsum(0) <= share
    return torch.zeros_like(is_within).scatter(0, order, is_within).reshape(log_density.shape)


# %% [markdown]
# Orange in the picture is where the prior is dense and codes are at most half as dense: **prior without codes**. Pink
# is where codes are dense and the prior is at most half as dense: **codes without prior**.


# %%
def draw_plane(axes, vae, name, size=20 if SHORT else 90):
    codes = codes_of(vae, data.train)
    edge = float(1.1 * codes.abs().max())
    line = torch.linspace(-edge, edge, size)
    log_q, log_p = (values.reshape(size, size) for values in log_densities(vae, torch.cartesian_prod(line, line)))
    for one, other, color in ((log_p, log_q, HOLE), (log_q, log_p, STRAY)):
        mask = high(one) & (other < one - np.log(2))
        if mask.any():
            axes.contourf(line, line, mask.T.float(), levels=[0.5, 1.5], colors=[color], alpha=0.5)
    axes.plot(*codes.T, ".", color=CODES, markersize=1.5, alpha=0.6)
    for share in (0.5, 0.9):
        axes.contour(line, line, high(log_p, share).T.float(), levels=[0.5], colors=PRIOR, linewidths=1.2)
    axes.set(xlabel="$z_1$", ylabel="$z_2$", title=f"{name}: KL(q(z) ‖ p(z)) = {mismatch(vae):.2f} nats", aspect="equal")


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2))
draw_plane(left, plane, "prior and codes")
points = right.scatter(*codes_of(plane, data.train).T, c=data.labels["train"], cmap="tab10", s=4)
figure.colorbar(points, ax=right, label="digit, which the model has never seen", ticks=range(10))
right.set(xlabel="$z_1$", ylabel="$z_2$", title="the same codes", xlim=left.get_xlim(), ylim=left.get_ylim(), aspect="equal")
plt.show()

# %% [markdown]
# Blue lines surround 50% and 90% of the prior's mass; dots are codes, one draw for each training image. Digits of one
# kind lie together, with thinner places between them, and the whole cloud has not the shape of the prior. The KL
# above the picture says how much that is.
#
# The rest of the notebook works with **eight** latents, which no picture shows completely. `diagnose` gives figures,
# in any number of dimensions, with standard errors. Among them is the KL, taken apart:

# %%
standard = train(make_vae(8)).pair
FIGURES = ["rate", "mutual_information", "marginal_kl", "holes_prior", "holes_codes", "auc"]
diagnosis = diagnose(standard, data.train[:IMAGES], quantile=0.05, num_draws=5 * DRAWS, progress=False).to_frame()
diagnosis.loc[FIGURES, ["value", "se"]].map("{:.3g}".format)

# %% [markdown]
# - *rate*, the KL in the ELBO, is the sum of the next two: what codes tell about images, and *marginal_kl*, the
#   mismatch.
# - *holes_prior* is the share of prior draws that lie outside the codes, where q(z) is lower than at 95% of the
#   codes. *holes_codes* is the share of codes outside the prior, likewise. Each would be 0.05 if the two agreed; less
#   means that one keeps well inside the other.
# - *auc* is how well a classifier tells prior draws from codes: 0.5 is chance.
#
# Both directions have a price. **Codes without prior cost likelihood**: such an image pays for its place in $\log
# p(z)$. **Prior without codes costs samples**, because the decoder was never trained there. Here are draws from the
# prior where codes are rarest and where they are most frequent, of 2000 draws:

# %%
z = sample_latents(standard, 2000, seed=0)
log_q, log_p = log_densities(standard, z)
order = (log_q - log_p).argsort()
sparse, dense = z[order[:16]], z[order[-16:]]
plot_samples({"codes are rarest": decode(standard, sparse, 16), "most frequent": decode(standard, dense, 16)})

# %% [markdown]
# ## 6. Four cures
#
# **What to see:** how each cure brings prior and codes together. What it is worth comes in section 8.
#
# ### A mixture fitted afterwards
#
# The simplest cure leaves the trained networks alone. Draw a code for each training image, fit a mixture of normal
# distributions to the codes, and let this be the prior: $p(x) = \int p_{\text{fitted}}(z)\, p(x \mid z)\, dz$ is a
# proper model again, and is scored like any other. Codes of validation images choose the number of components.


# %%
def with_mixture(vae):
    return vae.with_prior(fit_gaussian_mixture(codes_of(vae, data.train), codes_of(vae, data.valid)))


plane_refitted, refitted = with_mixture(plane), with_mixture(standard)
print("components:", len(plane_refitted.prior.logits), "with 2 latents,", len(refitted.prior.logits), "with 8")

# %% [markdown]
# ### Richer priors, trained jointly
#
# A prior with parameters can be trained together with the networks, so that codes move towards the prior and the
# prior towards the codes. A **mixture** $p(z) = \sum_c w_c\, \mathcal N(z \mid m_c, s_c^2)$ learns its components. A
# **VampPrior** (Tomczak, Welling 2018) takes them from the encoder, $p(z) = \sum_c w_c\, q(z \mid u_c)$, at learned
# pseudo-inputs $u_c$. It imitates the aggregate posterior with a few inputs in the place of all data.


# %%
def mixture_prior(latent_dim):
    return lambda encoder: lvm.GaussianMixturePrior(latent_dim, 20)


def vamp_prior(encoder):
    return lvm.VampPrior(encoder, data.train[:50])


mixture = train(make_vae(8, mixture_prior(8))).pair
vamp = train(make_vae(8, vamp_prior)).pair
plane_vamp = train(make_vae(2, vamp_prior)).pair

# %% [markdown]
# ### A flow, trained jointly
#
# A **normalizing flow** is an invertible network $f$ whose Jacobian is cheap. It gives a prior of any shape with an
# exact density, $\log p(z) = \log \mathcal N(f(z) \mid 0, I) + \log |\det \partial f / \partial z|$. Here is a masked
# autoregressive flow (MAF).
#
# A flow can serve the other side as well. With an inverse autoregressive flow (IAF) as the **guide**, $q(z \mid x)$
# need not be a normal distribution with independent components. That does not change the prior, but lets the
# posteriors fill it better.

# %%
flow = train(make_vae(8, lambda encoder: lvm.FlowPrior(lvm.maf(8)))).pair
plane_flow = train(make_vae(2, lambda encoder: lvm.FlowPrior(lvm.maf(2)))).pair

torch.manual_seed(0)
iaf_guide = lvm.FlowEncoder(lvm.MLP(64, [128], 2 * 8 + 16), lvm.iaf(8, 16))  # means, log scales, and 16 features for the flow
iaf = train(lvm.VAE(lvm.StandardNormal(8), lvm.BernoulliLikelihood(lvm.MLP(8, [128], 64)), iaf_guide)).pair

# %%
figure, panels = plt.subplots(2, 2, figsize=(9, 9))
names = ("standard normal", "mixture fitted afterwards", "VampPrior", "flow (MAF)")
for axes, name, vae in zip(panels.ravel(), names, (plane, plane_refitted, plane_vamp, plane_flow), strict=True):
    draw_plane(axes, vae, name)
figure.suptitle("Blue: prior; dots: codes; orange: prior without codes; pink: codes without prior", fontsize="medium")
plt.show()

# %% [markdown]
# The fitted mixture goes to where the codes are, which stay where they were. Where the prior was trained jointly,
# prior and codes have moved towards each other: compare the shapes of the clouds.
#
# ### A hierarchy
#
# The last cure puts a latent variable model on top of the latents: $p(z_1, z_2) = p(z_2)\, p(z_1 \mid z_2)$ with a
# network between the levels, so that $p(z_1) = \int p(z_2)\, p(z_1 \mid z_2)\, dz_2$ is a mixture of infinitely many
# normal distributions. The guide has two levels as well. The decoder sees both levels. It remains one ELBO, with more
# sites.

# %%
torch.manual_seed(0)
levels = lvm.stacked(64, [4, 8], [64])  # 4 latents at the top, 8 below; one hidden layer of 64
hierarchy = train(lvm.HierarchicalVAE(lvm.StandardNormal(4), levels, lvm.BernoulliLikelihood(lvm.MLP(4 + 8, [128], 64)))).pair

# %% [markdown]
# Did the cures close the gap in eight dimensions? The same figures as before, and samples of each:

# %%
columns = {"standard": diagnosis["value"]}
for name, vae in {"mixture afterwards": refitted, "mixture": mixture, "VampPrior": vamp, "flow (MAF)": flow}.items():
    columns[name] = diagnose(vae, data.train[:IMAGES], quantile=0.05, num_draws=5 * DRAWS, progress=False).to_frame()["value"]
pd.DataFrame(columns).loc[FIGURES].map("{:.3g}".format)

# %%
eight = {"standard": standard, "mixture": mixture, "VampPrior": vamp, "flow (MAF)": flow, "hierarchy": hierarchy}
plot_samples({name: sample_prior(vae, test, seed=0, means=True) for name, vae in eight.items()})

# %% [markdown]
# ## 7. Discrete codes
#
# **What to see:** a codebook is a k-means that is trained along with the networks; its likelihood is usually not
# reported, and can be.
#
# A **VQ-VAE** (van den Oord, Vinyals, Kavukcuoglu 2017) has discrete latents: each image becomes a few indices into a
# codebook of vectors $e_1, \dots, e_V$. The encoder returns vectors $h$, and the code of each is the **nearest** code
# vector, $z = \arg\min_v \lVert h - e_v \rVert$. The decoder sees $e_z$. There are three codes of ten here, so that
# there are 1000 different images that can be decoded, and vectors with two features, which can be drawn.

# %%
SLOTS, V = 3, 10
torch.manual_seed(0)
quantizer = lvm.VectorQuantizer(lvm.MLP(64, [128], (SLOTS, 2)), num_codes=V)
likelihood = lvm.BernoulliLikelihood(lvm.MLP((SLOTS, 2), [128], 64))
vq = lvm.VQVAE(lvm.CategoricalCodePrior((SLOTS,), V), likelihood, quantizer)
quantizer.start_(data.train)  # at the centers that k-means finds

start = quantizer.codebook[0].clone()  # [V, 2]
history = train(vq).history

# %% [markdown]
# Nearest code, by hand:

# %%
with torch.no_grad():
    features, codebook = quantizer.features(data.train), quantizer.codebook[0]  # [N, 3, 2], [V, 2]
nearest = torch.cdist(features, codebook).argmin(-1)  # [N, 3]
print("the same codes:", torch.equal(nearest, encode(vq, data.train)))
print("codes of three images:", nearest[:3].tolist())

# %% [markdown]
# Two updates take turns at each step of the training. The **networks** follow the gradient of the ELBO. The nearest
# code has no derivative, so the gradient of $e_z$ is handed to $h$ as if they were equal (*straight through*), and a
# penalty $\beta \lVert h - \mathrm{sg}(e_z) \rVert^2$, the commitment, keeps them close. The **code vectors** follow
# running averages of the vectors that chose them,
#
# $$N_v \leftarrow \gamma N_v + (1 - \gamma)\, n_v, \quad m_v \leftarrow \gamma m_v + (1 - \gamma) \sum_{z = v} h,
# \quad e_v = m_v / N_v,$$
#
# as the centers in k-means do. If that is so, each code vector should end near the mean of the vectors that choose
# it:

# %%
means = torch.stack([features[nearest == v].mean(0) for v in range(V)])
spread = (features - codebook[nearest]).square().sum(-1).mean().sqrt()
print(f"distance of code vectors from the means of their vectors: {float((means - codebook).norm(dim=-1).nanmean()):.3f}")
print(f"distance of the vectors from their code vectors:          {float(spread):.3f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
colors = plt.get_cmap("tab10")(nearest.flatten().numpy() % 10)
left.scatter(*features.flatten(0, 1).T, c=colors, s=2)
left.plot(*codebook.T, "o", color="black", markersize=6, label="code vectors")
left.plot(*start.T, "o", color="black", markerfacecolor="white", markersize=5, label="at the start")
left.set(xlabel="first feature", ylabel="second feature", title="vectors h, colored by their nearest code")
left.legend()
right.plot(history["epoch"], history["code_perplexity"], color=PRIOR)
right.set(xlabel="epoch", ylabel="perplexity of the codes", ylim=(0, V + 0.5), title=f"how many of the {V} codes are in use")
plt.show()

# %% [markdown]
# The guide is now certain of its codes, so the ELBO is $\log p(x, z(x))$, a single term of the sum $p(x) = \sum_z
# p(z)\, p(x \mid z)$: a **bound**. There are two ways to more. A *soft* proposal draws codes with probabilities that
# fall with their distance, which gives an estimate. And as there are only 1000 combinations of codes, they can be
# summed, which is exact. So here the bound, the estimate and the truth can be compared.

# %%
soft = vq.soft(fit_temperature(vq.soft, data.valid))
vq_scores = {
    "bound": evaluate(vq, data.test[:IMAGES], progress=False),
    "estimate": evaluate(soft, data.test[:IMAGES], num_particles=DRAWS, progress=False),
    "sum over all codes": evaluate(vq.enumerated(), data.test[:IMAGES], progress=False),
}
compare(vq_scores)

# %% [markdown]
# The prior, too, is learned once more after the training, as in the paper: an autoregressive prior of the codes,
# $p(z) = \prod_m p(z_m \mid z_{<m})$, knows which codes go together. Compare the last two rows:

# %%
train_codes, valid_codes = codes_of(vq, data.train), codes_of(vq, data.valid)
code_prior = fit_code_prior(lvm.TransformerPrior((SLOTS,), V), train_codes, valid_codes, epochs=1 if SHORT else 60)
vq_prior = vq.with_prior(code_prior)
plot_samples(
    {
        "data": test,
        "reconstruction": reconstruct(vq, test),
        "independent codes": sample_prior(vq, test, seed=0, means=True),
        "with the prior": sample_prior(vq_prior, test, seed=0, means=True),
    }
)

# %% [markdown]
# ### Text
#
# Nothing above needs images. Python's own reference manual, which comes with Python, in windows of 16 characters: an
# encoder turns each into four codes of 64, and the decoder says how probable each character is at each place.

# %%
text = re.sub("[^a-z .,]+", " ", " ".join(topics.values()).lower())[: 8_000 if SHORT else 120_000]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "manual.txt")
    path.write_text(text)
    words = load_data(path, shape=(16,))
symbols = len(words.alphabet)
print(len(words.train), "windows of", symbols, "symbols, such as", decode_text(words.train[:3], words.alphabet))

# %%
torch.manual_seed(0)
reader = lvm.VectorQuantizer(lvm.SequenceEncoder(16, symbols, [64, 64], 8), num_codes=64)  # 4 vectors of 8 features
writer = lvm.CategoricalLikelihood(lvm.SequenceDecoder((4, 8), [64, 64], (16, symbols)))
text_vq = lvm.VQVAE(lvm.CategoricalCodePrior((4,), 64), writer, reader)
reader.start_(words.train)
fit(text_vq, words, epochs=1 if SHORT else 15, learning_rate=3e-3, seed=0, progress=False)

with torch.no_grad():
    codes = encode(text_vq, words.test[:6])
    likeliest = writer(reader.vectors(codes)).base_dist.logits.argmax(-1)
texts = [decode_text(values, words.alphabet) for values in (words.test[:6], likeliest)]
pd.DataFrame({"window": texts[0], "codes": codes.tolist(), "likeliest characters": texts[1]})

# %% [markdown]
# Four codes are 24 bits, for sixteen characters. What is lost, and how the model does in bits per character beside
# one that only knows how frequent each character is:

# %%
counts = np.bincount(words.train.flatten().int(), minlength=symbols) + 1.0
frequencies = torch.tensor(counts / counts.sum())
bound = evaluate(text_vq, words, progress=False)
kept = (writer(reader.vectors(encode(text_vq, words.test))).base_dist.logits.argmax(-1) == words.test).float().mean()
print(f"characters that are restored: {float(kept):.0%}")
print(f"bits per character, frequencies alone: {float(-frequencies.log2()[words.test.long()].mean()):.2f}")
print(f"bits per character, VQ-VAE, at most:   {bound.bits_per_dim:.2f}")

# %% [markdown]
# ## 8. The comparison
#
# **What to see:** which model is best on images that none of them has seen, by how much, and which differences are
# real.
#
# The score is $\log p(x)$ of the test images. The weights of section 2, averaged *before* the logarithm, estimate it:
# $\hat p(x) = \frac{1}{K} \sum_k w_k$ with $z_k$ from the guide. This is what the prior could not do in section 1,
# because the guide draws near the posterior. Where it does not, `evaluate` refines the proposal for each image before
# it draws.
#
# The VQ-VAE with its learned prior is scored twice: by its bound, and by the sum over all codes. `baselines` adds
# classical models whose scores are exact: independent pixels, and latent classes, which are a mixture of independent
# pixels.

# %%
models = {
    "standard": standard,
    "mixture afterwards": refitted,
    "mixture": mixture,
    "VampPrior": vamp,
    "flow (MAF)": flow,
    "IAF guide": iaf,
    "hierarchy": hierarchy,
    "VQ-VAE, bound": vq_prior,
    "VQ-VAE, exact": vq_prior.enumerated(),
}
yardsticks = baselines(data)
scores = {name: evaluate(pair, data.test[:IMAGES], num_particles=DRAWS, progress=False) for name, pair in {**models, **yardsticks}.items()}
compare(scores, yardsticks=yardsticks.sizes)

# %% [markdown]
# How to read the table:
#
# - **log_px** is the mean over the test images, and *se* its standard error. Most of that error is due to the images,
#   some of which are harder than others *for all models*. So the models are not to be compared by it.
# - **difference** is taken image by image, which removes what the models have in common: *difference_se* is smaller.
#   The notes below the table say which models cannot be told apart from the best one.
# - **mc_error** and **bias** are due to the finite number of draws: the logarithm of an average is too low in
#   expectation, by about the bias. **bad_k** is the share of images for which the estimate should not be trusted.
# - **is_bound** marks what is only a lower bound. The two rows of the VQ-VAE are *one* model: their difference is
#   what a bound gives away here. A bound that loses to an estimate shows nothing.
# - **latent-classes** are the best of the classical models, and what a deep model has to beat: one that does not
#   describes these images no better than a simple mixture.
#
# The same as a picture:

# %%
plot_comparison({name: score for name, score in scores.items() if name != "independent-columns"})  # which is far below

# %% [markdown]
# Not every cure has to help: compare each with *standard*.
#
# What the table does not say: these are single fits, and another seed of the same recipe may end elsewhere. Small
# differences need several seeds (`pyro-lvm compare --seeds`, or `compare_recipes`). And a better $\log p(x)$ is not
# the same as better samples or more useful codes, for which there are other measures (`sample_quality`, `diagnose`).
#
# ## What to remember
#
# 1. $p(x)$ is an integral that draws from the prior cannot compute; draws from a guide can.
# 2. For every guide, $\log p(x) = \mathrm{ELBO} + \mathrm{KL}$. Training the guide tightens the bound; training the
#    model raises it.
# 3. A VAE is that, with networks, reparameterized draws and one encoder for all data.
# 4. Its prior and its codes need not match. Prior without codes costs samples, codes without prior cost likelihood,
#    and `diagnose` measures both.
# 5. A better prior, fitted afterwards or jointly, a better guide and a hierarchy are answers to this. Which of them
#    help on given data is a question for the table.
# 6. Discrete codes are latent variables like any others. Their usual score is a bound: say so, or sum them out.
# 7. Compare paired differences, with errors, and say which figures are bounds.
