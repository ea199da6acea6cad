"""Data sets: published ones and the user's own, their splits, the treatment of their values, and batches."""
