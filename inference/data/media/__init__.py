"""Data that are no table of numbers: folders of images, and sequences of different lengths."""
