"""An objective of your own: a Pyro ELBO with a differentiable loss, which `fit` can also compile."""

from collections.abc import Callable

from pyro import poutine
from pyro.infer import ELBO
import torch
from torch import Tensor

from inference import evaluate, fit, load_data
import pyro_lvm as lvm


class BetaELBO(ELBO):
    r"""The ELBO with a weight on the KL of all latents.

    .. math:: \mathbb{E}_q[\log p(x \mid z)] - \beta\, \mathrm{KL}(q(z \mid x) \,\|\, p(z))

    Args:
        beta: The weight, :math:`\beta`.
    """

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def differentiable_loss(self, model: Callable, guide: Callable, *batch: Tensor) -> Tensor:
        """Minus the objective, summed over the batch; a scalar."""
        guide_trace = poutine.trace(guide).get_trace(*batch)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*batch)
        latent = model_trace.log_prob_sum(lambda name, site: not site["is_observed"])
        observed = model_trace.log_prob_sum(lambda name, site: site["is_observed"])
        return -(observed + self.beta * (latent - guide_trace.log_prob_sum()))

    def loss(self, model: Callable, guide: Callable, *batch: Tensor) -> float:
        """The loss as a number, without gradients."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *batch).item()

    def loss_and_grads(self, model: Callable, guide: Callable, *batch: Tensor) -> float:
        """The loss as a number, after adding its gradients to the parameters'."""
        loss = self.differentiable_loss(model, guide, *batch)
        loss.backward()
        return loss.item()

    def _get_trace(self, *_: object) -> None:
        raise NotImplementedError


torch.manual_seed(0)
data = load_data("digits")
encoder = lvm.NormalEncoder(lvm.MLP(64, [32], 8))
pair = lvm.VAE(lvm.StandardNormal(4), lvm.BernoulliLikelihood(lvm.MLP(4, [32], 64)), encoder)
fit(pair, data.train, valid=data.valid, elbo=BetaELBO(0.5), epochs=3, learning_rate=3e-3, progress=False)
print(evaluate(pair, data.test, num_particles=50, progress=False))
