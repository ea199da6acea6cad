"""Commands: each is a module with a ``main``, for ``pyro-lvm NAME`` and ``python -m inference.scripts.NAME``."""
