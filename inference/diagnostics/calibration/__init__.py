"""Simulation-based calibration of guides: ranks of true latents among the guide's draws, tests of their uniformity, and a verdict."""
