"""Which walls this machine offers: tried for real, in a process that ends afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.judge import bubblewrap, sandbox
from kernelevolve.evaluation.judge.protection import Protection, ProtectionError

_LIMIT_S = 30
_FILES, _NETWORK = ("mount namespace", "landlock"), ("network namespace",)


class Survey(Contract):
    """What this machine offers."""

    walls: tuple[str, ...]
    """Names of the protections that stand around a worker on a processor at the level `auto`."""
    enclosing: bool
    """Whether a worker can have mount and process namespaces of its own."""
    why_not_enclosing: str = ""
    """What the kernel said, where it cannot."""
    bubblewrap: str
    """Path of a `bwrap` that works; empty where there is none."""
    why_not_bubblewrap: str = ""
    """Why it does not work here."""

    def stands(self, name: str) -> bool:
        """Whether a wall whose name begins so is there."""
        return any(wall.startswith(name) for wall in self.walls)


def try_walls(enclosed: bool, network: bool = True) -> tuple[tuple[str, ...], str]:
    """Confine a process for a moment. The caller must have one thread, since it is forked.

    Returns:
        Names of the protections that stood, none where it failed, and what failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _try_and_say(Path(folder), enclosed, network, writing)
        os.close(writing)
        with os.fdopen(reading) as file:
            text = file.read()
        os.waitpid(child, 0)
    answer = json.loads(text or '{"failed": "the process ended without a word"}')
    return tuple(answer.get("standing", ())), answer.get("failed", "")


def _try_and_say(folder: Path, enclosed: bool, network: bool, writing: int) -> None:
    try:
        os.setsid()
        walls = sandbox.worker_walls(folder, False, None, Protection.AUTO, enclosed, network)
        answer: dict[str, object] = {"standing": sandbox.raise_walls(walls)}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        answer = {"failed": f"{error}" or traceback.format_exc(limit=1)}
    with contextlib.suppress(OSError):
        os.write(writing, json.dumps(answer).encode())
    os._exit(0)


def _look() -> Survey:
    walls, failed = try_walls(enclosed=True)
    enclosing = not failed
    if failed:
        walls, _failed = try_walls(enclosed=False)
        walls = walls or try_walls(enclosed=False, network=False)[0]
    missing = bubblewrap.why_not()
    return Survey(
        walls=walls, enclosing=enclosing, why_not_enclosing=failed, why_not_bubblewrap=missing,
        bubblewrap="" if missing else bubblewrap.find() or "",
    )  # fmt: skip


@cache
def survey() -> Survey:
    """What this machine offers, found out in a process of its own once for each process that asks.

    Raises:
        ProtectionError: it could not be found out.
    """
    command = [sys.executable, "-P", "-m", "kernelevolve.evaluation.judge.survey"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=True, stdin=subprocess.DEVNULL
        )
        return Survey.model_validate_json(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise ProtectionError("What this machine can wall off could not be found out.", detail[-500:]) from error


def missing_for(level: Protection, found: Survey) -> tuple[str, ...]:
    """What a level wants and this machine lacks, each as a sentence that says how to get it."""
    missing = []
    if level is Protection.BWRAP and not found.bubblewrap:
        missing.append(found.why_not_bubblewrap)
    if level is Protection.BWRAP and not found.enclosing:
        missing.append(f"workers cannot have namespaces of their own ({found.why_not_enclosing})")
    if level is Protection.LANDLOCK and not found.stands("landlock"):
        missing.append(
            "this kernel has no Landlock: Linux 5.13 or later with it in the list of security modules (lsm=)"
        )
    return tuple(missing)


def ensure(level: Protection) -> None:
    """Refuse a level that this machine cannot give; `auto` and `none` are never refused.

    Raises:
        ProtectionError: with what is missing, and how to get it.
    """
    if level in (Protection.AUTO, Protection.NONE):
        return
    missing = missing_for(level, survey())
    if missing:
        raise ProtectionError(
            f"--sandbox {level.value} cannot be had here: {'; '.join(missing)}.",
            "Nothing was run. --sandbox auto takes what this machine offers.",
        )


def open_walls(level: Protection) -> tuple[str, ...]:
    """What would be open to candidates at a level, in words; empty where files and network are walled off."""
    if level is Protection.NONE:
        return ("every file of this user", "the network", "every process of this user")
    found = survey()
    missing = []
    if not any(found.stands(name) for name in _FILES):
        missing.append("every file of this user")
    if not any(found.stands(name) for name in _NETWORK):
        missing.append("the network")
    return tuple(missing)


if __name__ == "__main__":
    print(_look().model_dump_json())
