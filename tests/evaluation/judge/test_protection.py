"""Levels of protection: what each wants, what is said where it cannot be had, what stands around a compiler."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import (
    bubblewrap,
    enclosure,
    landlock,
    protection,
    sandbox,
    survey,
    unnamed_memory,
    watch,
)
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.judge.protection import Protection, ProtectionError

BARE = survey.Survey(
    walls=("own process group",), enclosing=False, why_not_enclosing="unshare: Operation not permitted",
    bubblewrap="", why_not_bubblewrap="bwrap is not installed: install bubblewrap",
)  # fmt: skip


@pytest.fixture
def level() -> Iterator[None]:
    """Put back whatever level this process had."""
    before, named = list(protection._chosen), os.environ.get(protection.VARIABLE)
    yield
    protection._chosen[:] = before
    if named is None:
        os.environ.pop(protection.VARIABLE, None)
    else:
        os.environ[protection.VARIABLE] = named


def test_the_environment_names_the_level(level: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "_chosen", [])
    monkeypatch.delenv(protection.VARIABLE, raising=False)
    assert protection.chosen() is Protection.AUTO
    monkeypatch.setenv(protection.VARIABLE, "landlock")
    assert protection.chosen() is Protection.LANDLOCK


def test_what_is_chosen_is_handed_down(level: None) -> None:
    protection.choose(Protection.NONE)
    assert protection.chosen() is Protection.NONE
    assert os.environ[protection.VARIABLE] == "none"


def test_an_unknown_level_names_the_known_ones(level: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "_chosen", [])
    monkeypatch.setenv(protection.VARIABLE, "chroot")
    with pytest.raises(ProtectionError, match=r"'chroot'.*auto, bwrap, landlock, none"):
        protection.chosen()


@pytest.mark.parametrize(
    ("wanted", "missing"),
    [(Protection.BWRAP, ("bwrap is not installed", "not permitted")), (Protection.LANDLOCK, ("no Landlock", "5.13"))],
)
def test_a_named_level_that_cannot_be_had_is_refused(
    wanted: Protection, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(survey, "survey", lambda: BARE)
    with pytest.raises(KernelEvolveError) as raised:
        Judge(tmp_path, sandbox=wanted)
    assert raised.value.finding is Finding.SANDBOX_MISSING
    assert all(word in str(raised.value) for word in missing)


def test_auto_takes_what_there_is_and_says_what_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "survey", lambda: BARE)
    survey.ensure(Protection.AUTO)
    assert survey.open_walls(Protection.AUTO) == ("every file of this user", "the network")
    assert "every process of this user" in survey.open_walls(Protection.NONE)


def test_files_and_network_are_walled_off_here_or_it_is_said() -> None:
    found = survey.survey()
    walled = (found.stands("landlock") or found.stands("mount namespace")) and found.stands("network namespace")
    assert (survey.open_walls(Protection.AUTO) == ()) == walled


def test_a_worker_without_a_required_wall_does_not_start(tmp_path: Path) -> None:
    """The last guard: whatever the survey said, the process looks at what stands around it."""
    program = (
        "import sys; from pathlib import Path\n"
        "from kernelevolve.evaluation.judge import sandbox\n"
        "from kernelevolve.evaluation.judge.protection import Protection, ProtectionError\n"
        "try: sandbox.raise_walls(sandbox.worker_walls(Path(sys.argv[1]), False, None, Protection.BWRAP, False))\n"
        "except ProtectionError as error: print(error)\n"
        "else: print('it started')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "--sandbox bwrap wants a" in done.stdout


# -- compilers ----------------------------------------------------------------------------------------------------


COMPILER_LEVELS = [
    pytest.param(
        Protection.BWRAP, id="bwrap",
        marks=pytest.mark.skipif(bool(bubblewrap.why_not()), reason=bubblewrap.why_not() or "it works"),
    ),
    pytest.param(
        Protection.LANDLOCK, id="landlock",
        marks=pytest.mark.skipif(landlock.abi() < 4, reason="this kernel has no Landlock that covers TCP"),
    ),
]  # fmt: skip


def started(wanted: Protection, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a compiler is run."""
    protection.choose(wanted)
    walls = sandbox.Confinement(folder)
    try:
        return subprocess.run(
            walls.command(list(command)), cwd=folder, capture_output=True, text=True, timeout=60, check=False,
            preexec_fn=walls.apply,
        )  # fmt: skip
    finally:
        walls.close()


@pytest.mark.parametrize("wanted", COMPILER_LEVELS)
def test_a_compiler_reads_the_system_and_writes_its_folder_alone(
    wanted: Protection, level: None, tmp_path: Path
) -> None:
    folder, secret = tmp_path / "unit", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("the reference")

    assert started(wanted, folder, "sh", "-c", "echo made > made && cat made").stdout == "made\n"
    assert (folder / "made").read_text() == "made\n"
    for attack in (f"cat {secret}", f"echo x > {secret}", f"rm {secret}", "echo x > /usr/planted", "echo x > /tmp/x"):
        done = started(wanted, folder, "sh", "-c", attack)
        assert done.returncode != 0, attack
        assert "the reference" not in done.stdout
    assert "secret" not in started(wanted, folder, "ls", str(tmp_path)).stdout
    assert secret.read_text() == "the reference"


@pytest.mark.parametrize("wanted", COMPILER_LEVELS)
def test_a_compiler_has_no_network(wanted: Protection, level: None, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        line = f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 3)"
        assert started(wanted, tmp_path, sys.executable, "-c", line).returncode != 0
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.skipif(bool(bubblewrap.why_not()), reason=bubblewrap.why_not() or "it works")
def test_in_bubblewrap_a_compiler_sees_no_process_and_no_socket_outside(level: None, tmp_path: Path) -> None:
    folder, peer = tmp_path / "unit", tmp_path / "socket"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(peer))
        listener.listen(1)
        line = f"import socket; socket.socket(socket.AF_UNIX).connect({str(peer)!r})"
        assert "FileNotFoundError" in started(Protection.BWRAP, folder, sys.executable, "-c", line).stderr
    seen = started(Protection.BWRAP, folder, sys.executable, "-c", "import os; print(os.listdir('/proc'))").stdout
    assert f"'{os.getpid()}'" not in seen


def test_where_bubblewrap_is_wanted_and_missing_no_compiler_starts(
    level: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    protection.choose(Protection.BWRAP)
    monkeypatch.setattr(bubblewrap, "why_not", lambda: "bwrap is not installed")
    with pytest.raises(ProtectionError, match="bwrap is not installed"):
        sandbox.Confinement(tmp_path)


# -- what the host watches ----------------------------------------------------------------------------------------


HUNGRY = """
import os, sys, time
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        break
held = b"x" * (int(sys.argv[2]) << 20)
os.write(1, b"ready\\n")  # In one piece: four of them write.
time.sleep(60)
"""


@pytest.fixture
def hungry() -> Iterator[subprocess.Popen[str]]:
    """Four processes that hold 50 MiB each: none is over a limit of 100, all together are."""
    process = subprocess.Popen(
        [sys.executable, "-c", HUNGRY, "3", "50"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(4)] == ["ready\n"] * 4
    yield process
    os.killpg(process.pid, 9)
    process.wait()


def test_memory_is_counted_over_all_processes(hungry: subprocess.Popen[str], tmp_path: Path) -> None:
    def over(memory_bytes: int | None, processes: int = 100) -> str:
        return watch.excess(hungry.pid, watch.Limits(memory_bytes, processes, None), shared_bytes=0)

    assert over(100 << 20).startswith("memory: ")
    assert over(1 << 30) == ""
    assert over(None) == ""
    assert watch.anonymous_bytes(hungry.pid) > 50 << 20
    assert over(None, processes=3) == "processes: 4 processes and threads, 3 are allowed"


HOARDER = """
import mmap, os, time
file = os.memfd_create("hoard")
os.write(file, b"x" * (30 << 20))
mapped = mmap.mmap(-1, 50 << 20)  # Shared with whoever is forked: no private memory, and no file.
for offset in range(0, 50 << 20, 4096):
    mapped[offset] = 1
print("ready", flush=True)
time.sleep(60)
"""


def test_memory_behind_files_without_a_name_is_counted() -> None:
    process = subprocess.Popen([sys.executable, "-c", HOARDER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    files = unnamed_memory.unnamed_files(process.pid)
    private = watch.anonymous_bytes(process.pid)

    def over(memory_bytes: int, arenas: dict[tuple[int, int], int]) -> str:
        return watch.excess(process.pid, watch.Limits(memory_bytes, 100, None), private, arenas)

    try:
        assert [size >> 20 for size in files.values()] == [30]
        assert over(45 << 20, {}).startswith("memory: ")  # What is mapped.
        assert over(60 << 20, {}) == ""
        assert unnamed_memory.taken([process.pid], [0], {}) == 30 << 20
        assert unnamed_memory.taken([process.pid], [30 << 20], files) == 0, "the judge's own memory was counted"
    finally:
        process.kill()
        process.wait()


def test_files_are_counted_together(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}").write_bytes(os.urandom(1 << 20))
    (tmp_path / "link").symlink_to(sys.executable)
    deadline = time.monotonic() + 30
    while watch.folder_bytes(tmp_path) < 4 << 20 and time.monotonic() < deadline:
        os.sync()  # Some file systems give out blocks late.
    assert 4 << 20 <= watch.folder_bytes(tmp_path) < 5 << 20
    limits = watch.Limits(None, 1000, tmp_path, folder_bytes=3 << 20)
    assert watch.excess(os.getpid(), limits, 0) == "disk: 4 MiB of files, 3 MiB are allowed"
    assert watch.excess(os.getpid(), watch.Limits(None, 1000, tmp_path), 0) == ""


def test_a_process_that_is_gone_takes_nothing() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert watch.excess(gone.pid, watch.Limits(1, 1, None), 0) == ""


def test_every_processor_gets_its_threads() -> None:
    assert enclosure.default_processes() >= 256 + 4 * (os.cpu_count() or 1)
