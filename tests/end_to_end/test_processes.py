"""Nothing is left behind, nothing is reached that must not be: processes, files, locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge import landlock
from kernelevolve.evaluation.judge.client import Judge, start_warm_host, stop_warm_host, warm_host
from kernelevolve.evaluation.judge.device_lock import lock_folder
from kernelevolve.evaluation.judge.request import JudgeRequest
from tests.conftest import SCALE_CPP, SCALE_TRITON, Give

needs_landlock = pytest.mark.skipif(landlock.abi() < 1, reason="this kernel has no Landlock")
HEADERS = "#include <cstdio>\n#include <cstdlib>\n#include <fcntl.h>\n#include <unistd.h>\n#include <sys/stat.h>\n"


def descendants(marker: str) -> list[int]:
    """Processes whose command line or environment mentions a text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if marker.encode() in text and state != "Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def lock_is_free(device: str) -> bool:
    with (lock_folder() / f"{device}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def wait_until(condition, limit_s: float = 20.0) -> bool:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def test_ctrl_c_leaves_no_process_and_no_lock(tmp_path: Path, scale_task: Path) -> None:
    candidate = tmp_path / "endless.cpp"
    candidate.write_text(SCALE_CPP.replace("++i)", ")"))
    marker = f"KERNELEVOLVE_TEST_MARKER={tmp_path.name}{os.getpid()}"
    name, value = marker.split("=")
    command = [sys.executable, "-m", "kernelevolve.server", "verify", str(scale_task), str(candidate)]
    command += ["--state", str(tmp_path / "state")]
    process = subprocess.Popen(
        command, env={**os.environ, name: value}, stderr=subprocess.PIPE, text=True,
        # A shell that starts the tests in the background has them ignore Ctrl-C, and ignoring is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    scratch = tmp_path / "state" / "scratch"
    assert wait_until(lambda: list(scratch.glob("*/*/output.log")), 60), "the candidate never started"
    time.sleep(3.0)  # Long enough to be inside the endless loop, while the device lock is held.
    process.send_signal(signal.SIGINT)
    _out, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in error
    assert wait_until(lambda: not descendants(value)), descendants(value)
    assert wait_until(lambda: lock_is_free("cpu"))


def test_what_a_candidate_starts_ends_with_it(give: Give, tmp_path: Path) -> None:
    source = HEADERS + SCALE_CPP.replace(
        "{",
        '{ if (fork() == 0) { setsid(); if (fork() == 0) { execlp("sleep", "sleep", "98765", nullptr); } _exit(0); }',
        1,
    )
    give(source)
    assert wait_until(lambda: not descendants("98765")), "a process that detached itself is still there"


@needs_landlock
def test_candidate_cannot_read_the_judge_s_secrets(give: Give, state: Path) -> None:
    give(SCALE_CPP)  # The ledger of seeds exists from the first verdict on.
    peek = f'{{ FILE* f = fopen("{state}/seeds.jsonl", "r"); if (f) std::abort();'
    assert give(HEADERS + SCALE_CPP.replace("{", peek, 1)).status is Status.CORRECT


@needs_landlock
def test_candidate_cannot_write_outside_its_folder(give: Give, tmp_path: Path) -> None:
    target = tmp_path / "planted"
    plant = f'{{ FILE* f = fopen("{target}", "w"); if (f) fclose(f);'
    assert give(HEADERS + SCALE_CPP.replace("{", plant, 1)).status is Status.CORRECT
    assert not target.exists()


@needs_landlock
def test_candidate_cannot_signal_or_look_into_the_judge(give: Give) -> None:
    attack = (
        '{ kill(getppid(), SIGKILL); char name[64]; snprintf(name, 64, "/proc/%d/mem", getppid());'
        "if (open(name, O_RDWR) >= 0) std::abort();"
    )
    assert give(HEADERS + "#include <csignal>\n" + SCALE_CPP.replace("{", attack, 1)).status is Status.CORRECT
    assert give(SCALE_CPP).status is Status.CORRECT


def test_candidate_has_no_network(give: Give) -> None:
    python = SCALE_TRITON.replace(
        "def kernel(x):",
        "def kernel(x):\n    import socket\n    try:\n        socket.create_connection(('127.0.0.1', 22), 1)\n"
        "    except OSError:\n        pass\n    else:\n        raise SystemExit(1)",
    )
    assert give(python, "triton", platform="cuda:sm_90").status is Status.CORRECT
    python = python.replace("('127.0.0.1', 22), 1)", "('127.0.0.1', 22), 1)\n        open('/nope')")
    assert give(python, "triton", platform="cuda:sm_90").status is Status.CORRECT


def test_scratch_is_empty_after_a_verdict(give: Give, state: Path) -> None:
    give(SCALE_CPP)
    left = [path for path in (state / "scratch").glob("*/*") if path.is_dir()]
    assert left == []


def test_device_lock_is_waited_for_and_said_to_be_busy(scale_task: Path, tmp_path: Path) -> None:
    candidate = Candidate(language="cpp", source=SCALE_CPP)
    request = JudgeRequest(task=str(scale_task), candidate=candidate, lock_limit_s=0.5)
    with (lock_folder() / "cpu.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with Judge(tmp_path) as judge, pytest.raises(KernelEvolveError) as caught:
            judge.judge(request)
    assert caught.value.finding is Finding.DEVICE_BUSY


def test_aborted_call_frees_judge_and_device(scale_task: Path, tmp_path: Path) -> None:
    import threading

    endless = Candidate(language="cpp", source=SCALE_CPP.replace("++i)", ")"))
    judge = Judge(tmp_path)
    threading.Timer(4.0, judge.abort).start()
    with pytest.raises(KernelEvolveError) as caught:
        judge.judge(JudgeRequest(task=str(scale_task), candidate=endless, limit_s=120))
    judge.close()
    assert caught.value.finding is Finding.INTERNAL
    assert wait_until(lambda: lock_is_free("cpu"))


@needs_landlock
def test_compiler_cannot_be_made_to_read_the_judge_s_secrets(give: Give, state: Path) -> None:
    give(SCALE_CPP)
    steal = f'asm(".inc" "bin \\"{state}/seeds.jsonl\\"");\n'
    diagnosis = give(steal + SCALE_CPP).platforms[0].diagnosis
    assert diagnosis is not None
    assert diagnosis.finding is Finding.COMPILER_ERROR


def test_client_is_told_when_its_judge_dies(scale_task: Path, tmp_path: Path) -> None:
    with Judge(tmp_path) as judge:
        os.kill(judge.ping(), signal.SIGKILL)
        with pytest.raises(KernelEvolveError) as caught:
            judge.judge(JudgeRequest(task=str(scale_task), candidate=Candidate(language="cpp", source=SCALE_CPP)))
    assert caught.value.finding is Finding.INTERNAL


def test_secrets_of_the_environment_do_not_reach_the_host(
    scale_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hush-4711")
    monkeypatch.setenv("DATABASE", "postgres://me:hush-4712@db.example/kernels")
    monkeypatch.setenv("INDEX", "https://hush-4713@packages.example:443/simple")
    monkeypatch.setenv("HOMEPAGE", "https://example.com:443/@kept-4714")
    with Judge(tmp_path) as judge:
        environment = Path(f"/proc/{judge.ping()}/environ").read_bytes()

    assert b"hush" not in environment
    assert b"kept-4714" in environment


def test_warm_host_serves_several_clients_and_ends_when_told(scale_task: Path, tmp_path: Path) -> None:
    note = start_warm_host(tmp_path)
    try:
        assert start_warm_host(tmp_path).pid == note.pid
        candidate = Candidate(language="cpp", source=SCALE_CPP)
        request = JudgeRequest(task=str(scale_task), candidate=candidate, timed_calls=0)
        with Judge(tmp_path) as first, Judge(tmp_path) as second:
            assert first.warm
            assert second.warm
            assert first.judge(request).status is Status.CORRECT
            assert second.judge(request).status is Status.CORRECT
    finally:
        assert stop_warm_host(tmp_path)
    assert warm_host(tmp_path) is None
    assert wait_until(lambda: not Path(f"/proc/{note.pid}").exists() or _is_zombie(note.pid))


def _is_zombie(pid: int) -> bool:
    # This process started the host, so it stays listed until it is waited for.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_warm_host_refuses_a_client_without_the_token(tmp_path: Path) -> None:
    import socket

    from kernelevolve.evaluation.judge.channel import Channel

    note = start_warm_host(tmp_path)
    try:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(note.socket)
        channel = Channel(connection)
        channel.send({"token": "guessed"})
        assert channel.receive(time.monotonic() + 10).body == {"error": "wrong token"}
        channel.close()
    finally:
        stop_warm_host(tmp_path)


def test_no_candidate_finds_the_token_of_its_warm_host_in_memory(tmp_path: Path, scale_task: Path) -> None:
    """Workers see what the host has freed; with the token, the socket would be a way out of the sandbox."""
    note = start_warm_host(tmp_path)
    try:
        found = []
        for _ in range(2):  # The host has met a client before the second.
            with Judge(tmp_path) as judge:
                assert judge.warm
                candidate = Candidate(language="cpp", source=SCAN % shifted(note.token))
                asked = JudgeRequest(
                    task=str(scale_task), candidate=candidate, platforms=("cpu",), timed_calls=0, limit_s=60.0
                )
                diagnosis = judge.judge(asked).platforms[0].diagnosis
                assert diagnosis is not None
                found.append(diagnosis.summary)
    finally:
        stop_warm_host(tmp_path)

    assert all("found 0 of 1" in summary for summary in found), found


def shifted(text: str) -> str:
    """The characters' numbers, each raised by one, so that the text itself is not in the source."""
    return ",".join(str(ord(character) + 1) for character in text)


SCAN = """
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
// Counts places that hold a quarter of the token or more; and, to show that it would find it, one that it made itself.
static const unsigned char shifted[] = {%s};
static long count(const volatile unsigned char* from, const volatile unsigned char* to) {
  long found = 0;
  for (const volatile unsigned char* p = from; p + 64 < to; ++p)
    for (int start = 0; start < 64; start += 16) {
      int same = 0;
      while (same < 16 && p[same] == shifted[start + same] - 1) ++same;
      found += same == 16;
    }
  return found;
}
void kernel(TensorView x, TensorView out) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  long found = 0;
  while (std::getline(maps, line)) {
    unsigned long from, to;
    char rights[8];
    if (sscanf(line.c_str(), "%%lx-%%lx %%4s", &from, &to, rights) != 3) continue;
    if (rights[0] != 'r' || rights[1] != 'w') continue;
    found += count(reinterpret_cast<unsigned char*>(from), reinterpret_cast<unsigned char*>(to));
  }
  static volatile unsigned char planted[256];
  for (int i = 0; i < 16; ++i) planted[100 + i] = shifted[16 + i] - 1;
  const long would = count(planted, planted + sizeof planted);
  throw std::runtime_error("found " + std::to_string(found) + " of " + std::to_string(would));
}
"""


def test_warm_host_whose_starter_is_killed_before_anybody_knows_of_it_ends(tmp_path: Path) -> None:
    """Clients start a server to look at it and kill it at once; its judge must not stay for half an hour."""
    program = (
        "import sys; from pathlib import Path; from kernelevolve.evaluation.judge.client import start_warm_host\n"
        "start_warm_host(Path(sys.argv[1]))"
    )
    starter = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    assert wait_until(lambda: with_output(tmp_path / "warm-host.log"), 60), "no host was started"
    starter.kill()
    starter.wait()
    assert warm_host(tmp_path) is None, "killed too late to show anything"
    assert wait_until(lambda: not with_output(tmp_path / "warm-host.log"), 120)


def with_output(log: Path) -> list[int]:
    """Processes whose standard output is a file."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "fd" / "1").readlink() == log and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found
