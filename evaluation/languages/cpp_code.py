"""What g++ makes of a C++ candidate: machine code with source lines, and what the vectoriser says of its loops."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.languages.cpp import CppLanguage
from kernelevolve.evaluation.languages.native import CompileJob, native_cache
from kernelevolve.evaluation.platform import get_platform

SOURCE_NAME = "kernel.cpp"
"""File name under which the candidate's source is compiled."""

_LINE_TABLES = "-g1"
# `internals` has the reasons of every vector width that was tried. Without it only the last and narrowest one speaks,
# and says no more than that it has no such vectors. `all` adds the notes, for the one in `_KEPT_NOTE`.
_REMARKS = "-fopt-info-vec-all-internals"
_REMARKS_FILE, _ASSEMBLY_FILE = "remarks.txt", "assembly.txt"
_MOST_REMARKS = 5_000
_MOST_BYTES = 64 << 20

_REMARK = re.compile(rf"(?:\S*/)?{re.escape(SOURCE_NAME)}:\d+:\d+: (?P<kind>missed|optimized|note): ")
_KEPT_NOTE = re.compile(r"in-order \(fold-left\) reduction|vectorized \d+ loops in function")
# About straight-line code, and about code that has been vectorised already.
_NOT_OF_LOOPS = re.compile(
    r"not consecutive access|original stmt|SLP|grouped stores|no vectype for stmt: (?:vect_|MEM)"
)
_VERDICT = re.compile(r"couldn't vectorize loop|loop vectorized")

_HEADER = re.compile(
    r"(?P<address>[0-9a-f]+) <(?P<name>.*)>(?: \(File Offset: 0x(?P<offset>[0-9a-f]+)\))?:(?P<foreign> # inlined)?$"
)
_INSTRUCTION = re.compile(r"\s*(?P<address>[0-9a-f]+):\s+(?P<text>\S.*)$")
_LOCATION = re.compile(r"(?P<file>\S.*?):(?P<line>\d+|\?)(?: \(discriminator \d+\))?$")
_INLINED_BY = re.compile(r"inlined by (?P<file>.*?):(?P<line>\d+)\b")
_FILE_OFFSET = re.compile(r" \(File Offset: 0x[0-9a-f]+\)")


@dataclass(frozen=True)
class MachineInstruction:
    """One instruction."""

    address: int
    """Address in the library."""
    text: str
    """Mnemonic and operands, as objdump writes them."""
    line: int | None
    """Line of the candidate's source that it comes from, through whatever was inlined there; None if from elsewhere."""


@dataclass(frozen=True)
class MachineFunction:
    """One function."""

    name: str
    """Demangled name."""
    file_shift: int
    """What to add to an address to get the offset in the library's file."""
    own: bool
    """Whether the function itself is the candidate's; otherwise only parts of the candidate were inlined into it."""
    instructions: tuple[MachineInstruction, ...]
    """In the order of addresses."""


def kernel_code(candidate: Candidate, scratch: Path, limit_s: float) -> list[KernelCode]:
    """Build a candidate as `CppLanguage` does, with line tables and remarks besides, which change no instruction.

    Args:
        candidate: a C++ candidate.
        scratch: folder of this candidate alone.
        limit_s: seconds that compiler and disassembler may take.

    Returns:
        One entry named `kernel`, with the stages `assembly` (see `own_code`) and `remarks` (see `own_remarks`).

    Raises:
        CandidateError: the compiler refused the source, or took too long.
        PlatformError: g++ or objdump is missing.
    """
    language = CppLanguage()
    language.read(candidate)
    objdump = shutil.which("objdump")
    if objdump is None:
        raise PlatformError(Finding.COMPILER_MISSING, "objdump is not on PATH.", "Install the package binutils.")
    asked = language.asked_flags(candidate.source)
    job = CompileJob(
        compiler=language.find_compiler(),
        flags=[
            *language.default_flags(get_platform("cpu")), *asked, _LINE_TABLES, f"{_REMARKS}={_REMARKS_FILE}",
        ],
        asked_flags=asked,
        unit=language.write_unit(candidate, scratch),
        library=scratch / "lines.so",
        prelude=language.prelude,
        cache_folder=native_cache(scratch),
        seconds_left=limit_s,
    )  # fmt: skip
    (scratch / _REMARKS_FILE).unlink(missing_ok=True)  # g++ appends.
    language.compile(job)
    disassemble = [objdump, "-d", "-l", "-C", "-F", "--inlines", "--no-show-raw-insn", job.library.name]
    job.run(["/bin/sh", "-c", f'exec "$@" > {_ASSEMBLY_FILE}', "sh", *disassemble])
    return [
        KernelCode(
            kernel="kernel",
            target="cpu",
            language=language.name,
            stages={
                "assembly": own_code(_read(scratch / _ASSEMBLY_FILE)),
                "remarks": own_remarks(_read(scratch / _REMARKS_FILE)),
            },
            notes=(f"g++ {' '.join([*language.default_flags(get_platform('cpu')), *asked])}",),
        )
    ]


def read_disassembly(text: str) -> list[MachineFunction]:
    """Functions of the candidate, and those into which parts of it were inlined.

    Args:
        text: output of `objdump -d -l` with or without `-C`, `-F` and `--inlines`, or what `own_code` makes of it.
    """
    functions = []
    for header, body in _functions(text):
        instructions, outermost = _instructions(body)
        own = outermost and not header["foreign"]
        if not own:
            instructions = [entry for entry in instructions if entry.line is not None]
        if instructions:
            address = int(header["address"], 16)
            shift = int(header["offset"], 16) - address if header["offset"] else 0
            functions.append(MachineFunction(header["name"], shift, own, tuple(instructions)))
    return functions


def own_code(disassembly: str) -> str:
    """The candidate's part of `objdump -d -l --inlines`, in objdump's format.

    Library functions are left out, and so is the glue that exports `kernel`, save what was inlined into it. A line
    `kernel.cpp:12` stands before the instructions of that line of the source, `elsewhere:?` before those that come from
    no line of it.
    """
    lines: list[str] = []
    for function in read_disassembly(disassembly):
        start = function.instructions[0].address
        where = f" (File Offset: {start + function.file_shift:#x})"
        lines += ["", f"{start:016x} <{function.name}>{where}:{'' if function.own else ' # inlined'}"]
        shown: int | None = -1
        for entry in function.instructions:
            if entry.line != shown:
                lines.append(f"{SOURCE_NAME}:{entry.line}" if entry.line is not None else "elsewhere:?")
                shown = entry.line
            lines.append(f"{entry.address:8x}:\t{entry.text}")
    return "\n".join(lines).lstrip("\n")


def own_remarks(remarks: str) -> str:
    """What the vectoriser says of the candidate's own lines, in its order.

    Reasons come before the verdict on their loop (`couldn't vectorize loop`, `loop vectorized using …`), once each.
    """
    kept: list[str] = []
    since_verdict: set[str] = set()
    for line in remarks.splitlines():
        remark = _REMARK.match(line)
        if remark is None or (remark["kind"] == "note" and not _KEPT_NOTE.search(line)) or line in since_verdict:
            continue
        if _NOT_OF_LOOPS.search(line):
            continue
        kept.append(line)
        since_verdict.add(line)
        if _VERDICT.search(line):
            since_verdict.clear()
        if len(kept) == _MOST_REMARKS:
            kept.append("more was said, and is left out")
            break
    return "\n".join(kept)


def _functions(text: str) -> Iterator[tuple[re.Match[str], list[str]]]:
    header: re.Match[str] | None = None
    body: list[str] = []
    for line in text.splitlines():
        if (found := _HEADER.match(line)) is not None:
            if header is not None:
                yield header, body
            header, body = found, []
        else:
            body.append(line)
    if header is not None:
        yield header, body


def _instructions(body: list[str]) -> tuple[list[MachineInstruction], bool]:
    """The instructions of one function, and whether its first one lies in a function of the candidate."""
    instructions: list[MachineInstruction] = []
    frames: list[tuple[str, str]] = []  # Innermost first.
    fresh = False
    own = False
    for line in body:
        if (instruction := _INSTRUCTION.match(line)) is not None:
            source_line = next((int(number) for file, number in frames if _is_source(file) and number != "?"), None)
            if not instructions:
                own = bool(frames) and _is_source(frames[-1][0])
            text = _FILE_OFFSET.sub("", instruction["text"]).rstrip()
            instructions.append(MachineInstruction(int(instruction["address"], 16), text, source_line))
            fresh = False
        elif (outer := _INLINED_BY.match(line)) is not None:
            if not fresh:
                # objdump repeats the callers alone where only they changed.
                frames, fresh = frames[:1], True
            frames.append((outer["file"], outer["line"]))
        elif (location := _LOCATION.match(line)) is not None:
            frames, fresh = [(location["file"], location["line"])], True
    return instructions, own


def _is_source(file: str) -> bool:
    return file.rsplit("/", 1)[-1] == SOURCE_NAME


def _read(file: Path) -> str:
    """A tool's output. It has been a compiler's scratch folder, so no link is followed and no size trusted."""
    if not file.is_file() or file.is_symlink():
        return ""
    with file.open("rb") as stream:
        return stream.read(_MOST_BYTES).decode(errors="replace")
