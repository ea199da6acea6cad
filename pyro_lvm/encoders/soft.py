"""Guide that draws codes around the nearest ones, as a proposal."""

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_lvm.checks import check_positive
from pyro_lvm.distributions.codes import CategoricalCodes
from pyro_lvm.encoders.quantizer import Quantizer


class SoftQuantizer(nn.Module):
    r"""Guide that draws near codes more often than far ones, as a proposal for the likelihood of a model trained with the nearest codes.

    .. math:: q(z \mid x) = \prod_m \frac{\exp(-\lVert h_m(x) - e_{z_m} \rVert^2 / T)}{\sum_v \exp(-\lVert h_m(x) - e_v \rVert^2 / T)}

    As T goes to 0, draws become the nearest code. With a small T, all draws are alike: their weights look perfect, but lie below log p(x).

    Args:
        quantizer: Guide with the nearest codes; shared, not copied.
        temperature: T, in the units of squared features.

    Returns:
        On call with data: a distribution of codes, int64, with batch shape ``[*lead]`` and event shape ``code_shape``.

    Raises:
        ValueError: If the temperature is not positive.
    """

    def __init__(self, quantizer: Quantizer, temperature: float) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.quantizer, self.temperature = quantizer, temperature

    def forward(self, x: Tensor) -> TorchDistribution:
        distances = self.quantizer.distances(self.quantizer.features(x))  # [*lead, *code_shape, V]
        return CategoricalCodes(-distances / self.temperature, len(self.quantizer.code_shape))

    def vectors(self, codes: Tensor) -> Tensor:
        """See :meth:`Quantizer.vectors`."""
        return self.quantizer.vectors(codes)

    def code_prior(self, prior: TorchDistribution) -> TorchDistribution:
        """See :meth:`Quantizer.code_prior`."""
        return self.quantizer.code_prior(prior)

    def steer(self, x: Tensor, codes: Tensor, vectors: Tensor) -> Tensor:
        """See :meth:`Quantizer.steer`."""
        return self.quantizer.steer(x, codes, vectors)
