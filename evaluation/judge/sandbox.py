"""The walls around a candidate: Landlock, namespaces, resource limits, no new privileges.

Each wall is tried on its own and named in the receipt when it stands. None is silently assumed.
"""

from __future__ import annotations

import ctypes
import os
import platform as host_platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)

# Linux UAPI: linux/landlock.h, linux/prctl.h, linux/sched.h, linux/capability.h.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_PATH_BENEATH = 1
_FS_EXECUTE, _FS_WRITE, _FS_READ, _FS_READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_FS_TRUNCATE, _FS_IOCTL = 1 << 14, 1 << 15
_FS_BITS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
_SCOPE_ABSTRACT_UNIX, _SCOPE_SIGNAL = 1 << 0, 1 << 1
_NET_TCP = 0b11
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 38, 4, 36
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_CAPSET, _CAPABILITY_VERSION_3 = {"x86_64": 126, "aarch64": 91}.get(host_platform.machine(), 126), 0x20080522


@dataclass(frozen=True)
class Walls:
    """What a worker may touch."""

    scratch: Path
    """The only folder it may write to."""
    device: bool
    """Whether it needs GPU device nodes."""
    memory_bytes: int | None
    """Most private memory, bytes; None on a GPU, whose driver reserves address space freely."""
    file_bytes: int = 2 << 30
    """Largest file it may write, bytes."""
    also_readable: tuple[Path, ...] = ()
    """Folders it may read besides the system's and the libraries'."""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent ended, so that none can escape being killed."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def raise_walls(walls: Walls) -> tuple[str, ...]:
    """Confine the calling process, for good. Call it single-threaded, before any candidate code.

    Returns:
        Names of the protections that stand.
    """
    standing = ["own process group", "no new privileges"]
    _limit(walls, standing)
    if _namespaces():
        standing.append("network namespace")
    _drop_capabilities(standing)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    abi = _landlock_abi()
    if abi >= 1:
        _landlock(walls, abi)
        standing.append(f"landlock abi {abi}")
    return tuple(standing)


def available_walls() -> dict[str, bool]:
    """What this machine offers, without confining anything (for `doctor`)."""
    child = os.fork()
    if child == 0:
        os._exit(0 if _namespaces() else 1)
    network = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return {"landlock": _landlock_abi() >= 1, "network namespace": network}


def _limit(walls: Walls, standing: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (walls.file_bytes, walls.file_bytes))
    standing.append("file size limit")
    if walls.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (walls.memory_bytes, walls.memory_bytes))
        standing.append("memory limit")


def _namespaces() -> bool:
    """Leave the network and System V IPC. Without root this takes a user namespace of our own."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return bool(_LIBC.unshare(_CLONE_NEWNET | _CLONE_NEWIPC) == 0)
    if _LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) != 0:
        return False
    # Without a mapping this process could not create files (EOVERFLOW).
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    return True


def _drop_capabilities(standing: list[str]) -> None:
    header = struct.pack("II", _CAPABILITY_VERSION_3, 0)
    if _LIBC.syscall(_CAPSET, header, struct.pack("IIIIII", 0, 0, 0, 0, 0, 0)) == 0:
        standing.append("no capabilities")


def _landlock_abi() -> int:
    return max(0, int(_LIBC.syscall(_LANDLOCK_CREATE, None, 0, 1)))


class Confinement:
    """Landlock for a program that is about to be started, such as a compiler that reads an author's source.

    The rules are made here, in the parent; `apply`, which runs between fork and exec, is two system calls. Where the
    kernel has no Landlock, `apply` does nothing.

    Args:
        scratch: the only folder the program may write to.
        readable: folders it may read besides the system's and the libraries'.
    """

    def __init__(self, scratch: Path, readable: tuple[Path, ...] = ()) -> None:
        abi = _landlock_abi()
        walls = Walls(scratch, device=False, memory_bytes=None, also_readable=readable)
        self._ruleset = _ruleset(walls, abi) if abi >= 1 else None

    def apply(self) -> None:
        """Confine the calling process, for good."""
        if self._ruleset is not None:
            _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            if _LIBC.syscall(_LANDLOCK_RESTRICT, self._ruleset, 0) != 0:
                raise OSError(ctypes.get_errno(), "landlock_restrict_self")

    def close(self) -> None:
        """Let go of the rules."""
        if self._ruleset is not None:
            os.close(self._ruleset)
            self._ruleset = None


def _landlock(walls: Walls, abi: int) -> None:
    """Allow reading the system and the libraries, writing the scratch folder, and nothing else."""
    ruleset = _ruleset(walls, abi)
    if _LIBC.syscall(_LANDLOCK_RESTRICT, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


def _ruleset(walls: Walls, abi: int) -> int:
    """Descriptor of the rules that stand for these walls."""
    every_right = (1 << _FS_BITS_BY_ABI.get(abi, 16)) - 1
    network = _NET_TCP if abi >= 4 else 0
    scope = _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL if abi >= 6 else 0
    attributes = struct.pack("QQQ", every_right, network, scope)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _LIBC.syscall(_LANDLOCK_CREATE, attributes, size, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    read = _FS_READ | _FS_READ_DIR | _FS_EXECUTE
    for path in (*_readable(), *walls.also_readable):
        _allow(ruleset, path, read, every_right)
    _allow(ruleset, walls.scratch, every_right, every_right)
    device = read | _FS_WRITE | _FS_TRUNCATE | _FS_IOCTL
    for path in (Path("/dev/null"), Path("/dev/zero"), Path("/dev/urandom"), Path("/dev/random"), Path("/dev/full")):
        _allow(ruleset, path, device, every_right)
    if walls.device:
        for path in (*Path("/dev").glob("nvidia*"), Path("/dev/kfd"), Path("/dev/dri"), Path("/dev/shm")):
            _allow(ruleset, path, every_right, every_right)
        _allow(ruleset, Path("/dev"), read, every_right)
        # The driver writes thread names and reads its limits there.
        _allow(ruleset, Path("/proc/self"), device, every_right)
    return int(ruleset)


def _readable() -> Iterable[Path]:
    """System folders, the interpreter and its packages; not the home folder, not the task, not the judge's state."""
    ours = Path(__file__).resolve().parent.parent
    system = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/proc", "/sys")
    # Where the packages lie that a candidate may import, wherever the interpreter found them.
    found = (find_spec(name) for name in ("torch", "numpy", "triton", "tvm_ffi"))
    packages = (Path(spec.origin).parent.parent for spec in found if spec is not None and spec.origin)
    standard = Path(os.__file__).resolve().parent
    folders = {Path(name) for name in system} | {Path(sys.prefix), Path(sys.base_prefix), standard, ours, *packages}
    return sorted(path for path in folders if path.exists())


def _allow(ruleset: int, path: Path, rights: int, handled: int) -> None:
    if not path.exists():
        return
    rights &= handled
    if not path.is_dir():
        rights &= _FS_EXECUTE | _FS_WRITE | _FS_READ | _FS_TRUNCATE | _FS_IOCTL
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, descriptor)
        if _LIBC.syscall(_LANDLOCK_ADD, ruleset, _PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
    finally:
        os.close(descriptor)
