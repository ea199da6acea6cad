"""Published data sets and the user's own: splits, treatment of values, and batches."""
