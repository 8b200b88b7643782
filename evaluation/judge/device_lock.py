"""The device lock: one owner of a device at a time, on the whole machine, by an operating-system lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding


def lock_folder() -> Path:
    """Folder of the lock files: the same for every user and every server on this machine, so not below `TMPDIR`."""
    return Path("/tmp") / "kernelevolve-device-locks"


def _open(path: Path) -> int:
    """A descriptor to lock, of a file that may be another user's."""
    try:
        path.parent.mkdir()
        path.parent.chmod(0o1777)  # mkdir's own mode is cut by the umask
    except FileExistsError:
        pass
    while True:
        try:
            # Read-only is enough for flock, and O_CREAT on another user's file is refused in a sticky folder
            # (fs.protected_regular). Not inherited by programs (PEP 446); forks come from the host, which has none.
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
                os.fchmod(descriptor, 0o644)
                return descriptor


@contextmanager
def device_lock(device: str, limit_s: float, still_wanted: Callable[[], None] | None = None) -> Iterator[float]:
    """Own a device until the block ends.

    The lock is an `flock`, so the kernel releases it when its process dies, however it dies.

    Args:
        device: what to lock, e.g. a GPU's UUID, or `cpu`.
        limit_s: seconds to wait for it.
        still_wanted: called while waiting; may raise to give up.

    Yields:
        Seconds that were spent waiting.

    Raises:
        PlatformError: somebody else kept the device for all of `limit_s`.
    """
    descriptor = _open(lock_folder() / (re.sub(r"[^A-Za-z0-9_-]", "_", device) + ".lock"))
    try:
        began = time.monotonic()
        pause = 0.001
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if still_wanted is not None:
                    still_wanted()
                if time.monotonic() - began > limit_s:
                    raise PlatformError(
                        Finding.DEVICE_BUSY,
                        f"The device {device} was busy for {limit_s:.0f} s.",
                        "Another judge is using it: try again, or wait longer with --limit.",
                    ) from error
                time.sleep(pause)
                pause = min(pause * 1.5, 0.02)
        yield time.monotonic() - began
    finally:
        os.close(descriptor)


def held_devices(locks: Path = Path("/proc/locks")) -> dict[str, int | None]:
    """Devices that were ever locked on this machine, and who holds them now: a look that takes no lock.

    Args:
        locks: the kernel's list of locks (`man 5 proc_locks`).

    Returns:
        Device → the process that holds it, 0 for one that can't be seen from here; None where it is free. Nothing on a
        system without such a list.
    """
    if not lock_folder().is_dir() or not locks.is_file():
        return {}
    # `1: FLOCK  ADVISORY  WRITE 4711 08:01:131142 0 EOF`; the last number of the file is its inode.
    holders = {}
    for line in locks.read_text().splitlines():
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK":
            holders[int(words[5].rpartition(":")[2])] = max(0, int(words[4]))
    return {path.stem: holders.get(path.stat().st_ino) for path in sorted(lock_folder().glob("*.lock"))}
