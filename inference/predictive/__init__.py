"""Codes, reconstructions and samples of a fitted pair, and the quality of its samples."""
