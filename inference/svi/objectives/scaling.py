"""What a scale means to objectives of several draws: the weight of a datum, outside of the bound, or a power of one density, inside."""

import torch
from torch import Tensor

from inference.densities.layout import Layout
from pyro_lvm.sites import Site, is_data, plate_weight


def site_of_datum(sites: list[Site]) -> str:
    """Return the site of a model whose scale, without the weight of the KL, is the weight of the datum.

    It is an observed one that shares its scale with all latents; a latent that has just the plate's; or else the first observed one, if
    all of these share a scale, as where a program weights its KL by itself.

    Args:
        sites: The sites of the model's density, in their order.

    Raises:
        ValueError: If it is none of these.
    """
    observed = {site["name"]: scale_without_kl(site) / plate_weight(site) for site in sites if is_data(site)}
    latents = {site["name"]: scale_without_kl(site) / plate_weight(site) for site in sites if not site["is_observed"]}
    shared = [name for name, scale in observed.items() if all(_are_equal(scale, other) for other in latents.values())]
    plain = [name for name, scale in latents.items() if _are_equal(scale, 1.0)]
    first, *others = observed
    alike = [first] if all(_are_equal(observed[first], observed[other]) for other in others) else []
    for name in (*shared, *plain, *alike):
        return name
    raise ValueError(
        f"bounds of several draws must know the weight of a datum, which stands outside of the bound; the scales of the observed sites "
        f"{tuple(observed)} differ from one another and from those of the latents {tuple(latents)}. Scale what weighs the data around "
        "all sites of model and guide, and weight the KL by kl_weight of fit."
    )


def scale_without_kl(site: Site) -> float | Tensor:
    """Return the scale of a site, without the weight of the KL."""
    return site["infer"].get("scale_without_kl", site["scale"])


def of_data(scale: float | Tensor, num_particles: int, size: int, layout: Layout) -> float | Tensor:
    """Return a scale in the layout of a run as one of the data: a number, or ``[B]``."""
    if layout.style == "tiled" and isinstance(scale, Tensor) and scale.numel() == num_particles * size:
        return layout.split(scale.flatten(), num_particles, size)[0]
    return scale


def _are_equal(scale: float | Tensor, other: float | Tensor) -> bool:
    return bool((torch.as_tensor(scale) == torch.as_tensor(other)).all())
