"""Plots of runs, scores, samples and latent spaces, as PNG files."""
