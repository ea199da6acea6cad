"""What one run of a pair shows: its sites, its networks, and what kind of likelihood it has."""

from dataclasses import dataclass, field

from pyro_lvm.scopes import Networks


@dataclass(frozen=True)
class Structure:
    """Structure of a pair, as declared in one run of its programs.

    Attributes:
        latents: Latent sites that the guide samples.
        enumerated: Discrete latents that are summed out.
        num_states: Number of joint values of the enumerated latents.
        observed: Observed sites.
        global_sites: Sample sites outside the data plate.
        full_size: Number of data that the data plate declares; the batch size B unless the plate subsamples.
        measure: ``"mass"``, ``"density"`` or ``"mixed"``, from the supports of the observed sites.
        certain: Latents to which the guide assigns a single value with certainty.
        is_deterministic: Whether the guide does so for every latent.
        is_discrete: Whether every latent that the guide samples is discrete.
        row_parameters: Parameters whose rows belong to the rows of the training data, such as those of an AutoNormal with local latents.
        refusal: Reason why the pair has no likelihood per datum, or None.
        networks: The networks and parameters that the run used.
        num_elements: Number of elements of data that were observed, without those that are masked.
        is_unit_scaled: Whether all data have densities and lie in [0, 1].
    """

    latents: tuple[str, ...]
    enumerated: tuple[str, ...]
    num_states: int
    observed: tuple[str, ...]
    global_sites: tuple[str, ...]
    full_size: int
    measure: str
    certain: tuple[str, ...]
    is_deterministic: bool
    is_discrete: bool
    row_parameters: tuple[str, ...]
    refusal: str | None
    networks: Networks = field(repr=False, compare=False)
    num_elements: int
    is_unit_scaled: bool

    @property
    def is_exact(self) -> bool:
        """Whether every latent is summed out, so that log p(x) needs no draws."""
        return not self.latents

    @property
    def is_bound(self) -> bool:
        """Whether scores are only bounds: where the guide is certain of a latent, all its other values are left out."""
        return bool(self.certain)
