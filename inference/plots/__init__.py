"""Plots on matplotlib's axes: codes and prior, images, comparisons, estimates against K, and learning curves."""
