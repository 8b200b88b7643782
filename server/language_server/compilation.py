"""Compile the kernels of open files in the background: debounced, superseded by the next save, cached by content."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.version import VERSION
from kernelevolve.server.language_server.child import Child, ChildError
from kernelevolve.server.language_server.costs import Cost, Refusal
from kernelevolve.server.language_server.documents import OpenFile
from kernelevolve.server.language_server.kernels import Kind
from kernelevolve.server.language_server.options import Options

_DEBOUNCE_S = 0.1
_LIMIT_S = 180.0
"""Seconds one file may take; what is not compiled by then is said to have taken too long."""
_FORMAT = 1
"""Of the cached answers; raised when they change."""
_WORKER = "kernelevolve.server.language_server.compile_worker"


class Compilation:
    """Background compilation of all open files.

    Args:
        state: the state folder, where answers are kept.
        on_change: told which file has new figures.
        on_trouble: told once why nothing can be compiled at all.
    """

    def __init__(self, state: Path, on_change: Callable[[str], None], on_trouble: Callable[[str], None]) -> None:
        self._cache = state / "language_server" / "costs"
        self._on_change = on_change
        self._on_trouble = on_trouble
        self._jobs: dict[str, asyncio.Task[None]] = {}
        environment = {
            "TRITON_CACHE_DIR": os.environ.get("TRITON_CACHE_DIR", str(state / "triton")),
            "KERNELEVOLVE_CACHE_DIR": os.environ.get("KERNELEVOLVE_CACHE_DIR", str(state / "native-cache")),
        }
        # C++ needs no warm Triton, and must not wait for it.
        self._triton = Child("compiler process", _WORKER, ("--triton",), environment)
        self._native = Child("compiler process", _WORKER, (), environment)
        self.trouble = ""
        """Why Triton kernels cannot be compiled; empty while nothing is known against it."""

    @property
    def running(self) -> int:
        """Files that are being compiled."""
        return sum(not job.done() for job in self._jobs.values())

    @property
    def worker_pid(self) -> int | None:
        """Process of the warm compiler, while there is one."""
        return self._triton.pid

    async def warm_up(self) -> None:
        """Have the compiler ready before the first save."""
        with contextlib.suppress(ChildError):  # The first compilation says what is wrong.
            await self._triton.start()

    def schedule(self, file: OpenFile, options: Options) -> None:
        """Compile a file soon; what was under way for it is given up."""
        self.forget(file.uri)
        wanted = file.is_native or any(kernel.kind is Kind.KERNEL for kernel in file.scanned.kernels)
        if wanted and file.path is not None:
            self._jobs[file.uri] = asyncio.create_task(self._compile(file, options))
        elif file.costs or file.refusal is not None:
            file.costs, file.refusal = {}, None
            self._on_change(file.uri)

    def forget(self, uri: str) -> None:
        """Give up what is under way for a file."""
        job = self._jobs.pop(uri, None)
        if job is not None:
            job.cancel()

    async def settled(self, uri: str) -> None:
        """Wait until nothing is under way for a file."""
        while (job := self._jobs.get(uri)) is not None and not job.done():
            await asyncio.wait([job])

    async def close(self) -> None:
        """Give up everything and end the processes."""
        for uri in list(self._jobs):
            self.forget(uri)
        await asyncio.gather(self._triton.close(), self._native.close())

    async def _compile(self, file: OpenFile, options: Options) -> None:
        await asyncio.sleep(_DEBOUNCE_S)
        request = _request(file, options)
        key = _key(request)
        known = await asyncio.to_thread(_read, self._cache / f"{key}.json")
        if known is None:
            known = await self._ask(file, request)
            if known.get("keep"):
                await asyncio.to_thread(_write, self._cache / f"{key}.json", known)
        costs = [Cost.read(entry) for entry in known["costs"]]
        file.costs = {(cost.kernel, cost.target): cost for cost in costs}
        file.refusal = Refusal(**known["refusal"]) if known["refusal"] is not None else None
        self._on_change(file.uri)

    async def _ask(self, file: OpenFile, request: dict[str, Any]) -> dict[str, Any]:
        def take(event: dict[str, Any]) -> None:
            cost = Cost.read(event["cost"])
            file.costs[cost.kernel, cost.target] = cost
            self._on_change(file.uri)

        child = self._native if file.is_native else self._triton
        try:
            async with asyncio.timeout(_LIMIT_S):
                answer: dict[str, Any] = await child.ask("compile", request, take)
        except ChildError as error:
            if error.detail.get("unavailable"):
                self._tell(str(error))
                return {"costs": [], "refusal": None, "keep": False}
            return {"costs": _asdicts(file), "refusal": {"message": str(error)}, "keep": False}
        except TimeoutError:
            message = f"Compiling this file was given up after {_LIMIT_S:.0f} s."
            return {"costs": _asdicts(file), "refusal": {"message": message}, "keep": False}
        return answer

    def _tell(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._on_trouble(trouble)


def _asdicts(file: OpenFile) -> list[dict[str, Any]]:
    from dataclasses import asdict

    return [asdict(cost) for cost in file.costs.values()]


def _request(file: OpenFile, options: Options) -> dict[str, Any]:
    return {
        "path": str(file.path),
        "text": file.text,
        "language": file.language,
        "targets": list(options.targets),
        "task": file.task.path if file.scanned.entry is not None and not file.scanned.is_task else None,
        "kernels": [
            {"name": kernel.name, "types": dict(kernel.types), "hash": kernel.text_hash, "line": kernel.line}
            for kernel in file.scanned.kernels
            if kernel.kind is Kind.KERNEL
        ],
    }


def triton_version() -> str | None:
    """Version of the installed Triton, if there is one."""
    try:
        return version("triton")
    except PackageNotFoundError:
        return None


def _key(request: dict[str, Any]) -> str:
    content: dict[str, Any] = {**request, "triton": triton_version(), "version": VERSION, "format": _FORMAT}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, Any] | None:
    """A kept answer, if every file that it rests on is as it was."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        current = all(digest(Path(name)) == before for name, before in known["rests_on"].items())
    except (OSError, ValueError, KeyError):
        return None  # Nothing kept, or nothing that can be read: it is compiled again and then replaced.
    return known if current else None


def digest(path: Path) -> str | None:
    """Hash of a file's content; None where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _write(path: Path, known: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(known), encoding="utf-8")
    draft.replace(path)
