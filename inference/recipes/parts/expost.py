"""Priors fitted after training, by name."""

from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

from inference.recipes.registries import EXPOST
from inference.recipes.sizes import Counts

if TYPE_CHECKING:
    from inference.recipes.fitted_priors import Expost


@EXPOST.register("gaussian")
def _gaussian() -> "Expost":
    from inference.recipes.fitted_priors import gaussian

    return gaussian()


@EXPOST.register("mixture")
def _mixture() -> "Expost":
    from inference.recipes.fitted_priors import mixture

    return mixture()


@EXPOST.register("flow")
def _flow(*, flow_transforms: PositiveInt = 2, flow_hidden: Counts = (64, 64)) -> "Expost":
    from inference.recipes.fitted_priors import flow

    return flow(flow_transforms, flow_hidden)


@EXPOST.register("two-stage")
def _two_stage() -> "Expost":
    from inference.recipes.fitted_priors import two_stage

    return two_stage()


@EXPOST.register("autoregressive", is_of_codes=True)
def _autoregressive() -> "Expost":
    from inference.recipes.fitted_priors import autoregressive

    return autoregressive()
