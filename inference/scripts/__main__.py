"""``python -m inference.scripts COMMAND``: the same as ``pyro-lvm COMMAND``."""

from inference.scripts.cli import main

main()
