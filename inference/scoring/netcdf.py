"""Convert evaluations to xarray trees, and read them from netCDF files."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from io import BytesIO
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
import warnings

import torch

from inference.files import replacing_file

if TYPE_CHECKING:
    from arviz import InferenceData
    from xarray import DataTree


T = TypeVar("T")
FORMAT = 2  # of files; format 1 has neither a format nor a checksum
GROUP = "is_stats"
PER_DATUM = ("log_px", "mc_error", "ess", "pareto_k", "elbo")
LATER_PER_DATUM = ("normal_elbo",)  # missing in older files
ATTRIBUTES = ("num_particles", "seed", "measure", "data_id", "is_bound", "num_dims")
LATER_ATTRIBUTES = (  # missing in older files
    *("precision", "rounding_bias", "rounding_error", "is_unit_scaled", "num_steps", "given_id", "num_fitted"),
)
EARLIER = "is_fitted"  # whether all rows were fitted, in older files
FLAGS = ("is_bound", "is_unit_scaled", EARLIER)  # stored as 0 and 1
_FIELDS = (*PER_DATUM, *LATER_PER_DATUM, "curve", *ATTRIBUTES, *LATER_ATTRIBUTES)


def to_datatree(evaluation: Any) -> "DataTree":
    """Convert an evaluation to a tree whose group ``is_stats`` holds all tensors, and all other fields as attributes."""
    from xarray import Dataset, DataTree

    variables: dict[str, tuple] = {name: ("datum", getattr(evaluation, name).numpy()) for name in (*PER_DATUM, *LATER_PER_DATUM)}
    variables["curve"] = (("curve_particles", "datum"), evaluation.curve.numpy())
    coordinates = {"datum": range(len(evaluation.log_px)), "curve_particles": list(evaluation.curve_particles)}
    attributes = {name: _storable(getattr(evaluation, name)) for name in (*ATTRIBUTES, *LATER_ATTRIBUTES)}
    return DataTree.from_dict({f"/{GROUP}": Dataset(variables, coordinates, attributes)})


def for_arviz(tree: "DataTree") -> "InferenceData | DataTree":
    """Convert a tree to the form that ArviZ accepts."""
    with warnings.catch_warnings():
        # ArviZ 0.23 announces its version 1 on every import
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    convert = getattr(vars(arviz).get("InferenceData"), "from_datatree", None)  # as an attribute, ArviZ 1 warns of it
    return convert(tree) if convert else tree


def write(evaluation: Any, path: str | os.PathLike[str], *, origin: Mapping[str, object] | None = None) -> None:
    """Write an evaluation and what it comes from, as plain values; an existing file is replaced completely or not at all."""
    tree, known = to_datatree(evaluation), json.dumps(origin, sort_keys=True)
    fields = {name: getattr(evaluation, name) for name in (*_FIELDS, "curve_particles")}
    tree.attrs = {"format": FORMAT, "origin": known, "checksum": _checksum(fields, known)}
    whole = BytesIO()  # as HDF5 may end the process when there is no room for a file
    tree.to_netcdf(whole, engine="h5netcdf")
    with replacing_file(path) as temporary:
        temporary.write_bytes(whole.getvalue())


def read(path: str | os.PathLike[str], make: Callable[..., T]) -> tuple[T, dict[str, Any] | None]:
    """Read an evaluation, which ``make`` makes of its fields, and what it comes from, or ``None`` if the file does not say.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If the file holds no evaluation, is damaged, or has a newer format.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}. Write one with to_netcdf.")
    try:
        root, fields = _read(path)
        if (number := int(root.get("format", 1))) > FORMAT:
            raise ValueError(f"the format {number}, and this version reads formats up to {FORMAT}")
        if number > 1 and root["checksum"] != _checksum(fields, root["origin"]):
            raise ValueError("other values than were written")
        if fields.pop(EARLIER, False):
            fields["num_fitted"] = len(fields["log_px"])
        return make(**fields), json.loads(root["origin"]) if number > 1 else None
    except Exception as error:  # of any of the libraries that read it
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} must hold an evaluation; got {reason}. Write it with to_netcdf.") from error


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the attributes of the file and the fields of an evaluation; by h5py, as h5netcdf prints tracebacks about damaged files."""
    import h5py

    with h5py.File(path) as file:
        if GROUP not in file or not set(ATTRIBUTES) <= file[GROUP].attrs.keys():
            raise ValueError(f"groups {list(file)}")
        root, stats, known = _attributes(file), {name: file[GROUP][name][()] for name in file[GROUP]}, _attributes(file[GROUP])
    tensors = {name: torch.from_numpy(stats[name]) for name in (*PER_DATUM, *LATER_PER_DATUM, "curve") if name in stats}
    attributes = {name: known[name] for name in (*ATTRIBUTES, *LATER_ATTRIBUTES, EARLIER) if name in known}
    flags = {name: bool(attributes[name]) for name in FLAGS if name in attributes}
    return root, tensors | attributes | flags | {"curve_particles": tuple(stats["curve_particles"].tolist())}


def _attributes(group: Any) -> dict[str, Any]:
    """Attributes of a group of a file as plain values; some are netCDF's own."""
    return {name: value.item() if hasattr(value, "item") else value for name, value in group.attrs.items() if not name.startswith("_")}


def _checksum(fields: Mapping[str, Any], origin: str) -> str:
    """Return a checksum of fields, tensors by their dtypes, shapes and bytes, and of what they come from."""
    digest = sha256(origin.encode())
    for name, value in sorted(fields.items()):
        is_tensor = isinstance(value, torch.Tensor)
        digest.update(f"{name};{(value.dtype, *value.shape) if is_tensor else value};".encode())
        digest.update(value.contiguous().numpy() if is_tensor else b"")
    return digest.hexdigest()[:32]


def _storable(attribute: object) -> object:
    return int(attribute) if isinstance(attribute, bool) else attribute
