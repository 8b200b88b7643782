"""Facts of a C++ candidate: its loops and what the vectoriser made of them, its instructions by what they do."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from kernelevolve.evaluation.kernel_code import KernelCode
from kernelevolve.evaluation.languages.cpp_code import MachineFunction, read_disassembly
from kernelevolve.profilers.report import InstructionMix, LoopRemark, MatrixOperation, SourceLine, StaticKernel


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
        for site in (_sites_x86(function) if x86 else _sites_aarch64(function))
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
        remarks=tuple(_remarks(code.stages.get("remarks", ""), source, sites, where)),
        notes=tuple(notes),
    )


def _mix(sites: Sequence[_Site]) -> InstructionMix:
    counts = Counter(kind for site in sites for kind in site.kinds if kind in InstructionMix.model_fields)
    return InstructionMix(total=len(sites), **counts)


def _lines_with(sites: Iterable[_Site], kind: str) -> list[int]:
    return sorted({site.line for site in sites if kind in site.kinds and site.line is not None})


# -- instructions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Site:
    """One instruction."""

    line: int | None
    kinds: frozenset[str]
    """Fields of `InstructionMix`, and `arithmetic` where vector or floating-point registers are computed with."""
    in_loop: bool
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


def _sites_x86(function: MachineFunction) -> list[_Site]:
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
            _Site(entry.line, frozenset(kinds), entry.address in repeated, width, name, ("amx", dtype) if dtype else ())
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


def _sites_aarch64(function: MachineFunction) -> list[_Site]:
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
            _Site(
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


def _remarks(text: str, source: str, sites: list[_Site], where: Callable[[int], SourceLine]) -> Iterator[LoopRemark]:
    loops = _source_loops(source)
    verdicts = _verdicts(text, loops)
    code: dict[int, list[_Site]] = {}
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


def _remark(verdict: _Verdict | None, body: list[_Site], spoken: bool, where: SourceLine) -> LoopRemark | None:
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
