"""``gradient_noise``: variance and signal-to-noise ratio of the gradients of objectives."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
import pyro
from pyro.infer import ELBO
import torch
from torch import Tensor
from tqdm.auto import tqdm

from inference.data.batches import TensorBatches, as_batches, split_of
from inference.diagnostics.gradients.comparison import GradientNoise
from inference.diagnostics.gradients.groups import grouped_parameters
from inference.diagnostics.gradients.moments import Figures, Moments
from inference.numerics import block_seed, flushed_denormals, seed_generators, values_kept
from inference.svi.fitting import check_declared_size
from inference.svi.messengers import KLWeight
from inference.svi.objectives.elbo import default_objective
from inference.svi.options import check_kinds
from inference.svi.parameters import trainable_parameters
from inference.svi.rows import first_run
from inference.svi.step import Step
from pyro_lvm.checks import check_counts
from pyro_lvm.modules import eval_mode, modules_of, train_mode
from pyro_lvm.pair import Batch, programs
from pyro_lvm.reading import Splits, read_batch
from pyro_lvm.scopes import belongings, isolated
from pyro_lvm.structure import Structure

_SECTIONS = 10  # of the repeats, whose scatter gives errors


def gradient_noise(
    pair: object,
    data: Any,
    elbo: ELBO | Mapping[str, ELBO] | None = None,
    *,
    batch_size: int | None = None,
    num_repeats: int = 200,
    seed: int = 0,
    progress: bool = True,
) -> GradientNoise:
    r"""Measure the noise of the gradients that objectives have at a pair's present parameters.

    For every repeat, a mini-batch is drawn without replacement, and two gradients g of the loss per datum are computed on it with new
    draws. Of each parameter p, with E and Var over draws given the mini-batch b, and over mini-batches,

    .. math::
        \mu_p = E[g_p], \quad v_p = E_b[\operatorname{Var}(g_p \mid b)], \quad w_p = \operatorname{Var}_b(E[g_p \mid b]), \quad
        \mathrm{SNR} = \frac{1}{P} \sum_p \frac{|\mu_p|}{\sqrt{v_p}}

    are estimated without bias but for the ratio (the absolute value of a mean over draws is not zero where :math:`\mu_p` is; what the
    ratio would be then is stated, too). Averaged are the ratios of single parameters, as in Rainforth et al., without parameters whose
    gradient is always zero. The same ratio with :math:`\sqrt{v_p + w_p}` is what an optimizer sees. Parameters are grouped by what
    depends on them: the guide's draws and densities, the model's densities, or both.

    All objectives see the same mini-batches and seeds. Standard errors come from the scatter of the figures of ten sections of the repeats;
    where sections are short, they are a little too large. Memory does not grow with the number of repeats.

    Args:
        pair: Any object with Pyro programs ``.model`` and ``.guide``, in training mode while it runs; parameters and buffers keep
            their values.
        data: As for :func:`~inference.svi.fitting.fit`; of a data set in splits, the training data with their transform.
        elbo: An objective, or objectives by name; by default, that of :func:`~inference.svi.fitting.fit`.
        batch_size: Number of data per mini-batch; by default 100, or N if N is smaller. With N, all repeats are on all data, and the
            variance is that of the draws.
        num_repeats: Number of pairs of gradients of each objective, a multiple of ten of at least 20.
        seed: Seed of mini-batches and draws.
        progress: Whether to show a progress bar.

    Returns:
        A :class:`~inference.diagnostics.gradients.comparison.GradientNoise`, which prints a table.

    Raises:
        TypeError: If an objective is none that can be used.
        ValueError: If an option is not valid, or as for :func:`~inference.svi.fitting.fit`.
        FloatingPointError: If a gradient is not finite.

    References:
        Rainforth et al. (2018), Tighter Variational Bounds are Not Necessarily Better. https://arxiv.org/abs/1802.04537
    """
    objectives = elbo if isinstance(elbo, Mapping) else {"" if elbo is None else type(elbo).__name__: elbo}
    _check_options(objectives, num_repeats, seed, progress)
    with isolated(pair), torch.random.fork_rng(), torch.enable_grad(), flushed_denormals():
        seed_generators(torch.device("cpu"), seed)
        with eval_mode(pair):
            batches, batch, structure = _read(pair, data, batch_size)
            parameters = trainable_parameters(pair, belongings(pair).networks)
            groups = grouped_parameters(pair, parameters, batch)
        default, frames = default_objective(structure), {}
        with tqdm(total=len(objectives) * num_repeats, desc="gradients", disable=not progress, leave=False) as bar:
            for name, given in objectives.items():
                objective = default if given is None else given
                size = check_declared_size(structure, objective, len(batch[0]), batches.num_data)
                step = Step(objective, *programs(pair), KLWeight(), size, None)
                repeats = _Repeats(pair, step, batches, parameters, seed, name or type(default).__name__)
                frames[repeats.name] = repeats.frame(groups, num_repeats, bar)
    table = pd.concat(frames, names=["objective", "group"])
    return GradientNoise(table, num_repeats, len(batch[0]), batches.num_data, seed)


def _check_options(objectives: Mapping[str, ELBO | None], num_repeats: int, seed: int, progress: bool) -> None:
    check_counts(num_repeats=num_repeats)
    if num_repeats < 2 * _SECTIONS or num_repeats % _SECTIONS:
        raise ValueError(f"num_repeats must be a multiple of {_SECTIONS} of at least {2 * _SECTIONS}; got {num_repeats}. Take 200.")
    if not objectives:
        raise ValueError('elbo must name at least one objective; got an empty dict. Pass {"elbo": Trace_ELBO()}, or leave it out.')
    for each in objectives.values():
        check_kinds(each, seed=seed, alternating=False, progress=progress, transform=None, on_epoch=None)


def _read(pair: object, data: Any, batch_size: int | None) -> tuple[TensorBatches, Batch, Structure]:
    """All rows of the data, to be divided into mini-batches, the first of them, and the structure of the pair."""
    rows = read_batch(pair, (split_of(data, "train", pair),))
    transform = data.transform if isinstance(data, Splits) else None
    batches = as_batches(rows, pair, batch_size=batch_size, device=rows[0].device, transform=transform)
    batches, batch, structure = first_run(pair, batches, batch_size, None)
    return cast(TensorBatches, batches), batch, structure


@dataclass(frozen=True)
class _Repeats:
    """Pairs of gradients of one objective."""

    pair: object
    step: Step
    batches: TensorBatches
    parameters: list[Tensor]
    seed: int
    name: str

    def frame(self, groups: Mapping[str, list[int]], num_repeats: int, bar: tqdm) -> pd.DataFrame:
        """The figures of every group, one row each, with standard errors."""
        is_whole = self.batches.sizes[0] == self.batches.num_data
        device = self.parameters[0].device
        sizes = {name: sum(self.parameters[i].numel() for i in places) for name, places in groups.items()}
        totals = {name: Moments(size, is_whole, device) for name, size in sizes.items()}
        sections: dict[str, list[Figures]] = {name: [] for name in groups}
        pairs = self._pairs(num_repeats)
        for _ in range(_SECTIONS):
            section = {name: Moments(size, is_whole, device) for name, size in sizes.items()}
            for _ in range(num_repeats // _SECTIONS):
                first, second = next(pairs)
                for name, places in groups.items():
                    section[name].add(_joined(first, places), _joined(second, places))
                bar.update()
            for name, moments in section.items():
                totals[name].merge(moments)
                sections[name].append(moments.figures())
        rows = {name: _row(sizes[name], totals[name].figures(), sections[name]) for name in groups}
        return pd.DataFrame.from_dict(rows, orient="index")

    def _pairs(self, num_repeats: int) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        modules = [module for root in modules_of(self.pair) for module in root.modules()]
        buffers = list({id(buffer): buffer for module in modules for buffer in module.buffers(recurse=False)}.values())
        kept = [parameter.grad for parameter in self.parameters]
        try:
            with pyro.validation_enabled(False), train_mode(self.pair):
                self.step.begin_epoch()
                for repeat in range(num_repeats):
                    batch = self._batch(repeat)
                    yield self._gradients(batch, buffers, repeat, 0), self._gradients(batch, buffers, repeat, 1)
        finally:
            for parameter, gradient in zip(self.parameters, kept, strict=True):
                parameter.grad = gradient

    def _batch(self, repeat: int) -> Batch:
        """A mini-batch as a step of a fit sees it."""
        tensors, size = self.batches.tensors, self.batches.sizes[0]
        seed_generators(tensors[0].device, block_seed(self.seed, repeat, 2))
        if size < len(tensors[0]):
            rows = torch.randperm(len(tensors[0]))[:size].to(tensors[0].device)
            tensors = tuple(x.index_select(0, rows) for x in tensors)
        return self.batches.suit.transformed(tensors)

    def _gradients(self, batch: Batch, buffers: list[Tensor], repeat: int, half: int) -> list[Tensor]:
        seed_generators(batch[0].device, block_seed(self.seed, repeat, half))
        with values_kept(buffers):  # such as counts of codes, which a step moves
            self.step.loss_and_gradients(batch, self.parameters)
        found = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in self.parameters]
        if not all(bool(gradient.isfinite().all()) for gradient in found):
            raise FloatingPointError(f"gradients of {self.name} must be finite; they are not in repeat {repeat}. Look at the pair's loss.")
        return found


def _joined(gradients: list[Tensor], places: list[int]) -> Tensor:
    return torch.cat([gradients[place].detach().flatten().double() for place in places])


def _row(size: int, total: Figures, sections: list[Figures]) -> dict[str, float]:
    errors = torch.tensor(sections, dtype=torch.float64).std(0) / len(sections) ** 0.5  # [figures]
    row: dict[str, float] = {"parameters": size}
    for name, value, error in zip(Figures._fields, total, errors.tolist(), strict=True):
        row |= {name: value} if name.startswith("floor") else {name: value, f"{name}_se": error}
    return row
