"""Values that no type rules out: seeds, devices, parts of another kind, and what needs an extra that is not installed."""

from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import Namespace

from inference.recipes.options import check_extra
from inference.recipes.registries import TRACKERS

Expost = Mapping[str, Sequence[str]]
_GROUPS = ("data", "model", "fit", "evaluate")


def check_groups(parsed: Namespace) -> None:
    """Check that groups of options are groups, which a YAML file may have made plain values.

    Raises:
        ValueError: If one is none.
    """
    for name in _GROUPS:
        if not isinstance(got := parsed.get(name, Namespace()), Namespace):
            raise ValueError(f"--{name} must be '{{NAME: VALUE}}' of its options; got {got}. Correct it in the --config file.")


def check_values(args: Namespace) -> None:
    """Check seeds, the device, and what needs an extra.

    Raises:
        ValueError: If a seed is out of range, or there is no such device.
        ImportError: If an extra is not installed.
    """
    _check_seeds({name: value for name, value in args.items() if name.split(".")[-1] == "seed"})
    _check_device(args.get("device", "cpu"))
    track, engine = args.get("track"), args.get("engine")
    if track is not None and (package := TRACKERS.part(track).facts["package"]):
        check_extra(package, f"--track {track}")
    if engine == "ray":
        check_extra(engine, f"--engine {engine}")


def plan_expost(expost: Sequence[str], of: Sequence[str] | None, default: Sequence[str], names: Sequence[str]) -> Expost:
    """The priors to fit after training, by the model to which they are fitted."""
    if not expost:
        if of:
            raise ValueError(f"--expost_of has no effect without --expost; got {' '.join(of)}. Leave it out.")
        return {}
    for name in of or default:
        if name not in names:
            raise ValueError(f"--expost_of must name compared models, {', '.join(names)}; got {name!r}. Choose among them.")
    return dict.fromkeys(of or default, expost)


def _check_seeds(seeds: Mapping[str, int]) -> None:
    for name, seed in seeds.items():
        if not 0 <= seed < 2**63:
            raise ValueError(f"--{name} must be a whole number from 0 to 2**63 - 1; got {seed}. Take a smaller one, such as 0.")


def _check_device(name: Any) -> None:
    if name == "cpu":
        return
    from inference.numerics import check_device  # here, as it imports torch

    check_device(name, "--device")
