"""Objectives that Pyro lacks: a base class that combines the densities of all draws of a datum, and what is built on it."""
