"""Facts of a C++ candidate: its loops and what the vectoriser made of them, its instructions by what they do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.languages.cpp_code import read_disassembly
from kernelevolve.profilers.report import InstructionMix, MatrixOperation, SourceLine, StaticKernel
from kernelevolve.profilers.static.cpp_instructions import Site, sites_aarch64, sites_x86
from kernelevolve.profilers.static.cpp_remarks import read_remarks


def read_cpp(code: KernelCode, source: str) -> StaticKernel:
    """Read the machine code and the remarks of a C++ candidate.

    Loops that only hold other loops are left out of `remarks` unless they were vectorised themselves: the vectoriser
    works on innermost loops. A loop that is not compiled at all (an unused template, say) is left out too.

    On a CPU the groups of `InstructionMix` overlap: `vmulps (%rax), %ymm0, %ymm1` is one of `vector` and one of
    `global_memory`. Moves between registers are part of `total` alone. `local_memory` is what goes to the stack:
    spills, local arrays, and outside of loops also arguments. `divisions` and `spill_lines` are lines of loops.

    Args:
        code: stages `assembly` and `remarks`, as `cpp_code.kernel_code` makes them; x86-64 or AArch64.
        source: the candidate.
    """
    text = code.stages.get("assembly", "")
    functions = read_disassembly(text)
    own_lines = {entry.line for function in functions if function.own for entry in function.instructions}
    x86 = re.search(r"%[re]?[abcds][xip]\b|%[xyz]mm\d", text) is not None
    sites = [
        site
        for function in functions
        for site in (sites_x86(function) if x86 else sites_aarch64(function))
        # What was inlined elsewhere as well as compiled by itself would count twice.
        if function.own or site.line not in own_lines
    ]
    lines = source.splitlines()

    def where(number: int) -> SourceLine:
        return SourceLine(line=number, text=lines[number - 1].strip() if 0 < number <= len(lines) else "")

    def ranked(kind: str) -> tuple[SourceLine, ...]:
        counts = Counter(site.line for site in sites if kind in site.kinds and site.in_loop and site.line is not None)
        return tuple(where(number) for number, _count in counts.most_common())

    notes = []
    if not functions:
        notes.append("no machine code of the candidate's own lines was found")
    if not code.stages.get("remarks"):
        notes.append("the vectoriser said nothing: it is off below -O2, and in GCC before 12 below -O3")
    return StaticKernel(
        kernel=code.kernel,
        target=code.target,
        calls=code.calls,
        mix=_mix(sites),
        loop_mix=_mix([site for site in sites if site.in_loop]),
        matrix_operations=tuple(
            MatrixOperation(unit=unit, input_dtype=dtype, where=where(line) if line is not None else None)
            for line, unit, dtype in dict.fromkeys((site.line, *site.matrix) for site in sites if site.matrix)
        ),
        divisions=ranked("division"),
        spill_lines=ranked("local_memory"),
        barrier_lines=tuple(where(line) for line in _lines_with(sites, "barrier")),
        remarks=tuple(read_remarks(code.stages.get("remarks", ""), source, sites, where)),
        notes=tuple(notes),
    )


def _mix(sites: Sequence[Site]) -> InstructionMix:
    counts = Counter(kind for site in sites for kind in site.kinds if kind in InstructionMix.model_fields)
    return InstructionMix(total=len(sites), **counts)


def _lines_with(sites: Iterable[Site], kind: str) -> list[int]:
    return sorted({site.line for site in sites if kind in site.kinds and site.line is not None})
