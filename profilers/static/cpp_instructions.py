"""Machine code of a C++ candidate, on x86-64 and AArch64: what each instruction does and whether it repeats."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from kernelevolve.evaluation.languages.cpp_code import MachineFunction


@dataclass(frozen=True)
class Site:
    """One instruction of the candidate."""

    line: int | None
    """Line of the source that it comes from; None if from elsewhere."""
    kinds: frozenset[str]
    """Fields of `InstructionMix`, and `arithmetic` where vector or floating-point registers are computed with."""
    in_loop: bool
    """Whether it can come round to itself within its function."""
    vector_bytes: int
    """Width of the vectors it works on, bytes; 0 for none, or where only the hardware knows (SVE)."""
    call: str = ""
    """Function that it calls."""
    matrix: tuple[str, str] | tuple[()] = ()
    """Matrix unit and type of its operands."""


_MATH = re.compile(
    r"(?:__)?(?:_ZGV\w+?_)?(?:exp2|exp10|expm1|exp|log2|log10|log1p|log|pow|sincos|sinh|sin|cosh|cos|tanh|tan|asinh|asin"
    r"|acosh|acos|atanh|atan2|atan|erfc|erf|lgamma|tgamma|cbrt|hypot|sqrt|fmod|remainder)[fl]?(?:_finite)?"
)
_WIDE_DIVISION = re.compile(r"__u?(?:div|mod|divmod)ti[34]")
_BARRIER_CALL = re.compile(r"GOMP_(?:loop_end|barrier|sections_end)\w*|__kmpc_barrier")
_CALLED = re.compile(r"<(?P<name>.+?)(?:@plt|@@?[\w.]+)?>$")


def _in_loops(flow: Sequence[tuple[int, int | None, bool]]) -> set[int]:
    """Addresses of the instructions that can come round to themselves: strongly connected components (Tarjan 1972).

    Going by backward branches alone would not do: compilers move cold code to the end, from where it jumps back.

    Args:
        flow: for each instruction, in order: its address, where it may jump, whether the next one may follow it.
    """
    places = [address for address, _target, _falls in flow]
    successors: list[list[int]] = []
    for index, (_address, target, falls) in enumerate(flow):
        after = [index + 1] if falls and index + 1 < len(flow) else []
        if target is not None and places[0] <= target <= places[-1]:
            after.append(bisect_left(places, target))
        successors.append(after)
    order: dict[int, int] = {}
    lowest: dict[int, int] = {}
    stack: list[int] = []
    stacked: set[int] = set()
    repeated: set[int] = set()
    for root in range(len(flow)):
        walk = [(root, 0)] if root not in order else []
        while walk:
            node, position = walk.pop()
            if position == 0:
                order[node] = lowest[node] = len(order)
                stack.append(node)
                stacked.add(node)
            else:
                lowest[node] = min(lowest[node], lowest[successors[node][position - 1]])
            while position < len(successors[node]):
                following = successors[node][position]
                position += 1
                if following not in order:
                    walk += [(node, position), (following, 0)]
                    break
                if following in stacked:
                    lowest[node] = min(lowest[node], order[following])
            else:
                if lowest[node] == order[node]:
                    component = [stack.pop()]
                    while component[-1] != node:
                        component.append(stack.pop())
                    stacked.difference_update(component)
                    if len(component) > 1 or node in successors[node]:
                        repeated.update(places[member] for member in component)
    return repeated


def _call_kinds(name: str) -> set[str]:
    kinds = {"control"}
    if _MATH.fullmatch(name):
        kinds |= {"special", "vector", "arithmetic"} if name.startswith("_ZGV") else {"special"}
    if _WIDE_DIVISION.fullmatch(name):
        kinds.add("division")
    if _BARRIER_CALL.fullmatch(name):
        kinds.add("barrier")
    return kinds


# -- x86-64 -----------------------------------------------------------------------------------------------------------

# x86-64, AT&T syntax: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
_PREFIXES = {"lock", "rep", "repz", "repnz", "bnd", "notrack", "data16", "cs", "ds", "addr32"}
_X86_MEMORY = re.compile(r"(?<![\w*])(?P<segment>%[fg]s:)?[-+]?(?:0x[0-9a-f]+)?\((?P<base>%\w+)?[^)]*\)")
_X86_CONTROL = re.compile(
    r"j\w+|call\w*|ret\w*|loop\w*|cmp[bwlq]?|test[bwlq]?|push\w*|pop[bwlq]?|leave\w*|endbr64|ud2|hlt|k\w+"
)
_X86_DIVISION = re.compile(r"i?div[bwlq]?")
_X86_INTEGER = re.compile(
    r"(?:add|sub|adc|sbb|imul|mul|inc|dec|neg|not|and|or|xor|shl|shr|sal|sar|rol|ror|rcl|rcr|lea|bswap|xadd|andn|xchg"
    r"|mulx|rorx|sarx|shlx|shrx|bextr|blsr|blsi|blsmsk|bzhi|pdep|pext|popcnt|lzcnt|tzcnt|bsf|bsr|shld|shrd|crc32"
    r"|bt|bts|btr|btc|adcx|adox)[bwlq]?|cmov\w+|set\w+|movs[bwl][wlq]|movz[bw][wlq]|cltq|cqto|cltd|cwtl|cmpxchg\w*"
)
_X86_MOVE = re.compile(r"mov(?:aps|ups|apd|upd|dqa\d*|dqu\d*|nt\w+|d|q|w|s[sdh])|lddqu")
_X86_LOGIC = re.compile(r"p?(?:andn?|or|xor)(?:p[sd]|[dq])?|pternlog[dq]")
_X86_CONVERSION = re.compile(r"cvt\w+|pmov[sz]x\w+|pmov(?:us|s)?[wdq][bwd]|pack\w+")
_X86_SHUFFLE = re.compile(
    r"shuf\w+|unpck\w+|punpck\w+|perm\w+|pshuf\w+|p?broadcast\w+|insert\w+|extract\w+|pinsr[bwdq]|pextr[bwdq]|p?blend\w+"
    r"|palignr|align[dq]|ps[lr]ldq|mov(?:lhps|hlps|ddup|shdup|sldup|[hl]p[sd])|p?compress\w+|p?expand\w+"
)
_X86_SPECIAL = re.compile(r"r?sqrt\w+|rcp\w+|div[ps][sdh]|exp2p\w+")
_X86_GATHER = re.compile(r"p?(?:gather|scatter)\w+")
_X87_SPECIAL = re.compile(r"f(?:sin|cos|sincos|ptan|patan|2xm1|yl2x\w*|sqrt|i?divr?p?[sl]?)")
_X86_VECTOR_BYTES = (("%zmm", 64), ("%ymm", 32), ("%xmm", 16))
_AMX_DTYPES = {
    "tdpbf16ps": "bfloat16", "tdpfp16ps": "float16", "tcmmimfp16ps": "float16", "tcmmrlfp16ps": "float16",
    "tdpbssd": "int8", "tdpbsud": "int8", "tdpbusd": "int8", "tdpbuud": "uint8", "tmmultf32ps": "tf32",
    "tdpbf8ps": "float8_e5m2", "tdphf8ps": "float8_e4m3", "tdpbhf8ps": "float8", "tdphbf8ps": "float8",
}  # fmt: skip


def sites_x86(function: MachineFunction) -> list[Site]:
    """The instructions of a function in AT&T syntax, without those that only fill up space."""
    parsed = []
    for entry in function.instructions:
        words = entry.text.split("#")[0].split(None, 1)
        prefixes = set()
        while len(words) > 1 and words[0] in _PREFIXES:
            prefixes.add(words[0])
            words = words[1].split(None, 1)
        operands = words[1].strip() if len(words) > 1 else ""
        parsed.append((entry, prefixes, words[0], operands))
    flow = []
    for entry, _prefixes, mnemonic, operands in parsed:
        target = re.match(r"([0-9a-f]+)\b", operands) if mnemonic.startswith(("j", "loop")) else None
        falls = not mnemonic.startswith(("jmp", "ret", "ud2", "hlt"))
        flow.append((entry.address, int(target[1], 16) if target is not None else None, falls))
    repeated = _in_loops(flow)
    # Without a frame %rbp is a register like any other.
    framed = any(mnemonic == "mov" and operands == "%rsp,%rbp" for _entry, _prefixes, mnemonic, operands in parsed)
    sites = []
    for entry, prefixes, mnemonic, operands in parsed:
        if mnemonic.startswith("nop") or (mnemonic == "xchg" and operands == "%ax,%ax"):
            continue
        called = _CALLED.search(operands) if mnemonic.startswith("call") else None
        name = called["name"] if called else ""
        kinds = _call_kinds(name) if mnemonic.startswith("call") else _x86_kinds(mnemonic, operands)
        memory = None if mnemonic.startswith(("lea", "call", "jmp", "push", "pop")) else _X86_MEMORY.search(operands)
        if memory is not None and memory["segment"] is None:
            on_stack = memory["base"] == "%rsp" or (framed and memory["base"] == "%rbp")
            kinds.add("local_memory" if on_stack else "global_memory")
            if "lock" in prefixes or mnemonic.startswith("xchg"):
                kinds.add("atomic")
        dtype = _AMX_DTYPES.get(mnemonic)
        width = next((size for register, size in _X86_VECTOR_BYTES if register in operands), 0)
        sites.append(
            Site(entry.line, frozenset(kinds), entry.address in repeated, width, name, ("amx", dtype) if dtype else ())
        )
    return sites


def _x86_kinds(mnemonic: str, operands: str) -> set[str]:
    if mnemonic in _AMX_DTYPES or mnemonic.startswith(("tdp", "tcmm", "tmmul")):
        return {"matrix"}
    if re.search(r"%[xyz]mm\d", operands):
        return _x86_simd_kinds(mnemonic.removeprefix("v"), operands)
    if _X86_DIVISION.fullmatch(mnemonic):
        return {"division", "integer"}
    if _X86_INTEGER.fullmatch(mnemonic):
        return {"integer"}
    if _X86_CONTROL.fullmatch(mnemonic):
        return {"control"}
    if mnemonic.startswith("f") and not mnemonic.startswith("fence"):
        return {"scalar_float", "special"} if _X87_SPECIAL.fullmatch(mnemonic) else {"scalar_float"}
    return set()


def _x86_simd_kinds(base: str, operands: str) -> set[str]:
    """Kinds of an SSE, AVX or AVX-512 instruction.

    Args:
        base: mnemonic without the `v` of its VEX form.
        operands: its operands.
    """
    packed = base.startswith("p") or re.search(r"s[sdh]$|^cvtt?(?:u?si|s[sdh])", base) is None
    group = {"vector"} if packed or _X86_SHUFFLE.fullmatch(base) else {"scalar_float"}
    wide = "%ymm" in operands or "%zmm" in operands
    if _X86_MOVE.fullmatch(base):
        # Scalar code copies whole registers too, so a move tells something only where it goes to memory.
        return group if _X86_MEMORY.search(operands) and base not in ("movd", "movq", "movw") else set()
    if _X86_LOGIC.fullmatch(base):
        return {"vector"} if wide else set()  # Scalar code zeroes and negates with packed logic.
    if _X86_CONVERSION.fullmatch(base):
        return {"conversion", *group}
    if _X86_SHUFFLE.fullmatch(base):
        return {"shuffle", *group}
    if _X86_GATHER.fullmatch(base):
        return group
    if _X86_SPECIAL.fullmatch(base):
        return {"special", "arithmetic", *group}
    return {"arithmetic", *group}


# -- AArch64 ----------------------------------------------------------------------------------------------------------

# AArch64: Arm Architecture Reference Manual for A-profile architecture, part C.
_ARM_CONTROL = re.compile(
    r"b|b\.\w+|bl|blr|br|ret\w*|cbn?z|tbn?z|cmp|cmn|tst|ccmp|ccmn|fcmpe?|fccmpe?|while\w+|ptest|ptrue|pfalse|bti|pac\w+|aut\w+"
)
_ARM_MEMORY = re.compile(r"(?:ld|st|prf|cas|swp)\w*")
_ARM_ATOMIC = re.compile(
    r"(?:ld|st)(?:add|clr|set|eor|smax|smin|umax|umin)[alb]*h?|cas[alpbh]*|swp[albh]*|(?:ld|st)a?l?xr[bh]?"
)
_ARM_DIVISION = re.compile(r"[su]divr?")
_ARM_SPECIAL = re.compile(r"fdivr?|fsqrt|frecp[esx]|frsqrt[es]|fexpa")
_ARM_CONVERSION = re.compile(
    r"fcvt\w*|[su]cvtf|bfcvt\w*|[su]xtl2?|[su]?q?xtu?n[bt2]?|[su]shll2?|[su]unpk(?:lo|hi)|frint\w*"
)
_ARM_SHUFFLE = re.compile(r"dup\w*|zip[12]|uzp[12]|trn[12]|ext|tb[lx]|rev\w*|ins|sel|splice|compact|last[ab]|clast[ab]")
_ARM_MATRIX = re.compile(r"(?:(?:s|u|us)mmla|bfmmla|fmmla|fmop[as]|bfmop[as]|(?:s|u|us|su)mop[as])")
_ARM_MOVE = re.compile(r"f?movi?|mvni|movprfx|u?s?mov|orr")
_ARM_INTEGER = re.compile(
    r"adds?|subs?|adcs?|sbcs?|neg\w*|n?mul|madd|msub|mneg|[su]mull|[su]maddl|[su]msubl|[su]mulh|ls[lr]v?|asrv?|rorv?"
    r"|ands?|orr|orn|eor|eon|bics?|mvn|[su]bfi?[xzm]|[su]bfiz|bfi|bfxil|[su]xt[bhw]|adrp?|csel|cset\w*|csinc|csinv|csneg"
    r"|cinc|cinv|cneg|clz|rbit|rev\d*|inc[bhwd]|cnt[bhwd]|rdvl|addvl"
)
_ARM_VECTOR = re.compile(r"\bv\d+\.(?:\d+)?[bhsdq]|\bz\d+\.[bhsdq]|\{\s*[vz]\d+")
_ARM_NEON = re.compile(r"\bv\d+\.|\bq\d+\b")
_ARM_SCALAR_FLOAT = re.compile(r"\b[hsd]\d+\b")
_ARM_MATRIX_DTYPES = {"bf": "bfloat16", "fm": "float32", "sm": "int8", "um": "uint8", "us": "int8", "su": "int8"}


def sites_aarch64(function: MachineFunction) -> list[Site]:
    """The instructions of a function, without those that only fill up space."""
    parsed = []
    for entry in function.instructions:
        words = entry.text.split("//")[0].split(None, 1)
        parsed.append((entry, words[0], words[1].strip() if len(words) > 1 else ""))
    flow = []
    for entry, mnemonic, operands in parsed:
        branches = mnemonic == "b" or mnemonic.startswith(("b.", "cbz", "cbnz", "tbz", "tbnz"))
        target = re.search(r"(?:^|, ?)([0-9a-f]+) <", operands) if branches else None
        falls = mnemonic not in ("b", "br", "ret", "udf")
        flow.append((entry.address, int(target[1], 16) if target is not None else None, falls))
    repeated = _in_loops(flow)
    sites = []
    for entry, mnemonic, operands in parsed:
        if mnemonic in ("nop", "udf") or mnemonic.startswith("."):
            continue
        called = _CALLED.search(operands) if mnemonic == "bl" else None
        name = called["name"] if called else ""
        kinds = _call_kinds(name) if mnemonic == "bl" else _aarch64_kinds(mnemonic, operands)
        if "[" in operands and _ARM_MEMORY.fullmatch(mnemonic):
            kinds.add("local_memory" if re.search(r"\[(?:sp|x29)\b", operands) else "global_memory")
            if _ARM_ATOMIC.fullmatch(mnemonic):
                kinds.add("atomic")
        dtype = _ARM_MATRIX_DTYPES.get(mnemonic[:2], "") if "matrix" in kinds else ""
        sites.append(
            Site(
                entry.line, frozenset(kinds), entry.address in repeated,
                16 if _ARM_NEON.search(operands) else 0, name,
                ("sme" if "mop" in mnemonic else "mmla", dtype) if dtype else (),
            )
        )  # fmt: skip
    return sites


def _aarch64_kinds(mnemonic: str, operands: str) -> set[str]:
    if _ARM_CONTROL.fullmatch(mnemonic):
        return {"control"}
    if _ARM_MATRIX.fullmatch(mnemonic):
        return {"matrix"}
    packed = _ARM_VECTOR.search(operands) is not None
    scalar = not packed and _ARM_SCALAR_FLOAT.search(operands.split("[")[0]) is not None
    if _ARM_MEMORY.fullmatch(mnemonic):
        if packed or re.match(r"q\d", operands):
            return {"vector"}
        return {"scalar_float"} if scalar else set()
    if not packed and not scalar:
        if _ARM_DIVISION.fullmatch(mnemonic):
            return {"division", "integer"}
        return {"integer"} if _ARM_INTEGER.fullmatch(mnemonic) and mnemonic != "mov" else set()
    group = {"vector"} if packed else {"scalar_float"}
    if _ARM_DIVISION.fullmatch(mnemonic):
        return {"division", "arithmetic", *group}
    if _ARM_SPECIAL.fullmatch(mnemonic):
        return {"special", "arithmetic", *group}
    if _ARM_CONVERSION.fullmatch(mnemonic):
        return {"conversion", *group}
    if _ARM_SHUFFLE.fullmatch(mnemonic):
        return {"shuffle", *group}
    if _ARM_MOVE.fullmatch(mnemonic):
        return set()
    return {"arithmetic", *group}
