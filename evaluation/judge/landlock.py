"""Landlock: which files a process may touch, which sockets and processes it may reach. Asks for no rights itself."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)

# Linux UAPI: linux/landlock.h.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_PATH_BENEATH = 1
_EXECUTE, _WRITE, _READ, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_BITS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
_SCOPE_ABSTRACT_UNIX, _SCOPE_SIGNAL = 1 << 0, 1 << 1
_NET_TCP = 0b11
_ANY = (1 << 16) - 1
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL


@dataclass(frozen=True)
class Allowed:
    """What a process may still do with files."""

    readable: Sequence[Path]
    """Folders it may read, and run programs from."""
    writable: Sequence[Path]
    """Folders it may do anything in."""
    devices: Sequence[Path]
    """Files it may read and write as they are, such as `/dev/null`."""


def abi() -> int:
    """The kernel's version of Landlock; 0 where there is none."""
    return max(0, int(_LIBC.syscall(_CREATE, None, 0, 1)))


def make_rules(allowed: Allowed) -> int:
    """Descriptor of the rules. Paths that do not exist are left out.

    Raises:
        OSError: the kernel refused them.
    """
    version = abi()
    handled = (1 << _BITS_BY_ABI.get(version, 16)) - 1
    network = _NET_TCP if version >= 4 else 0
    scope = _SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL if version >= 6 else 0
    attributes = struct.pack("QQQ", handled, network, scope)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = int(_LIBC.syscall(_CREATE, attributes, size, 0))
    if rules < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    read = _READ | _READ_DIR | _EXECUTE
    _allow(rules, allowed.readable, read & handled)
    _allow(rules, allowed.devices, (read | _WRITE | _TRUNCATE | _IOCTL) & handled)
    _allow(rules, allowed.writable, _ANY & handled)
    return rules


def restrict(rules: int) -> None:
    """Confine the calling thread, and what it starts from now on, for good. `no_new_privs` must be set.

    Raises:
        OSError: the kernel refused.
    """
    if _LIBC.syscall(_RESTRICT, rules, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")


def _allow(rules: int, paths: Iterable[Path], rights: int) -> None:
    for path in paths:
        if not path.exists():
            continue
        granted = rights if path.is_dir() else rights & _FILE_RIGHTS
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = struct.pack("=Qi", granted, descriptor)
            if _LIBC.syscall(_ADD, rules, _PATH_BENEATH, rule, 0) != 0:
                raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
        finally:
            os.close(descriptor)
