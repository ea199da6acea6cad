"""The trials of killed_commands.py, in a process of their own: their copies of the process need one without threads."""

import os
from pathlib import Path
import subprocess
import sys


def test_killed_commands_and_full_disks_lose_nothing() -> None:
    trials = Path(__file__).with_name("killed_commands.py")
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "pytest", str(trials)], env=alone, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
