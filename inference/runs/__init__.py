"""Run folders: what a fitted model was made from, its weights, and its scores."""
