"""Read AMD machine code as LLVM's assembly, the `amdgcn` stage of Triton.

What opcodes do is in AMD's "CDNA 3", "CDNA 4", "RDNA 3" and "RDNA 4" Instruction Set Architecture reference guides; how
LLVM prints them, and what it writes around them, is in its "User Guide for AMDGPU Backend".
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

from kernelevolve.profilers.static.machine_code import Instruction, Listing, MachineFacts, Operation, Role, summarize

_LINE = re.compile(
    r"""^(?:
      (?P<label>[.$\w]+):
    | \s+\.file\s+(?P<number>\d+)\s+(?:"[^"]*"\s+)?"(?P<name>[^"]*)"
    | \s+\.loc\s+(?P<file>\d+)\s+(?P<line>\d+)(?P<chain>.*)$
    | [ \t]+(?P<opcode>[a-z]\w*)[ \t]*(?P<operands>[^;\n]*)(?P<comment>;.*)?$
    )""",
    re.MULTILINE | re.VERBOSE,
)
_INLINED_AT = re.compile(r"@\[ (\S+?):(\d+):\d+")
_CODE_END = re.compile(r"^\s*\.amdgpu_metadata", re.MULTILINE)
_ENCODING = re.compile(r"(?:_e32|_e64|_dpp8|_dpp|_sdwa)+$")
_PADDING = frozenset(("s_nop", "v_nop", "ds_nop", "s_code_end"))
_ENDS = ("s_endpgm", "s_setpc_b64", "s_rfe_b64")
_CALLS = ("s_swappc_b64", "s_call_b64")

# The last part of the name is the type of the operands: v_add_f32, v_dot2_f32_f16, v_mad_u64_u32.
_TYPES = (
    (re.compile(r"_(?:bf16|f16)$"), Role.HALF),
    (re.compile(r"_(?:x?f32|f64|fp8|bf8)$"), Role.FLOAT),
    (re.compile(r"_(?:[iub]\d+|iu[48])$"), Role.INTEGER),
)
# The first that matches decides; what none matches goes by its type.
_FAMILIES = tuple(
    (re.compile(pattern), role)
    for pattern, role in (
        (r"v_(?:mfma|smfmac|wmma|swmmac)_", Role.MATRIX),
        (r"v_(?:s_)?(?:exp|log|rcp|rsq|sqrt|sin|cos|tanh)_", Role.SPECIAL),
        (r"[vs]_cvt_", Role.CONVERSION),
        (r"v_(?:permlane|readlane_)", Role.SHUFFLE),
        (r"v_(?:mov|cndmask|swap|readfirstlane|writelane|accvgpr|movrel|pk_mov|clrexcp|pipeflush)", Role.OTHER),
        (r"v_pack_b32_f16$", Role.INTEGER),
        (r"ds_(?:bpermute|permute|swizzle)_", Role.SHUFFLE),
        (r"ds_gws_", Role.OTHER),
        (r"ds_", Role.SHARED_MEMORY),
        (r"scratch_|s_scratch_", Role.LOCAL_MEMORY),
        (r"(?:global|flat|buffer)_(?:\w*inv|\w*wb|prefetch)", Role.OTHER),
        (r"(?:global|flat|buffer|tbuffer|image|cluster|tensor)_", Role.GLOBAL_MEMORY),
        (r"s_(?:buffer_)?(?:atomic|store)_", Role.GLOBAL_MEMORY),
        # Since RDNA 4 a barrier is a signal and a wait; the wait is counted.
        (r"s_barrier(?:_wait)?$|s_cluster_barrier$", Role.BARRIER),
        (r"s_\w*saveexec_|s_\w*wrexec_", Role.CONTROL),
        (r"s_(?:branch|cbranch|endpgm|setpc|swappc|call|rfe|trap|subvector_loop|setvskip)", Role.CONTROL),
        # Masks of lanes: logic on one bit for each of 64 lanes.
        (r"s_(?:and|or|xor|andn2|orn2|nand|nor|xnor|not|and_not1|or_not1|wqm|quadmask)_b64$", Role.CONTROL),
        # Scalar loads bring kernel arguments and constants.
        (r"s_(?:load|buffer_load|dcache|icache|gl1|prefetch|buffer_prefetch|atc_probe)", Role.OTHER),
        (r"s_(?:c?mov|movk|cmovk|cselect|movrel|getpc|getreg|setreg|get_|bitreplicate)", Role.OTHER),
        (r"s_(?:wait|delay_alu|clause|set_?|sleep|send|inst_prefetch|mem|ttrace|wakeup|monitor)", Role.OTHER),
        (r"s_(?:round_mode|denorm_mode|version|incperf|decperf|alloc_vgpr|barrier_|nop)", Role.OTHER),
        (r"lds_(?:direct|param)_load|exp$|export_", Role.OTHER),
    )
)
_WIDTH = re.compile(r"_(?:(dword)(?:x(\d))?|[biu](\d+)|[us]?(byte|short))(?=_|$)")
# In waves of 32 lanes, masks are words; which scalar register holds one cannot be told from its name, but for these.
_SCALAR_LOGIC = re.compile(r"s_(?:and|or|xor|and_not1|or_not1|nand|nor|xnor|not|mov)_b32$|s_mov_b64$")
_LANE_MASK = re.compile(r"\bexec(?:_lo)?\b")
_DIVISION_32 = "0x4f7ffffe"
_DIVISION_64 = "0x5f7ffffc"


def read_amdgcn(text: str, source: str) -> MachineFacts:
    """What one kernel's machine code does.

    Args:
        text: the assembly of one kernel, with `.file` and `.loc` directives if lines are wanted.
        source: the candidate's text, for the lines.

    Returns:
        The facts; empty but for a note when there are no instructions.
    """
    end = _CODE_END.search(text)
    listing = _read(text[: end.start()] if end else text)
    if not listing.instructions:
        return MachineFacts(notes=("The machine code has no instructions.",))
    calls = any(entry.call for entry in listing.instructions)
    return summarize(listing, source, ["Functions that the kernel calls are counted with it."] if calls else [])


def _read(code: str) -> Listing:
    """The instructions of an assembly text."""
    listing = Listing()
    files: dict[str, str] = {}
    main = ""
    line: int | None = None
    # Register → whether the reciprocal in it is one of a short cut; see `_is_division`.
    reciprocals: dict[str, bool] = {}
    wide = _DIVISION_64 in code
    for match in _LINE.finditer(code):
        if match["label"] is not None:
            listing.labels[match["label"]] = len(listing.instructions)
        elif match["number"] is not None:
            files[match["number"]] = match["name"]
        elif match["line"] is not None:
            # From the innermost function outwards. Line 0 is code that the compiler made up.
            chain = [(files.get(match["file"], ""), match["line"]), *_INLINED_AT.findall(match["chain"])]
            main = main or chain[-1][0]
            line = next((int(number) for file, number in chain if file == main and number != "0"), None)
        else:
            # Two instructions in one word (RDNA 3 and later) count as two.
            for part in f"{match['opcode']} {match['operands']}".split("::"):
                opcode, _, operands = part.strip().partition(" ")
                name = _ENCODING.sub("", opcode).replace("v_dual_", "v_")
                if name in _PADDING:
                    continue
                operation = _operation(name, opcode.endswith(("_dpp", "_dpp8")))
                if operation is None:
                    listing.unknown[name] += 1
                    operation = Operation(Role.OTHER)
                operation = _in_place(name, operands, match["comment"] or "", operation)
                instruction = Instruction(operation, line)
                if operation.role is Role.CONTROL:
                    _follow(instruction, name, operands)
                elif "_rcp_" in name or "_mul_f32" in name:
                    instruction.division = _is_division(name, operands, reciprocals, wide)
                listing.instructions.append(instruction)
    return listing


@cache
def _operation(name: str, lane_exchange: bool) -> Operation | None:
    """What an opcode does; None if it is not known.

    Args:
        name: the opcode without the suffix of its encoding.
        lane_exchange: whether an operand comes from another lane (data-parallel primitives, DPP).
    """
    role = next((role for family, role in _FAMILIES if family.match(name)), None)
    if role is None and name.startswith(("v_", "s_")):
        role = next((role for suffix, role in _TYPES if suffix.search(name)), None)
    if role is None:
        return None
    if lane_exchange:
        role = Role.SHUFFLE
    moved = role is Role.GLOBAL_MEMORY and re.match(r"(?:global|flat|buffer|tbuffer|cluster)_(?:load|store)", name)
    return Operation(
        role,
        atomic=role is Role.GLOBAL_MEMORY and "_atomic_" in name,
        vector_bytes=_vector_bytes(name) if moved else None,
        asynchronous=role is Role.GLOBAL_MEMORY and bool(re.search(r"_lds(?:_|$)", name)),
        matrix=name if role is Role.MATRIX else "",
    )


def _vector_bytes(name: str) -> int | None:
    """Bytes that one lane moves: `global_load_dwordx4`, `buffer_store_b128`, `flat_load_ushort`."""
    match = _WIDTH.search(name)
    if match is None:
        return None
    dword, count, bits, small = match.groups()
    if dword:
        return 4 * int(count or 1)
    return int(bits) // 8 if bits else {"byte": 1, "short": 2}[small]


def _in_place(name: str, operands: str, comment: str, operation: Operation) -> Operation:
    """The operation, where operands or LLVM's comment say more than the opcode."""
    if name.startswith("buffer_"):
        if "Folded" in comment:
            # Chips without scratch instructions spill through a buffer.
            return Operation(Role.LOCAL_MEMORY)
        if operands.rstrip().endswith(" lds"):
            return replace(operation, asynchronous=True)
    elif _SCALAR_LOGIC.match(name) and _LANE_MASK.search(operands):
        return replace(operation, role=Role.CONTROL)
    return operation


def _follow(instruction: Instruction, name: str, operands: str) -> None:
    """Fill in where a branch, a call or an end leads."""
    if name.startswith(("s_branch", "s_cbranch", "s_subvector_loop")):
        instruction.targets = (operands.strip(),)
        instruction.falls_through = name != "s_branch"
    elif name in _CALLS:
        instruction.call = operands.rpartition(",")[2].strip()
    elif name.startswith(_ENDS):
        instruction.falls_through = False


def _is_division(name: str, operands: str, reciprocals: dict[str, bool], wide: bool) -> bool:
    """Whether an instruction stands for one integer division by an unknown value.

    LLVM multiplies the divisor's reciprocal by a little less than 2^32 in 32 bits and than 2^64 in 64 bits
    (`AMDGPUCodeGenPrepare::expandDivRem32`, `AMDGPUTargetLowering::LowerUDIVREM64`); nothing else does. A 64-bit
    division has a short cut for small operands, a 32-bit division that is part of it, whose reciprocal is
    `v_rcp_iflag_f32`. Divisions of less than 25 bits have no such mark and are not found.

    Args:
        name: the opcode, a reciprocal or a multiplication.
        operands: its operands.
        reciprocals: register → whether the reciprocal in it is `v_rcp_iflag_f32`; brought up to date here.
        wide: whether the kernel has 64-bit divisions.
    """
    registers = [operand.strip() for operand in operands.split(",")]
    if "_rcp_" in name:
        reciprocals[registers[0]] = name == "v_rcp_iflag_f32"
        return False
    if _DIVISION_64 in registers:
        return True
    if _DIVISION_32 not in registers:
        return False
    return not (wide and any(reciprocals.get(register, False) for register in registers[1:]))
