"""Limits that the kernel does not keep for a whole group of processes: the host looks, and kills who is over them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kernelevolve.evaluation.judge import unnamed_memory

PERIOD_S = 0.2
"""Time between two looks, seconds; what is taken in between is over the limit."""


@dataclass(frozen=True)
class Limits:
    """What a worker and everything it starts may take together."""

    memory_bytes: int | None
    """Most memory beyond what the host shares with it, bytes."""
    processes: int
    """Most processes and threads."""
    folder: Path | None
    """Folder on disk that it writes to; None where the file system there has a size of its own."""
    folder_bytes: int = 1 << 30
    """Most that the files there may take, bytes."""


def excess(pid: int, limits: Limits, shared_bytes: int, judges: dict[tuple[int, int], int] | None = None) -> str:
    """Which limit a process and its descendants are over, in words for the author; empty if none.

    Args:
        pid: the process.
        limits: what is allowed.
        shared_bytes: memory that each descendant that was forked has in common with the host.
        judges: arenas of the judge that it works for; see `unnamed_memory.taken`.
    """
    usages = {number: _usage(number) for number in family(pid)}
    threads = sum(usage.threads for usage in usages.values())
    memory = sum(max(0, usage.private_bytes - shared_bytes) for usage in usages.values())
    if limits.memory_bytes is not None:
        memory += unnamed_memory.taken(usages, (usage.mapped_bytes for usage in usages.values()), judges or {})
    if threads > limits.processes:
        return f"processes: {threads} processes and threads, {limits.processes} are allowed"
    if limits.memory_bytes is not None and memory > limits.memory_bytes:
        return f"memory: {memory >> 20} MiB in all its processes, {limits.memory_bytes >> 20} MiB are allowed"
    if limits.folder is not None:
        written = folder_bytes(limits.folder)
        if written > limits.folder_bytes:
            return f"disk: {written >> 20} MiB of files, {limits.folder_bytes >> 20} MiB are allowed"
    return ""


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that no file stands behind, bytes; 0 if it is gone."""
    return _usage(pid).private_bytes


def family(pid: int) -> Iterator[int]:
    """A process and its descendants. What ends meanwhile is left out."""
    waiting = [pid]
    while waiting:
        number = waiting.pop()
        yield number
        try:
            threads = os.listdir(f"/proc/{number}/task")  # noqa: PTH208 - asked often
            for thread in threads:
                with open(f"/proc/{number}/task/{thread}/children") as file:  # noqa: PTH123 - asked often
                    waiting.extend(map(int, file.read().split()))
        except OSError:
            continue


@dataclass(frozen=True)
class _Usage:
    """What one process takes; zeros if it is gone."""

    private_bytes: int = 0
    """Memory that no file stands behind."""
    mapped_bytes: int = 0
    """Shared memory that it has mapped, files in memory included."""
    threads: int = 0


def _usage(pid: int) -> _Usage:
    try:
        with open(f"/proc/{pid}/status") as file:  # noqa: PTH123 - asked often
            lines = dict(line.split(":", 1) for line in file if line.startswith(("RssAnon", "RssShmem", "Threads")))
    except OSError:
        return _Usage()
    private, mapped = (int(lines.get(name, "0").split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
    return _Usage(private, mapped, int(lines.get("Threads", "0")))


def folder_bytes(folder: Path) -> int:
    """Disk space that the files of a folder take, bytes; links are not followed."""
    total = 0
    for here, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(f"{here}/{name}").st_blocks * 512
            except OSError:
                continue  # It has been removed meanwhile.
    return total
