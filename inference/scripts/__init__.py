"""Commands of ``pyro-lvm``: a module with a ``main`` each, and what they share."""
