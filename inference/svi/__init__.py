"""Stochastic variational inference: ``fit``, its steps, eager and compiled, its objectives and its messengers."""
