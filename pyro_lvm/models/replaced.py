"""Any pair under another prior."""

from typing import Any

from torch import Tensor, nn

from pyro_lvm.checks import check_types
from pyro_lvm.pair import PriorMessenger, programs, register
from pyro_lvm.scopes import attach, belongings


class WithPrior(nn.Module):
    r"""Any pair in which one latent has another prior; the pair's programs and parameters are shared, not copied.

    .. math:: p(z)\, p(x \mid z) \;\to\; p'(z)\, p(x \mid z)

    Unlike :meth:`Pair.with_prior <pyro_lvm.pair.Pair.with_prior>`, it owns the prior: a fit trains it, and checkpoints hold it.

    Args:
        pair: Any pair.
        prior: Module whose call returns the distribution.
        site: Name of the latent site.

    Raises:
        TypeError: If ``pair`` is no pair, or the prior is not a module.
        ValueError: If (on a run of the model) there is no such latent.
    """

    def __init__(self, pair: object, prior: nn.Module, *, site: str) -> None:
        super().__init__()
        check_types(nn.Module, "Its call returns a distribution.", prior=prior)
        programs(pair)  # whose error says what a pair is
        self.pair: Any = pair
        self.prior, self.site = prior, site
        attach(self, belongings(pair).of_variant())

    def model(self, *batch: Tensor) -> object:
        """Run the pair's model under the prior."""
        register(self, "prior")
        with PriorMessenger(self.site, self.prior):
            return self.pair.model(*batch)

    def guide(self, *batch: Tensor) -> object:
        """Run the pair's guide."""
        return self.pair.guide(*batch)
