"""Memory that a candidate keeps in files without a name and in shared mappings: no limit of the kernel's counts it.

RLIMIT_DATA looks at private memory and RLIMIT_FSIZE at one file: behind `memfd_create` a process may keep anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

_MARK = "/memfd:"
_BLOCK = 512
"""Unit of `st_blocks`, bytes."""


def unnamed_files(pid: int) -> dict[tuple[int, int], int]:
    """The files without a name that a process has open: device and inode → bytes of memory that they take.

    Empty for a process that is gone. Empty too, unless the host is root, for one that has made itself undumpable: the
    worker's keepers are, and a candidate can be (docs/threat-model.md).
    """
    found = {}
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - asked often
    except OSError:
        return {}
    for descriptor in descriptors:
        path = f"/proc/{pid}/fd/{descriptor}"
        try:
            if os.readlink(path).startswith(_MARK):  # noqa: PTH115 - asked often
                about = os.stat(path)  # noqa: PTH116 - asked often
                found[about.st_dev, about.st_ino] = about.st_blocks * _BLOCK
        except OSError:
            continue  # It was closed meanwhile.
    return found


def taken(pids: Iterable[int], mapped: Iterable[int], judges: dict[tuple[int, int], int]) -> int:
    """Bytes that processes keep in this way together.

    Args:
        pids: the processes.
        mapped: shared memory that each has mapped, bytes.
        judges: files of the judge they work for, as `unnamed_files` gives them: arenas, which are not theirs.
    """
    files: dict[tuple[int, int], int] = {}
    for pid in pids:
        files |= unnamed_files(pid)
    arenas = sum(judges.values())
    # A mapping may outlive its descriptor, and need not have had one. What has both counts once.
    return max(
        sum(size for name, size in files.items() if name not in judges), sum(max(0, size - arenas) for size in mapped)
    )
