"""What is profiled, and how a profiler gets at it: its code, and a process that runs it under a tool."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError, PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.protection import VARIABLE, Protection, chosen, using
from kernelevolve.evaluation.judge.survey import survey
from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.language import get_language
from kernelevolve.evaluation.platform import Platform

_BUILD_LIMIT_S = 180.0
_LOG_BYTES = 3_000
RESULT_BYTES = 100 << 20
"""A result file of the profiled process that is larger is not read."""


@dataclass(frozen=True)
class TargetRun:
    """How one run of the profiled process ended."""

    result: dict[str, Any]
    """What the process wrote; empty if it wrote nothing."""
    folder: Path
    """Its scratch folder, with whatever the tool wrote; removed when the profile is done."""
    output: str
    """The last words of the process and the tool, on stdout and stderr."""
    code: int
    """Exit code; negative for a signal."""
    timed_out: bool
    """Whether it was ended because it took too long."""
    took_s: float
    """Wall time, seconds."""


@dataclass
class Subject:
    """A candidate on a platform, for profilers to look at."""

    task: str
    """Path of the task, or `aten::<operator>`."""
    candidate: Candidate
    """What is profiled."""
    platform: Platform
    """For what."""
    case: str
    """Name of the case."""
    dtype: str
    """Its dtype."""
    folder: Path
    """Scratch folder of this profile, the only one that the profiled process may write to."""
    compile_code: Callable[[], list[KernelCode]]
    """Compiles the candidate for the platform; see `Judge.code`."""
    limit_s: float = 120.0
    """Seconds that one run of the profiled process may take."""
    more: bool = False
    """Whether a second, larger set of counters is wanted."""
    sandbox: Protection = field(default_factory=chosen)
    """Which walls stand around what is run."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set from another thread: the process under way is killed."""
    _code: list[KernelCode] | None = None

    def code(self) -> list[KernelCode]:
        """What compilers made of the candidate's kernels; compiled once.

        Raises:
            KernelEvolveError: it does not compile, or a compiler is missing.
        """
        if self._code is None:
            self._code = self.compile_code()
        return self._code

    def run(
        self,
        mode: str,
        wrapper: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        source: str | None = None,
        limit_s: float | None = None,
        pass_descriptors: Sequence[int] = (),
        **options: Any,
    ) -> TargetRun:
        """Run the candidate in a confined process of its own (`profilers/target.py`), under a tool.

        Args:
            mode: what the process does between start and end; see `profilers/target.py`.
            wrapper: command of the tool, to which the process's own is appended; `{folder}` stands for its folder.
            environment: variables on top of this process's.
            source: another source than the candidate's, e.g. an instrumented one.
            limit_s: seconds it may take; `Subject.limit_s` by default.
            pass_descriptors: file descriptors that the process inherits.
            options: passed on to the mode.

        Raises:
            KernelEvolveError: the candidate can't be built.
            PlatformError: there is no device for the platform.
        """
        folder = self.folder / f"{mode}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True, mode=0o700)
        candidate = self.candidate if source is None else self.candidate.model_copy(update={"source": source})
        with using(self.sandbox):
            artifact = get_language(candidate.language).build(candidate, self.platform, folder, _BUILD_LIMIT_S)
        if artifact.library is not None and not artifact.library.is_relative_to(folder):
            copy = folder / artifact.library.name
            shutil.copyfile(artifact.library, copy)
            artifact = artifact.model_copy(update={"library": copy})
        specification = {
            "task": self.task,
            "artifact": artifact.model_dump(mode="json"),
            "case": self.case,
            "dtype": self.dtype,
            "device": self.device(),
            "enclosed": self.sandbox in (Protection.AUTO, Protection.BWRAP) and survey().enclosing,
            "mode": mode,
            # One scratch folder for all runs of a profile, so that Triton compiles once.
            "scratch": str(self.folder),
            "folder": str(folder),
            "options": options,
        }
        (folder / "specification.json").write_text(json.dumps(specification), encoding="utf-8")
        command = [part.replace("{folder}", str(folder)) for part in wrapper]
        command += [sys.executable, "-P", "-m", "kernelevolve.profilers.target", str(folder / "specification.json")]
        began = time.monotonic()
        log = folder / "output.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=tuple(pass_descriptors),
                env={
                    **os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "TMPDIR": str(folder),
                    VARIABLE: self.sandbox.value, **(environment or {}),
                },
            )  # fmt: skip
        timed_out = self._wait(process, limit_s or self.limit_s)
        return TargetRun(
            result=_read_result(folder / "result.json"),
            folder=folder,
            output=_tail(log),
            code=process.returncode,
            timed_out=timed_out,
            took_s=time.monotonic() - began,
        )

    def _wait(self, process: subprocess.Popen[bytes], limit_s: float) -> bool:
        """Wait for the end, the limit or the cancellation, and leave nothing running.

        Returns:
            Whether the limit ended it.
        """
        deadline = time.monotonic() + limit_s
        try:
            while process.poll() is None:
                if self.cancelled.wait(0.02):
                    raise CandidateError(Finding.TIME_LIMIT, "The profile was cancelled.")
                if time.monotonic() > deadline:
                    return True
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def device(self) -> str:
        """The torch device that runs it.

        Raises:
            PlatformError: there is none here.
        """
        if self.platform.device_kind == "cpu":
            return "cpu"
        if self.platform.availability().device is None:
            raise PlatformError(
                Finding.LANGUAGE_ON_PLATFORM,
                f"There is no {self.platform.name} device here.",
                "Ask for the static part alone, or profile where the device is.",
            )
        devices: list[Any] = self.platform.devices()  # type: ignore[attr-defined]
        return f"cuda:{devices[0].index}"


@contextmanager
def scratch_folder(state: Path) -> Iterator[Path]:
    """A folder for one profile, removed at its end; with the part of Triton's cache that is the same for every kernel,
    where a judge has made it."""
    folder = state / "scratch" / str(os.getpid()) / f"profile-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True, mode=0o700)
    if find_spec("triton") is not None and (template := state / "triton-template" / version("triton")).is_dir():
        shutil.copytree(template, folder / "triton")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_result(path: Path) -> dict[str, Any]:
    """What the process wrote. It is the candidate's process, so nothing about the file is taken for granted."""
    if not path.is_file() or path.is_symlink():
        return {}
    if path.stat().st_size > RESULT_BYTES:
        return {"failed": f"the result has {path.stat().st_size >> 20} MB; at most {RESULT_BYTES >> 20} MB are read"}
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return {"failed": f"the result can't be read: {error}"}
    return result if isinstance(result, dict) else {"failed": "the result is no JSON object"}


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG_BYTES))
        return file.read().decode(errors="replace").strip()
