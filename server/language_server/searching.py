"""Start a search in a process of its own: it goes on when the editor is closed, and shows in the state folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from kernelevolve.server.language_server.documents import OpenFile
from kernelevolve.server.language_server.errors import Refused
from kernelevolve.server.language_server.progress import CommandProgress
from kernelevolve.server.language_server.remembered import Remembered

if TYPE_CHECKING:
    from kernelevolve.server.language_server.server import KernelServer

_STARTED = re.compile(r"^search (?P<id>\S+)", re.MULTILINE)
_POLL_S = 0.1
_LIMIT_S = 180.0
_LAST_WORDS = 1_500


async def start_search(
    server: KernelServer, file: OpenFile, evaluations: int, minutes: float, progress: CommandProgress
) -> str:
    """Start a search from a file's text as it is, and wait until the search has its id.

    Args:
        server: the server.
        file: a candidate, or the task itself.
        evaluations: candidates to judge, at most.
        minutes: how long it may take.
        progress: told how the start goes.

    Returns:
        The search's id.

    Raises:
        Refused: the search cannot start; the text is what it said.
    """
    where = await server.desk.ask("search_platform", {"language": file.language, "targets": server.options.targets})
    folder = server.state / "language_server" / "searches"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    command = [
        sys.executable, "-m", "kernelevolve.server.command_line", "optimize", str(file.task.path),
        "--platform", where["platform"], "--evaluations", str(evaluations), "--minutes", f"{minutes:g}",
        "--synthesizer", server.options.author, "--state", str(server.state),
    ]  # fmt: skip
    if not file.scanned.is_task:
        # The text as it is in the editor, saved or not.
        start = folder / f"{name}{file.suffix}"
        start.write_text(file.text, encoding="utf-8")
        command += ["--start", str(start)]
    log = folder / f"{name}.log"
    progress.report("starting the judge")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
        )
    try:
        search = await _id(process, log)
    except BaseException:
        # Cancelled, or refused: nothing of it goes on unseen.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        raise
    if file.path is not None:
        Remembered(server.state).keep_file(search, str(file.path))
    server.keep(process)
    # Whatever the editor declared: its lenses name the best kernel as soon as there is one.
    await server.desk.follow()
    return search


async def _id(process: asyncio.subprocess.Process, log: Path) -> str:
    deadline = time.monotonic() + _LIMIT_S
    while True:
        ended = process.returncode is not None
        said = await asyncio.to_thread(log.read_text, encoding="utf-8", errors="replace")
        match = _STARTED.search(said)
        if match is not None:
            return match["id"]
        if ended:
            raise Refused(f"The search did not start: {said.strip()[-_LAST_WORDS:] or 'it ended without a word.'}")
        if time.monotonic() > deadline:
            raise Refused(f"The search did not start within {_LIMIT_S:.0f} s. What it said so far is in {log}.")
        await asyncio.sleep(_POLL_S)
