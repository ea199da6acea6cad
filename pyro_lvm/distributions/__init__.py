"""Pyro distributions that torch and Pyro lack: mixtures, flows, counts, proportions, unit vectors, discrete codes.

One file a kind of value; each distribution has its equation, and keeps its digits in float32.
"""
