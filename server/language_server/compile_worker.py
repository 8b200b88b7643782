"""The process beside the language server that compiles: it stays warm and forks a child for each file.

A child that is superseded is killed with everything it started; one that crashes takes nothing with it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_NICE = 5
"""The editor comes first."""


@dataclass
class _Job:
    number: int
    pid: int
    answers: int
    """Descriptor from which its lines are read."""
    pending: bytearray = field(default_factory=bytearray)
    answered: bool = False


class CompileWorker:
    """Reads requests from stdin, writes answers to stdout; see `child.py` for the lines."""

    def __init__(self) -> None:
        self._unavailable = ""
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ)
        self._input = bytearray()
        self._jobs: dict[int, _Job] = {}

    def serve(self, unavailable: str) -> None:
        """Serve until stdin ends; then kill what is under way.

        Args:
            unavailable: why no Triton kernel can be compiled here; empty where they can.
        """
        self._unavailable = unavailable
        while True:
            for key, _events in self._selector.select():
                if key.fd == 0:
                    if not self._read_requests():
                        for job in list(self._jobs.values()):
                            self._kill(job)
                        return
                    continue
                # It may have been killed by a request that came in the same round.
                for job in [job for job in self._jobs.values() if job.answers == key.fd]:
                    self._read_answers(job)

    def _read_requests(self) -> bool:
        data = os.read(0, 1 << 20)
        self._input += data
        while (end := self._input.find(b"\n")) >= 0:
            line = bytes(self._input[:end])
            del self._input[: end + 1]
            self._take(json.loads(line))
        return bool(data)

    def _take(self, message: dict[str, Any]) -> None:
        if "cancel" in message:
            job = self._jobs.get(message["cancel"])
            if job is not None:
                self._kill(job)
            return
        if self._unavailable and message["with"]["language"] == "triton":
            error = {"message": self._unavailable, "unavailable": True}
            self._send({"id": message["id"], "error": error})
            return
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(ours)
            self._run(message, theirs)
        os.close(theirs)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(child, child)  # The child does it too: whoever comes first.
        job = _Job(message["id"], child, ours)
        self._jobs[job.number] = job
        self._selector.register(ours, selectors.EVENT_READ)

    def _run(self, message: dict[str, Any], answers: int) -> None:
        """In the child: compile and leave, whatever happens."""
        try:
            os.setpgid(0, 0)
            os.close(0)
            # Nothing that runs here may read the server's lines, or write among them.
            os.open(os.devnull, os.O_RDONLY)
            os.close(self._out.fileno())
            os.nice(_NICE)
            with os.fdopen(answers, "wb") as out, tempfile.TemporaryDirectory(prefix="kernelevolve-lsp-") as folder:
                os.chdir(folder)

                def write(value: dict[str, Any]) -> None:
                    out.write(json.dumps({"id": message["id"], **value}).encode() + b"\n")
                    out.flush()

                from kernelevolve.server.language_server.compile_job import compile_file

                result = compile_file(message["with"], lambda cost: write({"event": {"cost": asdict(cost)}}))
                write({"result": result})
                os.chdir("/")
        except BaseException:  # noqa: BLE001 - it must never go on as a second worker; the first tells of the death
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def _read_answers(self, job: _Job) -> None:
        data = os.read(job.answers, 1 << 20)
        job.pending += data
        while (end := job.pending.find(b"\n")) >= 0:
            line = bytes(job.pending[: end + 1])
            del job.pending[: end + 1]
            job.answered = job.answered or b'"result"' in line
            self._out.write(line)
            self._out.flush()
        if not data:
            self._ended(job)

    def _ended(self, job: _Job) -> None:
        self._forget(job)
        _pid, status = os.waitpid(job.pid, 0)
        if job.answered:
            return
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
        message = (
            f"The compiler's process ended ({how}) while it worked on this file. Undo the last change, or look at what "
            "the file does when it is imported."
        )
        self._send({"id": job.number, "error": {"message": message}})

    def _kill(self, job: _Job) -> None:
        self._forget(job)
        with contextlib.suppress(ProcessLookupError):  # It may have ended by itself.
            os.killpg(job.pid, signal.SIGKILL)
        os.waitpid(job.pid, 0)

    def _forget(self, job: _Job) -> None:
        del self._jobs[job.number]
        self._selector.unregister(job.answers)
        os.close(job.answers)

    def _send(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message).encode() + b"\n")
        self._out.flush()


def _warm_up() -> str:
    """Import what every job needs. Returns why Triton kernels can't be compiled, or nothing."""
    try:
        from kernelevolve.evaluation.languages.triton_launches import warm_up

        warm_up()
        import kernelevolve.evaluation.judge.without_device
        import kernelevolve.evaluation.platforms.artifacts
        import kernelevolve.evaluation.tasks.loading
        import kernelevolve.server.language_server.compile_job  # noqa: F401
    except ImportError as error:
        return (
            f"Kernels are not compiled: {error.name or 'triton'} cannot be imported ({error}). Install it beside "
            "kernelevolve (pip install torch triton) and restart the language server."
        )
    return ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve on stdin and stdout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--triton", action="store_true")
    given = parser.parse_args(arguments)
    # Nothing is launched on a device here, and looking for one takes time.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    worker = CompileWorker()
    worker.serve(_warm_up() if given.triton else "")


if __name__ == "__main__":
    main()
    sys.exit(0)
