"""Likelihoods of tables, initialized from the data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from inference.data.columns import Column, some
from inference.recipes.sizes import MakeNetwork
import pyro_lvm as lvm

if TYPE_CHECKING:
    from torch import Tensor, nn

RealDensity = Literal["normal", "student-t"]
CountDensity = Literal["negative-binomial", "poisson"]
_DF = 4.0  # of a Student t density before training


def as_real(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Columns whose numbers, codes included, are all taken for real numbers."""
    return tuple(replace(column, kind="real", values=()) for column in columns)


def check_likelihood(name: str, train: "Tensor", columns: Sequence[Column]) -> None:
    """Check that a likelihood that takes all columns for numbers of one kind is given such numbers.

    Raises:
        ValueError: If cells are missing, or numbers of a column are codes of other values.
    """
    coded = [column.name for column in columns if column.values and column.values != tuple(map(str, range(len(column.values))))]
    if not coded and not train.isnan().any():
        return
    got = f"codes of other values in {some(coded)}" if coded else f"{int(train.isnan().sum())} missing cells"
    raise ValueError(
        f"likelihood {name!r} takes numbers without gaps, as they are; got {got}. Take model.likelihood mixed, say data.kinds, or choose "
        "data.columns."
    )


def likelihood_of(name: str, columns: Sequence[Column] | None) -> str:
    """The likelihood that an option names: ``"auto"`` is one of tables or of binary data."""
    return name if name != "auto" else "bernoulli" if columns is None else "mixed"


def kinds_of(columns: Sequence[Column]) -> tuple[list[str], list[int]]:
    """Kind and number of values of each column."""
    return [column.kind for column in columns], [len(column.values) for column in columns]


def mixed_likelihood(
    network: MakeNetwork,
    train: "Tensor",
    columns: Sequence[Column] | None,
    real_density: RealDensity = "normal",
    count_density: CountDensity = "negative-binomial",
    *,
    feature_noise: bool = True,
) -> "nn.Module":
    """A likelihood of columns whose outputs begin at the columns' own means and frequencies.

    Args:
        network: Makes a decoder with the given shape of its output.
        train: Training data, ``[N, D]``; NaN in missing cells.
        columns: The columns; of data that are no table, all are taken for real numbers.
        real_density: Density of real columns.
        count_density: Distribution of counts.
        feature_noise: Whether each real column has a noise scale of its own.
    """
    import torch

    from pyro_lvm.networks.columns import moments, places_of
    from pyro_lvm.rows.lazy import plain

    if train.dim() != 2:
        raise ValueError(f"likelihood 'mixed' is of tables [N, D]; got data of shape {tuple(train.shape[1:])}. Choose another.")
    x = plain(train)
    columns = tuple(Column(f"x{place}", "real") for place in range(x.shape[1])) if columns is None else columns
    kinds, num_values = kinds_of(columns)
    loc, scale = moments(x)
    ordered = [_thresholds(x[:, place], num_values[place]) for place in places_of(kinds, "ordinal")]
    decoder = network((lvm.MixedLikelihood.num_outputs(kinds, num_values),))
    lvm.set_output_bias_(decoder, _bias(x, kinds, num_values))
    return lvm.MixedLikelihood(
        decoder,
        kinds,
        num_values,
        loc=loc,
        scale=scale,
        noise=torch.ones(len(places_of(kinds, "real")) if feature_noise else ()),
        df=_DF if real_density == "student-t" else None,
        dispersion=1.0 if count_density == "negative-binomial" else None,
        thresholds=ordered,
    )


def _bias(x: "Tensor", kinds: Sequence[str], num_values: Sequence[int]) -> "Tensor":
    """Outputs of a network at which every column has its own mean or frequencies, in the order of a mixed likelihood."""
    import torch

    from pyro_lvm.networks.columns import KINDS, places_of

    places = [place for kind in KINDS for place in places_of(kinds, kind)]
    return torch.cat([_outputs(x[:, place][~x[:, place].isnan()], kinds[place], num_values[place]) for place in places])


def _outputs(cells: "Tensor", kind: str, num_values: int) -> "Tensor":
    """The outputs for one column; one more count, and the rule of succession, keep them finite."""
    if kind == "category":
        return _frequencies(cells, num_values).log()
    if kind == "count":
        return ((cells.sum() + 1) / max(len(cells), 1)).log().reshape(1)
    if kind == "binary":
        return ((cells.sum() + 1) / (len(cells) + 2)).logit().reshape(1)
    return cells.new_zeros(1)  # of standardized numbers, and of ordinal columns, whose frequencies are in their thresholds


def _frequencies(codes: "Tensor", count: int) -> "Tensor":
    import torch

    counted = torch.bincount(codes.long(), minlength=count) + 1.0
    return counted / counted.sum()


def _thresholds(cells: "Tensor", count: int) -> "Tensor":
    shares = _frequencies(cells[~cells.isnan()], count)
    return shares.cumsum(0)[:-1].logit()
