"""Which loops of a C++ kernel may run their iterations in another order: at the same time, fused, or interchanged.

Each function returns a proof's result or the reason why there is none; "cannot tell" is a refusal.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence

from kernelevolve.search.synthesizers.affine import Polynomial, TooManyTermsError
from kernelevolve.search.synthesizers.cpp_code import Block
from kernelevolve.search.synthesizers.cpp_loops import Access, Loop

_COUNTS_LOOPS = re.compile(r"\b(?:collapse|ordered|tile|unroll|interchange|fuse|permutation|scan)\b")
"""Words of a #pragma whose meaning depends on which loops follow it, or on their order."""
_MOST_ACCESSES = 40
"""Of one array in one nest, beyond which they are not looked at two by two."""


def _bounds(index: Polynomial, loops: Sequence[Loop], known: frozenset[int]) -> Iterator[tuple[Polynomial, Polynomial]]:
    """Least and largest value of a subscript while the inner loops run; one pair for each way to prove them.

    `loops` holds the inner loops, outermost first. The innermost variable is replaced first, because its bounds may
    mention the others.
    """
    inner: list[Loop] = []
    needed = set(index.symbols)
    for loop in reversed(loops):
        if loop.variable is not None and loop.lower is not None and loop.uppers and loop.variable.number in needed:
            inner.insert(0, loop)
            needed |= loop.lower.symbols.union(*(upper.symbols for upper in loop.uppers))
    for choice in itertools.product(*(loop.uppers for loop in inner)):
        least, largest = index, index
        try:
            for loop, upper in zip(reversed(inner), reversed(choice), strict=True):
                assert loop.variable is not None
                assert loop.lower is not None
                low, high = least.split(loop.variable.number), largest.split(loop.variable.number)
                if low is None or high is None:
                    break
                if not (low[0].never_negative(known) and high[0].never_negative(known)):
                    break
                least = low[0] * loop.lower + low[1]
                largest = high[0] * (upper - Polynomial.constant(1)) + high[1]
            else:
                yield least, largest
        except TooManyTermsError:
            return


def _stay_apart(accesses: Sequence[Access], loop: Loop) -> bool:
    """Whether the accesses of two different iterations of a loop can never meet in one element.

    With the loop variable `v`, every subscript must lie in `[v·S + K, v·S + K + S·step)`, for one stride `S` and one
    start `K` that do not change during the loop.
    """
    assert loop.variable is not None
    spans: list[list[tuple[Polynomial, Polynomial, Polynomial, frozenset[int]]]] = []
    for access in accesses:
        if access.index is None:
            return False
        ways: list[tuple[Polynomial, Polynomial, Polynomial, frozenset[int]]] = []
        for least, largest in _bounds(access.index, loop.inner, access.never_negative):
            low, high = least.split(loop.variable.number), largest.split(loop.variable.number)
            if low is None or high is None or low[0].terms != high[0].terms:
                continue
            if (low[0].symbols | low[1].symbols | high[1].symbols) & loop.declared:
                continue
            ways.append((low[0], low[1], high[1], access.never_negative))
        if not ways:
            return False
        spans.append(ways)
    if math.prod(len(ways) for ways in spans) > 1024:
        return False
    for choice in itertools.product(*spans):
        stride = choice[0][0]
        if any(way[0].terms != stride.terms for way in choice):
            continue
        room = stride * Polynomial.constant(loop.step) - Polynomial.constant(1)
        for start in (way[1] for way in choice):
            if all(
                (low - start).never_negative(known) and (room - (high - start)).never_negative(known)
                for _, low, high, known in choice
            ):
                return True
    return False


def _memory_conflict(
    accesses: Sequence[Access], loop: Loop, harmless: Callable[[Sequence[Access], Loop], bool] = _stay_apart
) -> str | None:
    """Why a loop's accesses forbid another order of its iterations.

    Args:
        accesses: what the loop touches.
        loop: the loop.
        harmless: whether all accesses to one root, at least one of them a write, permit the other order.
    """
    shared = [access for access in accesses if access.root.number not in loop.declared]
    for root in {access.root.number: access.root for access in shared if access.write}.values():
        others = [access for access in shared if access.root is not root]
        if not root.separate and any(not access.root.separate for access in others):
            return f"`{root.name}` may overlap other memory"
        same = [access for access in shared if access.root is root]
        if len({access.element for access in same}) > 1:
            return f"`{root.name}` is used with two element types"
        if not harmless(same, loop):
            return f"two iterations may touch the same element of `{root.name}`"
    return None


def _reductions(loop: Loop) -> dict[str, list[str]] | str:
    """Reduction operator → names of the scalars declared outside that a loop writes to, or why one is no reduction."""
    reductions: dict[str, list[str]] = {}
    kinds: dict[int, str] = {}
    for write in loop.scalar_writes:
        name, number = write.variable.name, write.variable.number
        if number in loop.declared:
            continue
        if write.reduction is None or kinds.setdefault(number, write.reduction) != write.reduction:
            return f"it writes `{name}`, which is carried from one iteration to the next"
        if any(read is write.variable for read in loop.scalar_reads):
            return f"it reads `{name}` while it accumulates into it"
        names = reductions.setdefault(write.reduction, [])
        if name not in names:
            names.append(name)
    return reductions


def parallel_refusal(loop: Loop) -> str | None:
    """Why a loop's iterations may not run at the same time; None where they may."""
    if loop.problems:
        return loop.problems[0]
    if loop.syntax is None or loop.variable is None:
        return "it does not count up by a constant"
    for write in loop.scalar_writes:
        if write.variable.number not in loop.declared:
            return f"it writes `{write.variable.name}`, which is declared outside"
    return _memory_conflict(loop.accesses, loop)


def simd_reductions(loop: Loop) -> dict[str, list[str]] | str:
    """The reductions `#pragma omp simd` needs for an innermost loop.

    Returns:
        Reduction operator → names of the scalars, or the reason why the loop may not run in lanes.
    """
    if loop.inner:
        return "it is not innermost"
    if loop.problems:
        return loop.problems[0]
    if loop.syntax is None or loop.variable is None:
        return "it does not count up by a constant"
    reductions = _reductions(loop)
    if isinstance(reductions, str):
        return reductions
    conflict = _memory_conflict(loop.accesses, loop)
    return reductions if conflict is None else conflict


def fusion_refusal(first: Loop, second: Loop) -> str | None:
    """Why two loops that follow each other may not become one; None where they may."""
    if first.syntax is None or second.syntax is None or first.variable is None or second.variable is None:
        return "one of them does not count up by a constant"
    if first.syntax.header != second.syntax.header:
        return "their headers differ"
    if first.syntax.pragma or second.syntax.pragma:
        return "one of them has a #pragma"
    if first.problems or second.problems:
        return (first.problems + second.problems)[0]
    if first.continues:
        return "`continue` in the first would skip the second"
    for one, other in ((first, second), (second, first)):
        touched = {read.number for read in other.scalar_reads} | {
            write.variable.number for write in other.scalar_writes
        }
        for write in one.scalar_writes:
            if write.variable.number not in one.declared and write.variable.number in touched:
                return f"both use `{write.variable.name}`"
    as_first = Polynomial.symbol(first.variable.number)
    moved: list[Access] = []
    for access in second.accesses:
        index = access.index
        if index is not None:
            parts = index.split(second.variable.number)
            index = None if parts is None else parts[0] * as_first + parts[1]
        moved.append(Access(access.root, access.element, index, access.write, access.never_negative))
    both = Loop(first.function, first.syntax, variable=first.variable, step=first.step)
    both.inner = [*first.inner, *second.inner]
    # Bounds of the second's inner loops may still name its own variable: that must end in a refusal.
    both.declared = first.declared | second.declared | {second.variable.number}
    return _memory_conflict([*first.accesses, *moved], both)


# Interchange


def is_only_statement(loop: Loop, inner: Loop) -> bool:
    """Whether a loop's body is another loop and nothing else."""
    body = loop.syntax.body if loop.syntax else None
    if isinstance(body, Block) and len(body.statements) == 1:
        body = body.statements[0]
    return body is not None and body is inner.syntax


def interchange_refusal(outer: Loop, inner: Loop) -> str | None:
    """Why two nested loops may not swap their places; None where they may.

    They may where no element is touched first in one and later in the other direction: where no dependence has the
    direction (<, >). The scalars that they accumulate into may, as for lanes, differ by rounding.
    """
    if outer.syntax is None or inner.syntax is None or not is_only_statement(outer, inner):
        return "the inner is not all that the outer does"
    if outer.syntax.pragma or inner.syntax.pragma:
        return "one of them has a #pragma"
    if any(_COUNTS_LOOPS.search(loop.pragma) for loop in _around(outer)):
        return "a #pragma further out counts or orders them"
    if outer.problems or inner.problems:
        return (outer.problems + inner.problems)[0]
    if outer.variable is None or inner.variable is None:
        return "one of them does not count up by a constant"
    if inner.continues:
        return "`continue` inside"
    if outer.header is None or inner.header is None:
        return "the bounds of one are more than arithmetic on numbers that stay"
    # The outer's bounds name no variable that its body counts up, so that the inner's variable can hide none of them.
    if outer.variable.name in inner.header:
        return f"the bounds of the inner depend on `{outer.variable.name}`"
    reductions = _reductions(outer)
    if isinstance(reductions, str):
        return reductions
    return _memory_conflict(outer.accesses, outer, lambda accesses, _: _keep_order(accesses, outer, inner))


def _around(loop: Loop) -> Iterator[Loop]:
    while loop.parent is not None:
        loop = loop.parent
        yield loop


def _keep_order(accesses: Sequence[Access], outer: Loop, inner: Loop) -> bool:
    """Whether accesses to the same element come in the same order when two nested loops swap their places."""
    assert outer.variable is not None
    assert inner.variable is not None
    swapped = Loop(inner.function, inner.syntax, variable=inner.variable, step=inner.step)
    swapped.inner = [outer, *inner.inner]
    swapped.declared = (outer.declared | {outer.variable.number}) - {inner.variable.number}

    def harmless(some: Sequence[Access]) -> bool:
        # Elements that meet only within one iteration of the outer, or only within one of the new outer, keep their
        # order: those are the directions (=, *) and (*, =).
        return _stay_apart(some, outer) or _stay_apart(some, swapped)

    if harmless(accesses):
        return True
    different: dict[object, Access] = {}
    for access in accesses:
        if access.index is None:
            return False
        different[frozenset(access.index.terms.items()), access.write, access.never_negative] = access
    if len(different) > _MOST_ACCESSES:
        return False
    return all(
        harmless((one, other)) or _meet_at_one_distance(one, other, outer, inner)
        for one, other in itertools.combinations_with_replacement(different.values(), 2)
        if one.write or other.write
    )


def _meet_at_one_distance(one: Access, other: Access, outer: Loop, inner: Loop) -> bool:
    """Whether two accesses meet, if at all, at one known distance in both loops, and that does not point (<, >).

    With the loop variables `i` and `j`, the subscripts are `a·i + b·j + r` and `a·i + b·j + s`. They are equal for
    distances `d` and `e` with `a·d + b·e = s - r`. One solution is the only one where `b·e` cannot reach `a`: where a
    row is as long as the inner loop is wide.
    """
    assert outer.variable is not None
    assert inner.variable is not None
    first, second = (_linear(access, outer.variable.number, inner.variable.number) for access in (one, other))
    if first is None or second is None:
        return False
    (a, b, rest), (a_other, b_other, rest_other) = first, second
    if a.terms != a_other.terms or b.terms != b_other.terms:
        return False
    changing = outer.declared | {outer.variable.number}
    if changing & (a.symbols | b.symbols | rest.symbols | rest_other.symbols):
        return False
    gap = rest_other - rest
    known = one.never_negative & other.never_negative
    for rows, row, column in ((a, b, inner), (b, a, outer)):
        width = row.number
        if not width:
            continue
        for far, near in _distances(rows, width, gap):
            if _is_only_distance(rows, abs(width), column, abs(near), known):
                return far * near >= 0
    return False


def _linear(access: Access, first: int, second: int) -> tuple[Polynomial, Polynomial, Polynomial] | None:
    """Write a subscript as `a·first + b·second + rest`, with neither symbol in `a`, `b` and `rest`."""
    parts = None if access.index is None else access.index.split(first)
    if parts is None:
        return None
    others = parts[1].split(second)
    return None if others is None or second in parts[0].symbols else (parts[0], *others)


def _distances(rows: Polynomial, width: int, gap: Polynomial) -> Iterator[tuple[int, int]]:
    """Whole numbers `far` and `near` with `rows · far + width · near = gap`."""
    symbolic = next((product for product in rows.terms if product), None)
    if symbolic is not None:
        choices = [gap.terms.get(symbolic, 0) // rows.terms[symbolic]]
    elif rows.number and gap.number is not None:
        choices = [gap.number // rows.number, gap.number // rows.number + 1]
    else:
        return
    for far in choices:
        near = (gap - rows * Polynomial.constant(far)).number
        if near is not None and near % width == 0:
            yield far, near // width


def _is_only_distance(rows: Polynomial, width: int, column: Loop, near: int, known: frozenset[int]) -> bool:
    """Whether `rows` is more than `width` times the longest way from a column of a loop to one `near` another."""
    if column.lower is None:
        return False
    for upper in column.uppers:
        longest = upper - Polynomial.constant(1) - column.lower + Polynomial.constant(near)
        if (rows - Polynomial.constant(width) * longest - Polynomial.constant(1)).never_negative(known):
            return True
    return False
