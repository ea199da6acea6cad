# %% [markdown]
# # A Pyro model of your own
#
# Nothing has to be subclassed: a model and a guide are two Pyro functions, and `lvm.Pair` makes one object of them. This notebook writes
# such a pair, lets `check_pair` look at it, fits it, scores it, gives it a better guide, and then adds labels: first given, as in p(x|y),
# then as a part of the data, of which most are missing and are summed out.

# %%
import os
import textwrap

import pyro
from pyro import poutine
import pyro.distributions as dist
from sklearn.linear_model import LogisticRegression
import torch

from inference import (
    baselines,
    class_posterior,
    compare,
    evaluate,
    fit,
    label_posterior,
    load_data,
    plot_history,
    plot_samples,
    sample_prior,
)
import pyro_lvm as lvm

SHORT = os.environ.get("PYRO_LVM_SHORT") == "1"
EPOCHS, K = (2, 50) if SHORT else (100, 1000)

# %% [markdown]
# ## 1. The pair
#
# Handwritten digits, 8 by 8 binary pixels. The model draws heavy-tailed latents z and pixels given z; the guide says where z probably
# was. Three rules make it a pair:
#
# - tensors come batch-first, and everything about one datum happens inside **one plate** of the batch's size;
# - the guide samples every latent of the model, **under the same name**;
# - networks are registered with `pyro.module`, which is how `fit` finds them.
#
# **What to see:** `check_pair` runs the pair once and says what it has understood.

# %%
data = load_data("digits")
PIXELS, LATENTS = data.train.shape[1], 8


def make_pair(encoder, seed=0):
    torch.manual_seed(seed)
    decoder = lvm.MLP(LATENTS, [64], PIXELS)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.StudentT(5.0, torch.zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return lvm.Pair(model, guide)


torch.manual_seed(0)
linear = make_pair(torch.nn.Linear(PIXELS, 2 * LATENTS))
structure = lvm.check_pair(linear, data.train[:20])
print("latents", structure.latents, "| observed", structure.observed, "| x has a", structure.measure)

# %% [markdown]
# ## 2. What the check says when something is wrong
#
# Most mistakes in a Pyro model do not crash; they make another model. A missing `.to_event(1)` or a sum over the wrong dimension changes
# the likelihood, and the loss still goes down. So every pair is checked before it is fitted or scored.
#
# **What to see:** each message names the site, what was expected, what was found, and what to do.


# %%
def complaint(model, guide, x=data.train[:20]):
    """What check_pair says about a pair that is wrong."""
    try:
        lvm.check_pair(lvm.Pair(model, guide), x)
    except (TypeError, ValueError) as error:
        print(textwrap.fill(str(error), 110), end="\n\n")


def good_model(x, name="z", pixel_dims=1):
    with pyro.plate("data", len(x)):
        z = pyro.sample(name, dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
        pyro.sample("x", dist.Bernoulli(logits=z.sum(-1, keepdim=True).expand(-1, PIXELS)).to_event(pixel_dims), obs=x)


def good_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x), LATENTS), 1.0).to_event(1))


print("1. Another name in the guide:")
complaint(lambda x: good_model(x, name="code"), good_guide)
print("2. No .to_event(1) on the pixels:")
complaint(lambda x: good_model(x, pixel_dims=0), good_guide)
print("3. Data that the likelihood cannot have generated:")
complaint(good_model, good_guide, 16 * data.train[:20])


# %%
def one_for_all(x):
    z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))  # outside of the plate: one z for all data
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Bernoulli(logits=z.sum().expand(PIXELS)).to_event(1), obs=x)


def one_guide(x):
    pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))


shared = lvm.Pair(one_for_all, one_guide)
print("4. A latent outside of the plate: the pair can be trained, but has no likelihood per datum, for this reason:")
print(textwrap.fill(lvm.check_pair(shared, data.train[:20]).refusal, 110))

# %% [markdown]
# ## 3. Fit and score
#
# `fit` takes the splits of `data`: training rows, and validation rows to choose the epoch whose weights are kept. `evaluate` estimates log
# p(x) of each test row by importance sampling.
#
# **What to see:** the validation loss, which is minus the ELBO, should have flattened out; if it is still falling at the right end, more
# epochs are due. The score says what the figure is worth: errors, bias, and k-hat.

# %%
fits = {"linear guide": fit(linear, data, epochs=EPOCHS, learning_rate=3e-3, progress=False)}
scores = {"linear guide": evaluate(linear, data, num_particles=K, progress=False)}
print(scores["linear guide"])

# %% [markdown]
# ## 4. A more flexible guide
#
# The guide decides how tight the bound is that the model is trained on. The same model, trained again with a network for a guide
# instead of a linear map:
#
# **What to see:** two things may differ. log p(x) belongs to the *model*; the distance from ELBO to log p(x) belongs to the *guide*.
# Two fits from one seed each say something about these two fits; a claim about the guides would need several seeds.

# %%
torch.manual_seed(0)
network = make_pair(lvm.MLP(PIXELS, [64], 2 * LATENTS))
fits["network guide"] = fit(network, data, epochs=EPOCHS, learning_rate=3e-3, progress=False)
scores["network guide"] = evaluate(network, data, num_particles=K, progress=False)
for name, score in scores.items():
    gap = (score.log_px - score.elbo).mean()
    print(f"{name:14} log p(x) {score.mean:7.2f}   ELBO {score.elbo.mean():7.2f}   gap {gap:5.2f} nats")

# %%
plot_history(fits)

# %% [markdown]
# Beside them stand classical models that are fitted in a second and have an exact log p(x). **What to see:** the notes below the table.
# They say which models cannot be told apart, and whether any of them beats the best yardstick at all. One that does not has not yet earned
# its trouble: train it longer, change prior or guide, or take the classes.

# %%
yardsticks = baselines(data)
scores |= {name: evaluate(pair, data, progress=False) for name, pair in yardsticks.items()}
compare(scores, yardsticks=yardsticks.sizes)

# %% [markdown]
# ## 5. Labels that are given: p(x|y)
#
# `condition="labels"` puts the digit's label beside the pixels; the two functions simply take it as another argument. `lvm.Join` is a
# network of two inputs, and `lvm.LabelIndicators` turns labels into indicators.
#
# **What to see:** one row of samples for each label. Latents now carry what a label leaves open: slant, width, style.

# %%
labelled = load_data("digits", condition="labels")  # the same rows in the same splits


def make_conditional(seed=0):
    torch.manual_seed(seed)
    digit = lvm.LabelIndicators(10)
    decoder = lvm.Join(None, digit, lvm.MLP(LATENTS + 10, [64], PIXELS))  # of z and y
    encoder = lvm.Join(None, digit, lvm.MLP(PIXELS + 10, [64], 2 * LATENTS))  # of x and y

    def model(x, y):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z, y)).to_event(1), obs=x)

    def guide(x, y):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x, y).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return lvm.Pair(model, guide)


conditional = make_conditional()
fit(conditional, labelled, epochs=EPOCHS, learning_rate=3e-3, progress=False)
y = torch.arange(10).repeat_interleave(12)  # twelve of each
means = sample_prior(conditional, torch.zeros(len(y), PIXELS), y, seed=0, means=True)
plot_samples({str(label): means[y == label] for label in range(10)})  # means of p(x|z, y), with z from the prior

# %% [markdown]
# A conditional score is of log p(x|y): it knows more than log p(x), so the two are different questions. The comparison says so.
# By Bayes' rule the same model is a classifier: p(y|x) is proportional to p(y) p(x|y), and is computed from ten scores of each digit.
#
# **What to see:** the note on what is given, and an accuracy with its error over the test digits.

# %%
given = evaluate(conditional, labelled, num_particles=K, progress=False)
print(compare({"p(x)": scores["network guide"], "p(x|y)": given}))
posterior = class_posterior(conditional, labelled.batch("test"), num_labels=10, num_particles=20 if SHORT else 200, progress=False)
share, se = posterior.accuracy(labelled.labels["test"])
print(f"\nlabel found by p(y|x): {share:.3f} ± {se:.3f} of {len(labelled.test)} test digits")

# %% [markdown]
# ## 6. Labels that are missing: summed out
#
# Now only 100 training digits have a label, the others -1. The label becomes a latent of the model, `y`, marked
# `infer={"enumerate": "parallel"}`: it is **summed out exactly**, and the guide does not draw it. A known label enters as an
# observation of y that is right with probability 0.99, under a mask where there is none.
#
# **What to see:** `check_pair` lists `y` as enumerated; a score is of log p(x, label) where the label is known and of log p(x) where not.

# %%
semi_data = load_data("digits", condition="labels", labelled=100)
print("labels known in training:", int((semi_data.given["labels"]["train"] >= 0).sum()), "of", len(semi_data.train))
confusion = 0.99 * torch.eye(10) + 0.01 / 9 * (1 - torch.eye(10))
STYLES = 2  # few latents: with many of them the label would have nothing left to say


def make_semi(seed=0):
    torch.manual_seed(seed)
    decoder = lvm.Join(None, lvm.LabelIndicators(10), lvm.MLP(STYLES + 10, [64], PIXELS))
    encoder = lvm.MLP(PIXELS, [64], 2 * STYLES)

    def model(x, y):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(STYLES), 1.0).to_event(1))
            digit = pyro.sample("y", dist.Categorical(torch.full((10,), 0.1)), infer={"enumerate": "parallel"})
            with poutine.mask(mask=y >= 0):
                pyro.sample("label", dist.Categorical(confusion[digit]), obs=y.clamp(min=0))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z, digit)).to_event(1), obs=x)

    def guide(x, y):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return lvm.Pair(model, guide)


semi = make_semi()
print("enumerated:", lvm.check_pair(semi, *(rows[:20] for rows in semi_data.batch("train"))).enumerated)

# %% [markdown]
# `label_posterior` is the model's own belief p(y|x), with z integrated out by importance sampling. Two fits of the same pair: one to all
# digits at once, and one to the 100 labelled digits first and then to all. The yardstick is a logistic regression on the same 100 labels,
# which does not see the other digits.
#
# **What to see:** a likelihood does not show whether `y` still means what the known labels said. Fitted to all digits at once, it may come
# to stand for any clusters that explain the pixels; begun at the labelled digits, it keeps its meaning. Only held-out labels tell the two
# apart, so look at them, and at the yardstick: that the model uses more data does not make it the better classifier.

# %%
known = semi_data.given["labels"]["train"] >= 0
few = tuple(rows[known] for rows in semi_data.batch("train"))
begun = make_semi()
fit(begun, few, epochs=EPOCHS, batch_size=50, learning_rate=3e-3, progress=False)
truth, ways = semi_data.labels["test"], {"all at once": semi, "labelled first, then all": begun}
for name, pair in ways.items():
    result = fit(pair, semi_data, epochs=EPOCHS, learning_rate=3e-3, progress=False)
    belief = label_posterior(pair, *semi_data.batch("test"), num_particles=50 if SHORT else 500)
    share, se = belief.accuracy(truth)
    print(f"{name:25} label found: {share:.3f} ± {se:.3f}   validation loss {result.best_loss:.2f} nats")
regression = LogisticRegression(max_iter=2000).fit(few[0], few[1])
share = regression.score(semi_data.test, truth)
print(f"{'logistic regression':25} label found: {share:.3f} ± {(share * (1 - share) / len(truth)) ** 0.5:.3f}")

# %% [markdown]
# **What to see:** the mean of the largest probability beside the share of labels that were found (of the second fit). If it is higher, the
# model is surer than it is right: p(y|x) follows from the model exactly, and the model is not the world.

# %%
print(belief)

# %% [markdown]
# ## Where to go from here
#
# - The same pair from the shell: put `make_pair` in a file, with `data` as its first argument, and `pyro-lvm train --pair
#   my_models.py:make_pair` fits it; every other command takes the run.
# - `lvm.ConditionalVAE` and `lvm.SemiSupervisedVAE` are sections 5 and 6 made of parts; the second adds a classifier to the guide.
# - `calibrate(pair, x)` asks whether the guide is the posterior, and `diagnose(pair, x)` where the prior and the codes do not meet.
