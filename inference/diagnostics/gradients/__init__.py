"""Noise of an objective's gradients: variance and signal-to-noise ratio over draws and over mini-batches."""
