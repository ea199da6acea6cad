"""One instrumented run of a pair, and what it shows: sites, networks, the kind of likelihood, and what the arguments look like."""

from dataclasses import dataclass, field
import re
from typing import NamedTuple

import pyro
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.poutine.messenger import Messenger
import torch
from torch import Tensor

from pyro_lvm.checks import warn_caller
from pyro_lvm.modules import Watch, remember_networks
from pyro_lvm.pair import Batch, programs
from pyro_lvm.scopes import OF_MODULE, Networks, belongings, isolated, waiting_outside, without_table
from pyro_lvm.sites import Site, density_sites, is_penalty, sample_sites

TAKES_ALL_ROWS = "A guide whose parameters belong to the rows of its training data takes only all of these rows at once."
_NUM_ROWS = 4  # of a template
_LARGEST_INPUT = 10.0  # beyond it, networks that expect numbers near 1 may overflow


@dataclass(frozen=True)
class Structure:
    """Structure of a pair, as declared in one run of its programs.

    Attributes:
        latents: Latent sites that the guide samples.
        enumerated: Discrete latents that are summed out.
        num_states: Number of joint values of the enumerated latents.
        observed: Observed sites.
        observed_arguments: Places of the arguments that these sites observe, each None if the program has computed the value.
        missing: Observed sites that are masked in every row.
        computed: Sums of the values that the program has computed and observed, and that depend on no latents.
        shifted: Observed sites whose values depend on data and latents, such as residuals, so that their draws are none of data.
        global_sites: Sample sites outside the data plate.
        full_size: Number of data that the data plate declares; the batch size B unless the plate subsamples.
        measure: ``"mass"``, ``"density"`` or ``"mixed"``, from the supports of the observed sites.
        certain: Latents to which the guide assigns a single value with certainty.
        is_deterministic: Whether the guide does so for every latent.
        is_discrete: Whether every latent that the guide samples is discrete.
        uneven: Latents to which the plates of model and guide give different weights, so that no objective is a bound.
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
    observed_arguments: tuple[int | None, ...]
    missing: tuple[str, ...]
    computed: tuple[float, ...]
    shifted: tuple[str, ...]
    global_sites: tuple[str, ...]
    full_size: int
    measure: str
    certain: tuple[str, ...]
    is_deterministic: bool
    is_discrete: bool
    uneven: tuple[str, ...]
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

    def scorable(self) -> "Structure":
        """Return the structure, of a pair that has a likelihood for each datum.

        Raises:
            ValueError: If it has none; the error says why.
        """
        if self.refusal is not None:
            raise ValueError(self.refusal)
        return self


class Template(NamedTuple):
    """What is known of a pair since it was last checked.

    Attributes:
        rows: The first rows of the batch, at most four.
        structure: The structure of the pair.
    """

    rows: tuple[Tensor, ...]
    structure: Structure


def remember_template(pair: object, batch: tuple[Tensor, ...], structure: Structure) -> None:
    """Keep the first rows of a batch, and the structure found on it, for as long as the pair exists."""
    belongings(pair).template = Template(tuple(x[:_NUM_ROWS].detach().clone() for x in batch), structure)


def template_of(pair: object) -> Template | None:
    """Return what the last check of this very pair left, or None if it was never checked."""
    return belongings(pair).template


def rows_seen(pair: object) -> tuple[Tensor, ...] | None:
    """Return the rows that the last check of a pair, or of the one of which it is a variant, left; None if neither was checked."""
    own = belongings(pair)
    template: Template | None = own.template or own.former
    return None if template is None else template.rows


def known_row_parameters(pair: object) -> tuple[str, ...]:
    """Return the parameters that belong to rows of the training data, as the last check found; all of these rows must be run at once."""
    template = template_of(pair)
    return () if template is None else template.structure.row_parameters


@dataclass(frozen=True)
class Run:
    """The sites of one run of a pair on a batch, without penalties and deterministic values.

    Attributes:
        guide: Sites of the guide by name.
        model: Sites of the model by name, at the guide's draws.
        penalties: Penalties of the model.
        guide_trace: The whole trace of the guide.
        networks: The networks and parameters that ran.
    """

    guide: dict[str, Site]
    model: dict[str, Site]
    penalties: list[Site]
    guide_trace: poutine.Trace
    networks: Networks


def run_pair(pair: object, batch: Batch, *, validate: bool = True, seed: int | None = None) -> Run:
    """Run guide and model once on a batch, in evaluation mode, without gradients and without changing the random state.

    Args:
        pair: Any pair.
        batch: Any batch.
        validate: Whether Pyro and torch check parameters and shapes.
        seed: Seed of the draws; by default, torch's generator is used in its current state.

    Raises:
        ValueError: If a module is registered under the name of another one, or a program changes its arguments or the values of sites in
            place, or seeds torch's generator; also what the programs raise, in the form of a sentence where the reason is known.
    """
    model, guide = programs(pair)
    watch, values = Watch(pair), _Values()
    given = tuple(x.clone() for x in batch)  # as a program that changes them is refused before it harms the caller's data
    with isolated(pair):
        known = set(pyro.get_param_store().keys())
        try:
            with torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(validate), watch, values:
                if seed is not None:
                    torch.manual_seed(seed)
                initial_seed = _other_initial_seed()
                guide_trace = poutine.trace(guide).get_trace(*given)
                model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*given)
                is_seeded = torch.initial_seed() != initial_seed
        except (ValueError, RuntimeError) as error:
            explained = _explained(error, pair, given, watch.networks)
            if explained is None:
                raise
            raise explained from error
        finally:
            remember_networks(pair, watch.networks)
        values.check(batch, given)
        if is_seeded:
            raise ValueError(
                "model and guide must not seed torch's generator, as all draws would be the same; they do, as by pyro.set_rng_seed. Pass "
                "the seed to fit, evaluate and the like."
            )
        _check_names(watch)
        _warn_of_values_outside(watch.networks, known)
    _declare_sizes(guide_trace, model_trace)
    guide_sites, model_sites = ({site["name"]: site for site in density_sites(trace)} for trace in (guide_trace, model_trace))
    penalties = [site for site in sample_sites(model_trace) if is_penalty(site)]
    return Run(guide_sites, model_sites, penalties, guide_trace, watch.networks)


def _other_initial_seed() -> int:
    """Change and return the initial seed that torch's generator reports, but not its draws, so that a program which seeds it shows."""
    state = torch.get_rng_state()
    state[:8] = 255 - state[:8]  # the initial seed, which is kept apart from what the draws are made of
    torch.set_rng_state(state)
    return torch.initial_seed()


class _Values(Messenger):
    """Messenger that keeps the values of all sites, to tell whether a program changes them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, tuple[Tensor, Tensor]] = {}

    def _pyro_post_sample(self, msg: Site) -> None:
        if isinstance(msg["value"], Tensor):
            self.kept[f"the value of site '{msg['name']}'"] = msg["value"], msg["value"].clone()

    def check(self, batch: Batch, given: Batch) -> None:
        """Check that the arguments given are those of the batch, and that all values are as they were.

        Raises:
            ValueError: If they are not, as densities are those of the values that a program leaves.
        """
        arguments = {f"argument {i} of the batch": pair for i, pair in enumerate(zip(given, batch, strict=True))}
        for what, (now, before) in (arguments | self.kept).items():
            if not torch.equal(now, before) and not torch.equal(now.nan_to_num(), before.nan_to_num()):
                raise ValueError(
                    f"model and guide must not change values in place; they change {what}, so that densities are those of other values. "
                    "Write x = x / 255 instead of x /= 255 or x.div_(255), and let no network begin with a layer that has inplace=True."
                )


def _declare_sizes(*traces: poutine.Trace) -> None:
    """Give plates without a size, such as those of an EasyGuide, the size that plates of the same name declare."""
    sites = [site for trace in traces for site in sample_sites(trace)]
    sizes = {frame.name: frame.size for site in sites for frame in site["cond_indep_stack"] if frame.size > 0}
    for site in sites:
        frames = site["cond_indep_stack"]
        site["cond_indep_stack"] = tuple(f._replace(size=sizes.get(f.name, f.size)) if f.size == -1 else f for f in frames)


def _explained(error: ValueError | RuntimeError, pair: object, batch: Batch, networks: Networks) -> ValueError | None:
    """Return a sentence with the reason, where that is known, for an error of a pair's programs."""
    reason = str(without_table(error))
    if "Expected parameter" in reason:
        return ValueError(
            f"the pair cannot run on this batch: {reason.split(', but found')[0]}, and it does not. "
            f"{remedy_of_large_data(batch) or 'Look for NaN in its parameters, or for a scale that is not positive.'}"
        )
    if "uninitialized parameter" in reason:
        return ValueError(
            "the lazy layers of the pair must be initialized before they are registered with Pyro; they are not. Call the network once on "
            "a few data."
        )
    if "Shape mismatch inside plate" in reason:
        return ValueError(
            f"{reason}. A site's batch shape must be the plate's size, {len(batch[0])}: declare the other dimensions as "
            f"event dimensions with .to_event(n), and write pyro.plate('data', len(x)). {TAKES_ALL_ROWS}"
        )
    if enumerated := _only_enumerated(pair, batch):
        return ValueError(
            f"the pair runs only while the guide's discrete latents {enumerated} are enumerated, as in TraceEnum_ELBO, and not on one draw "
            f"of them for each datum: {reason.splitlines()[0]}. Write programs that take draws of shape [B, ...] as well: take the numbers "
            "of rows from the shapes of the draws, not from the number of values of a latent."
        )
    if parameters := _of_other_sizes(reason, batch, networks):
        return ValueError(
            f"the pair cannot run on these {len(batch[0])} rows: {reason.splitlines()[0]}. Its parameters {parameters} are of another "
            f"number of rows. {TAKES_ALL_ROWS}"
        )
    return None


def _of_other_sizes(reason: str, batch: Batch, networks: Networks) -> list[str]:
    """Return the program's own parameters with a size that does not match the number of data, according to an error."""
    sizes = {int(number) for number in re.findall(r"\d+", reason)}
    if len(batch[0]) not in sizes:
        return []
    own = {name: value for name, value in networks.parameters.items() if OF_MODULE not in name}
    return [name for name, value in own.items() if sizes.intersection(value.shape) - {len(batch[0])}]


def _only_enumerated(pair: object, batch: Batch) -> list[str]:
    """Return the discrete latents of the guide of a pair that has failed, if it runs while these are enumerated."""
    model, guide = programs(pair)
    try:
        with torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(False), Watch(pair), poutine.enum(first_available_dim=-2):
            guide_trace = poutine.trace(config_enumerate(guide, "parallel", expand=True)).get_trace(*batch)
            poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*batch)
    except Exception:  # a program may raise any error at an unexpected shape
        return []
    return [site["name"] for site in density_sites(guide_trace) if site["infer"].get("_enumerate_dim") is not None]


def remedy_of_large_data(batch: Batch) -> str | None:
    """Return what to do if data are too large for most networks, or None if they are not."""
    largest = max((float(x.abs().max()) for x in batch if x.dtype != torch.bool), default=0.0)
    if largest <= _LARGEST_INPUT:
        return None
    return (
        f"The data are as large as {largest:g}, which networks may not bear: scale them or, if the likelihood needs them as they are, as "
        "that of bytes from 0 to 255 does, let the encoder's network begin with pyro_lvm.Standardize(train)."
    )


def _check_names(watch: Watch) -> None:
    if watch.strangers:
        raise ValueError(
            f"every name must belong to one module; the parameters registered as '{watch.strangers[0]}' are those of another module, which "
            "would be trained instead of the one that runs. Give the new module another name or make a new Pair; if the former values "
            "are meant, write pyro.module(name, module, update_module_params=True)."
        )


def _warn_of_values_outside(networks: Networks, known: set[str]) -> None:
    new = {name: value for name, value in networks.parameters.items() if name not in known}
    if names := waiting_outside(new):
        warn_caller(
            f"the pair starts with its own parameters {names}, but Pyro's global store holds others under these names, such as plain SVI "
            "leaves there. To use those, pass param_store: Pair(model, guide, param_store=pyro.get_param_store())."
        )
