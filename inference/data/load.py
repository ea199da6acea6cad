"""Load published data sets and the user's own as training, validation and test tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inference.data.columns import Column
from inference.data.conversion import as_float32, checked
from inference.data.given import LABELS, TOTAL, given_by_name, refuse_conditions, totals, with_labels, without_conditions
from inference.data.media.images import ImageFolder, images_of, read_images
from inference.data.media.sequences import LENGTHS, MASK, SEQUENCES, padded, with_masks
from inference.data.published.catalogue import DATASETS
from inference.data.published.datasets import Content, read_published
from inference.data.readers import read_csv, read_numpy, read_parquet, read_text
from inference.data.shards import read_shards, shards_of
from inference.data.splits import SPLITS, Fractions, cut_in_order, own_splits, refuse_fractions, split_sizes
from inference.data.tables.choice import Choice, Table, table_of
from inference.data.tables.coding import decode_table
from inference.data.text import encode_text, windows
from inference.data.treatments import Treatment, check_options, gray_levels, treat
from pyro_lvm.checks import check_seeds
from pyro_lvm.dtypes import Transform
from pyro_lvm.pair import Batch
from pyro_lvm.rows.lazy import Rows
from pyro_lvm.rows.values import Chosen, Held, Values

READERS: dict[str, Callable[[Path], dict[str, Any]]] = {".npy": read_numpy, ".npz": read_numpy, ".csv": read_csv, ".parquet": read_parquet}
TEXT = ".txt"
_SMALL = 2**24  # bytes of a split in float32, up to which it is a plain tensor


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in three splits.

    Attributes:
        name: Name of the data set.
        description: Origin, split and treatment of the values, in one sentence.
        train: Training data ``[N, *X]``, float32. Large data of bytes, and data in large files, are
            :class:`~pyro_lvm.rows.lazy.Rows`, tensors that read and convert rows when they are asked for.
        valid: Validation data ``[N, *X]``, float32.
        test: Test data ``[N, *X]``, float32.
        transform: Draws fresh noise for a batch of ``train``, ``[B, *X]`` to ``[B, *X]``; ``None`` if ``train`` needs
            no noise. ``valid`` and ``test`` never do. A fit to the data as a whole, ``fit(pair, data)``, applies it.
        labels: Classes by split, int64 ``[N]``, or ``None`` if the data set has no labels.
        alphabet: For text, the characters of the codes: code i stands for ``alphabet[i]``; see :func:`~inference.data.text.decode_text`.
        columns: Names of the columns, if the data are a table that names them.
        kinds: What the numbers of each column are, if the data are a table that is read as it is; NaN is then a missing cell.
        left_out: Names of the other columns of the table, which were left out or are given.
        treatment: How the values were read and treated.
        given: What a pair is called with after the observations, such as labels, masks or covariates, by name and split: int64 ``[N]`` for
            categories, of which those that are missing are -1, and float32 ``[N, *C]`` for other numbers.
        num_categories: Number of categories by name, of what is given.
        words: Columns of text among what is given, by name, with what their codes stand for.
    """

    name: str
    description: str
    train: Tensor = field(repr=False)
    valid: Tensor = field(repr=False)
    test: Tensor = field(repr=False)
    transform: Transform | None = None
    labels: dict[str, Tensor] | None = field(default=None, repr=False)
    alphabet: str | None = field(default=None, repr=False)
    given: dict[str, dict[str, Tensor]] = field(default_factory=dict, repr=False)
    columns: tuple[str, ...] | None = field(default=None, repr=False)
    kinds: tuple[Column, ...] | None = field(default=None, repr=False)
    left_out: tuple[str, ...] = field(default=(), repr=False)
    treatment: Treatment = field(default=Treatment(), repr=False)
    num_categories: dict[str, int] = field(default_factory=dict, repr=False)
    words: dict[str, Column] = field(default_factory=dict, repr=False)

    def batch(self, split: str) -> Batch:
        """Return what a pair is called with, for all rows of a split: the observations, then what is ``given``, in its order."""
        return (getattr(self, split), *(values[split] for values in self.given.values()))

    def table(self, x: Tensor) -> pd.DataFrame:
        """Return rows ``[N, D]``, such as imputed ones or samples, as a table with the names of the columns and the values of their codes.

        Raises:
            ValueError: If the data are no table whose columns have kinds, or rows have other columns.
        """
        if self.kinds is None:
            raise ValueError(f"{self.name} is no table whose columns have names and kinds. Use pandas.DataFrame(x.numpy()).")
        return decode_table(x.detach().cpu().double().numpy(), self.kinds)


def load_data(
    source: str | Path | np.ndarray | Tensor | pd.DataFrame | Sequence[Any],
    *,
    binarize: str | None = "default",
    dequantize: bool = False,
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    seed: int = 0,
    shape: tuple[int, ...] | None = None,
    folder: str | Path | None = None,
    download: bool = True,
    condition: str | Sequence[str] | None = None,
    labelled: int | None = None,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Data:
    r"""Load a published data set, a file or an array as training, validation and test tensors.

    Gray levels are whole numbers from 0 to 255. Those of an array or file go up to 255 if any is above 127, and otherwise up to the
    highest that occurs. For a gray level x with maximum L, dynamic binarization makes a new draw for every batch:

    .. math:: b \sim \mathrm{Bernoulli}(x / L)

    Args:
        source: The name of a published data set (``"digits"``, ``"mnist"``, ``"mnist-static"``, ``"fashion-mnist"``,
            ``"omniglot-rebuilt"``, ``"frey-faces"`` or ``"tiny-shakespeare"``); the path of a .npy, .npz, .csv, .parquet or
            .txt file; a folder or a glob of .npy and .npz files, whose rows follow one another in the order of the files' names; a folder
            of .png and .jpg images; an array ``[N, *X]``; or a list of sequences ``[T_i, *D]``. A table with named columns, .csv, .parquet
            or of pandas, is read as it is: its columns are found to be of kinds, text becomes codes, and cells may be missing; see
            :func:`~inference.data.tables.kinds.find_columns`. A .npz file holds one array, arrays named train, test and optionally valid,
            or sequences and their lengths. A .txt file is UTF-8 text: each character becomes a code, its position in the sorted alphabet
            of the whole file.
        binarize: ``None`` keeps gray levels unchanged, and numbers of a table as they are, without kinds; ``"half"`` thresholds them
            at half of their range; ``"static"`` draws every pixel once; ``"dynamic"`` draws valid and test once, and leaves
            probabilities in train for ``transform`` to draw from. By default, digits are thresholded at half of their range; MNIST,
            Fashion-MNIST and Omniglot are dynamic; all other data are unchanged.
        dequantize: Whether to add uniform noise to gray levels and scale them to [0, 1], once; for train, ``transform`` draws new noise
            for every batch.
        valid_fraction: Share of rows to hold out for validation if the data have no such split; by default 0.1. For text, the
            share of characters to hold out before those of the test set, which are at the end.
        test_fraction: Share of rows to hold out for testing if the data have no such split; by default 0.1.
        seed: Seed of random splits and of noise that is drawn once.
        shape: Shape of one datum, ``*X``; by default flat for published data sets and unchanged for the user's own data. For text,
            (T,), by default (64,): each split is cut into windows of T characters without overlap; a shorter remainder is dropped.
        folder: Folder to search for published data sets before the cache; by default the one that ``PYRO_LVM_DATA`` names.
        download: Whether to download a published data set that is in neither.
        condition: What is ``given`` to a pair besides the observations, and taken out of these: ``"labels"`` of a published data set;
            columns of a table by name; or arrays of a .npz file, such as y beside x, or train_y and test_y beside train and test. Whole
            numbers from 0 to 99, of which those that are missing are -1, are categories; all other numbers are covariates.
        labelled: Number of training labels to keep, as evenly over the categories as possible and chosen with ``seed``; all others are
            missing, those of validation and test data included. It needs one condition that has categories.
        columns: Columns of a table to keep; by default all.
        drop: Columns of a table to leave out, such as identifiers.
        kinds: What the numbers of some columns of a table are, by name, instead of what is found: ``"real"``, ``"count"``,
            ``"ordinal"``, ``"category"`` or ``"binary"``.

    Returns:
        A :class:`Data` with the three splits and the transform for training batches.

    Raises:
        ValueError: If the source is unknown, damaged, empty or not finite, or an option does not apply to it.
        FileNotFoundError: If a file or folder does not exist.
        ConnectionError: If a download fails.
        ImportError: If a .parquet file is given and pyarrow is missing, or images and Pillow.
        TypeError: If the source has another type.

    References:
        Salakhutdinov, Murray (2008), On the quantitative analysis of deep belief networks (static draws).
        Burda, Grosse, Salakhutdinov (2016), Importance Weighted Autoencoders (dynamic draws).
        https://arxiv.org/abs/1509.00519
    """
    check_options(binarize, dequantize)
    check_seeds(seed=seed)
    conditions = (condition,) if isinstance(condition, str) else tuple(condition or ())
    choice = Choice(columns, drop, kinds, conditions, is_plain=binarize != "default" or dequantize or shape is not None)
    table = None if isinstance(source, str) and source in DATASETS else table_of(source, choice)
    if isinstance(source, str) and source in DATASETS:
        choice.refuse(source)
        refuse_fractions(f"{source!r} has its own split", valid=valid_fraction, test=test_fraction)
        content = with_labels(read_published(source, seed=seed, folder=folder, download=download), conditions)
    else:
        fractions = {"valid": valid_fraction, "test": test_fraction}
        content = _of_table(table, fractions, seed, conditions) if table is not None else _own(source, fractions, seed, conditions)
        if table is None:
            choice.refuse(source)  # only now, as a file may be missing
    row_shape = None if content.alphabet is not None else tuple(content.arrays["train"].shape[1:])
    treatment = _treatment(content, "dequantize" if dequantize else binarize)
    values = {split: _shaped(x, shape, content) for split, x in content.arrays.items()}
    values, transform, treated = treat(values, levels=content.levels, treatment=treatment, seed=seed)
    sizes = ", ".join(f"{len(values[split])} {split}" for split in SPLITS)
    classes = content.labels
    labels = None if classes is None else {split: torch.from_numpy(y.astype(np.int64)) for split, y in classes.items()}
    tensors = {split: _tensor(as_float32(values[split])) for split in SPLITS}
    given, num_categories, said = given_by_name(content, labelled, seed)
    return Data(
        name=content.name,
        description=f"{content.origin} ({sizes}); {(table and table.in_words()) or treated}{said}.",
        train=tensors["train"],
        valid=tensors["valid"],
        test=tensors["test"],
        transform=transform,
        labels=labels,
        alphabet=content.alphabet,
        columns=content.columns,
        kinds=content.kinds,
        left_out=() if table is None else table.left_out,
        treatment=Treatment(treatment, content.levels, seed, row_shape, treated),
        given={name: {split: torch.from_numpy(x) for split, x in parts.items()} for name, parts in given.items()},
        num_categories=num_categories,
        words={} if table is None else table.words,
    )


def _own(source: str | Path | np.ndarray | Tensor | Sequence[Any], fractions: Fractions, seed: int, conditions: tuple[str, ...]) -> Content:
    if isinstance(source, Tensor):
        values = source.float() if source.is_floating_point() else source  # NumPy has no bfloat16
        return _own_rows("tensor", {"data": values.detach().cpu().numpy()}, fractions, seed, conditions)
    if isinstance(source, np.ndarray):
        return _own_rows("array", {"data": source}, fractions, seed, conditions)
    if isinstance(source, list | tuple):
        return _own_rows("sequences", with_masks("sequences", padded(source)), fractions, seed, (*conditions, MASK))
    images = images_of(source)
    if images is not None:
        return _own_images(str(source), images, fractions, seed, conditions)
    shards = shards_of(source) if isinstance(source, str | Path) else None
    if shards is not None:
        return _own_rows(str(source), read_shards(shards), fractions, seed, conditions)
    path = _own_path(source)
    if path.suffix == TEXT:
        refuse_conditions(path.name, conditions, [])
        return _own_text(path, fractions)
    arrays = READERS[path.suffix](path)
    if {SEQUENCES, LENGTHS} <= set(arrays):
        arrays, conditions = with_masks(path.name, arrays), (*conditions, MASK)
    return _own_rows(path.name, arrays, fractions, seed, conditions)


def _of_table(table: Table, fractions: Fractions, seed: int, conditions: tuple[str, ...]) -> Content:
    arrays, has_kinds = {"data": table.values} | table.given, table.kinds is not None
    content = _own_rows(table.name, arrays, fractions, seed, conditions, is_checked=has_kinds)
    return replace(content, columns=table.columns, kinds=table.kinds, levels=None if has_kinds else content.levels)


def _own_images(name: str, folder: ImageFolder, fractions: Fractions, seed: int, conditions: tuple[str, ...]) -> Content:
    labels = {} if folder.labels is None else {LABELS: folder.labels}
    arrays = {"data": read_images(folder)} | {key: y for key, y in labels.items() if key in conditions}
    content = _own_rows(name, arrays, fractions, seed, conditions)
    if folder.labels is None:
        return content
    classes, _ = own_splits(name, {"data": Held(folder.labels)}, fractions, seed)
    return replace(
        content,
        origin=f"{content.origin}, labels {', '.join(f'{place} {word}' for place, word in enumerate(folder.names))}",
        labels={split: x.whole() for split, x in classes.items()},
    )


def _own_path(source: Any) -> Path:
    if not isinstance(source, str | Path):
        raise TypeError(f"source must be a name, a path or an array; got {type(source)}. Try numpy.asarray.")
    path = Path(source).expanduser()
    if path.suffix not in (*READERS, TEXT):
        raise ValueError(
            f"source must be one of {', '.join(DATASETS)}, an array, a file that ends in {', '.join((*READERS, TEXT))}, a folder of "
            f".png and .jpg images, or a folder or glob of .npy and .npz files; got {str(source)!r}. Correct the name, or convert the file."
        )
    if not path.is_file():
        raise FileNotFoundError(f"source must be an existing file; got {str(path)!r}. Correct the path.")
    return path


def _own_text(path: Path, fractions: Fractions) -> Content:
    codes, alphabet = encode_text(read_text(path))
    splits = cut_in_order(codes, split_sizes(path.name, fractions, len(codes), "character"))
    return Content(path.name, f"{path.name} in windows of characters, split in order of the text", splits, alphabet=alphabet)


def _own_rows(
    name: str, arrays: dict[str, Any], fractions: Fractions, seed: int, conditions: tuple[str, ...], *, is_checked: bool = False
) -> Content:
    arrays, others = without_conditions(name, arrays, conditions)
    values = {key: Held(array) if is_checked else checked(array, f"{name}: {key}") for key, array in arrays.items()}
    splits, origin = own_splits(name, values, fractions, seed)
    given = {}
    for condition, parts in others.items():
        own = {key: checked(array, f"{name}: {condition}") for key, array in parts.items()}
        given[condition] = {split: x.whole() for split, x in own_splits(f"{name}: {condition}", own, fractions, seed)[0].items()}
    if TOTAL in conditions and TOTAL not in given:
        given[TOTAL], origin = totals(splits, name), f"{origin}, total: the sum of each row"
    if len({x.shape[1:] for x in splits.values()}) > 1:
        shapes = {split: x.shape for split, x in splits.items()}
        raise ValueError(f"{name} must hold splits that agree on X in [N, *X]; got {shapes}. Reshape them.")
    return Content(name, f"{name}, {origin}", splits, given={key: given[key] for key in conditions}, levels=gray_levels(values))


def _shaped(x: Values | np.ndarray, shape: tuple[int, ...] | None, content: Content) -> Values:
    if content.alphabet is not None:
        return Held(windows(np.asarray(x), shape))
    x = x if isinstance(x, Values) else Held(np.ascontiguousarray(x))
    if shape is None:
        return x
    size = math.prod(x.shape[1:])
    if math.prod(shape) != size:
        raise ValueError(f"shape must hold {size} entries; got {shape}. Reshape from {x.shape[1:]}.")
    return Chosen(x, shape=shape)  # [N, *X]


def _tensor(values: Values) -> Tensor:
    """A tensor of float32 numbers: plain, unless it is large and takes less memory, or none, as the rows are kept."""
    is_plain = values.size * values.dtype.itemsize <= _SMALL or values.width >= values.dtype.itemsize
    return torch.from_numpy(np.ascontiguousarray(values.whole())) if is_plain and not values.is_streamed else Rows(values)


def _treatment(content: Content, asked: str | None) -> str | None:
    chosen = content.treatment if asked == "default" else asked
    if chosen is not None and TOTAL in content.given:
        raise ValueError(f"{chosen!r} changes the values whose sum is given as {TOTAL!r}. Leave one of the two out.")
    if chosen is not None and content.levels is None:
        got, remedy = ("other values", ", or rescale the values") if content.alphabet is None else ("text", "")
        raise ValueError(
            f"{chosen!r} needs gray levels: whole numbers from 0 to 255, some above 1; got {got} in "
            f"{content.name}. Leave binarize and dequantize out{remedy}."
        )
    return chosen
