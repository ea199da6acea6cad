"""Commands: modules with a ``main``, for ``pyro-lvm NAME`` and ``python -m inference.scripts.NAME``."""
