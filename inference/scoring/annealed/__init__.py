"""Annealed importance sampling: chains from a proposal to the posterior of each datum and back, whose weights are unbiased for p(x)."""
