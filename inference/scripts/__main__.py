"""``python -m inference.scripts COMMAND``: the same as ``pyro-lvm COMMAND``; as part of a sweep, it ends with the sweep."""

import ctypes
import os
import signal
import sys

from inference.scripts.cli import main

PARENT = "PYRO_LVM_PARENT"  # the process of the sweep
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


def _end_with(parent: int) -> None:
    """Ask the system for SIGTERM when the parent ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(143)


if __name__ == "__main__":
    if PARENT in os.environ:
        _end_with(int(os.environ[PARENT]))
    main()
