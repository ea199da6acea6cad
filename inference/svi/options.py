"""Checks for the options of ``fit``."""

from collections.abc import Mapping
import math

from inference.svi.messengers import values_of
from inference.tracing.codegen import check_compile
from pyro_lvm.checks import check_counts, check_positive


def check_options(
    epochs: int,
    learning_rate: float,
    warmup_epochs: int | Mapping[str, int],
    free_bits: float | Mapping[str, float],
    patience: int | None,
    clip_norm: float | None,
    compile: object,
    valid: object,
) -> None:
    """Check the options of :func:`~inference.svi.fitting.fit` that do not depend on the pair.

    Raises:
        ValueError: If an option is invalid.
    """
    check_counts(epochs=epochs, patience=patience)
    for length in values_of(warmup_epochs):
        check_counts(0, warmup_epochs=length)
    check_positive(learning_rate=learning_rate, clip_norm=None if clip_norm == math.inf else clip_norm)
    if not all(value >= 0 for value in values_of(free_bits)):
        raise ValueError(f"free_bits must be at least 0 nats; got {free_bits!r}.")
    check_compile(compile)
    if patience is not None and valid is None:
        raise ValueError("patience needs validation data; got valid=None. Pass valid=..., or leave patience out.")


def check_sites(latents: tuple[str, ...], **by_site: object) -> None:
    """Check that options by site use the names of latents of the guide.

    Args:
        latents: Names of the latent sites.
        by_site: Options by name, each with one value for all sites or values by site.

    Raises:
        ValueError: If an option names any other site.
    """
    for name, value in by_site.items():
        unknown = sorted(set(value) - set(latents)) if isinstance(value, Mapping) else []
        if unknown:
            raise ValueError(f"{name} must name latent sites, some of {latents}; got {unknown}. Correct the name.")
