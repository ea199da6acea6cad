"""Pyro distributions that torch and Pyro lack: mixtures, flows, counts, proportions, unit vectors, discrete codes.

Each kind of value has its own file. Each distribution states its equation and is accurate in float32.
"""

SizeLike = list[int] | tuple[int, ...]  # what sample and expand take; torch.Size is one
