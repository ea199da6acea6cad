"""Run folders: the options, weights and scores of a fitted model."""
