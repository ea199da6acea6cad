"""The first run of a fit, and fits whose parameters belong to the rows of the training data."""

from inference.data.batches import Batches, TensorBatches
from inference.data.fingerprint import data_id
from inference.densities.broadcasting import check_places
from pyro_lvm.contract import check_pair
from pyro_lvm.dtypes import State, new_guides, restore, state_of
from pyro_lvm.pair import Batch
from pyro_lvm.scopes import belongings, forget_parameter
from pyro_lvm.structure import Structure

_REASON = "parameters of the pair belong to the rows of the data, one each, as in an AutoNormal with local latents"


def first_run(pair: object, train: Batches, batch_size: int | None, valid: object) -> tuple[Batches, Batch, Structure]:
    """Check a pair on the first batch; if its parameters belong to rows, on all rows, which are then the only batch.

    Args:
        pair: Any pair.
        train: The training data.
        batch_size: The batch size that was asked for.
        valid: The validation data that were given.

    Returns:
        The batches to train on, the first of them, and the structure of the pair.

    Raises:
        ValueError: As for :func:`~pyro_lvm.contract.check_pair`; also if parameters belong to rows, and the data come in mini-batches or
            there are validation data.
    """
    batch = next(iter(train), None)
    if batch is None:
        raise ValueError("data must yield at least one batch; got none.")
    before, new = set(belongings(pair).store.keys()), state_of(new_guides(pair))
    structure, error = _checked(pair, batch)
    if structure is not None and not structure.row_parameters:
        if getattr(train, "shuffle", True):
            check_places(pair, batch)
        return train, batch, structure
    rows = train.tensors if isinstance(train, TensorBatches) else batch
    if len(batch[0]) < len(rows[0]):
        _forget(pair, before, new)
        structure, _ = _checked(pair, train.suit.transformed(rows))
    if structure is None or not structure.row_parameters:
        raise error or ValueError(f"{_REASON}, but not if all rows come at once. Pass batch_size={len(rows[0])}.")
    _refuse_other_rows(train, len(rows[0]), batch_size, valid)
    belongings(pair).rows = data_id(*rows)
    return TensorBatches(rows, train.suit, len(rows[0]), shuffle=False), rows, structure


def run_first(pair: object, batch: Batch) -> Structure:
    """Check a pair on two of the training rows, or, if its parameters belong to these rows, on all of them.

    Args:
        pair: A pair that has not run.
        batch: All training rows.

    Raises:
        ValueError: As for :func:`~pyro_lvm.contract.check_pair`.
    """
    before, new = set(belongings(pair).store.keys()), state_of(new_guides(pair))
    structure, error = (None, None) if new else _checked(pair, tuple(x[:2] for x in batch))
    if structure is None or structure.row_parameters:
        _forget(pair, before, new)
        structure, error = _checked(pair, batch)
    if structure is None:
        raise error or ValueError("the pair cannot be checked.")
    return structure


def _checked(pair: object, batch: Batch) -> tuple[Structure | None, ValueError | None]:
    try:
        return check_pair(pair, *batch), None
    except ValueError as error:
        return None, error


def _refuse_other_rows(train: Batches, size: int, batch_size: int | None, valid: object) -> None:
    if not isinstance(train, TensorBatches):
        raise ValueError(f"{_REASON}, and the data must then be tensors of all rows; got batches. Pass them as one tensor, or a tuple.")
    if batch_size not in (None, size):
        raise ValueError(
            f"{_REASON}: batch_size must be {size}, all of them; got {batch_size}. Leave it out, or let a network compute q(z|x)."
        )
    if valid is not None:
        raise ValueError(f"{_REASON}, and say nothing of other rows: there can be no validation data. Leave valid out.")


def _forget(pair: object, before: set[str], new: State) -> None:
    """Forget what a run on too few rows has created."""
    own = belongings(pair)
    restore(new)
    for name in set(own.store.keys()) - before:
        forget_parameter(own.store, name)
        own.networks.parameters.pop(name, None)
