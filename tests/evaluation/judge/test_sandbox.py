"""The walls around a candidate, tried from inside: one confined process makes every attempt and reports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.evaluation.judge import sandbox

ABI = sandbox._landlock_abi()
needs_landlock = pytest.mark.skipif(ABI < 1, reason="this kernel has no Landlock, so files are not walled off")
needs_scoped_signals = pytest.mark.skipif(ABI < 6, reason=f"Landlock ABI {ABI} cannot confine signals (6 and later do)")

# A program of its own, since a process with threads must not fork. Its child is confined as a worker is.
PROGRAM = """
import errno, json, os, signal, socket, subprocess, sys, threading, traceback
from pathlib import Path
import numpy, torch
from kernelevolve.evaluation.judge import sandbox

scratch, outside, secret = map(Path, sys.argv[1:4])
port, peer = int(sys.argv[4]), sys.argv[5]
by_path = socket.socket(socket.AF_UNIX)
by_path.bind(peer)
by_path.listen(1)
abstract = socket.socket(socket.AF_UNIX)
abstract.bind(bytes([0]) + sys.argv[6].encode())
abstract.listen(1)
inherited, other_end = socket.socketpair()

def attempt(work):
    try:
        result = work()
    except OSError as error:
        return errno.errorcode[error.errno]
    except BaseException as error:
        return type(error).__name__
    return f"done: {result}"[:200]

def connect(family, address):
    with socket.socket(family) as connection:
        connection.settimeout(3)
        connection.connect(address)

def torch_works():
    a = torch.randn(300, 300)
    return float((a @ a.T).trace()) > 0 and torch.__version__

def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout

def rights_of(status):
    return [line for line in status.splitlines() if line.startswith(("NoNewPrivs", "CapEff"))]

def thread_works():
    seen = []
    thread = threading.Thread(target=seen.append, args=(1,))
    thread.start(); thread.join()
    return seen

def inside():
    standing = sandbox.raise_walls(sandbox.Walls(scratch, device=False, memory_bytes=3 << 30, file_bytes=1 << 20))
    parent = os.getppid()
    attempts = {
        "read home": lambda: os.listdir(Path.home()),
        "read root": lambda: os.listdir("/root"),
        "read secret": lambda: secret.read_text(),
        "list folder above": lambda: os.listdir(scratch.parent),
        "write outside": lambda: outside.joinpath("new").write_text("x"),
        "make folder outside": lambda: outside.joinpath("folder").mkdir(),
        "change secret": lambda: secret.write_text("x"),
        "truncate secret": lambda: os.truncate(secret, 0),
        "remove secret": lambda: secret.unlink(),
        "rename secret in": lambda: secret.rename(scratch / "mine"),
        "link secret in": lambda: os.link(secret, scratch / "link"),
        "read through symlink": lambda: [os.symlink(secret, scratch / "sym"), (scratch / "sym").read_text()],
        "write library": lambda: Path(torch.__file__).open("a"),
        "write interpreter": lambda: Path(sys.executable).open("a"),
        "write tmp": lambda: Path("/tmp/kernelevolve-sandbox-test").write_text("x"),
        "write shm": lambda: Path("/dev/shm/kernelevolve-sandbox-test").write_text("x"),
        "list devices": lambda: os.listdir("/dev"),
        "write device": lambda: Path("/dev/kmsg").open("w"),
        "mount": lambda: subprocess.run(["mount", "-t", "tmpfs", "x", str(scratch)], check=True),
        "chown": lambda: os.chown(scratch, 12345, 12345),
        "setuid": lambda: os.setuid(12345),
        "tcp": lambda: connect(socket.AF_INET, ("127.0.0.1", port)),
        "abstract socket": lambda: connect(socket.AF_UNIX, bytes([0]) + sys.argv[6].encode()),
        "signal parent": lambda: os.kill(parent, 0),
        "kill parent": lambda: os.kill(parent, signal.SIGUSR1),
        "parent environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "parent memory": lambda: Path(f"/proc/{parent}/mem").open("rb"),
        "parent descriptors": lambda: os.readlink(f"/proc/{parent}/fd/0"),
        "write scratch": lambda: (scratch / "mine.txt").write_text("x") and (scratch / "mine.txt").read_text(),
        "make folder in scratch": lambda: (scratch / "folder").mkdir(),
        "large file": lambda: (scratch / "large").write_bytes(b"x" * (2 << 20)),
        "numpy": lambda: float(numpy.ones(10).sum()),
        "torch": torch_works,
        "thread": thread_works,
        "import": lambda: __import__("sqlite3").__name__,
        "program": lambda: output_of(sys.executable, "-c", "print(6 * 7)"),
        "program reads secret": lambda: output_of("cat", str(secret)),
        "program gains rights": lambda: rights_of(output_of("cat", "/proc/self/status")),
        "null": lambda: open("/dev/null", "w").write("x"),
        "random": lambda: len(open("/dev/urandom", "rb").read(8)),
        "socketpair": lambda: inherited.send(b"x"),
        "socket by path": lambda: connect(socket.AF_UNIX, peer),
        "much memory": lambda: len(bytearray(4 << 30)),
    }
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    found = {name: attempt(work) for name, work in attempts.items()}
    return {"standing": standing, "found": found}

signalled = []
signal.signal(signal.SIGUSR1, lambda *_: signalled.append(1))
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    try:
        os.setsid()
        os.write(writing, json.dumps(inside()).encode())
    except BaseException:
        traceback.print_exc()
    os._exit(0)
os.close(writing)
text = b""
while piece := os.read(reading, 1 << 16):
    text += piece
os.waitpid(child, 0)
report = json.loads(text)
report["signalled"] = signalled
print(json.dumps(report))
"""


class Report:
    """What the confined process found, and what the world outside saw of it."""

    def __init__(self, found: dict[str, str], standing: list[str], signalled: list[int], accepted: list[Any]) -> None:
        self.found = found
        self.standing = standing
        self.signalled = signalled
        self.accepted = accepted

    def refused(self, what: str) -> bool:
        return not self.found[what].startswith("done")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("walls")
    for name in ("scratch", "outside"):
        (root / name).mkdir()
    (root / "outside" / "secret").write_text("the reference")
    return {"scratch": root / "scratch", "outside": root / "outside", "secret": root / "outside" / "secret"}


@pytest.fixture(scope="module")
def report(places: dict[str, Path]) -> Report:
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[Any] = []

    def accept() -> None:
        try:
            while True:
                accepted.append(listener.accept())
        except OSError:
            return  # the listener was closed

    threading.Thread(target=accept, daemon=True).start()
    done = subprocess.run(
        [
            sys.executable, "-c", PROGRAM, str(places["scratch"]), str(places["outside"]), str(places["secret"]),
            str(listener.getsockname()[1]), str(places["scratch"].parent / "socket"), f"kernelevolve-{os.getpid()}",
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    listener.close()
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return Report(found["found"], found["standing"], found["signalled"], accepted)


@needs_landlock
@pytest.mark.parametrize(
    "what",
    [
        "read home", "read root", "read secret", "list folder above", "read through symlink", "program reads secret",
        "list devices",
    ],
)  # fmt: skip
def test_nothing_but_the_system_can_be_read(report: Report, what: str) -> None:
    assert "the reference" not in report.found[what]
    assert report.refused(what) or report.found[what] == "done: "  # `cat` prints nothing


@needs_landlock
@pytest.mark.parametrize(
    "what",
    [
        "write outside", "make folder outside", "change secret", "truncate secret", "remove secret", "rename secret in",
        "link secret in", "write library", "write interpreter", "write tmp", "write shm", "write device",
    ],
)  # fmt: skip
def test_nothing_outside_the_scratch_folder_can_be_written(report: Report, places: dict[str, Path], what: str) -> None:
    assert report.refused(what), report.found[what]
    assert [path.name for path in places["outside"].iterdir()] == ["secret"]
    assert places["secret"].read_text() == "the reference"


def test_no_tcp_connection_leaves(report: Report) -> None:
    if ABI < 4 and "network namespace" not in report.standing:
        pytest.skip("neither Landlock 4 nor a network namespace is to be had here")
    assert report.refused("tcp")
    assert report.accepted == []


@needs_scoped_signals
def test_no_signal_reaches_the_parent(report: Report) -> None:
    assert report.found["signal parent"] == "EPERM"
    assert report.found["kill parent"] == "EPERM"
    assert report.signalled == []


@needs_scoped_signals
def test_no_abstract_socket_outside_is_reached(report: Report) -> None:
    assert report.refused("abstract socket")


@pytest.mark.xfail(strict=True, reason="Landlock before ABI 9 does not cover connecting to a socket by its path")
def test_no_socket_outside_is_reached_by_its_path(report: Report) -> None:
    """Docker's and D-Bus's sockets have paths: through them a candidate could have others do what it may not."""
    assert report.refused("socket by path")


@needs_landlock
@pytest.mark.parametrize("what", ["parent environment", "parent memory", "parent descriptors"])
def test_the_parent_cannot_be_looked_into(report: Report, what: str) -> None:
    assert report.refused(what), report.found[what]


@pytest.mark.parametrize("what", ["mount", "chown", "setuid"])
def test_no_rights_are_left_even_for_root(report: Report, what: str) -> None:
    assert report.refused(what), report.found[what]


def test_no_rights_can_be_gained(report: Report) -> None:
    assert "NoNewPrivs:\\t1" in report.found["program gains rights"]
    assert "CapEff:\\t0000000000000000" in report.found["program gains rights"]


def test_files_and_memory_are_limited(report: Report) -> None:
    assert report.found["large file"] == "EFBIG"
    assert report.found["much memory"] == "MemoryError"


@pytest.mark.parametrize(
    ("what", "result"),
    [
        ("write scratch", "done: x"),
        ("make folder in scratch", "done: None"),
        ("numpy", "done: 10.0"),
        ("torch", "done: "),
        ("thread", "done: [1]"),
        ("import", "done: sqlite3"),
        ("program", "done: 42\n"),
        ("null", "done: 1"),
        ("random", "done: 8"),
        ("socketpair", "done: 1"),
    ],
)
def test_what_an_honest_kernel_needs_still_works(report: Report, what: str, result: str) -> None:
    assert report.found[what].startswith(result)


def test_every_wall_that_stands_is_named(report: Report) -> None:
    assert {"no new privileges", "file size limit", "memory limit", "no capabilities"} <= set(report.standing)
    assert (f"landlock abi {ABI}" in report.standing) == (ABI >= 1)
    assert ("network namespace" in report.standing) == sandbox.available_walls()["network namespace"]


def test_looking_what_is_available_confines_nobody(tmp_path: Path) -> None:
    walls = sandbox.available_walls()

    assert set(walls) == {"landlock", "network namespace"}
    (tmp_path / "still").write_text("writable")
    socket.create_server(("127.0.0.1", 0)).close()
