"""An evaluator of your own: log weights of any proposal, reduced to an Evaluation that `compare` takes."""

import torch

from inference import Evaluation, compare, evaluate, fit, load_data
from inference.data.fingerprint import data_id
from inference.scoring.reduction import curve_particles, reduce_log_weights
import pyro_lvm as lvm

torch.manual_seed(0)
data = load_data("digits")
encoder = lvm.NormalEncoder(lvm.MLP(64, [32], 8))
pair = lvm.VAE(lvm.StandardNormal(4), lvm.BernoulliLikelihood(lvm.MLP(4, [32], 64)), encoder)
fit(pair, data.train, valid=data.valid, epochs=3, learning_rate=3e-3, progress=False)


def evaluate_with_prior_draws(pair: lvm.VAE, x: torch.Tensor, *, num_particles: int, seed: int) -> Evaluation:
    r"""Log p(x) with the prior as proposal: right on average, but noisy, as prior draws rarely explain x.

    .. math:: \log \frac{1}{K} \sum_k p(x \mid z_k), \quad z_k \sim p(z)
    """
    torch.manual_seed(seed)
    with torch.no_grad():
        z = pair.prior().sample((num_particles, len(x)))  # [K, B, D]
        log_weights = pair.likelihood(z).log_prob(x)  # [K, B]
    return Evaluation(
        **reduce_log_weights(log_weights)._asdict(),
        curve_particles=curve_particles(num_particles),
        num_particles=num_particles,
        seed=seed,
        measure="mass",
        data_id=data_id(x),
        is_bound=False,
        num_dims=x[0].numel(),
    )


x = data.test[:50]
scores = {"guide": evaluate(pair, x, num_particles=200, progress=False)}
scores["prior draws"] = evaluate_with_prior_draws(pair, x, num_particles=200, seed=0)
print(compare(scores))
