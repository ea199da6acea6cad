# %% [markdown]
# # Discrete codes for text
#
# A VQ-VAE writes a window of text as a few codes from a codebook. This notebook trains one on English prose that comes with Python, looks
# at how the codebook is used, fits an autoregressive prior to the codes, and asks what such models are asked too rarely: how probable is
# text that the model has not seen, and would counting characters have done as well?

# %%
from collections import Counter
import os
from pathlib import Path
from pydoc_data.topics import topics
import re
import tempfile

import matplotlib.pyplot as plt
import pandas as pd
import torch

from inference import (
    baselines,
    codes_of,
    compare,
    decode_text,
    evaluate,
    fit,
    fit_code_prior,
    fit_temperature,
    load_data,
    plot_history,
    reconstruct,
    sample_prior,
)
import pyro_lvm as lvm

SHORT = os.environ.get("PYRO_LVM_SHORT") == "1"
BLUE, RED = "#0072B2", "#D55E00"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})

# %% [markdown]
# ## 1. The text
#
# The manual pages behind Python's `help("topic")`, in lower case, with nothing but letters, spaces and some punctuation left. `load_data`
# reads a .txt file: characters become codes, and windows of 32 characters are cut without overlap. The last tenth of the text is the
# test set, and the tenth before it is for validation.
#
# **What to see:** a small text: a few thousand windows. (Another version of Python has slightly other pages, and so other figures.)

# %%
SIZE, WINDOW = 30_000 if SHORT else 240_000, 32
prose = " ".join(topics[name] for name in sorted(topics))
prose = re.sub(r"\s+", " ", re.sub(r"[^a-z .,']+", " ", prose.lower()))[:SIZE]
folder = tempfile.TemporaryDirectory()
file = Path(folder.name) / "prose.txt"
file.write_text(prose)
data = load_data(file, shape=(WINDOW,))
print(f"{len(data.alphabet)} characters: {data.alphabet!r}")
print("windows:", {split: len(getattr(data, split)) for split in ("train", "valid", "test")})
print(*decode_text(data.test[:4], data.alphabet), sep="\n")

# %% [markdown]
# ## 2. The yardstick: n-grams
#
# How probable is each character given the ones before it in the same window, by counting? Smoothing and order are chosen on the validation
# windows, and the score is exact. In bits per character, less is better; a character at random from this alphabet costs its logarithm.
#
# **What to see:** the number that everything below has to beat.

# %%
yardsticks = baselines(data)
scores = {name: evaluate(pair, data, progress=False) for name, pair in yardsticks.items()}
print(f"at random: {torch.tensor(float(len(data.alphabet))).log2():.3f} bits per character")
compare(scores, unit="bits/dim")

# %% [markdown]
# ## 3. A VQ-VAE
#
# The encoder halves the window twice, so that 32 characters become 8 code slots of 4 characters each. A slot holds one of 256 codes, the
# one whose vector is nearest. The decoder turns the 8 vectors back into probabilities of all 32 characters, **independently given the
# codes**. The codebook starts at centers that k-means finds, follows the data by running averages, and restarts codes that die out.
#
# **What to see:** `code_usage` is the share of codes in use and `code_perplexity` how many equally frequent codes would be as diverse. A
# perplexity far below the number of codes is called codebook collapse; here most codes should live. The training loss lies above that of
# validation, as it alone has the penalty that keeps the encoder near its codes. If the loss still falls at the end, more epochs are due.

# %%
SLOTS, CODES, VECTOR = WINDOW // 4, 256, 16
V = len(data.alphabet)


def make_vqvae(window, slots, num_codes, seed=0):
    torch.manual_seed(seed)
    widths = [64] * ((window // slots).bit_length() - 1)  # one convolution for each halving
    encoder = lvm.VectorQuantizer(lvm.SequenceEncoder(window, V, widths, VECTOR), num_codes)
    likelihood = lvm.CategoricalLikelihood(lvm.SequenceDecoder((slots, VECTOR), widths, (window, V)))
    return lvm.VQVAE(lvm.UniformCodePrior((slots,), num_codes), likelihood, encoder)


vqvae = make_vqvae(WINDOW, SLOTS, CODES)
vqvae.encoder.start_(data.train[:2000])
result = fit(vqvae, data, epochs=2 if SHORT else 25, learning_rate=3e-3, progress=False)
history = result.history
history[["epoch", "train_loss", "valid_loss", "code_usage", "code_perplexity"]].iloc[[0, len(history) // 2, -1]].round(2)

# %%
codes = codes_of(vqvae, data.train)  # [N, 8]
counts = torch.bincount(codes.flatten(), minlength=CODES)
usage, perplexity = lvm.code_use(counts)
_, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
plot_history(result, ax=left)
right.bar(range(CODES), counts.sort(descending=True).values.numpy(), width=1.0, color=BLUE)
right.axhline(codes.numel() / CODES, color="black", linewidth=0.8)
right.set(xlabel="codes, most frequent first", ylabel="slots with this code", title="Use of the codebook")
plt.show()
print(f"{usage:.1%} of {CODES} codes occur in training text; perplexity {perplexity:.0f}. Line: equal use.")

# %% [markdown]
# ## 4. What a code stands for
#
# Nothing told the codes what to be. **What to see:** the four characters under a slot with a frequent code. A code is a spelling rather
# than a meaning: pieces that share one differ in a letter or two, which is the noise that the decoder has to pay for.

# %%
pieces = {}
for window, row in zip(decode_text(data.train, data.alphabet), codes.tolist(), strict=True):
    for slot, code in enumerate(row):
        pieces.setdefault(code, Counter())[window[4 * slot : 4 * slot + 4].replace(" ", "␣")] += 1
frequent = counts.argsort(descending=True)[:8].tolist()
rows = [
    {
        "code": code,
        "slots": int(counts[code]),
        "different pieces": len(pieces[code]),
        "most frequent": "  ".join(f"{piece} {count}" for piece, count in pieces[code].most_common(5)),
    }
    for code in frequent
]
pd.DataFrame(rows).set_index("code")

# %% [markdown]
# Reconstructions draw each character independently from what the codes leave open. **What to see:** which letters are lost.

# %%
again = reconstruct(vqvae, data.test[:5], seed=0, draws=True)
for before, after in zip(decode_text(data.test[:5], data.alphabet), decode_text(again, data.alphabet), strict=True):
    print(before, "|", after)

# %% [markdown]
# ## 5. A bound is not an estimate
#
# With one certain code for each window, the ELBO is log p(x, z(x)): the probability of the text *and* of this one way of coding it. It is
# a lower bound on log p(x), which sums over all codes. Draws of near codes (`soft`) give an estimate; its temperature is chosen on the
# validation windows.
#
# First a model so small that the sum can be done: 8 characters, 2 slots, 32 codes, so 1024 ways of coding.
#
# **What to see:** the soft estimate is near the exact sum, too low by about the bias that it states, and the bound lies much lower. What a
# bound lacks differs from model to model, so bounds do not rank models.

# %%
small_data = load_data(file, shape=(8,))
small = make_vqvae(8, 2, 32)
small.encoder.start_(small_data.train[:2000])
fit(small, small_data, epochs=1 if SHORT else 10, batch_size=400, learning_rate=3e-3, progress=False)
rows = small_data.test[: 50 if SHORT else 300]
K = 100 if SHORT else 1000
soft = small.soft(fit_temperature(small.soft, small_data.valid, num_data=50 if SHORT else 200))
of_small = {
    "exact sum over 1024": evaluate(small.enumerated(), rows, progress=False),
    "soft proposal": evaluate(soft, rows, num_particles=K, progress=False),
    "bound": evaluate(small, rows, progress=False),
}
compare(of_small)

# %% [markdown]
# The large model has 256 to the power of 8 ways of coding, and no sum. **What to see:** the share of windows whose k-hat is bad. Where
# it is large, even the estimate should be read as a lower bound.

# %%
test = data.test[:20] if SHORT else data.test
K = 50 if SHORT else 100
temperature = fit_temperature(vqvae.soft, data.valid, num_particles=50, num_data=20 if SHORT else 50)
scores = {name: evaluate(pair, test, progress=False) for name, pair in yardsticks.items()}
scores["uniform prior, bound"] = evaluate(vqvae, test, progress=False)
scores["uniform prior, soft"] = evaluate(vqvae.soft(temperature), test, num_particles=K, progress=False)
print(scores["uniform prior, soft"])

# %% [markdown]
# ## 6. A prior fitted afterwards
#
# Training used a uniform prior: any sequence of codes is as good as any other. Text is not like that. A small transformer is fitted to
# the training windows' codes, and takes the prior's place; encoder and decoder stay as they are.
#
# **What to see:** the difference between the priors, in bits per character, and where n-grams stand. The codes had to spend bits on
# spelling and the decoder on what they left open, so a small VQ-VAE on a small text need not beat counting. What it has in return is a
# code of 8 symbols for a window.

# %%
torch.manual_seed(0)
transformer = lvm.TransformerPrior((SLOTS,), CODES, width=64, depth=2)
epochs = 2 if SHORT else 25
prior = fit_code_prior(transformer, codes, codes_of(vqvae, data.valid), epochs=epochs, patience=4, learning_rate=2e-3)
fitted = vqvae.with_prior(prior)
scores["fitted prior, bound"] = evaluate(fitted, test, progress=False)
scores["fitted prior, soft"] = evaluate(fitted.soft(temperature), test, num_particles=K, progress=False)
compare(scores, unit="bits/dim", yardsticks=yardsticks.sizes)

# %%
shown = dict(sorted(((name, score.bits_per_dim) for name, score in scores.items()), key=lambda pair: -pair[1]))
errors = [scores[name].standard_error / (WINDOW * torch.log(torch.tensor(2.0)).item()) for name in shown]
_, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
colors = [RED if scores[name].is_bound else BLUE for name in shown]
axes.barh(list(shown), list(shown.values()), xerr=errors, color=colors, height=0.6)
axes.set(xlabel="bits per character (less is better); red: bounds", title="Test windows")
plt.show()

# %% [markdown]
# ## 7. Samples
#
# **What to see:** pieces of four characters look like English under both priors, as codes are pieces of English. Under the uniform prior,
# any piece may follow any other; under the fitted prior, some follow each other as they do in text, and make short words. Characters are
# drawn independently given the codes, which spoils words that the prior got right. That is a limit of this decoder, not of the prior.

# %%
for name, pair in (("uniform prior", vqvae), ("fitted prior", fitted)):
    drawn = sample_prior(pair, torch.zeros(8, WINDOW), seed=1)
    print(f"{name}:", *decode_text(drawn, data.alphabet), sep="\n    ")

# %%
folder.cleanup()

# %% [markdown]
# ## What this small model can and cannot do
#
# - It compresses a window of 32 characters to 8 codes and gives most of its letters back. Language it does not know: its prior has seen a
#   few thousand windows, of 8 codes each.
# - Its likelihood is honest, because it is put beside n-grams on the same windows, with the bound called a bound.
# - More text, more codes and a larger transformer move all of these figures; `load_data("tiny-shakespeare")` is the same notebook on a
#   published text, and needs a download.
