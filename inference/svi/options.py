"""Checks for the options of ``fit``."""

from collections.abc import Mapping
import math
from numbers import Real

from pyro.infer import (
    ELBO,
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    ReweightedWakeSleep,
    TraceTailAdaptive_ELBO,
)

from inference.svi.messengers import KLSchedule, values_of
from inference.tracing.codegen import check_compile
from pyro_lvm.checks import check_callable, check_counts, check_flags, check_positive, check_seeds

_UNUSABLE = {
    (
        JitTrace_ELBO,
        JitTraceEnum_ELBO,
        JitTraceGraph_ELBO,
        JitTraceMeanField_ELBO,
    ): "fit compiles steps by itself: use the ELBO without Jit, and compile=True.",
    (TraceTailAdaptive_ELBO,): "It computes gradients but no loss; use inference.IWAE, or Pyro's own loop.",
    (ReweightedWakeSleep,): "It has one loss for the model and one for the guide; use inference.IWAE, or Pyro's own loop.",
}


def check_options(
    epochs: int,
    learning_rate: float | None,
    kl_weight: KLSchedule | None,
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
    if kl_weight is not None and any(values_of(warmup_epochs)):
        raise ValueError(
            "kl_weight must be left out with warmup_epochs, which sets it. Give one of them; kl_weight may be a function of the epoch."
        )
    for length in values_of(warmup_epochs):
        check_counts(0, warmup_epochs=length)
    check_positive(learning_rate=learning_rate, clip_norm=None if clip_norm == math.inf else clip_norm)
    if not all(isinstance(value, Real) and value >= 0 for value in values_of(free_bits)):
        raise ValueError(f"free_bits must be at least 0 nats; got {free_bits!r}.")
    check_compile(compile)
    if patience is not None and valid is None:
        raise ValueError("patience needs validation data; got valid=None. Pass valid=..., or leave patience out.")


def check_kinds(elbo: object, *, seed: object, alternating: object, progress: object, transform: object, on_epoch: object) -> None:
    """Check the kinds of options of :func:`~inference.svi.fitting.fit`.

    Raises:
        TypeError: If the objective is none that a fit can use, or a function is not callable.
        ValueError: If the seed is no integer from 0 to 2^63 - 1, or a flag neither True nor False.
    """
    if elbo is not None and not isinstance(elbo, ELBO):
        got = f"the class {elbo.__name__}" if isinstance(elbo, type) else f"a {type(elbo).__name__}"
        raise TypeError(f"elbo must be a pyro.infer.ELBO, such as Trace_ELBO(); got {got}. Leave it out for Trace_ELBO().")
    for kinds, remedy in _UNUSABLE.items():
        if isinstance(elbo, kinds):
            raise TypeError(f"elbo must be an objective that fit can use; {type(elbo).__name__} is none. {remedy}")
    check_flags(alternating=alternating, progress=progress)
    check_callable("Pass a function of a tensor, such as torch.bernoulli.", transform=transform)
    check_callable("Pass a function of the history, a data frame.", on_epoch=on_epoch)
    check_seeds(seed=seed)


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
