"""Where in the candidate an operation of MLIR comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kernelevolve.profilers.report import SourceLine
from kernelevolve.profilers.static.ttgir_attributes import split_top
from kernelevolve.profilers.static.ttgir_parser import Module

_FILE = re.compile(r'"((?:[^"\\]|\\.)*)":(\d+):(\d+)')
_NAMED = re.compile(r'"(?:[^"\\]|\\.)*"\((.*)\)')
_FUSED = re.compile(r"fused(?:<.*>)?\[(.*)\]")
_CALL = re.compile(r"callsite\((.*)\)")


@dataclass(frozen=True)
class Frame:
    """A place in a file."""

    file: str
    line: int
    column: int


class Locations:
    """Resolves the locations of one module.

    Args:
        module: the module; the file of its first public function is the candidate's.
        source: the candidate's text.
    """

    def __init__(self, module: Module, source: str) -> None:
        self._aliases = module.aliases
        self._lines = source.splitlines()
        self._resolved: dict[str, tuple[Frame, ...]] = {}
        self._file = ""
        for operation in module.walk():
            if operation.name == "tt.func" and (frames := self.frames(operation.location)):
                self._file = frames[0].file
                break

    def frames(self, location: str) -> tuple[Frame, ...]:
        """The places of a location, that of the innermost called function first; empty if it is not known.

        Of a `fused` location, which stands for several operations that became one, the first that is known counts.
        """
        found = self._resolved.get(location)
        if found is None:
            # An alias that refers to itself ends here.
            self._resolved[location] = ()
            found = self._resolved[location] = self._resolve(location)
        return found

    def line(self, location: str) -> SourceLine | None:
        """The innermost line that lies in the candidate's file; None if there is none."""
        for frame in self.frames(location):
            if frame.file == self._file and 0 < frame.line <= len(self._lines):
                return SourceLine(line=frame.line, text=self._lines[frame.line - 1].strip())
        return None

    def _resolve(self, location: str) -> tuple[Frame, ...]:
        if location.startswith("#"):
            return self.frames(self._aliases.get(location, ""))
        if match := _FILE.match(location):
            return (Frame(match.group(1), int(match.group(2)), int(match.group(3))),)
        if match := _CALL.fullmatch(location):
            callee, caller = _split_call(match.group(1))
            return self.frames(callee) + self.frames(caller)
        if match := _NAMED.fullmatch(location):
            return self.frames(match.group(1))
        if match := _FUSED.fullmatch(location):
            return next((frames for piece in split_top(match.group(1)) if (frames := self.frames(piece))), ())
        return ()


def _split_call(text: str) -> tuple[str, str]:
    """Callee and caller of `callee at caller`, where a callee may hold calls itself and a file's name the word `at`."""
    at = text.find(" at ")
    while at >= 0:
        callee = text[:at]
        if callee.count("(") == callee.count(")") and callee.count('"') % 2 == 0:
            return callee, text[at + 4 :]
        at = text.find(" at ", at + 4)
    return text, ""
