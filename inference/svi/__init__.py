"""Stochastic variational inference: ``fit``, eager and compiled steps, objectives and messengers."""
