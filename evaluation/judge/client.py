"""The judge as the rest of the project sees it: hand in a request, get a verdict."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import KernelEvolveError, TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.channel import Channel, ChannelClosedError
from kernelevolve.evaluation.judge.host import READY
from kernelevolve.evaluation.judge.protection import Protection, chosen
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.judge.survey import ensure
from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.spans import Past, add_past, is_traced
from kernelevolve.evaluation.task_cases import TaskCases
from kernelevolve.evaluation.verdict import Verdict

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the request that is done, 0 to 1."""

_START_LIMIT_S = 120.0
_PIPELINE_DEPTH = 2


class WarmHost(Contract):
    """A warm host that listens for clients, as noted in its state folder."""

    socket: str
    """Path of its Unix socket."""
    token: str
    """Secret to show when connecting."""
    pid: int
    """Its process."""


class Judge:
    """A connection to a judge process, which is started with it and ends with it.

    If a warm host listens in the state folder the judge comes from there, in milliseconds; else a private host is
    started, which takes as long as importing torch.

    Args:
        state: folder for receipts, caches and scratch; made if it is not there.
        use_warm_host: whether to look for a warm host.
        many_triton: whether many Triton candidates will come: a private host then prepares Triton's compiler, which
            makes it start seconds later and every candidate seconds faster.
        sandbox: which walls stand around candidates; by default what this process chose (`protection.chosen`).

    Raises:
        ProtectionError: this machine lacks a wall that the level requires.
    """

    def __init__(
        self, state: Path, use_warm_host: bool = True, many_triton: bool = False, sandbox: Protection | None = None
    ) -> None:
        self.sandbox = sandbox or chosen()
        """Which walls stand around candidates."""
        ensure(self.sandbox)
        self._state = state.resolve()
        self._state.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._next_id = 0
        self._many_triton = many_triton
        channel = _connect_warm(self._state) if use_warm_host else None
        self.warm = channel is not None
        """Whether the judge came from a warm host."""
        self.stage = ""
        """What it said last that it does; empty between requests."""
        self.on_verdict: Callable[[Verdict], None] | None = None
        """Told of every verdict before it is handed out."""
        self._channel = channel or self._start_private_host()
        self._channel.send({"state": str(self._state), "sandbox": self.sandbox.value})

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_private_host(self) -> Channel:
        ours, theirs = socket.socketpair()
        # -P: a file of the current folder, such as triton.py, must not stand in for a module.
        command = [sys.executable, "-P", "-m", "kernelevolve.evaluation.judge.host"]
        command += ["--connection", str(theirs.fileno())]
        command += ["--warm-triton"] if self._many_triton else []
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], start_new_session=True, stdin=subprocess.DEVNULL, stdout=sys.stderr,
            env=_host_environment(),
        )  # fmt: skip
        theirs.close()
        ours.settimeout(_START_LIMIT_S)
        ready = b""
        try:
            while len(ready) < len(READY):
                piece = ours.recv(len(READY) - len(ready))
                if not piece:
                    raise TaskError(
                        Finding.INTERNAL,
                        f"The judge's host ended while it started (exit code {self._process.wait()}).",
                        "Its last words are on stderr; `kernelevolve doctor` checks the installation.",
                    )
                ready += piece
        except BaseException:
            ours.close()
            self._process.kill()
            self._process.wait()
            raise
        ours.settimeout(None)
        return Channel(ours)

    def judge(self, request: JudgeRequest, progress: Progress | None = None) -> Verdict:
        """Judge one candidate.

        Raises:
            KernelEvolveError: the request itself can't be served, e.g. the task can't be read.
        """
        return next(self.judge_many([request], progress))

    def judge_many(self, requests: Iterable[JudgeRequest], progress: Progress | None = None) -> Iterator[Verdict]:
        """Judge a stream of candidates, in order; the next is compiled while the device works for the one before.

        Yields:
            One verdict for each request.
        """
        with self._lock:
            pending: list[tuple[int, JudgeRequest, int]] = []
            source = iter(requests)
            exhausted = False
            while True:
                while not exhausted and len(pending) < _PIPELINE_DEPTH:
                    request = next(source, None)
                    if request is None:
                        exhausted = True
                    else:
                        number = self._send({"do": "judge", "request": request.model_dump(mode="json")})
                        pending.append((number, request, time.time_ns()))
                if not pending:
                    return
                number, request, sent_ns = pending.pop(0)
                with _traced(request, sent_ns) as seen:
                    reply = self._reply(number, progress)
                    verdict = Verdict.model_validate(reply["verdict"])
                    seen += [verdict, reply["timeline"]]
                if self.on_verdict is not None:
                    self.on_verdict(verdict)
                yield verdict

    def check_task(self, task: str, platform: str = "cpu") -> dict[str, Any]:
        """Run a task's self-test: `{"check": TaskCheck, "task": Task}` as JSON values."""
        with self._lock:
            return self._reply(self._send({"do": "check_task", "task": task, "platform": platform}), None)

    def describe_task(self, task: str) -> dict[str, Any]:
        """A task's description, `evaluation.task.Task`, as JSON values. Runs nothing but the task file itself."""
        with self._lock:
            described: dict[str, Any] = self._reply(self._send({"do": "describe_task", "task": task}), None)["task"]
        return described

    def describe_cases(self, task: str) -> TaskCases:
        """The form of every case's inputs (no values), and the text that the reference can be carried along as."""
        with self._lock:
            reply = self._reply(self._send({"do": "describe_cases", "task": task}), None)
        return TaskCases.model_validate(reply["cases"])

    def code(self, task: str, candidate: Candidate, platform: str, limit_s: float = 60.0) -> list[KernelCode]:
        """Compile a candidate for a platform, which need not be here, and read what the compiler made of it.

        Args:
            task: see `JudgeRequest.task`; its heaviest case decides what the launches specialise for.
            candidate: what to compile.
            platform: platform name.
            limit_s: seconds it may take.

        Returns:
            One entry for each kernel that is launched (Triton) or defined (C++, CUDA).

        Raises:
            KernelEvolveError: it does not compile, or a compiler is missing.
        """
        with self._lock:
            body = {"do": "code", "task": task, "candidate": candidate.model_dump(mode="json"), "platform": platform}
            reply = self._reply(self._send({**body, "limit_s": limit_s}), None)
        return [KernelCode.model_validate(entry) for entry in reply["code"]]

    def ping(self) -> int:
        """Process id of the judge, which answers when it has nothing else to do."""
        with self._lock:
            return int(self._reply(self._send({"do": "ping"}), None)["pid"])

    def _send(self, body: dict[str, Any]) -> int:
        self._next_id += 1
        try:
            self._channel.send({"id": self._next_id, **body})
        except ChannelClosedError as error:
            raise _judge_ended() from error
        return self._next_id

    def _reply(self, request_id: int, progress: Progress | None) -> dict[str, Any]:
        while True:
            try:
                body = self._channel.receive().body
            except ChannelClosedError as error:
                raise _judge_ended() from error
            if body.get("id") != request_id:
                continue
            if "progress" in body:
                self.stage = body["progress"]
                if progress is not None:
                    progress(body["progress"], body["share"])
                continue
            self.stage = ""
            if "failed" in body:
                raise KernelEvolveError(
                    Finding(body["finding"]), body["failed"], body.get("advice", ""), body.get("log", "")
                )
            return body

    def abort(self) -> None:
        """Hang up from another thread: a call under way fails, and the judge and everything it started are killed."""
        self._channel.hang_up()

    def close(self) -> None:
        """Hang up. The judge and everything it started end; nothing is left behind."""
        self._channel.close()
        if self._process is not None:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


@contextmanager
def _traced(request: JudgeRequest, sent_ns: int) -> Iterator[list[Any]]:
    """A span for a verdict and its phases, if somebody traces. The body leaves verdict and timeline in the list."""
    if not is_traced():
        yield []
        return
    what = {"language": request.candidate.language, "source_hash": request.candidate.source_hash}
    seen: list[Any] = []
    parts: list[Past] = []
    failed = ""
    try:
        yield seen
        verdict, timeline = seen
        what |= {"status": verdict.status.value, "receipt": verdict.receipt.receipt_hash}
        what |= {f"status.{entry.platform}": entry.status.value for entry in verdict.platforms if entry.level}
        parts = [Past(name, began, began + int(ms * 1e6), {}) for name, began, ms in timeline]
    except BaseException as error:
        failed = error.finding.value if isinstance(error, KernelEvolveError) else type(error).__qualname__
        raise
    finally:
        add_past(Past("judge", sent_ns, time.time_ns(), what), parts, failed)


def _judge_ended() -> KernelEvolveError:
    return KernelEvolveError(
        Finding.INTERNAL,
        "The judge's process ended.",
        "It may have run out of memory: see stderr, or try smaller cases.",
    )


_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"://[^/\s@]+@")
"""An address with a name or a password in it, such as a database's, a proxy's or a package index's."""


def _host_environment() -> dict[str, str]:
    # Candidates run in forks of the host: nothing that looks like a secret may be in its memory.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not _SECRET.search(name) and not _SECRET_VALUE.search(value)
    }
    # numpy's BLAS would start threads at import, and a process with threads must not fork.
    environment["OPENBLAS_NUM_THREADS"] = "1"
    environment.pop("TRITON_INTERPRET", None)
    # Judge and candidate take turns on the same cores. OpenMP threads that spin after a parallel region, as they do by
    # default, would take the core away from the other side; both sides wait passively instead.
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    # The order in which the management library, which is asked before CUDA is touched, counts devices too.
    environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    return environment


def _note_path(state: Path) -> Path:
    return state / "warm-host.json"


def _connect_warm(state: Path) -> Channel | None:
    """Connect to the warm host of a state folder, if one is alive."""
    try:
        note = WarmHost.model_validate_json(_note_path(state).read_text())
    except (OSError, ValueError):
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(note.socket)
    except OSError:
        # It ended without tidying up: nobody listens.
        connection.close()
        return None
    channel = Channel(connection)
    channel.send({"token": note.token})
    return channel


def start_warm_host(state: Path, idle_limit_s: float = 1800.0) -> WarmHost:
    """Start a host that serves every client of a state folder until it has been idle for `idle_limit_s` seconds.

    Returns:
        The host that listens now; one that was there already is kept.
    """
    state = state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    running = warm_host(state)
    if running is not None:
        return running
    # Socket paths are limited to about 100 bytes, so it does not lie in the state folder.
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp") / f"kernelevolve-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    token, path = secrets.token_hex(32), folder / f"{secrets.token_hex(6)}.sock"
    command = [
        sys.executable, "-P", "-m", "kernelevolve.evaluation.judge.host", "--socket", str(path),
        "--token-hash", hashlib.sha256(token.encode()).hexdigest(), "--idle", str(idle_limit_s), "--announced",
        "--warm-triton",
    ]  # fmt: skip
    with (state / "warm-host.log").open("ab") as log:
        process = subprocess.Popen(
            command, start_new_session=True, stdin=subprocess.PIPE, stdout=log, stderr=log, env=_host_environment()
        )
    deadline = time.monotonic() + _START_LIMIT_S
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise KernelEvolveError(Finding.INTERNAL, "The warm host did not start.", f"See {state / 'warm-host.log'}.")
        time.sleep(0.02)
    note = WarmHost(socket=str(path), token=token, pid=process.pid)
    descriptor = os.open(_note_path(state), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(note.model_dump_json())
    # Only now can anybody find it: a host whose starter was killed before this ends by itself.
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(b"1")
    return note


def warm_host(state: Path) -> WarmHost | None:
    """The warm host of a state folder, if one is alive."""
    try:
        note = WarmHost.model_validate_json(_note_path(state.resolve()).read_text())
        os.kill(note.pid, 0)
    except (OSError, ValueError):
        return None
    return note if Path(note.socket).exists() else None


def stop_warm_host(state: Path) -> bool:
    """End the warm host of a state folder; True if there was one."""
    note = warm_host(state)
    if note is None:
        return False
    os.kill(note.pid, 15)
    deadline = time.monotonic() + 10
    while Path(note.socket).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    _note_path(state.resolve()).unlink(missing_ok=True)
    return True
