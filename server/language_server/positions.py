"""Between our positions (lines from 0, columns in code points) and those of the client (UTF-8, UTF-16 or UTF-32)."""

from __future__ import annotations

from lsprotocol import types
from pygls.workspace import PositionCodec

from kernelevolve.server.language_server.kernels import split_lines


class Positions:
    """Positions of one text.

    Args:
        text: the text.
        codec: the encoding that was agreed on.
    """

    def __init__(self, text: str, codec: PositionCodec) -> None:
        self.lines = split_lines(text)
        self._codec = codec

    def range(self, line: int, column: int, end_line: int, end_column: int) -> types.Range:
        """A range; what lies outside the text is moved to its edge."""
        return types.Range(start=self.position(line, column), end=self.position(end_line, end_column))

    def position(self, line: int, column: int) -> types.Position:
        """A position."""
        if line >= len(self.lines):
            line, column = max(len(self.lines) - 1, 0), 1 << 30
        text = self._line(line)
        return types.Position(line=line, character=self._codec.client_num_units(text[: max(column, 0)]))

    def whole_line(self, line: int) -> types.Range:
        """From the first character of a line that is no blank to its end."""
        text = self._line(line)
        return self.range(line, len(text) - len(text.lstrip()), line, len(text.rstrip()))

    def end_of_line(self, line: int) -> types.Position:
        """Behind the last character of a line."""
        return self.position(line, len(self._line(line)))

    def column(self, position: types.Position) -> int:
        """Column of a client's position, in code points; a position outside the text is moved to its edge."""
        units = 0
        text = self._line(position.line)
        for column, character in enumerate(text):
            if units >= position.character:
                return column
            units += self._codec.client_num_units(character)
        return len(text)

    def _line(self, line: int) -> str:
        return self.lines[line] if 0 <= line < len(self.lines) else ""
