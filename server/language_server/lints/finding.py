"""What the editor says about a place in a Triton kernel."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["error", "warning", "information", "hint"]
"""`error`: Triton refuses it for certain. `warning`: wrong or refused for some arguments. `hint`: worth a look."""

_DOCUMENTS = "knowledge://"


@dataclass(frozen=True)
class Lint:
    """One remark; positions count from 0, columns count Unicode code points, the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int
    code: str
    """E.g. `KE101`; what `# noqa: KE101` names."""
    name: str
    """E.g. `arange-not-a-power-of-two`."""
    severity: Severity
    message: str
    """What is wrong and what to do."""
    documentation: str | None = None
    """A `knowledge://` link."""


@dataclass(frozen=True)
class Rule:
    """A kind of remark."""

    code: str
    name: str
    severity: Severity
    """Of a remark that holds for certain; rules lower it where the code may never be compiled."""
    document: str = ""
    """Id of a document of the knowledge base."""

    def at(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword, message: str, severity: Severity = "hint") -> Lint:
        """A remark about a node. Columns are still UTF-8 bytes, as `ast` counts; `lint` converts them."""
        end_line = node.end_lineno if node.end_lineno is not None else node.lineno
        end_column = node.end_col_offset if node.end_col_offset is not None else node.col_offset
        if isinstance(node, ast.stmt) and end_line != node.lineno:
            # A squiggle under a whole loop hides everything else: the first line names it.
            end_line, end_column = node.lineno, node.col_offset + 1
        document = f"{_DOCUMENTS}{self.document}" if self.document else None
        return Lint(
            node.lineno - 1,
            node.col_offset,
            end_line - 1,
            end_column,
            self.code,
            self.name,
            severity,
            message,
            document,
        )


def in_code_points(found: Lint, lines: list[str]) -> Lint:
    """The remark with columns that count code points instead of UTF-8 bytes."""

    def column(line: int, offset: int) -> int:
        text = lines[line] if line < len(lines) else ""
        return offset if text.isascii() else len(text.encode()[:offset].decode(errors="ignore"))

    return replace(found, column=column(found.line, found.column), end_column=column(found.end_line, found.end_column))


_BASICS = "constraints/triton_kernel_language"
_SHAPES = "constraints/triton_block_shapes"
_MASKS = "guidance/triton_masks_and_bounds"
_DOT = "constraints/triton_dot_shapes"
_TUNING = "guidance/triton_autotune_api"
_OFFSETS = "guidance/triton_int64_offsets"

ARANGE = Rule("KE101", "arange-not-a-power-of-two", "error", _SHAPES)
SHAPE = Rule("KE102", "block-shape-refused", "error", _SHAPES)
RUNTIME_SHAPE = Rule("KE103", "shape-not-constexpr", "error", _SHAPES)
MISSING_CONSTEXPR = Rule("KE104", "block-parameter-not-constexpr", "error", _SHAPES)
UNUSED_CONSTEXPR = Rule("KE105", "unused-constexpr", "hint", _BASICS)
CONSTEXPR_REASSIGNED = Rule("KE106", "constexpr-reassigned", "error", _BASICS)
NO_MASK = Rule("KE201", "access-without-mask", "hint", _MASKS)
NO_OTHER = Rule("KE202", "reduced-without-other", "warning", _MASKS)
WRONG_OTHER = Rule("KE203", "other-is-not-neutral", "hint", _MASKS)
OVERFLOW = Rule("KE204", "offset-may-overflow", "hint", _OFFSETS)
WIDENED_LATE = Rule("KE205", "widened-after-overflow", "warning", _OFFSETS)
FLOAT_INDEX = Rule("KE206", "index-is-a-float", "error", "guidance/triton_language_basics")
BLOCK_POINTER = Rule("KE207", "block-pointers-removed", "error", "constraints/triton_block_pointers_removed")
DOT_TYPES = Rule("KE301", "dot-operands-differ", "error", _DOT)
DOT_ACCUMULATOR = Rule("KE302", "dot-accumulator", "warning", _DOT)
DOT_PRECISION = Rule("KE303", "dot-tf32-by-default", "information", "constraints/triton_dot_precision")
DOT_OPTION = Rule("KE304", "dot-option-deprecated", "information", "constraints/triton_dot_precision")
CONDITION = Rule("KE401", "condition-on-a-block", "error", _BASICS)
BOOLEAN = Rule("KE402", "and-or-on-blocks", "hint", _BASICS)
LOOP_JUMP = Rule("KE403", "break-or-continue", "error", _BASICS)
LOOP_RETURN = Rule("KE404", "return-in-a-loop", "error", _BASICS)
LOOP_ITERATOR = Rule("KE405", "loop-over-something-else", "error", _BASICS)
STATIC_RANGE = Rule("KE406", "static-range-not-constexpr", "error", _BASICS)
SYNTAX = Rule("KE407", "python-not-in-triton", "error", _BASICS)
INDEXING = Rule("KE408", "block-indexed", "error", _BASICS)
MIN_MAX = Rule("KE409", "min-max-of-python", "error", _BASICS)
PROGRAM_AXIS = Rule("KE410", "program-axis", "error", "guidance/triton_language_basics")
UNKNOWN_NAME = Rule("KE501", "unknown-name", "error", "guidance/debugging_compile_errors")
GLOBAL = Rule("KE502", "global-not-constexpr", "error", _BASICS)
HOST_LIBRARY = Rule("KE503", "host-library-in-kernel", "error", _BASICS)
TUNE_KEY = Rule("KE601", "autotune-key", "error", _TUNING)
TUNE_CONFIG = Rule("KE602", "autotune-configuration", "warning", _TUNING)
TUNE_ORDER = Rule("KE603", "decorator-order", "error", _TUNING)
TOO_DEEP = Rule("KE901", "too-deep-to-check", "information")

RULES = {rule.code: rule for rule in list(globals().values()) if isinstance(rule, Rule)}
"""Every rule by its code."""
