"""Convert evaluations to xarray trees, and read them from netCDF files."""

import os
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from xarray import DataTree


GROUP = "is_stats"
PER_DATUM = ("log_px", "mc_error", "ess", "pareto_k", "elbo")
LATER_PER_DATUM = ("normal_elbo",)  # missing in older files
ATTRIBUTES = ("num_particles", "seed", "measure", "data_id", "is_bound", "num_dims")
LATER_ATTRIBUTES = ("precision", "rounding_bias", "rounding_error", "is_unit_scaled", "num_steps")  # missing in older files
FLAGS = ("is_bound", "is_unit_scaled")  # stored as 0 and 1


def to_datatree(evaluation: Any) -> "DataTree":
    """Convert an evaluation to a tree whose group ``is_stats`` holds all tensors, and all other fields as attributes."""
    from xarray import Dataset, DataTree

    variables: dict[str, tuple] = {name: ("datum", getattr(evaluation, name).numpy()) for name in (*PER_DATUM, *LATER_PER_DATUM)}
    variables["curve"] = (("curve_particles", "datum"), evaluation.curve.numpy())
    coordinates = {"datum": range(len(evaluation.log_px)), "curve_particles": list(evaluation.curve_particles)}
    attributes = {name: _storable(getattr(evaluation, name)) for name in (*ATTRIBUTES, *LATER_ATTRIBUTES)}
    return DataTree.from_dict({f"/{GROUP}": Dataset(variables, coordinates, attributes)})


def read_fields(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the fields of an evaluation, by name, from a file of its tree.

    Raises:
        ValueError: If the file holds no evaluation.
    """
    from xarray import open_datatree

    with open_datatree(path, engine="h5netcdf") as tree:
        if GROUP not in tree.children or not set(ATTRIBUTES) <= tree[GROUP].attrs.keys():
            raise ValueError(f"{path} must hold an evaluation; got groups {list(tree.children)}. Write it with to_netcdf.")
        stats = tree[GROUP].to_dataset().load()
    tensors = {name: torch.from_numpy(stats[name].to_numpy()) for name in (*PER_DATUM, *LATER_PER_DATUM, "curve") if name in stats}
    names = (*ATTRIBUTES, *(name for name in LATER_ATTRIBUTES if name in stats.attrs))
    attributes = {name: _plain(stats.attrs[name]) for name in names}
    counts = tuple(stats["curve_particles"].to_numpy().tolist())
    flags = {name: bool(attributes[name]) for name in FLAGS if name in attributes}
    return tensors | attributes | flags | {"curve_particles": counts}


def _storable(attribute: object) -> object:
    return int(attribute) if isinstance(attribute, bool) else attribute


def _plain(attribute: object) -> object:
    return attribute.item() if hasattr(attribute, "item") else attribute
