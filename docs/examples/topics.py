r"""Topic models of word counts, scored by held-out perplexity: latent Dirichlet allocation, and ProdLDA.

.. math:: w \mid \theta \sim \mathrm{Multinomial}\big(n, p(\theta)\big), \qquad
    p(\theta) = \sum_k \theta_k \operatorname{softmax}(\beta_k) \ \text{(LDA)} \quad \text{or} \quad
    \operatorname{softmax}\big(\sum_k \theta_k \beta_k\big) \ \text{(ProdLDA)}

n is given. ``evaluate`` scores counts: the multinomial coefficient n! / prod_v w_v! is in its log p(x). Perplexity is of words in their
order, and leaves it out. Blei, Ng, Jordan (2003), Latent Dirichlet allocation; Srivastava, Sutton (2017), Autoencoding VI for topic models.
"""

from typing import Literal

import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor, nn

from inference import Evaluation, compare, evaluate, fit, load_data
from inference.data.load import Data
import pyro_lvm as lvm
from pyro_lvm.distributions.counts import Multinomial

TOPICS, WORDS = 4, 40


class Shares(nn.Module):
    """Log counts per hundred words, so that the guide's input does not grow with the length of a document."""

    def forward(self, counts: Tensor) -> Tensor:
        return (100 * counts / counts.sum(-1, keepdim=True).clamp(min=1)).log1p()


def make_pair(
    data: Data,
    *,
    latent_dim: int = TOPICS,
    prior: Literal["dirichlet", "logistic-normal"] = "dirichlet",
    product: bool = False,
    concentration: float = 0.3,
    scale: float = 2.0,
    hidden: int = 64,
) -> lvm.Pair:
    """A topic model of counts ``[N, V]``. Documents that it draws anew are as long as those that it is called with.

    Args:
        data: The counts.
        latent_dim: Number of topics.
        prior: Prior of the shares of topics.
        product: Mix topics by their logits, as ProdLDA does, and not by their probabilities.
        concentration: Of the Dirichlet prior.
        scale: Of the logistic-normal prior.
        hidden: Width of the guide's network.
    """
    num_words = data.train.shape[-1]
    beta = nn.Linear(latent_dim, num_words, bias=False)  # topics are columns
    nn.init.normal_(beta.weight, std=0.1)
    if prior == "dirichlet":
        shares = lvm.DirichletPrior(latent_dim, concentration=concentration)
        encoder = lvm.DirichletEncoder(nn.Sequential(Shares(), lvm.MLP(num_words, [hidden], latent_dim)))
    else:
        shares = lvm.LogisticNormalPrior(latent_dim, scale=scale)
        encoder = lvm.LogisticNormalEncoder(nn.Sequential(Shares(), lvm.MLP(num_words, [hidden], 2 * latent_dim)))

    def model(counts: Tensor) -> None:
        pyro.module("topics", beta)
        with pyro.plate("documents", len(counts)):
            theta = pyro.sample("theta", shares())
            probs = beta(theta).softmax(-1) if product else theta @ beta.weight.softmax(0).T
            pyro.sample("words", Multinomial(probs.log(), counts.sum(-1)), obs=counts)

    def guide(counts: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("documents", len(counts)):
            pyro.sample("theta", encoder(counts))

    return lvm.Pair(model, guide)


def log_coefficient(counts: Tensor) -> Tensor:
    """log n! / prod_v w_v! of counts ``[N, V]``, shape ``[N]``: the number of orders of the words."""
    counts = counts.double()
    return torch.lgamma(counts.sum(-1) + 1) - torch.lgamma(counts + 1).sum(-1)


def perplexity(score: Evaluation, counts: Tensor) -> tuple[float, float]:
    """exp(-sum_d log p(w_d) / sum_d n_d) of words in their order, and its standard error over documents and draws."""
    log_p, lengths = score.log_px.double() - log_coefficient(counts), counts.double().sum(-1)
    rate = float(-log_p.sum() / lengths.sum())  # nats a word, a ratio of two sums over documents
    variances = (log_p + rate * lengths).square() + score.mc_error.double().square()
    return np.exp(rate), np.exp(rate) * float(variances.sum().sqrt() / lengths.sum())


def simulate(num_documents: int = 800, *, seed: int = 0) -> Data:
    """Documents of LDA with about 40 words, theta ~ Dirichlet(0.3) and topics ~ Dirichlet(0.1)."""
    draw = np.random.default_rng(seed)
    topics = draw.dirichlet(np.full(WORDS, 0.1), TOPICS)
    theta = draw.dirichlet(np.full(TOPICS, 0.3), num_documents)
    counts = draw.multinomial(1 + draw.poisson(40, num_documents), theta @ topics)
    return load_data(counts.astype(np.float32), test_fraction=1 / 8, seed=seed)


def main() -> None:
    data, scores = simulate(), {}
    counts = data.test
    shares = (data.train.sum(0) + 1) / (data.train.sum() + WORDS)  # of words, with one more of each
    print(f"perplexity of one topic: {float((-(counts @ shares.log()).sum() / counts.sum()).exp()):.2f}")
    for name in ("LDA, dirichlet", "LDA, logistic-normal", "ProdLDA, logistic-normal"):
        torch.manual_seed(0)
        pair = make_pair(data, prior=name.split(", ")[1], product=name.startswith("ProdLDA"))
        fit(pair, data, epochs=30, learning_rate=1e-2, progress=False)
        scores[name] = evaluate(pair, data, num_particles=300, progress=False)
    rows = [(*perplexity(score, counts), score.bad_k_share) for score in scores.values()]
    print(pd.DataFrame(rows, pd.Index(scores), ["perplexity", "se", "bad_k"]).round(2))
    print(compare(scores))


if __name__ == "__main__":
    main()
