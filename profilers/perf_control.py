"""Counting switched on and off from inside the process that perf profiles, and the pipes that this takes."""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

CONTROL_VARIABLE = "KERNELEVOLVE_PERF_CONTROL"
"""Environment variable with the file descriptors of `PerfControl`: commands, acknowledgements, lengths of stretches."""
_ACKNOWLEDGEMENT_LIMIT_S = 10.0


# -- inside the profiled process --------------------------------------------------------------------------------------


class PerfControl:
    """Switches counting on and off from inside the profiled process.

    Args:
        commands: descriptor that perf reads commands from.
        acknowledgements: descriptor that perf answers on.
        stretches: descriptor that hears how long each stretch took.
    """

    def __init__(self, commands: int, acknowledgements: int, stretches: int) -> None:
        self._commands, self._acknowledgements, self._stretches = commands, acknowledgements, stretches
        self._began = math.nan

    @classmethod
    def from_environment(cls) -> PerfControl:
        """The control that whoever started this process set up.

        Raises:
            RuntimeError: this process does not run under `perf_stat`, `perf_record` or `PerfProfiler`.
        """
        numbers = os.environ.get(CONTROL_VARIABLE, "").split(",")
        if len(numbers) != 3:
            raise RuntimeError(f"{CONTROL_VARIABLE} is not set: start this process with perf_stat or perf_record.")
        return cls(*map(int, numbers))

    def enable(self) -> None:
        """Begin to count; returns once perf counts.

        Raises:
            RuntimeError: perf does not answer.
        """
        self._say(b"enable\n")
        self._began = time.perf_counter()

    def disable(self) -> None:
        """Stop counting; returns once perf has stopped.

        Raises:
            RuntimeError: perf does not answer.
        """
        took = time.perf_counter() - self._began
        self._say(b"disable\n")
        os.write(self._stretches, f"{took!r}\n".encode())

    def _say(self, command: bytes) -> None:
        os.write(self._commands, command)
        ready, _, _ = select.select([self._acknowledgements], [], [], _ACKNOWLEDGEMENT_LIMIT_S)
        if not ready or not os.read(self._acknowledgements, 16).startswith(b"ack"):
            raise RuntimeError(f"perf did not acknowledge {command.decode().strip()!r}.")


# -- outside ----------------------------------------------------------------------------------------------------------


@dataclass
class ControlChannel:
    """The pipes of one `PerfControl`, as whoever starts perf sees them."""

    arguments: tuple[str, ...]
    """Options of `perf stat` and `perf record`: begin switched off, listen for commands."""
    environment: dict[str, str]
    """Variables for perf, which hands them on to the profiled process."""
    descriptors: tuple[int, ...]
    """File descriptors that perf and the profiled process inherit."""
    _stretches: int

    def seconds(self) -> float:
        """Total length of the stretches that were counted, seconds; call it once the process has ended.

        It is the profiled process's own word; what it says that makes no sense counts as nothing.
        """
        os.set_blocking(self._stretches, False)
        with contextlib.suppress(BlockingIOError):
            text = os.read(self._stretches, 1 << 16).decode(errors="replace")
            numbers = [float(word) for word in text.split() if re.fullmatch(r"\d+(?:\.\d+)?(?:e-?\d+)?", word)]
            return math.fsum(number for number in numbers if math.isfinite(number))
        return 0.0


@contextmanager
def control_channel() -> Iterator[ControlChannel]:
    """Pipes through which a process under perf can switch it on and off."""
    pipes = [os.pipe() for _ in range(3)]
    (commands, say), (hear, acknowledgements), (stretches, tell) = pipes
    try:
        yield ControlChannel(
            arguments=("--delay", "-1", "--control", f"fd:{commands},{acknowledgements}"),
            # Decimal points in perf's output follow the locale.
            environment={CONTROL_VARIABLE: f"{say},{hear},{tell}", "LC_ALL": "C.UTF-8"},
            descriptors=(commands, say, hear, acknowledgements, tell),
            _stretches=stretches,
        )
    finally:
        for descriptor in (end for pipe in pipes for end in pipe):
            os.close(descriptor)
