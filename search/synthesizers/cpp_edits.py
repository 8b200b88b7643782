"""Changes to a C++ kernel that keep its meaning: compiler flags, OpenMP lines, constants, types and loop orders."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kernelevolve.search.synthesizers.cpp_code import (
    INTEGER_TYPES,
    NotUnderstoodError,
    Source,
    Token,
    enclosing_pairs,
    index_at,
    line_start,
    read_source,
)
from kernelevolve.search.synthesizers.cpp_dependences import (
    fusion_refusal,
    interchange_refusal,
    parallel_refusal,
    simd_reductions,
)
from kernelevolve.search.synthesizers.cpp_loops import Loop, Model, Variable, read_loops
from kernelevolve.search.synthesizers.edit import Edit, Replacement

_FLAGS_LINE = re.compile(r"//\s*kernelevolve:\s*flags\b[ \t]*(?P<flags>.*?)\s*$", re.DOTALL)
_FAST_MATH = ("-ffast-math", "-fno-finite-math-only")
"""Infinities and NaN are checked, so `-ffast-math` must never come without its second half, which must come later."""
_REORDER = ("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math")
"""What fast math allows, less what it does to NaN, infinities and (by start-up code that it links) subnormals."""
_FAMILIES = (re.compile(r"-O[0-3]$"), re.compile(r"-mprefer-vector-width="))
"""Flags that replace each other."""
_SCHEDULES = ("static", "dynamic,1", "dynamic,8", "dynamic,64")
_SCHEDULE = re.compile(r"\bschedule\s*\([^()]*\)")
_TUNABLE_NAME = re.compile(r"(?:BLOCK|TILE|UNROLL|VECTOR)")
_TUNE_MARK = re.compile(r"//\s*tune\b")
_LARGEST_CONSTANT = 65536


def cpp_edits(text: str) -> list[Edit]:
    """Every change this module can make to a source; empty where the source cannot be read."""
    try:
        source = read_source(text)
    except NotUnderstoodError:
        return []
    model = read_loops(source)
    return [
        *_flag_edits(source),
        *_parallel_edits(model),
        *_schedule_edits(model),
        *_simd_edits(model),
        *_type_edits(model),
        *_constant_edits(model),
        *_fusion_edits(model),
        *_interchange_edits(model),
    ]


# Flags


def _flag_edits(source: Source) -> Iterator[Edit]:
    lines = [(note, match) for note in source.comments if (match := _FLAGS_LINE.match(note.text))]
    if len(lines) > 1:
        return  # which of them wins is the compiler step's business
    now = lines[0][1]["flags"].split() if lines else []
    span = (lines[0][0].start, lines[0][0].end) if lines else (0, 0)

    def put(rank: int, *wanted: str) -> Iterator[Edit]:
        replaced = [family for family in _FAMILIES if any(family.match(flag) for flag in wanted)]
        kept = [flag for flag in now if flag not in wanted and not any(family.match(flag) for family in replaced)]
        flags = [*kept, *wanted]
        if set(flags) != set(now):
            line = "// kernelevolve: flags " + " ".join(flags)
            yield Edit("flags " + " ".join(wanted), rank, (Replacement(*span, line if lines else line + "\n"),))

    native = [flag for flag in ("-O3", "-march=native") if flag not in now]
    if native:
        yield from put(0, *native)
    fast = "-ffast-math" in now
    if not (fast and "-fno-finite-math-only" in now):
        yield from put(2, *_FAST_MATH)
    if not fast:
        yield from put(5, *_REORDER)
        yield from put(7, "-fno-math-errno")
    yield from put(7, "-mprefer-vector-width=512")
    yield from put(8, "-mprefer-vector-width=256")
    yield from put(7, "-funroll-loops")


# OpenMP


def _line_before(text: str, offset: int, line: str) -> Replacement:
    """Insert a line before the statement at an offset, with its indentation."""
    start = line_start(text, offset)
    lead = text[start:offset]
    if not lead.strip():
        return Replacement(start, start, f"{lead}{line}\n")
    indent = lead[: len(lead) - len(lead.lstrip())]
    return Replacement(offset, offset, f"\n{indent}{line}\n{indent}")


def _parallel_edits(model: Model) -> Iterator[Edit]:
    for loop in model.loops:
        outermost = loop.parent is None and loop.function == "kernel" and loop.function not in model.loose_pragmas
        if not outermost or loop.syntax is None or parallel_refusal(loop) is not None:
            continue
        what = f"parallel for at {loop.label}, schedule(static)"
        if not loop.pragma:
            line = "#pragma omp parallel for schedule(static)"
            yield Edit(what, 1, (_line_before(model.source.text, loop.syntax.keyword.start, line),))
        elif re.match(r"omp simd\b", loop.pragma):
            words = loop.pragma.replace("omp simd", "omp parallel for simd", 1) + " schedule(static)"
            yield Edit(what, 1, (_pragma(loop, words),))


def _schedule_edits(model: Model) -> Iterator[Edit]:
    for loop in model.loops:
        if not _is_parallel(loop) or re.search(r"\bordered\b", loop.pragma) or _asks_for_threads(model.source, loop):
            continue
        now = _SCHEDULE.search(loop.pragma)
        for schedule in _SCHEDULES:
            clause = f"schedule({schedule})"
            if now is not None and now[0].replace(" ", "") == clause:
                continue
            words = _SCHEDULE.sub(clause, loop.pragma) if now else f"{loop.pragma} {clause}"
            yield Edit(f"{clause} at {loop.label}", 6, (_pragma(loop, words),))


def _simd_edits(model: Model) -> Iterator[Edit]:
    for loop in model.loops:
        if loop.syntax is None or re.search(r"\bsimd\b", loop.pragma):
            continue
        reductions = simd_reductions(loop)
        if isinstance(reductions, str):
            continue
        clauses = "omp simd" + "".join(f" reduction({sign}:{','.join(names)})" for sign, names in reductions.items())
        what = f"{clauses} at {loop.label}"
        if not loop.pragma:
            line = _line_before(model.source.text, loop.syntax.keyword.start, f"#pragma {clauses}")
            yield Edit(what, 3, (line,))
        elif _is_parallel(loop) and not reductions:
            words = re.sub(r"^omp parallel for\b", "omp parallel for simd", loop.pragma)
            yield Edit(what, 3, (_pragma(loop, words),))


def _is_parallel(loop: Loop) -> bool:
    return re.match(r"omp parallel for\b", loop.pragma) is not None


def _pragma(loop: Loop, words: str) -> Replacement:
    assert loop.syntax is not None
    assert loop.syntax.pragma is not None
    return Replacement(loop.syntax.pragma.start, loop.syntax.pragma.end, f"#pragma {words}")


def _asks_for_threads(source: Source, loop: Loop) -> bool:
    """Whether a loop calls OpenMP itself: its result may then depend on the schedule."""
    assert loop.syntax is not None
    first, last = index_at(source.tokens, loop.syntax.keyword.start), index_at(source.tokens, loop.syntax.end - 1)
    return any(token.text.startswith("omp_") for token in source.tokens[first : last + 1])


# Types and constants


def _type_edits(model: Model) -> Iterator[Edit]:
    for variable in model.accumulators:
        word = variable.declarator.word if variable.declarator else None
        if word is None or variable.declarator is None or variable.declarator.extents:
            continue
        other = "float" if word.text == "double" else "double"
        rank = 3 if other == "float" else 8
        yield Edit(f"accumulate `{variable.name}` in {other}", rank, (Replacement(word.start, word.end, other),))


def _constant_edits(model: Model) -> Iterator[Edit]:
    source = model.source
    for name, value in _constants(source):
        marked = _TUNE_MARK.search(source.comment_on_line(value.end)) is not None
        if not marked and not (_TUNABLE_NAME.match(name.text) and _only_sizes(source, name)):
            continue
        now = int(value.text)
        for new in (now * 2, now // 2):
            if now < 1 or new > _LARGEST_CONSTANT or new < 1 or (new < now and now % 2):
                continue
            change = Edit(f"{name.text} = {new}", 6, (Replacement(value.start, value.end, str(new)),))
            if _unproven(read_loops(read_source(change.apply(source.text)))) <= _unproven(model):
                yield change


def _constants(source: Source) -> Iterator[tuple[Token, Token]]:
    """Name and value of each `constexpr <integer type> NAME = NUMBER;`."""
    tokens = source.tokens
    for index, token in enumerate(tokens):
        if token.text != "constexpr" or token.kind != "name":
            continue
        at = index + 1
        while at < len(tokens) and tokens[at].text in INTEGER_TYPES | {"std", "::", "static", "inline"}:
            at += 1
        tail = tokens[at : at + 4]
        if len(tail) == 4 and tail[0].kind == "name" and tail[1].text == "=" and tail[3].text == ";":
            named_type = any(word.text in INTEGER_TYPES for word in tokens[index + 1 : at])
            if named_type and re.fullmatch(r"[1-9]\d*", tail[2].text):
                yield tail[0], tail[2]


def _only_sizes(source: Source, name: Token) -> bool:
    """Whether a constant occurs only where a block size does: in loop headers, in `[…]` and in other integer constants.

    Anywhere else it may be a value of the computation.
    """
    pairs = enclosing_pairs(source)
    headers = [
        (tokens[1].start, next(end for start, end, _ in pairs if start == tokens[1].start))
        for tokens in zip(source.tokens, source.tokens[1:], strict=False)
        if tokens[0].text == "for" and tokens[0].kind == "name" and tokens[1].text == "("
    ]
    places = headers + [(start, end) for start, end, sign in pairs if sign == "["]
    for index, token in enumerate(source.tokens):
        if token.kind == "directive" and re.search(rf"\b{re.escape(name.text)}\b", token.text):
            return False
        if token.kind != "name" or token.text != name.text or token.start == name.start:
            continue
        if not any(start < token.start < end for start, end in places) and not _in_integer_constant(source, index):
            return False
    return True


def _in_integer_constant(source: Source, index: int) -> bool:
    first = index
    while first > 0:
        before = source.tokens[first - 1]
        if before.text in (";", "{", "}") or before.kind == "directive":
            break
        first -= 1
    words = [token.text for token in source.tokens[first:index]]
    return bool(words) and words[0] in ("const", "constexpr", "static") and bool(INTEGER_TYPES.intersection(words))


def _unproven(model: Model) -> int:
    """How many OpenMP loops rest on the author's word alone."""
    return sum(
        (_is_parallel(loop) and parallel_refusal(loop) is not None)
        or (loop.pragma.startswith("omp simd") and isinstance(simd_reductions(loop), str))
        for loop in model.loops
    )


# Fused and interchanged loops


def _fusion_edits(model: Model) -> Iterator[Edit]:
    for first, second in model.neighbours:
        if fusion_refusal(first, second) is not None or first.syntax is None or second.syntax is None:
            continue
        changes = (
            Replacement(first.syntax.after_header, first.syntax.after_header, " {"),
            Replacement(second.syntax.keyword.start, second.syntax.after_header, ""),
            Replacement(second.syntax.end, second.syntax.end, " }"),
        )
        yield Edit(f"fuse {first.label} and {second.label}", 7, changes)


def _interchange_edits(model: Model) -> Iterator[Edit]:
    text = model.source.text
    for inner in model.loops:
        outer = inner.parent
        if outer is None or outer.function in model.loose_pragmas or interchange_refusal(outer, inner) is not None:
            continue
        spans = [(loop.syntax.keyword.start, loop.syntax.after_header) for loop in (outer, inner) if loop.syntax]
        changes = tuple(
            Replacement(start, end, text[slice(*other)]) for (start, end), other in zip(spans, spans[::-1], strict=True)
        )
        # Neighbouring elements in neighbouring iterations are what caches and vector units are made for.
        better = not inner.inner and _leaps(outer, outer.variable) < _leaps(outer, inner.variable)
        yield Edit(f"interchange {outer.label} and {inner.label}", 2 if better else 7, changes)


def _leaps(loop: Loop, variable: Variable | None) -> int:
    """How many accesses of a loop go to another element, and not to the next one, when a loop variable counts up."""
    assert variable is not None
    steps = [access.index.split(variable.number) for access in loop.accesses if access.index is not None]
    return sum(step is None or step[0].number not in (-1, 0, 1) for step in steps)
