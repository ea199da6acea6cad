"""Commands of ``pyro-lvm``, each a module with a ``main``, and what they share."""
