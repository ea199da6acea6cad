"""The calls by which a process changes files below a folder, one by one; at a chosen one it is killed, or finds the disk full."""

from collections.abc import Callable
from dataclasses import dataclass, field
import errno
import fcntl
import os
from pathlib import Path
import resource
import signal
import sys
import time

KILL, HALF = "killed", "killed in the middle of the file"
FULL, LIMIT = "disk full", "size of files limited"
_PATHS = {"os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.chmod": 0}  # which argument of an audit event to look at
_BYTES = 16  # of a file, at a limit
_PIPE_BYTES = 2**20


@dataclass
class Steps:
    """The steps of a process, which begin with its call of :meth:`begin`.

    Args:
        folder: Folder of the files.
        at: Number of the step, from 1 on, at which something happens; nothing by default.
        what: What happens: ``KILL``, before the step; ``HALF``, at the first write of more than a few bytes after it; ``FULL``, an error of
            this and all later steps that need room on the disk; or ``LIMIT``, an error of all later writes of more than a few bytes.
        in_copies: Whether it happens in the copies that the process makes of itself, with numbers of their own, instead of in itself.
    """

    folder: Path
    at: int | None = None
    what: str = KILL
    in_copies: bool = False
    seen: list[str] = field(default_factory=list)
    process: int = 0

    def begin(self) -> None:
        """Watch this process to its end."""
        self.process = os.getpid()
        os.register_at_fork(after_in_child=self.seen.clear)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self.what == HALF:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which ends the process, as SIGKILL does; Python ignores it
        fsync = os.fsync

        def watched(descriptor: int) -> None:
            self._step("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        os.fsync = watched  # type: ignore[assignment]  # for which Python has no audit event
        sys.addaudithook(self._heard)

    def _heard(self, event: str, args: tuple[object, ...]) -> None:
        if event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT:
            self._step("open", args[0])
        elif event in _PATHS:
            self._step(event.removeprefix("os."), args[_PATHS[event]])
        elif event == "ctypes.dlsym" and args[1] == "renameat2":
            self._step("exchange", self.folder / "names")

    def _step(self, name: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike) or not Path(os.fsdecode(path)).is_relative_to(self.folder):
            return
        self.seen.append(f"{name} {Path(os.fsdecode(path)).relative_to(self.folder)}")
        if self.at is not None and (os.getpid() != self.process) == self.in_copies and len(self.seen) >= self.at:
            self._happen(name, path, is_first=len(self.seen) == self.at)

    def _happen(self, name: str, path: object, *, is_first: bool) -> None:
        if self.what == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == FULL and name in ("open", "mkdir", "fsync"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([] if name == "fsync" else [os.fsdecode(path)]))  # type: ignore[arg-type]
        if self.what in (HALF, LIMIT) and is_first:
            resource.setrlimit(resource.RLIMIT_FSIZE, (_BYTES, resource.RLIM_INFINITY))


@dataclass
class Ended:
    """How a process has ended.

    Attributes:
        status: Its status, or ``None`` if it was killed.
        said: What it wrote to stderr.
        steps: Its steps, if it was not killed.
    """

    status: int | None
    said: str
    steps: list[str]


def in_child(work: Callable[[], object], steps: Steps, seconds: float | None = None, stop: int = signal.SIGKILL) -> Ended:
    """Do work in a copy of this process, which is sent a signal after some seconds, if any are given."""
    (heard, said), (counted, count) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _work(work, steps, said, count)
    for end in (said, count):
        os.close(end)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, stop)
    with os.fdopen(heard, errors="replace") as words, os.fdopen(counted) as numbers:
        text, seen = words.read(), numbers.read().splitlines()
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else None, text, seen)


def _work(work: Callable[[], object], steps: Steps, said: int, count: int) -> None:
    for end in (said, count):
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(said, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1, closefd=False), os.fdopen(2, "w", 1, closefd=False)
    status = 1
    try:
        steps.begin()
        work()
        status = 0
    except SystemExit as error:
        status = int(error.code or 0)
    finally:
        os.write(count, "\n".join(steps.seen).encode())
        os._exit(status)
