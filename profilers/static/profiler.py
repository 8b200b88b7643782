"""The static part: what compilers made of the candidate, with no device."""

from __future__ import annotations

from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.platform import Platform
from kernelevolve.profilers.profiler import Observation, Profiler
from kernelevolve.profilers.report import SourceLine, StaticKernel
from kernelevolve.profilers.static.amdgcn import read_amdgcn
from kernelevolve.profilers.static.cpp import read_cpp
from kernelevolve.profilers.static.machine_code import MachineFacts
from kernelevolve.profilers.static.sass import read_sass
from kernelevolve.profilers.static.ttgir import TtgirFacts, read_ttgir
from kernelevolve.profilers.subject import Subject

_MOST_LINES = 20


class StaticProfiler(Profiler):
    """Reads intermediate code and machine code."""

    name = "static"
    families = ("cuda", "hip", "cpu")
    runs_candidate = False

    def missing(self, platform: Platform) -> str:
        """Compilers are looked for when they are needed; their errors say what to install."""
        return ""

    def observe(self, subject: Subject) -> Observation:
        """Compile for the platform and read every stage."""
        code = subject.code()
        kernels = tuple(read_code(entry, subject.candidate.source) for entry in code)
        notes = dict.fromkeys(note for kernel in kernels for note in kernel.notes)
        return Observation(static=kernels, notes=tuple(notes)[:20])


def read_code(code: KernelCode, source: str) -> StaticKernel:
    """Facts of one kernel from all stages that there are of it.

    Args:
        code: what the compiler made of it.
        source: the candidate's text, for the lines.
    """
    if code.language == "cpp":
        return read_cpp(code, source)
    tensor = read_ttgir(code.stages["ttgir"], source) if "ttgir" in code.stages else TtgirFacts()
    machine = MachineFacts()
    if "sass" in code.stages:
        machine = read_sass(code.stages["sass"], code.kernel, source)
    elif "amdgcn" in code.stages:
        machine = read_amdgcn(code.stages["amdgcn"], source)
    return StaticKernel(
        kernel=code.kernel,
        target=code.target,
        resources=code.resources,
        grid=code.grid,
        calls=code.calls,
        mix=machine.mix,
        loop_mix=machine.loop_mix,
        accesses=tensor.accesses,
        loops=tensor.loops,
        matrix_operations=tensor.matrix_operations,
        shared_conversions=tensor.shared_conversions,
        # TTGIR tells divisions of whole tensors from those of one number for a block, which cost nothing.
        divisions=_first(tensor.divisions if "ttgir" in code.stages else machine.division_lines),
        spill_lines=_first(machine.spill_lines),
        barrier_lines=_first(machine.barrier_lines),
        notes=tuple(dict.fromkeys([*code.notes, *tensor.notes, *machine.notes])),
    )


def _first(lines: tuple[SourceLine, ...]) -> tuple[SourceLine, ...]:
    return tuple(dict.fromkeys(lines))[:_MOST_LINES]
