"""The walls around a candidate: an enclosure where the kernel offers it, Landlock, limits, no rights.

Each wall is named in the receipt when it stands. None is silently assumed.
"""

from __future__ import annotations

import ctypes
import os
import platform as host_platform
import resource
import struct
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from kernelevolve.evaluation.judge import bubblewrap, enclosure, landlock
from kernelevolve.evaluation.judge.enclosure import Enclosure, die_with_parent
from kernelevolve.evaluation.judge.protection import UNSANDBOXED, Protection, ProtectionError, chosen

__all__ = ["Walls", "adopt_orphans", "die_with_parent", "raise_walls", "readable_folders", "required"]

_LIBC = ctypes.CDLL(None, use_errno=True)

# Linux UAPI: linux/prctl.h, linux/sched.h, linux/capability.h.
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 4, 36, 38
_NEWUSER, _NEWNET, _NEWIPC = 0x10000000, 0x40000000, 0x08000000
_CAPSET, _CAPABILITY_VERSION_3 = {"x86_64": 126, "aarch64": 91}.get(host_platform.machine(), 126), 0x20080522
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/proc", "/sys")
_FIRST_TO_GO = "1000"
"""Highest `oom_score_adj` there is."""


@dataclass(frozen=True)
class Walls:
    """What a process may touch."""

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
    level: Protection = Protection.AUTO
    """Which walls are wanted."""
    enclosure: Enclosure | None = None
    """What to enclose the process in; None where this machine cannot, or that is not wanted."""
    network: bool = True
    """Whether to leave the network where there is no enclosure. Not where it was seen to fail: a process that has left
    its user namespace half is of no use."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent ended, so that none can escape being killed."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def required(level: Protection) -> tuple[str, ...]:
    """Beginnings of the names of walls without which nothing may run at a level."""
    if level is Protection.BWRAP:
        return ("network namespace", "mount namespace")
    return ("landlock",) if level is Protection.LANDLOCK else ()


def raise_walls(walls: Walls) -> tuple[str, ...]:
    """Confine the calling process, for good. Call it single-threaded, before any candidate code.

    With an enclosure the worker goes on in a child of a child of this process, and this function returns there alone.

    Returns:
        Names of the protections that stand; see `required`.

    Raises:
        OSError: the kernel refuses a wall that it had offered.
        ProtectionError: a wall that the level requires cannot be had.
    """
    standing = leave(walls)
    return (*standing, *restrict(walls, standing))


def leave(walls: Walls) -> tuple[str, ...]:
    """First half of `raise_walls`: namespaces. What is started afterwards, a driver's threads say, is inside."""
    if walls.level is Protection.NONE:
        return (UNSANDBOXED,)
    if walls.enclosure is not None:
        return ("own process group", *enclosure.enclose(walls.enclosure))
    alone = walls.network and _network_namespace()
    return ("own process group", *(["network namespace"] if alone else []))


def restrict(walls: Walls, standing: tuple[str, ...]) -> tuple[str, ...]:
    """Second half of `raise_walls`: the walls that need no namespace.

    Args:
        walls: what the process may touch.
        standing: what `leave` returned.

    Returns:
        Names of the further protections that stand.

    Raises:
        OSError: the kernel refuses a wall that it had offered.
        ProtectionError: a wall that the level requires cannot be had.
    """
    if walls.level is Protection.NONE:
        return ()
    found = [*_limit(walls), *_drop_capabilities()]
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    abi = landlock.abi()
    if abi >= 1:
        rules = landlock.make_rules(allowed(walls))
        landlock.restrict(rules)
        os.close(rules)
        found.append(f"landlock abi {abi}")
    found.append("no new privileges")
    for name in required(walls.level):
        if not any(wall.startswith(name) for wall in (*standing, *found)):
            raise ProtectionError(
                f"--sandbox {walls.level.value} wants a {name}, which this machine does not offer.",
                "`kernelevolve doctor` says what is missing and how to get it; --sandbox auto takes what there is.",
            )
    return tuple(found)


def allowed(walls: Walls) -> landlock.Allowed:
    """The system and the libraries to read, the scratch folder to write, and nothing else."""
    devices = [Path("/dev") / name for name in enclosure.DEVICE_FILES]
    writable, readable = [walls.scratch], [*readable_folders(), *walls.also_readable]
    if walls.device:
        writable += [*enclosure.gpu_files(), Path("/dev/shm")]
        readable.append(Path("/dev"))
        # The driver writes thread names and reads its limits there.
        devices.append(Path("/proc/self"))
    return landlock.Allowed(readable, writable, devices)


def readable_folders() -> list[Path]:
    """System folders, the interpreter and its packages; not the home folder, not the task, not the judge's state."""
    # As it was imported and as it lies on the disk: the first may be a link to the second.
    imported = Path(__file__).parent.parent
    ours = {imported, imported.resolve()}
    # Where the packages lie that a candidate may import, wherever the interpreter found them.
    found = (find_spec(name) for name in ("torch", "numpy", "triton", "tvm_ffi"))
    packages = (Path(spec.origin).parent.parent for spec in found if spec is not None and spec.origin)
    standard = Path(os.__file__).resolve().parent
    folders = {Path(name) for name in _SYSTEM} | {Path(sys.prefix), Path(sys.base_prefix), standard, *ours, *packages}
    return sorted(path for path in folders if path.exists())


def _limit(walls: Walls) -> list[str]:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (walls.file_bytes, walls.file_bytes))
    standing = ["file size limit"]
    if walls.memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (walls.memory_bytes, walls.memory_bytes))
        standing.append("memory limit")
    # Where memory runs out nevertheless, the kernel takes the candidate and not the server.
    Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    return [*standing, "first to end when memory is short"]


def _network_namespace() -> bool:
    """Leave the network and System V IPC. Without root this takes a user namespace of our own."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return bool(_LIBC.unshare(_NEWNET | _NEWIPC) == 0)
    if _LIBC.unshare(_NEWUSER | _NEWNET | _NEWIPC) != 0:
        return False
    # Without a mapping this process could not create files (EOVERFLOW).
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    return True


def _drop_capabilities() -> list[str]:
    header = struct.pack("II", _CAPABILITY_VERSION_3, 0)
    dropped = _LIBC.syscall(_CAPSET, header, struct.pack("IIIIII", 0, 0, 0, 0, 0, 0)) == 0
    return ["no capabilities"] if dropped else []


class Confinement:
    """What is around a program that is about to be started, such as a compiler that reads an author's source.

    bubblewrap where it works, else Landlock; `--sandbox` may want one of them, or none. Landlock's rules are made
    here, in the parent; `apply`, which runs between fork and exec, is two system calls.

    Args:
        scratch: the only folder the program may write to, and the one it runs in.
        readable: folders it may read besides the system's and the libraries'.

    Raises:
        ProtectionError: the level wants bubblewrap or Landlock, and it cannot be had.
    """

    def __init__(self, scratch: Path, readable: tuple[Path, ...] = ()) -> None:
        self._scratch, self._readable = scratch, readable
        self._rules: int | None = None
        self.name = confinement_name()
        """What stands, as receipts name it."""
        if self.name == "landlock":
            walls = Walls(scratch, device=False, memory_bytes=None, also_readable=readable)
            self._rules = landlock.make_rules(allowed(walls))

    def command(self, command: list[str]) -> list[str]:
        """The command to start in place of this one."""
        if self.name != "bubblewrap":
            return command
        folders = [*readable_folders(), *(path for path in self._readable if path.exists())]
        return bubblewrap.wrapped(command, self._scratch, folders)

    def apply(self) -> None:
        """Confine the calling process, for good."""
        if self._rules is not None:
            _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            landlock.restrict(self._rules)

    def close(self) -> None:
        """Let go of the rules."""
        if self._rules is not None:
            os.close(self._rules)
            self._rules = None


def confinement_name() -> str:
    """What stands around a compiler at the level of this process: `bubblewrap`, `landlock`, or `nothing`.

    Raises:
        ProtectionError: the level wants one of them, and it cannot be had.
    """
    level = chosen()
    if level in (Protection.AUTO, Protection.BWRAP) and not bubblewrap.why_not():
        return "bubblewrap"
    if level is Protection.BWRAP:
        raise ProtectionError("--sandbox bwrap cannot be had here.", bubblewrap.why_not())
    if level is not Protection.NONE and landlock.abi() >= 1:
        return "landlock"
    if level is Protection.LANDLOCK:
        raise ProtectionError("--sandbox landlock cannot be had here.", "This kernel has no Landlock.")
    return "nothing"


def enclosing(level: Protection, device: bool, enclosed: bool) -> bool:
    """Whether a worker gets an enclosure, where this machine can give one (`enclosed`).

    On a GPU only where it is asked for by name: drivers differ in what they want to find around them.
    """
    return enclosed and (level is Protection.BWRAP or (level is Protection.AUTO and not device))


def worker_walls(
    scratch: Path,
    device: bool,
    memory_bytes: int | None,
    level: Protection,
    enclosed: bool,
    network: bool = True,
    prefill: Path | None = None,
) -> Walls:
    """The walls of a worker.

    Args:
        scratch: its folder. It writes to `work` in it alone; the judge puts artifacts beside that.
        device: whether it works on a GPU.
        memory_bytes: most private memory, bytes; None for no limit.
        level: which walls are wanted.
        enclosed: whether this machine can enclose a process; see `survey.enclosing`.
        network: whether it can leave the network without an enclosure.
        prefill: folder to start Triton's cache from.
    """
    own = scratch / "work"
    own.mkdir(exist_ok=True)
    walls = Walls(own, device, memory_bytes, also_readable=(scratch,), level=level, network=network)
    if not enclosing(level, device, enclosed):
        return walls
    inside = Enclosure(scratch, own, readable_folders(), device, hide_processes=not device, prefill=prefill)
    return replace(walls, enclosure=inside)


def program_walls(scratch: Path, device: bool, level: Protection, enclosed: bool) -> Walls:
    """The walls that a program raises around itself, once it has read what lies outside; see `worker_walls`.

    It is not forked, so it keeps seeing other processes. On a GPU it has threads of the driver by then, which would
    stay outside of an enclosure.
    """
    walls = Walls(scratch, device, memory_bytes=None, level=level)
    if device or not enclosed or level not in (Protection.AUTO, Protection.BWRAP):
        return walls
    inside = Enclosure(scratch, scratch, readable_folders(), hide_processes=False, own_bytes=None)
    return replace(walls, enclosure=inside)
