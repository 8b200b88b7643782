"""Workers on a GPU that are started before they are needed: a CUDA context takes longer than most checks."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from kernelevolve.evaluation.judge.handle import Spawner, WorkerHandle

_START_LIMIT_S = 60.0


class Workers:
    """Hands out confined workers; on a GPU one more is kept ready.

    Args:
        spawner: where workers come from.
        template: folder for the part of Triton's cache that is the same for every kernel.
    """

    def __init__(self, spawner: Spawner, template: Path) -> None:
        self._spawner = spawner
        self._template = template
        self._ready: dict[str, Future[WorkerHandle]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="spare")

    def take(self, device: str) -> WorkerHandle:
        """A worker that has loaded no candidate yet."""
        with self._lock:
            ready = self._ready.pop(device, None)
        return ready.result() if ready is not None else self._start(device)

    def prepare(self, device: str) -> None:
        """Begin to start the next one, where starting takes long."""
        if device == "cpu":
            return
        with self._lock:
            if device not in self._ready:
                self._ready[device] = self._pool.submit(self._start, device)

    def _start(self, device: str) -> WorkerHandle:
        scratch = self._spawner.scratch_folder()
        try:
            memory = None if device != "cpu" else int(available_memory() * 0.8)
            template = None if device == "cpu" else self._triton_template()
            return self._spawner.spawn(device, memory, scratch, _START_LIMIT_S, template)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _triton_template(self) -> Path | None:
        """Make the template once: what Triton builds with a C compiler before it can launch anything.

        Made by this process and never written by a worker, so no candidate can leave anything for the next.
        """
        try:
            from triton.runtime.driver import driver
        except ImportError:
            return None
        from triton import __version__

        folder = self._template / __version__
        with self._lock:
            if not folder.exists():
                draft = folder.with_name(f"{__version__}.{os.getpid()}")
                before = os.environ.get("TRITON_CACHE_DIR")
                os.environ["TRITON_CACHE_DIR"] = str(draft)
                try:
                    _ = driver.active.utils
                finally:
                    if before is None:
                        del os.environ["TRITON_CACHE_DIR"]
                    else:
                        os.environ["TRITON_CACHE_DIR"] = before
                draft.mkdir(parents=True, exist_ok=True)
                try:
                    draft.rename(folder)
                except OSError:
                    # Another judge was first.
                    shutil.rmtree(draft, ignore_errors=True)
        return folder

    def close(self) -> None:
        """End the workers nobody took."""
        with self._lock:
            ready, self._ready = list(self._ready.values()), {}
        for future in ready:
            if not future.cancel() and future.exception() is None:
                future.result().close()
        self._pool.shutdown(wait=False)


def available_memory() -> int:
    """Memory that new processes may use without swapping, bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo has no MemAvailable")
