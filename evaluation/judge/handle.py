"""The judge's side of a worker: ask for one, talk to it, know why it died."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

from kernelevolve.evaluation.errors import CandidateError, KernelEvolveError, PlatformError
from kernelevolve.evaluation.finding import STATUS_OF, Finding, Status
from kernelevolve.evaluation.judge.channel import Channel, ChannelClosedError, NonsenseError, ReceiveTimeoutError
from kernelevolve.evaluation.judge.operators import Operators
from kernelevolve.evaluation.judge.protection import chosen
from kernelevolve.evaluation.judge.stillness import held_still

_LOG_BYTES = 3000


class Spawner:
    """The judge's connection to the host, shared by its threads."""

    def __init__(self, channel: Channel, scratch_root: Path) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._scratch_root = scratch_root

    def spawn(
        self,
        device: str,
        memory_bytes: int | None,
        scratch: Path,
        limit_s: float,
        triton_template: Path | None = None,
    ) -> WorkerHandle:
        """Have the host fork a worker, and wait until it stands confined; see `worker.serve` for the arguments."""
        ours, theirs = socket.socketpair()
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        specification = {
            "scratch": str(scratch),
            "device": device,
            "memory_bytes": memory_bytes,
            "triton_template": str(triton_template) if triton_template is not None else None,
            "sandbox": chosen().value,
        }
        with self._lock:
            self._channel.send(specification, [theirs.fileno(), status_write])
        theirs.close()
        os.close(status_write)
        handle = WorkerHandle(Channel(ours, from_candidate=True), status_read, scratch)
        try:
            handle.pid = handle.read_pid()
            hello = handle.hello(limit_s)
        except BaseException:
            handle.close()
            raise
        handle.protection = tuple(hello["protection"])
        return handle

    def scratch_folder(self) -> Path:
        """A new, empty folder for one candidate."""
        folder = self._scratch_root / uuid.uuid4().hex[:12]
        folder.mkdir(parents=True, mode=0o700)
        return folder


class WorkerHandle:
    """One worker. Every failure of it becomes a `CandidateError` with the finding that fits."""

    def __init__(self, channel: Channel, status_pipe: int, scratch: Path) -> None:
        self._channel = channel
        self._status_pipe = status_pipe
        self.scratch = scratch
        self._closed = False
        self.protection: tuple[str, ...] = ()
        self.operators: Operators = Counter()
        """What torch ran for the candidate when it was last checked."""
        self.pid = 0
        """The first process of it, as the host sees it."""

    def ask(self, do: str, limit_s: float, descriptors: Sequence[int] = (), **arguments: Any) -> dict[str, Any]:
        """Send one request and wait for the answer.

        Raises:
            CandidateError: the candidate failed, took longer than `limit_s`, or killed its process.
        """
        try:
            self._channel.send({"do": do, **arguments}, descriptors)
        except ChannelClosedError:
            self._explain_death(do)
        return self.receive(limit_s, do)

    def hello(self, limit_s: float) -> dict[str, Any]:
        """Wait until the process says that it stands confined. No candidate has spoken yet, so it is believed.

        Raises:
            PlatformError: it could not be confined, or found no device.
            CandidateError: the process ended.
        """
        reply = self._reply(limit_s, "starting")
        if "failed" in reply:
            finding = Finding(reply.get("finding", Finding.INTERNAL))
            raise PlatformError(finding, f"There is no worker: {reply['failed']}", reply.get("advice", ""))
        return reply

    def read_pid(self) -> int:
        """What the host says the worker's first process is, before anything else in the pipe.

        Raises:
            PlatformError: it has not.
        """
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self._status_pipe, 1)):
            line += byte
        if not line.strip().isdigit():
            raise PlatformError(Finding.INTERNAL, f"The host answered {line!r} for the number of a process.")
        return int(line)

    def held_still(self) -> AbstractContextManager[None]:
        """See `stillness.held_still`."""
        return held_still(self.pid)

    def receive(self, limit_s: float, doing: str) -> dict[str, Any]:
        """Wait for an answer; see `ask`."""
        reply = self._reply(limit_s, doing)
        if "failed" in reply:
            raise claimed_failure(reply, doing)
        return reply

    def _reply(self, limit_s: float, doing: str) -> dict[str, Any]:
        try:
            return self._channel.receive(time.monotonic() + limit_s).body
        except ReceiveTimeoutError as error:
            self.close()
            raise CandidateError(
                Finding.TIME_LIMIT,
                f"The candidate did not finish within {limit_s:g} s ({_WORDS.get(doing, doing)}).",
                "Look for an endless loop or a deadlock; if it is honest work, raise --limit.",
            ) from error
        except NonsenseError as error:
            self.close()
            raise CandidateError(
                Finding.RESULT_FORGED,
                f"What came from the candidate's process is no answer ({_WORDS.get(doing, doing)}): {error}.",
                "Leave the worker's connection alone.",
            ) from error
        except ChannelClosedError:
            self._explain_death(doing)

    def _explain_death(self, doing: str) -> NoReturn:
        """Turn the way the process ended into an error."""
        code, excess = None, ""
        if not self._closed and select.select([self._status_pipe], [], [], 5.0)[0]:
            # `<exit code> <largest resident set> <limit it was over>`, from the host.
            words = os.read(self._status_pipe, 256).decode().split(maxsplit=2)
            code = int(words[0]) if words and words[0].lstrip("-").isdigit() else None
            excess = words[2].strip() if len(words) > 2 else ""
        log = self._log()
        self.close()
        doing = _WORDS.get(doing, doing)
        if excess:
            raise CandidateError(
                Finding.OUT_OF_MEMORY if excess.startswith("memory") else Finding.RESOURCE_LIMIT,
                f"The candidate took more than it may ({doing}): {excess}.",
                "Start no processes, write few files, and use smaller buffers.",
                log,
            )
        if "bad_alloc" in log or "MemoryError" in log:
            raise CandidateError(
                Finding.OUT_OF_MEMORY, f"The candidate ran out of memory ({doing}).", "Use smaller buffers.", log
            )
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            if -code in (signal.SIGSEGV, signal.SIGBUS):
                raise CandidateError(
                    Finding.SEGMENTATION_FAULT,
                    f"The candidate's process died of {name} ({doing}).",
                    "It read or wrote memory that isn't its own: check index bounds, strides and dtypes.",
                    log,
                )
            raise CandidateError(
                Finding.PROCESS_DIED,
                f"The candidate's process died of {name} ({doing}).",
                "Don't abort or exit; raise an exception instead.",
                log,
            )
        raise CandidateError(
            Finding.PROCESS_DIED,
            f"The candidate's process ended by itself{'' if code is None else f' with exit code {code}'} ({doing}).",
            "Don't call exit; return the result.",
            log,
        )

    def _log(self) -> str:
        path = self.scratch / "output.log"
        with contextlib.suppress(OSError), path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            return file.read().decode(errors="replace")
        return ""

    def close(self) -> None:
        """Hang up: the host kills the process group. The scratch folder goes too."""
        if self._closed:
            return
        self._closed = True
        self._channel.close()
        os.close(self._status_pipe)
        shutil.rmtree(self.scratch, ignore_errors=True)


_WORDS = {
    "starting": "while its process started",
    "load": "while it was loaded",
    "run": "while it was checked",
    "prepare": "while it warmed up",
    "time": "while it was timed",
    "burst": "while it was timed",
    "aim": "while it was timed",
    "volley": "while it was timed",
    "wall": "while it was timed",
    "activity": "while its kernels were listed",
    "run_muted": "while it was run without its kernels",
    "integrity": "while the harness was looked over",
    "stock": "while it was audited",
    "once": "while it was audited",
    "compile": "while it was compiled",
    "precompile": "while it was compiled",
}


_BLAMING = (Status.RUNTIME_ERROR, Status.COMPILE_ERROR, Status.RULE_VIOLATION)
_CANDIDATE_FINDINGS = (
    *(finding for finding, status in STATUS_OF.items() if status in _BLAMING),
    Finding.NOT_CHECKABLE,
    Finding.LANGUAGE_ON_PLATFORM,
    Finding.HARNESS_CHANGED,
)
"""What a worker may say went wrong."""


def claimed_failure(reply: dict[str, Any], doing: str) -> KernelEvolveError:
    """What a worker says went wrong. A candidate may speak here, and must not be able to blame judge or platform.

    Args:
        reply: `failed`, and perhaps `finding`, `advice` and `log`.
        doing: what was asked for.
    """
    finding = next((known for known in _CANDIDATE_FINDINGS if known == reply.get("finding")), Finding.EXCEPTION)
    summary, advice = str(reply["failed"])[:2000], str(reply.get("advice", ""))[:2000]
    if finding is Finding.OUT_OF_MEMORY:
        advice = advice or "Use smaller buffers, or free them earlier."
    if finding is Finding.ILLEGAL_MEMORY_ACCESS:
        advice = advice or "A kernel left its buffers: check masks, offsets (int64 past 2^31) and strides."
    if finding is Finding.EXCEPTION:
        advice = advice or "The log has the traceback."
        summary = f"{summary} ({_WORDS.get(doing, doing)})"
    return CandidateError(finding, summary, advice, str(reply.get("log", ""))[-4000:])
