"""The device lock: one owner on the whole machine, whatever happens to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import device_lock as module
from kernelevolve.evaluation.judge.device_lock import device_lock, lock_folder

HOLDER = """
import sys
from pathlib import Path
from kernelevolve.evaluation.judge import device_lock
device_lock.lock_folder = lambda: Path(sys.argv[1])
with device_lock.device_lock(sys.argv[2], 5.0):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
sys.stdin.readline()
"""

Hold = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    locks = tmp_path / "locks"
    monkeypatch.setattr(module, "lock_folder", lambda: locks)
    return locks


@pytest.fixture
def hold(folder: Path) -> Iterator[Hold]:
    """Have another process own a device until a line is written to it."""
    holders = []

    def start(device: str) -> subprocess.Popen[str]:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def release(holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "released\n"


def test_two_processes_exclude_each_other(hold: Hold) -> None:
    holder = hold("GPU-1")

    with pytest.raises(PlatformError) as caught, device_lock("GPU-1", limit_s=0.05):
        pytest.fail("two owners")

    assert caught.value.finding is Finding.DEVICE_BUSY
    assert "GPU-1" in caught.value.summary
    release(holder)
    with device_lock("GPU-1", limit_s=0.0):
        pass


def test_whoever_waits_gets_it_when_it_is_released(hold: Hold) -> None:
    holder = hold("GPU-1")
    timer = threading.Timer(0.1, release, [holder])
    timer.start()

    with device_lock("GPU-1", limit_s=10) as waited:
        assert waited > 0
    timer.join()


def test_a_killed_owner_leaves_the_lock_behind(hold: Hold) -> None:
    holder = hold("GPU-1")

    holder.send_signal(signal.SIGKILL)
    holder.wait()

    with device_lock("GPU-1", limit_s=0.0):
        pass


def test_devices_are_locked_one_by_one(hold: Hold) -> None:
    hold("GPU-1")

    with device_lock("GPU-2", limit_s=0.0), device_lock("cpu", limit_s=0.0):
        pass


def test_two_owners_in_one_process_exclude_each_other_too(folder: Path) -> None:
    with device_lock("cpu", limit_s=0.0), pytest.raises(PlatformError), device_lock("cpu", limit_s=0.0):
        pytest.fail("two owners")
    with device_lock("cpu", limit_s=0.0):
        pass


def test_an_exception_releases_it(folder: Path) -> None:
    with suppress(ZeroDivisionError), device_lock("cpu", limit_s=0.0):
        raise ZeroDivisionError

    with device_lock("cpu", limit_s=0.0):
        pass


def test_whoever_waits_may_give_up(hold: Hold) -> None:
    class GoneError(Exception):
        pass

    def gone() -> None:
        raise GoneError

    hold("GPU-1")
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(GoneError), device_lock("GPU-1", limit_s=60, still_wanted=gone):
        pytest.fail("two owners")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_programs_started_by_the_owner_do_not_keep_it(folder: Path) -> None:
    with device_lock("cpu", limit_s=0.0):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        with device_lock("cpu", limit_s=5.0):  # the child closes its copy while it starts
            pass
    finally:
        child.communicate(b"\n")


@pytest.mark.parametrize("device", ["GPU-8a/../../etc", "a b", "cpu\n", "MIG-é"])
def test_no_name_leads_out_of_the_folder(folder: Path, device: str) -> None:
    with device_lock(device, limit_s=0.0):
        (only,) = folder.iterdir()
        assert only.is_file()


def test_the_folder_is_the_same_for_every_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = lock_folder()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)

    assert lock_folder() == before
    assert tmp_path not in lock_folder().parents


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two other users")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_users_share_the_lock(monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    shared = Path(tempfile.mkdtemp())
    shared.chmod(0o1777)
    monkeypatch.setattr(module, "lock_folder", lambda: shared / "locks")

    def locks_as(user: int) -> int:
        child = os.fork()
        if child == 0:
            status = 1
            with suppress(BaseException):
                os.setgid(user)
                os.setuid(user)
                os.umask(umask)
                with device_lock("cpu", limit_s=0.0):
                    status = 0
            os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    try:
        assert [locks_as(65_001), locks_as(65_002)] == [0, 0]
        with device_lock("cpu", limit_s=0.0):
            assert locks_as(65_003) == 1
    finally:
        shutil.rmtree(shared)
