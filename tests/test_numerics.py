"""How numbers and their memory are handled."""

import platform
import subprocess
import sys

import pytest

FAULTS_OF_STEPS = """
import resource, torch
from inference.numerics import keep_freed_memory

def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        blocks = [torch.empty(2**20).fill_(1) for _ in range(12)]  # 48 MiB in all
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
faults(8)
print(faults(10))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have rules of their own")
def test_freed_memory_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS_OF_STEPS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # without it, 12288 a step, unless an import has freed such a block
