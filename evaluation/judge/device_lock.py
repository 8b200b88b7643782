"""The device lock: one owner of a device at a time, on the whole machine, by an operating-system lock."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding


def lock_folder() -> Path:
    """Folder of the lock files: the same for every user and every server on this machine."""
    return Path(tempfile.gettempdir()) / "kernelevolve-device-locks"


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
    folder = lock_folder()
    folder.mkdir(mode=0o1777, exist_ok=True)
    path = folder / (re.sub(r"[^A-Za-z0-9_-]", "_", device) + ".lock")
    # The descriptor is not inherited by programs (PEP 446), and forks come from the host, which never holds it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
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
