"""What became of each loop of a C++ candidate, from the vectoriser's messages and the loop's instructions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kernelevolve.profilers.report import LoopRemark, SourceLine
from kernelevolve.profilers.static.cpp_instructions import Site

# -- remarks ----------------------------------------------------------------------------------------------------------

# `GCC 12: kernel.cpp:5:25: optimized: loop vectorized using 16 byte vectors`; from 15 on `… and unroll factor 4`, and
# `epilogue loop vectorized using masked 32 byte vectors`. Two blanks or more before a message mean that it comes from
# inside an analysis whose verdict follows; what follows a verdict with one blank repeats its reason.
_MESSAGE = re.compile(r"\S*?:(?P<line>\d+):\d+: (?:missed|optimized|note):(?P<blanks> +)(?P<text>.*)")
_VECTORIZED = re.compile(r"loop vectorized(?: using (?:masked )?(?:(?P<bytes>\d+) byte|variable length) vectors)?")
_FAILED = "couldn't vectorize loop"

_REASONS: tuple[tuple[str, str], ...] = (
    ("in-order \\(fold-left\\) reduction",
     "its floating-point sum keeps the order of the source, so additions run one by one: sum into several "
     "accumulators, or ask for `-fassociative-math -fno-signed-zeros -fno-trapping-math` or `-ffast-math`"),
    ("early breaks? not supported|control flow in loop|multiple exits|abnormal loop exit|complicated exit condition"
     "|latch block not empty|early exit",
     "its body has control flow, such as a `break`, a `return` or a branch that cannot become a select"),
    ("number of iterations cannot be computed|inner-loop count not invariant",
     "how often it runs is not known when it starts"),
    ("function calls or data references|dr in a call",
     "it has inline assembly or accesses to memory that cannot be followed"),
    ("relevant (?:stmt|phi) not supported", "there is no vector instruction for one of its operations"),
    ("possible alias involving gather/scatter",
     "it goes through computed indices, which may hit what another iteration writes"),
    ("dependence between data-refs|bad dist vector|dependence distance negative|scalar dependence cycle",
     "an iteration may need what an earlier one wrote"),
    ("would need a runtime alias check",
     "its pointers may overlap, and at -O2 the compiler adds no check for that: declare them `__restrict__`, or ask "
     "for `-O3`"),
    ("alias run-time tests exceeds|runtime alias check between|compilation time alias|can't determine dependence",
     "its pointers may overlap: declare them `__restrict__`"),
    ("some scalar iterations would need to be peeled",
     "at -O2 only loops without left-over iterations are vectorised: ask for `-O3`"),
    ("profitable|not worthwhile|no profit|too small|iteration count smaller|enough iterations|is greater or equal",
     "the compiler's cost model finds vectors no faster here"),
    ("complicated access pattern|not suitable for|not affine|data ref analysis failed|size of the group of accesses",
     "its addresses do not move by a constant step"),
    ("unsupported use in stmt|live stmt not supported|Unknown def-use cycle",
     "a value is carried from each iteration to the next"),
    ("volatile", "it touches volatile data"),
    ("throw an exception", "one of its statements may throw"),
    ("bitfield", "it touches bit-fields"),
    ("nested loops|consecutive inner loops|outer-?loop form|Bad inner loop", "loops are nested in a way not supported"),
    ("not vectorized", "the compiler gave up on it"),
    ("unsupported data-type|no vectype", "there are no vectors of one of its types"),
)  # fmt: skip
"""Compiler's phrase → plain words, the most telling first."""
_LAST = re.compile(r"no vectype|unsupported data-type|basic block|SLP")
"""What every loop ends in once no narrower vectors are left, or what belongs to straight-line code."""
_WITH_VECTOR_VERSION = ("expf", "logf", "sinf", "cosf")
"""Declared with vector versions by `CppLanguage.prelude`, which GCC takes under -fno-math-errno."""


@dataclass
class _Verdict:
    """What the vectoriser said of one loop, in all its versions."""

    vectorized: bool = False
    vector_bytes: int = 0
    messages: list[str] = field(default_factory=list)


def read_remarks(text: str, source: str, sites: list[Site], where: Callable[[int], SourceLine]) -> Iterator[LoopRemark]:
    """What became of each loop, in the order of their lines.

    Args:
        text: the vectoriser's messages; empty where it did not run.
        source: the candidate.
        sites: its instructions.
        where: number of a line → the line.
    """
    loops = _source_loops(source)
    verdicts = _verdicts(text, loops)
    code: dict[int, list[Site]] = {}
    for site in sites:
        if site.line is not None and (loop := _innermost(loops, site.line)) is not None:
            code.setdefault(loop.line, []).append(site)
    inner = {
        loop.line: {other.line for other in loops if loop.line < other.line <= loop.end and other.end <= loop.end}
        for loop in loops
    }
    absorbed: set[int] = set()
    for line in sorted({loop.line for loop in loops} | set(verdicts)):
        verdict, within = verdicts.get(line), inner.get(line, set())
        if line in absorbed or (within and verdict is None):
            continue
        if within & set(verdicts):
            if verdict is not None and not verdict.vectorized:
                continue
        else:
            absorbed |= within  # The loops in it were unrolled away, so it is the innermost one.
        body = [site for part in ({line} | (within & absorbed)) for site in code.get(part, [])]
        remark = _remark(verdict, body, bool(text), where(line))
        if remark is not None:
            yield remark


def _remark(verdict: _Verdict | None, body: list[Site], spoken: bool, where: SourceLine) -> LoopRemark | None:
    """What became of one loop.

    Args:
        verdict: what the vectoriser said of it; None for nothing.
        body: its instructions.
        spoken: whether the vectoriser said anything at all.
        where: the line.
    """
    repeated = [site for site in body if site.in_loop] or body
    packed = [site for site in repeated if {"vector", "arithmetic"} <= site.kinds or "matrix" in site.kinds]
    scalar = [site for site in repeated if {"scalar_float", "arithmetic"} <= site.kinds]
    calls = sorted({site.call for site in repeated if site.call and not site.call.startswith("_ZGV")})
    width = max((site.vector_bytes for site in packed), default=0)
    if verdict is not None and verdict.vectorized:
        # Loads and products may be vectors while the sum is not: then the chain of scalar additions sets the pace.
        in_order = [message for message in verdict.messages if re.search(_REASONS[0][0], message)]
        return LoopRemark(
            vectorized=not in_order or len(packed) > len(scalar),
            vector_bytes=verdict.vector_bytes or None,
            reason=_reason(in_order, calls) if in_order else "",
            where=where,
        )
    if packed and len(packed) >= len(scalar):
        # Intrinsics, vector types, or straight-line code that was packed.
        return LoopRemark(vectorized=True, vector_bytes=width or None, where=where)
    if verdict is not None:
        return LoopRemark(vectorized=False, reason=_reason(verdict.messages, calls), where=where)
    if not body:
        return None
    library = [call for call in calls if call in ("memset", "memcpy", "memmove")]
    if library:
        return LoopRemark(vectorized=True, reason=f"it became a call of {library[0]}", where=where)
    if not spoken:
        reason = "the vectoriser did not run"
    elif any(site.in_loop for site in body):
        # Nested loops are looked at only from the innermost one, which lies in a header here and is not told.
        reason = "another loop was inlined into it: move calls such as `.numel()` and `.size()` out of it"
    else:
        reason = "it was unrolled completely"
    return LoopRemark(vectorized=False, reason=reason, where=where)


def _verdicts(text: str, loops: list[_SourceLoop]) -> dict[int, _Verdict]:
    """Line of a loop → what the vectoriser said of it."""
    verdicts: dict[int, _Verdict] = {}
    pending: list[tuple[int, str]] = []
    last: _Verdict | None = None
    reach = range(0)
    for line in text.splitlines():
        found = _MESSAGE.match(line)
        if found is None:
            continue
        number, message = int(found["line"]), found["text"]
        done = _VECTORIZED.match(message.removeprefix("epilogue "))
        if done is None and message != _FAILED:
            if len(found["blanks"]) > 1:
                pending.append((number, message))
            elif last is not None and number in reach:
                last.messages.append(message)
            continue
        loop = _innermost(loops, number)
        reach = range(loop.line, loop.end + 1) if loop is not None else range(number, number + 1)
        last = verdicts.setdefault(loop.line if loop is not None else number, _Verdict())
        # Messages of straight-line code and of loops in headers may stand before this loop's own.
        last.messages += [said for at, said in pending if at in reach or _LAST.search(said)]
        pending.clear()
        if done is not None:
            last.vectorized = True
            last.vector_bytes = max(last.vector_bytes, int(done["bytes"] or 0))
            last = None  # What follows is about copies of the loop.
    return verdicts


def _innermost(loops: list[_SourceLoop], line: int) -> _SourceLoop | None:
    return next((loop for loop in reversed(loops) if loop.line <= line <= loop.end), None)


def _reason(messages: list[str], calls: list[str]) -> str:
    """The most telling of a loop's messages in plain words, with the compiler's own phrase."""
    for pattern, plain in _REASONS:
        for message in messages:
            if not re.search(pattern, message) or (pattern == "not vectorized" and _LAST.search(message)):
                continue
            if calls and ("function calls" in pattern or "control flow" in pattern):
                plain = _call_reason(calls) if "function calls" in pattern else f"{plain}; {_call_reason(calls)}"
            if pattern.startswith("relevant") and re.search(r" [/%] ", message):
                plain = "it divides integers, for which there is no vector instruction"
            return f"{plain} (g++: {_phrase(message)})"
    return "the compiler gave no reason"


def _call_reason(calls: list[str]) -> str:
    names = ", ".join(call.split("(")[0] for call in calls[:3])
    if set(calls) <= set(_WITH_VECTOR_VERSION):
        return f"it calls {names}, whose vector version needs `-fno-math-errno`"
    return f"it calls {names}"


def _phrase(message: str) -> str:
    """A message without the names of temporaries, which tell an author nothing."""
    if "stmt not supported" in message:
        return message.rstrip(";. ")
    return re.split(r":? (?:between )?[*&(]*[\w.]*_\d+\b", message)[0].rstrip(";:. ")


# -- loops of the source ----------------------------------------------------------------------------------------------

_BLANKED = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"'
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|^[ \t]*#[^\n]*',
    re.DOTALL | re.MULTILINE,
)
_LOOP = re.compile(r"\b(?P<word>for|while|do)\b")


@dataclass(frozen=True)
class _SourceLoop:
    line: int
    """Line on which it begins."""
    end: int
    """Last line of its body."""


def _source_loops(source: str) -> list[_SourceLoop]:
    """Loops of a C++ source in the order in which they begin. Macros are not expanded."""
    text = _BLANKED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)
    loops: list[_SourceLoop] = []
    tails: set[int] = set()
    for match in _LOOP.finditer(text):
        if match.start() in tails:
            continue
        body = match.end()
        if match["word"] != "do":
            opening = text.find("(", body)
            if opening < 0:
                continue
            body = _closing(text, opening) + 1
        end = _statement_end(text, body)
        if match["word"] == "do" and (tail := re.compile(r"\s*while\b").match(text, end)) is not None:
            tails.add(tail.end() - len("while"))
            end = _statement_end(text, tail.end())
        loops.append(_SourceLoop(text.count("\n", 0, match.start()) + 1, text.count("\n", 0, end) + 1))
    return loops


def _closing(text: str, opening: int) -> int:
    """Where the bracket at `opening` closes; the end of the text if it does not."""
    depth = 0
    for match in re.compile(r"[(\[{]|[)\]}]").finditer(text, opening):
        depth += 1 if match[0] in "([{" else -1
        if depth == 0:
            return match.start()
    return len(text) - 1


def _statement_end(text: str, start: int) -> int:
    """Just past the statement that begins at `start`: a block, or anything up to its semicolon."""
    position = start
    while True:
        found = re.compile(r"[({;]").search(text, position)
        if found is None:
            return len(text)
        closing = found.start() if found[0] == ";" else _closing(text, found.start())
        position = closing + 1
        if found[0] in "{;":
            following = re.compile(r"\s*else\b").match(text, position)
            if following is None:
                return position
            position = following.end()
