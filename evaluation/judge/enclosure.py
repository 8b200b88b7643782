"""An enclosure: a root of its own with nothing in it but what may be read, no network, no other process in sight.

It is what bubblewrap does for a program that is started, done for a process that was forked from a warm one:

    host ──fork──▶ keeper ──fork──▶ init (process 1 of its namespace) ──fork──▶ worker

The keeper tells the host how the worker ended; when init ends, the kernel kills whatever is left inside.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_LIBC = ctypes.CDLL(None, use_errno=True)

# Linux UAPI: linux/sched.h, linux/mount.h, asm/unistd.h (these numbers are the same on x86-64 and aarch64).
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 0x1, 0x2, 0x4, 0x8, 0x1000, 0x4000, 1 << 18
_DETACH = 2
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_PR_SET_PDEATHSIG = 1
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PID_LIMIT_SINCE = (6, 14)
"""Linux from which each process namespace has a `pid_max` of its own; before, it is the machine's."""
_USER_LIMIT_SINCE = (5, 14)
"""Linux from which RLIMIT_NPROC counts within a user namespace."""

_FILES = 1 << 16
"""Most files in a file system in memory."""
_SHARED_BYTES = 256 << 20
"""Size of `/dev/shm` where a driver wants it, bytes."""
DEVICE_FILES = ("null", "zero", "full", "random", "urandom")
"""Device files that every program expects."""


@dataclass(frozen=True)
class Enclosure:
    """What is inside."""

    scratch: Path
    """The worker's folder; it can be read inside, and whoever is outside may go on putting files there."""
    own: Path
    """A folder in `scratch`, or `scratch` itself: the only place to write to."""
    readable: Sequence[Path]
    """Folders to show, which can only be read."""
    device: bool = False
    """Whether GPU device files are needed."""
    hide_processes: bool = True
    """Whether processes outside are out of sight, for which the process is forked twice. Not where memory of a GPU is
    shared: its driver names a process by its number, which must mean the same on both sides."""
    own_bytes: int | None = 1 << 30
    """Most that `own` may hold, bytes: a file system in memory lies there. None for the folder itself, on disk."""
    processes: int = 0
    """Most processes and threads; 0 for `default_processes()`."""
    prefill: Path | None = None
    """Folder to copy into `own` as `triton`, which may lie outside."""


def default_processes() -> int:
    """Most processes and threads of one candidate: enough for a compiler and a pool of threads on every processor."""
    return max(512, 256 + 4 * (os.cpu_count() or 1))


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def kernel_version() -> tuple[int, int]:
    """Version of the running kernel."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(character for character in minor if character.isdigit()) or 0)


def enclose(enclosure: Enclosure) -> tuple[str, ...]:
    """Enclose the calling process, which must have one thread. Only the worker returns from here.

    Returns:
        Names of the protections that stand.

    Raises:
        OSError: the kernel does not allow it; the process is of no use any more.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    user = os.geteuid() != 0
    _leave(user, _NEWNS | _NEWNET | _NEWIPC | (_NEWPID if enclosure.hide_processes else 0))
    standing = ["network namespace", "mount namespace"]
    writing = None
    if enclosure.hide_processes:
        reading, writing = os.pipe()
        child = os.fork()
        if child:
            _keep(child, reading)
        os.close(reading)
        die_with_parent()
        standing.append("process namespace")
    root = _build_root(enclosure)
    if enclosure.hide_processes:
        standing += _limit_processes(root, user, enclosure.processes or default_processes())
    _enter(root)
    if writing is not None:
        worker = os.fork()
        if worker:
            _reap(worker, writing)
        os.close(writing)
        die_with_parent()
    if enclosure.own_bytes is not None:
        standing.append(f"disk limit {enclosure.own_bytes >> 20} MiB")
    return tuple(standing)


def _leave(user: bool, flags: int) -> None:
    """Leave the namespaces. Without root this takes a user namespace of our own."""
    uid, gid = os.geteuid(), os.getegid()
    _check(_LIBC.unshare(flags | (_NEWUSER if user else 0)), "unshare")
    if user:
        # Without a mapping this process could not create files (EOVERFLOW).
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _limit_processes(root: Path, user: bool, most: int) -> list[str]:
    """Limit processes and threads, where the kernel counts them for this enclosure alone."""
    if kernel_version() >= _PID_LIMIT_SINCE:
        (root / "proc/sys/kernel/pid_max").write_text(str(most))
        return [f"process limit {most}"]
    if user and kernel_version() >= _USER_LIMIT_SINCE:
        # Not for root: the kernel lets it pass.
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
        return [f"process limit {most}"]
    return []


def _build_root(enclosure: Enclosure) -> Path:
    """Make the new root below the scratch folder; it lies in memory and in this mount namespace alone."""
    _mount(None, Path("/"), None, _REC | _PRIVATE)
    root = enclosure.scratch / "root"
    root.mkdir(exist_ok=True)
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    for path in _outermost(enclosure.readable):
        _show(path, root)
    _devices(root, enclosure)
    (root / "proc").mkdir()
    if enclosure.hide_processes:
        _mount("proc", root / "proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    else:
        _mount("/proc", root / "proc", None, _BIND | _REC)
    _folders(root, enclosure)
    _set_flags(root, _RDONLY | _NOSUID | _NODEV, recursive=False)
    return root


def _folders(root: Path, enclosure: Enclosure) -> None:
    """The folder of the worker, and in it the place to write to."""
    scratch, own = _inside(root, enclosure.scratch), _inside(root, enclosure.own)
    scratch.mkdir(parents=True, exist_ok=True)
    _mount(str(enclosure.scratch), scratch, None, _BIND)
    if enclosure.own != enclosure.scratch:
        _set_flags(scratch, _RDONLY | _NOSUID | _NODEV, recursive=False)
    if enclosure.own_bytes is not None:
        size = f"size={enclosure.own_bytes},nr_inodes={_FILES},mode=700"
        _mount("tmpfs", own, "tmpfs", _NOSUID | _NODEV, size)
    elif enclosure.own != enclosure.scratch:
        _mount(str(enclosure.own), own, None, _BIND)
    if enclosure.prefill is not None:
        shutil.copytree(enclosure.prefill, own / "triton")


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Paths, and what they are links to, without those that lie in another of them."""
    every = sorted({*paths, *(path.resolve() for path in paths)})
    real = [path for path in every if path.exists() and path != Path("/proc")]
    return [path for path in real if not any(other in path.parents for other in real)]


def _inside(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _show(path: Path, root: Path) -> None:
    """Have a path of the old root under the new one, to be read and no more."""
    shown = _inside(root, path)
    shown.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        shown.symlink_to(path.readlink())
        return
    if path.is_dir():
        shown.mkdir(exist_ok=True)
    else:
        shown.touch()
    _mount(str(path), shown, None, _BIND | _REC)
    _set_flags(shown, _RDONLY | _NOSUID | _NODEV, recursive=True)


def _devices(root: Path, enclosure: Enclosure) -> None:
    """The device files that every program expects, and those of GPUs."""
    folder = root / "dev"
    folder.mkdir()
    for name, target in {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        (folder / name).symlink_to(target)
    shown = [Path("/dev") / name for name in DEVICE_FILES]
    if enclosure.device:
        shown += gpu_files()
        (folder / "shm").mkdir()
        _mount("tmpfs", folder / "shm", "tmpfs", _NOSUID | _NODEV, f"size={_SHARED_BYTES},mode=1777")
    for path in shown:
        if path.is_dir():
            _inside(root, path).mkdir()
        elif path.exists():
            _inside(root, path).touch()
        else:
            continue
        _mount(str(path), _inside(root, path), None, _BIND | _REC)


def gpu_files() -> list[Path]:
    """Device files of the GPUs that are here."""
    return [*sorted(Path("/dev").glob("nvidia*")), Path("/dev/kfd"), Path("/dev/dri")]


def _enter(root: Path) -> None:
    """Make it the root; the old one is gone from sight."""
    os.chdir(root)
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"the number of pivot_root on {os.uname().machine} is not known here")
    _check(_LIBC.syscall(number, b".", b"."), "pivot_root")
    _check(_LIBC.umount2(b".", _DETACH), "umount of the old root")
    os.chdir("/")


def _mount(source: str | None, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, str(target), kind)]
    data = None if options is None else options.encode()
    _check(_LIBC.mount(*words, ctypes.c_ulong(flags), data), f"mount {target}")


def _set_flags(target: Path, flags: int, recursive: bool) -> None:
    # `mount_setattr` takes the flags that `mount` has under the same numbers.
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    how = _AT_RECURSIVE if recursive else 0
    done = _LIBC.syscall(_MOUNT_SETATTR, _AT_FDCWD, str(target).encode(), how, attributes, len(attributes))
    _check(done, f"mount_setattr {target}")


def _check(result: int, doing: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{doing}: {os.strerror(code)}")


def _close_all_but(descriptor: int) -> None:
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))


def _keep(child: int, reading: int) -> NoReturn:
    """Wait for the enclosure's end, and end as its worker did."""
    code = 1
    try:
        # Connections of the worker: as long as they were open here, nobody would see it hang up.
        _close_all_but(reading)
        _pid, status = os.waitpid(child, 0)
        said = os.read(reading, 16)
        code = int(said) if said else os.waitstatus_to_exitcode(status)
        if code < 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            if -code not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
    finally:
        os._exit(code if code >= 0 else 1)


def _reap(worker: int, writing: int) -> NoReturn:
    """As process 1 of its namespace, bury everybody; end with the worker, and all others with it."""
    try:
        _close_all_but(writing)
        while True:
            pid, status = os.wait()
            if pid == worker:
                os.write(writing, str(os.waitstatus_to_exitcode(status)).encode())
                break
    finally:
        os._exit(0)
