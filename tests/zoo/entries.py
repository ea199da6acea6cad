"""All pairs of the zoo, by name."""

from zoo import discrete, examples, ours, refusals, sites, styles  # noqa: F401  each adds its pairs
from zoo.registry import ENTRIES

SCORED = {name: entry for name, entry in ENTRIES.items() if entry.refusal is None}
REFUSED = {name: entry for name, entry in ENTRIES.items() if entry.refusal is not None}
