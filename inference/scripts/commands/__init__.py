"""The commands of ``pyro-lvm``, each a module with ``main``, which is given the options."""
