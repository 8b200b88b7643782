"""A candidate that means harm harms nothing: the machine, the judge and the next candidate are as they were.

Fork bombs, sockets of other programs and writing elsewhere: `tests/end_to_end/test_protection.py`. Endless loops, crashes
and huge allocations: `tests/end_to_end/test_bad_candidates.py`. The walls themselves: `tests/evaluation/judge`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge import landlock
from kernelevolve.evaluation.verdict import PlatformVerdict
from tests.conftest import SCALE_CPP, Give

HEADERS = "".join(
    f"#include <{name}>\n"
    for name in ("arpa/inet.h", "cstdio", "cstdlib", "cstring", "fcntl.h", "signal.h", "string", "sys/socket.h")
    + ("sys/stat.h", "unistd.h", "vector")
)


def doing(what: str) -> str:
    """A right kernel that first does something."""
    return HEADERS + SCALE_CPP.replace("{", "{\n" + what + "\n", 1)


def processes_with(word: str) -> list[int]:
    """Processes that have a word among their arguments."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and word.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def comes_true(condition: Callable[[], bool]) -> bool:
    """Wait for it."""
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


@pytest.fixture
def harming(give: Give) -> Iterator[Callable[[str], PlatformVerdict]]:
    """Judge a harmful source; afterwards the same judge must find an honest candidate right."""

    def run(source: str) -> PlatformVerdict:
        return give(source, limit_s=10.0).platforms[0]

    yield run
    assert give(SCALE_CPP).status is Status.CORRECT


def test_killing_whatever_can_be_reached_kills_the_candidate_alone(harming: Callable[[str], PlatformVerdict]) -> None:
    innocent = os.fork()
    if innocent == 0:
        time.sleep(120)
        os._exit(0)
    try:
        harming(doing("for (int pid = 2; pid < 5000; ++pid) if (pid != getpid()) kill(pid, SIGKILL);\nkill(-1, SIGKILL);"))
        assert os.waitpid(innocent, os.WNOHANG) == (0, 0), "a process outside was killed"
    finally:
        os.kill(innocent, 9)
        os.waitpid(innocent, 0)


def test_stopping_whatever_can_be_reached_ends_at_the_time_limit_at_the_latest(
    harming: Callable[[str], PlatformVerdict],
) -> None:
    entry = harming(doing("kill(0, SIGSTOP);\nkill(-1, SIGSTOP);\nraise(SIGSTOP);"))
    assert entry.diagnosis is not None
    assert entry.diagnosis.finding in (Finding.TIME_LIMIT, Finding.PROCESS_DIED)


def test_a_process_left_behind_is_ended(harming: Callable[[str], PlatformVerdict]) -> None:
    mark = f"98{os.getpid():07d}"
    leave = f'if (fork() == 0) {{ setsid(); if (fork() == 0) execl("/bin/sleep", "sleep", "{mark}", nullptr); _exit(0); }}'
    harming(doing(leave))
    assert comes_true(lambda: not processes_with(mark))


def test_a_disk_is_not_filled(harming: Callable[[str], PlatformVerdict], state: Path) -> None:
    fill = (
        "static bool done = false; std::vector<char> block(done ? 0 : 64 << 20, 'x');\n"
        'for (int n = 0; n < 64 && !done; ++n) { std::string name = "fill" + std::to_string(n);\n'
        'FILE* f = fopen(name.c_str(), "w"); if (!f || fwrite(block.data(), 1, block.size(), f) < block.size()) break;\n'
        "fclose(f); }\ndone = true;"
    )
    harming(doing(fill))
    left = [path for path in (state / "scratch").rglob("fill*") if path.is_file()]
    assert not left, "files of the candidate are still there"


def test_no_connection_leaves(harming: Callable[[str], PlatformVerdict]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        harming(
            doing(
                f"int s = socket(AF_INET, SOCK_STREAM, 0); sockaddr_in a{{}}; a.sin_family = AF_INET; "
                f'a.sin_port = htons({port}); inet_pton(AF_INET, "127.0.0.1", &a.sin_addr); '
                '(void)!connect(s, (sockaddr*)&a, sizeof a); (void)!send(s, "x", 1, MSG_NOSIGNAL);'
            )
        )
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.skipif(landlock.abi() < 1, reason="this kernel has no Landlock, and enclosures may be off")
def test_home_is_not_read(harming: Callable[[str], PlatformVerdict], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a key")
    home = os.path.expanduser("~")  # noqa: PTH111 - what a candidate would ask
    entry = harming(
        doing(
            f'for (const char* place : {{"{secret}", "{home}/.ssh/id_rsa", "{home}/.bashrc", "{home}/.profile"}})\n'
            'if (FILE* f = fopen(place, "r")) { fclose(f); std::abort(); }'
        )
    )
    assert entry.status is Status.CORRECT, entry.diagnosis
