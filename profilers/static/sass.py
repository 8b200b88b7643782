"""Read NVIDIA machine code (SASS) as nvdisasm or cuobjdump print it.

What opcodes do is in "CUDA Binary Utilities", chapter "Instruction Set Reference" (Turing to Blackwell), one line for
each. What their modifiers do is not documented; what is said of them here is what ptxas was seen to make of PTX.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from kernelevolve.profilers.static.machine_code import (
    Instruction,
    Listing,
    MachineFacts,
    Operation,
    Role,
    basic_blocks,
    resolve,
    summarize,
)

_OPCODES = {
    Role.MATRIX: """BMMA DMMA HMMA IMMA OMMA QMMA BGMMA HGMMA IGMMA QGMMA UTCHMMA UTCIMMA UTCOMMA UTCQMMA""",
    Role.FLOAT: """FADD FADD2 FADD32I FCHK FFMA FFMA2 FFMA32I FHADD FHFMA FMNMX FMNMX3 FMUL FMUL2 FMUL32I FSET FSETP
        FSWZADD DADD DFMA DMNMX DMUL DSET DSETP UFADD UFFMA UFMNMX UFMUL UFSET UFSETP""",
    Role.HALF: """HADD2 HADD2_32I HFMA2 HFMA2_32I HMNMX2 HMUL2 HMUL2_32I HSET2 HSETP2 VHMNMX""",
    Role.SPECIAL: "MUFU",
    Role.INTEGER: """BMSK BREV FLO IABS IADD IADD3 IADD32I IDP IDP4A IMAD IMNMX IMUL IMUL32I ISCADD ISCADD32I ISETP LEA
        LOP LOP3 LOP32I POPC PRMT SGXT SHF SHL SHR VABSDIFF VABSDIFF4 VIADD VIADDMNMX VIMNMX VIMNMX3 UBMSK UBREV UCLEA
        UFLO UIABS UIADD3 UIMAD UIMNMX UISETP ULEA ULOP ULOP3 ULOP32I UPOPC UPRMT USGXT USHF USHL USHR UVIADD
        UVIMNMX""",
    Role.CONVERSION: """F2F F2FP F2I F2IP FRND I2F I2FP I2I I2IP UF2F UF2FP UF2I UF2IP UFRND UI2F UI2FP UI2I UI2IP""",
    Role.GLOBAL_MEMORY: """ATOM ATOMG LD LDG LDGMC LDGSTS RED REDG ST STG SUATOM SULD SURED SUST TEX TLD TLD4 TXD UBLKCP
        UBLKRED UREDGR USTGR UTMALDG UTMAREDG UTMASTG""",
    Role.SHARED_MEMORY: "ATOMS LDS LDSM REDAS STAS STS STSM UMEMSETS",
    Role.LOCAL_MEMORY: "LDL STL",
    Role.SHUFFLE: "CREDUX MATCH MOVM REDUX SHFL VOTE",
    Role.BARRIER: "BAR UCGABAR_WAIT",
    # VOTEU is how a predicate gets to the uniform datapath.
    Role.CONTROL: """ACQBULK ACQSHMINIT BMOV BPT BRA BREAK BRX BRXU BSSY BSYNC CALL ELECT ENDCOLLECTIVE EXIT JMP JMX
        JMXU KILL NANOSLEEP P2R PLOP3 PREEXIT PSETP R2P RET RPCMOV RTT UP2UR UPLOP3 UPSETP UR2UP VOTEU WARPSYNC
        YIELD""",
    # SYNCS are operations on mbarriers: they wait for data or for another warp, not for the block. LDTM and STTM move
    # accumulators between registers and tensor memory.
    Role.OTHER: """B2R CCTL CCTLL CCTLT CGAERRBAR CS2R CS2UR DEPBAR ERRBAR FENCE FSEL GETLMEMBASE LDC LDCU LDGDEPBAR
        LDT LDTM LEPC MEMBAR MOV MOV32I PMTRIG QSPC R2B R2UR S2R S2UR SEL SETCTAID SETLMEMBASE STT STTM
        SYNCS TMML TXQ UBLKPF UCGABAR_ARV UFSEL UGETNEXTWORKID ULDC ULEPC UMOV USEL USETMAXREG UTCATOMSWS
        UTCBAR UTCCP UTCSHIFT UTMACCTL UTMACMDFLUSH UTMAPF UVIRTCOUNT WARPGROUP WARPGROUPSET""",
}
_ROLES = {opcode: role for role, opcodes in _OPCODES.items() for opcode in opcodes.split()}
_ATOMIC = frozenset("ATOM ATOMG RED REDG SUATOM SURED UBLKRED UREDGR UTMAREDG".split())
_ASYNCHRONOUS = frozenset("LDGSTS UBLKCP UBLKRED UTMALDG UTMAREDG UTMASTG".split())
_THREAD_VECTORS = frozenset("LD LDG LDGSTS ST STG".split())
_JUMPS = frozenset("BRA BRX BRXU JMP JMX JMXU".split())
_ENDS = frozenset("EXIT KILL RET RTT".split())
_DISGUISES = frozenset(("IMAD", "HFMA2", "HADD2", "ATOMG"))
_LEADS_ELSEWHERE = _JUMPS | _ENDS | {"CALL"}
_WIDTH = re.compile(r"\.[US]?(8|16|32|64|96|128|256)(?=\.|$)")

_HEADER = re.compile(r"^\s*(?:\.section\s+\.text\.([^,\s]+)|Function : (\S+))", re.MULTILINE)
_LINE = re.compile(
    r"""^(?:
      [ \t]*//\#\#\ File\ "(?P<file>[^"]*)",\ line\ (?P<line>\d+)(?P<inlined>\ inlined\ at)?
    | (?P<label>[.$\w]+):[ \t]*$
    | [ \t]+/\*(?P<address>[0-9a-f]{4,})\*/[ \t]+
      (?:@(?P<guard>!?\w+)[ \t]+)?(?P<opcode>[A-Z]\w*(?:\.\w+)*)[ \t]*(?P<operands>[^;]*);
    )""",
    re.MULTILINE | re.VERBOSE,
)
_TARGET = re.compile(r"`\(([^)]+)\)|\b(0x[0-9a-f]+)\s*$|(\.L_x_\d+)")
_DIVISION_ROUTINE = re.compile(r"_(?:div|rem)_[su](?:16|32|64)$")


class _Printed(NamedTuple):
    """An instruction as it is printed."""

    opcode: str
    operands: str
    guarded: bool

    def ends(self) -> bool:
        """Whether the kernel or the routine ends here for sure."""
        return self.opcode.startswith(("RET", "EXIT")) and not self.guarded


def read_sass(text: str, kernel: str, source: str) -> MachineFacts:
    """What one kernel's machine code does.

    Args:
        text: what nvdisasm says of a cubin with `--print-code` and either `--print-line-info` or
            `--print-line-info-inline`, or what `cuobjdump -sass` says: the same without lines, jump tables and names of
            routines. There may be several functions.
        kernel: name of the kernel, as in the text or as the C++ source has it.
        source: the candidate's text, for the lines.

    Returns:
        The facts; empty but for a note when the text has no such kernel.
    """
    code, notes = _choose(text, kernel)
    if not code:
        return MachineFacts(notes=tuple(notes))
    listing, divisions = _read(code)
    for index in divisions:
        listing.instructions[index].division = True
    elsewhere = {entry.call for entry in listing.instructions if entry.call and entry.call not in listing.labels}
    if elsewhere:
        notes.append(f"Functions that are called and not counted: {', '.join(sorted(elsewhere)[:4])}.")
    return summarize(listing, source, notes)


def _choose(text: str, kernel: str) -> tuple[str, list[str]]:
    """The code of one kernel, and what to say about the choice."""
    headers = list(_HEADER.finditer(text))
    names = [match[1] or match[2] for match in headers]
    # The Itanium C++ ABI writes a name as its length and the name.
    mangled = f"{len(kernel)}{kernel}"
    chosen = [index for index, name in enumerate(names) if name == kernel]
    chosen = chosen or [index for index, name in enumerate(names) if name.startswith("_Z") and mangled in name]
    if not chosen:
        found = ", ".join(names[:8]) or "none"
        return "", [f"The machine code has no kernel {kernel}; its functions: {found}."]
    notes = []
    if len({names[index] for index in chosen}) > 1:
        notes.append(f"{len(chosen)} instances of {kernel} were compiled; the first is described.")
    first = chosen[0]
    end = headers[first + 1].start() if first + 1 < len(headers) else len(text)
    return text[headers[first].end() : end], notes


def _read(code: str) -> tuple[Listing, list[int]]:
    """The instructions of one function, and the indices of those that stand for integer divisions."""
    listing = Listing()
    printed: list[_Printed] = []
    main = ""
    line: int | None = None
    chain: list[tuple[str, int]] = []
    for match in _LINE.finditer(code):
        if match["file"] is not None:
            chain.append((match["file"], int(match["line"])))
            if not main and not match["inlined"]:
                main = match["file"]
            continue
        if match["label"] is not None:
            listing.labels[match["label"]] = len(listing.instructions)
            continue
        if chain:
            # From the innermost function outwards. Line 0 is code that the compiler made up.
            line = next((number for file, number in chain if file == main and number), None)
            chain = []
        opcode, arguments = match["opcode"], match["operands"].rstrip()
        listing.labels[f"0x{int(match['address'], 16):x}"] = len(listing.instructions)
        base = opcode.partition(".")[0]
        if base == "NOP":
            continue
        operation = _operation(opcode)
        if operation is None:
            listing.unknown[base] += 1
            operation = Operation(Role.OTHER)
        elif base in _DISGUISES:
            operation = _disguised(opcode, arguments, operation)
        instruction = Instruction(operation, line)
        guarded = match["guard"] not in (None, "PT", "UPT")
        if base in _LEADS_ELSEWHERE:
            _follow(instruction, base, arguments, guarded)
            # Behind the end of a kernel, ptxas puts a branch to itself.
            own = len(listing.instructions)
            if not instruction.falls_through and [listing.labels.get(to) for to in instruction.targets] == [own]:
                continue
        listing.instructions.append(instruction)
        printed.append(_Printed(opcode, arguments, guarded))
    routines = _routines(listing, printed)
    return listing, _divisions(listing, printed, routines)


@cache
def _operation(opcode: str) -> Operation | None:
    """What an opcode does, without regard to its operands; None if it is not known."""
    base = opcode.partition(".")[0]
    role = _ROLES.get(base)
    if role is None:
        return None
    if opcode.startswith("BAR.ARV"):
        # Says that it has arrived, and goes on.
        return Operation(Role.OTHER)
    width = _WIDTH.search(opcode)
    return Operation(
        role,
        atomic=base in _ATOMIC,
        vector_bytes=(int(width[1]) if width else 32) // 8 if base in _THREAD_VECTORS else None,
        asynchronous=base in _ASYNCHRONOUS,
        matrix=base if role is Role.MATRIX else "",
    )


def _disguised(opcode: str, operands: str, operation: Operation) -> Operation:
    """Moves, conversions and stores that ptxas writes as something else.

    `IMAD.MOV.U32 R0, RZ, RZ, R1` and `HFMA2 R0, -RZ, RZ, 0, 0` are moves by pipes that would lie idle; `HADD2.F32 R0,
    -RZ, R1.H0_H0` is the conversion of an fp16 value; `ATOMG.E.EXCH PT, RZ, [R6], R5`, an exchange whose result goes
    nowhere, is the store of a piece of a tensor descriptor.
    """
    if opcode.startswith("ATOMG"):
        stores = ".EXCH" in opcode and operands.startswith("PT, RZ,")
        return replace(operation, atomic=False) if stores else operation
    _, _, sources = operands.partition(", ")
    if sources.startswith(("RZ, RZ,", "-RZ, RZ,")):
        return replace(operation, role=Role.OTHER)
    if opcode.startswith("HADD2.F32") and sources.startswith("-RZ,"):
        return replace(operation, role=Role.CONVERSION)
    return operation


def _follow(instruction: Instruction, base: str, operands: str, guarded: bool) -> None:
    """Fill in where an instruction that is a jump, a call or an end leads."""
    targets = tuple(label for match in _TARGET.findall(operands) for label in match if label)
    if base == "CALL":
        instruction.call = targets[-1] if targets else "an address in a register"
        return
    if base in _JUMPS:
        instruction.targets = targets
    # `BRA.U !UP0, label`, `BRA P1, label` and `BRA.DIV UR4, label` have their condition among the operands.
    instruction.falls_through = guarded or (base in ("BRA", "JMP") and "," in operands)


def _routines(listing: Listing, printed: list[_Printed]) -> dict[str, range]:
    """Label → instructions of the routines in this function. Calls that never return become jumps.

    ptxas leaves loops of Ampere kernels with `CALL.REL.NOINC` to code that goes on to the kernel's end.
    """
    routines: dict[str, range] = {}
    for entry, line in zip(listing.instructions, printed, strict=True):
        start = listing.labels.get(entry.call, len(printed))
        if start == len(printed):
            continue
        if entry.call not in routines:
            ends = (index for index in range(start, len(printed)) if printed[index].ends())
            end = next(ends, start)
            if not printed[end].opcode.startswith("RET"):
                entry.targets, entry.call, entry.falls_through = (entry.call,), "", line.guarded
                continue
            routines[entry.call] = range(start, end + 1)
    return routines


def _divisions(listing: Listing, printed: list[_Printed], routines: dict[str, range]) -> list[int]:
    """Indices of the instructions that stand for an integer division by an unknown value.

    In 32 bits ptxas computes a reciprocal that is rounded up, `I2F.RP` and `MUFU.RCP`; floating-point division rounds
    to nearest. In 16 and 64 bits it calls a routine. A 64-bit division has a short cut for small operands beside the
    call, which is a 32-bit division and part of it.
    """
    dividing = {
        label
        for label, body in routines.items()
        if _DIVISION_ROUTINE.search(label) or any(printed[index].opcode.startswith("I2F.U64.RP") for index in body)
    }
    calls = [index for index, entry in enumerate(listing.instructions) if entry.call in dividing]
    apart = {index for body in routines.values() for index in body}
    if calls:
        apart.update(_beside(listing, frozenset(calls)))
    reciprocals = []
    rounded_up: dict[str, int] = {}
    for index, (opcode, operands, _) in enumerate(printed):
        if opcode.startswith(("I2F", "UI2F")) and ".RP" in opcode:
            rounded_up[_register(operands, 0)] = index
        elif opcode.startswith("MUFU.RCP"):
            start = rounded_up.pop(_register(operands, 1), None)
            if start is not None and start not in apart:
                reciprocals.append(start)
    return sorted([*calls, *reciprocals])


def _register(operands: str, position: int) -> str:
    """An operand without its modifiers."""
    parts = operands.split(",")
    return parts[position].strip().partition(".")[0] if position < len(parts) else ""


def _beside(listing: Listing, calls: frozenset[int]) -> Iterator[int]:
    """Instructions of the blocks to which a conditional branch leads when it does not lead to one of the calls."""
    blocks = {block.start: block for block in basic_blocks(listing)}
    for block in blocks.values():
        last = listing.instructions[block[-1]]
        if not last.targets or not last.falls_through:
            continue
        ways = [blocks[start] for start in (block.stop, *resolve(listing, last.targets)) if start in blocks]
        if any(not calls.isdisjoint(way) for way in ways):
            yield from (index for way in ways if calls.isdisjoint(way) for index in way)
