"""All entries of the bench, by name."""

from known import classes, conjugate, curved, factors, flows, items, mixtures, normal, series, tails  # noqa: F401  each adds its entries
from known.registry import ENTRIES, RIGHT

ALL = dict(ENTRIES)
HARMLESS = {name: entry for name, entry in ENTRIES.items() if entry.must == RIGHT}
