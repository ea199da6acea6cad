"""Checks of a command's options before any work, and the one sentence in which they are refused."""
