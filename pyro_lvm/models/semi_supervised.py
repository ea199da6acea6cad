"""Model of data and labels of which some are missing."""

import pyro
from pyro import poutine
import torch
from torch import Tensor, nn

from pyro_lvm.checks import check_positive, check_types
from pyro_lvm.distributions.certain import CertainLabel
from pyro_lvm.networks.inputs import LabelIndicators
from pyro_lvm.pair import register
from pyro_lvm.priors.labels import LabelPrior
from pyro_lvm.sites import penalty


class SemiSupervisedVAE(nn.Module):
    r"""Variational autoencoder of x and a label y, which is summed out exactly where it is missing.

    .. math:: p(x, y) = p(y) \int p(z)\, p(x \mid z, y)\, dz, \qquad p(x) = \sum_y p(x, y)

    Scores are of log p(x, y) where the label is known, and of log p(x) where it is missing, -1. The guide is q(z|x, r), where r are the
    label's indicators, or the probabilities that a classifier gives to a label that is missing:

    .. math:: r = [y = v] \;\text{or}\; r = \operatorname{softmax} c(x)

    Training maximizes a bound in which the classifier stands for the posterior of a label that is missing, and learns known ones:

    .. math:: E_q\Big[\log \frac{p(x, z)}{q(z \mid x, r)} - \mathrm{KL}\big(r \,\|\, p(y \mid x, z)\big)\Big]
        \;\text{where y is missing, and}\quad
        E_q\Big[\log \frac{p(x, y, z)}{q(z \mid x, r)}\Big] + w \log c_y(x) \;\text{where it is known,}

    with c the classifier's probabilities. The divergence, which makes the model's belief in labels and the classifier agree, and the
    classifier's loss are penalties: parts of training losses, and not of validation losses and scores, in which labels are summed out
    exactly. The model's own belief is :func:`inference.label_posterior`. Fit it with an objective that sums out labels, as
    :func:`inference.fit` chooses by itself.

    Its sites are named ``z``, ``y`` (summed out), ``label`` (observed) and ``x``; its plate is named ``data``.

    Args:
        prior: Module whose call returns p(z).
        likelihood: Module whose call ``likelihood(z, y)`` returns p(x|z, y) for labels y.
        encoder: Module whose call ``encoder(x, r)`` returns q(z|x, r).
        classifier: Module that maps x to logits ``[B, V]``.
        num_labels: Number of different labels, V.
        classifier_weight: The weight w.

    Raises:
        TypeError: If a part is not a module.
        ValueError: If there are fewer than two labels, or the weight is not positive.

    References:
        Kingma, Mohamed, Rezende, Welling (2014), Semi-supervised Learning with Deep Generative Models. https://arxiv.org/abs/1406.5298
        (their model M2; there, z is drawn for each label)
    """

    def __init__(
        self,
        prior: nn.Module,
        likelihood: nn.Module,
        encoder: nn.Module,
        classifier: nn.Module,
        *,
        num_labels: int,
        classifier_weight: float = 50.0,
    ) -> None:
        super().__init__()
        check_types(nn.Module, "Its call returns a distribution.", prior=prior, likelihood=likelihood, encoder=encoder)
        check_types(nn.Module, "Its call returns logits.", classifier=classifier)
        check_positive(classifier_weight=classifier_weight)
        self.prior, self.likelihood, self.encoder, self.classifier = prior, likelihood, encoder, classifier
        self.labels, self.indicators = LabelPrior(num_labels), LabelIndicators(num_labels)
        self.num_labels, self.classifier_weight = num_labels, classifier_weight

    def model(self, x: Tensor, y: Tensor) -> None:
        """Declare p(z), p(y) and p(x|z, y) for observations ``[B, *X]`` and labels ``[B]``, -1 where missing, and the penalty."""
        register(self, "prior", "labels", "likelihood", "classifier")
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            label = pyro.sample("y", self.labels(), infer={"enumerate": "parallel"})
            with poutine.mask(mask=y >= 0):  # type: ignore[call-overload]  # torch has no type for tensors of booleans
                pyro.sample("label", CertainLabel(label, self.num_labels), obs=y)
            pyro.sample("x", self.likelihood(z, label), obs=x)
            if torch.is_grad_enabled():
                penalty("classifier_loss", self.classifier_weight * self._classifier_loss(x, y) + self._disagreement(x, y, z))

    def guide(self, x: Tensor, y: Tensor) -> None:
        """Declare q(z|x, r) for observations ``[B, *X]`` and labels ``[B]``, -1 where missing."""
        register(self, "encoder", "classifier")
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.encoder(x, self._known_or_likely(x, y)))

    def _known_or_likely(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.where((y >= 0)[..., None], self.indicators(y), self.classifier(x).softmax(-1))  # [B, V]

    def _disagreement(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """KL(r || p(y|x,z)) where the label is missing, and zero where it is known, ``[*lead, B]``."""
        lead = z.dim() - len(self.prior().event_shape)
        labels = torch.arange(self.num_labels, device=x.device).reshape(-1, *[1] * lead)
        log_joint = self.labels().log_prob(labels) + self.likelihood(z, labels).log_prob(x)  # [V, *lead, B]
        log_r = self.classifier(x).log_softmax(-1).movedim(-1, 0).reshape(self.num_labels, *[1] * (lead - 1), len(x))
        return torch.where(y < 0, (log_r.exp() * (log_r - log_joint.log_softmax(0))).sum(0), 0.0)

    def _classifier_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """-log r_y where the label is known, and zero where it is missing, ``[B]``."""
        return -(self.indicators(y) * self.classifier(x).log_softmax(-1)).sum(-1)
