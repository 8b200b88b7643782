"""The profile of one candidate: what each source of evidence saw, and what it amounts to."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.resources import KernelResources

SCHEMA_VERSION = 1


class SourceLine(Contract):
    """A line of the candidate."""

    line: int
    """Line number, from 1."""
    text: str = ""
    """The line itself, stripped."""


class Metric(Contract):
    """One measured or derived number."""

    value: float
    """In the unit."""
    unit: str = ""
    """`s`, `B`, `B/s`, `FLOP/s`, `1/s`; empty for counts and shares, which run from 0 to 1."""
    source: str
    """The part of the profile it comes from, e.g. `counters`."""
    raw: str = ""
    """The name under which its tool reports it, e.g. `sm__warps_active.avg.pct_of_peak_sustained_active`."""


# -- static ---------------------------------------------------------------------------------------------------------


class AccessKind(StrEnum):
    """What an access to device memory does."""

    LOAD = "load"
    STORE = "store"
    ATOMIC = "atomic"


class GlobalAccess(Contract):
    """One access to device memory in the source."""

    kind: AccessKind
    """Load, store or atomic."""
    element_bytes: int
    """Bytes of one element."""
    vector_bytes: int | None = None
    """Widest contiguous piece one thread moves with one instruction, bytes; None if unknown."""
    stride_bytes: int | None = None
    """Distance in memory between what neighbouring lanes touch, bytes; 0 when they touch the same; None if unknown."""
    sector_use: float | None = None
    """Bytes used over bytes moved, in 32-byte sectors, for a full warp: 1 is coalesced, 0.125 is one float of each
    sector. None where the addresses depend on data or cannot be followed."""
    indirect: bool = False
    """Whether the addresses depend on loaded data (gather, scatter)."""
    masked: bool = False
    """Whether it is guarded by a mask."""
    asynchronous: bool = False
    """Whether it runs beside the arithmetic: `cp.async`, TMA, direct-to-LDS."""
    loop_depth: int = 0
    """Loops around it."""
    bytes_per_block: int | None = None
    """Bytes that one block touches with one execution, if known."""
    pointer: str = ""
    """Name of the kernel's argument that it goes through, if it can be followed."""
    where: SourceLine | None = None
    """Line of the source."""


class Loop(Contract):
    """One loop of a kernel."""

    depth: int
    """1 for an outermost loop."""
    global_loads: int
    """Loads from device memory directly in its body."""
    matrix_operations: int
    """`tl.dot` or equivalent directly in its body."""
    stages: int | None = None
    """Iterations in flight by software pipelining: 1 when loads wait for their own iteration; None if unknown."""
    trip_count: int | None = None
    """Iterations, if constant."""
    where: SourceLine | None = None
    """Line of the source."""


class MatrixOperation(Contract):
    """One matrix multiplication in the kernel's code."""

    unit: str
    """`wgmma`, `mma`, `tcgen05`, `mfma`, `wmma`, or `fma` when the vector units do it."""
    input_dtype: str
    """Type of the operands, e.g. `float16`, `tf32`, `float32`."""
    shape: tuple[int, int, int] | None = None
    """Rows, columns and depth of one block's operation."""
    where: SourceLine | None = None
    """Line of the source."""


class InstructionMix(Contract):
    """Machine instructions by what they do; static counts, so a loop's body counts once."""

    total: int = 0
    """All, without padding (`NOP`)."""
    matrix: int = 0
    """Matrix units: `HMMA`, `HGMMA`, `IMMA`, `v_mfma_*`, AMX tiles."""
    float: int = 0
    """Floating-point vector arithmetic, 32-bit and wider."""
    half: int = 0
    """The same in 16 bits or packed 16 bits."""
    special: int = 0
    """Transcendental and reciprocal units: `MUFU`, `v_exp_f32`, …"""
    integer: int = 0
    """Integer arithmetic, shifts, logic, address computation."""
    division: int = 0
    """Integer divisions or remainders by values not known at compile time, as the compiler expanded them."""
    conversion: int = 0
    """Between types."""
    global_memory: int = 0
    """Loads, stores and atomics on device memory."""
    shared_memory: int = 0
    """Loads and stores on shared memory (LDS)."""
    local_memory: int = 0
    """Loads and stores on local memory: spills and arrays that found no register."""
    atomic: int = 0
    """Atomics on device memory (also part of `global_memory`)."""
    shuffle: int = 0
    """Exchanges between lanes."""
    barrier: int = 0
    """Barriers of a block or a cluster."""
    control: int = 0
    """Branches, predicates, loop control."""
    vector: int = 0
    """On a CPU: SIMD instructions on packed values."""
    scalar_float: int = 0
    """On a CPU: floating-point instructions on single values."""


class LoopRemark(Contract):
    """What a C++ compiler says of one loop."""

    vectorized: bool
    """Whether it runs in SIMD instructions."""
    vector_bytes: int | None = None
    """Width of the vectors, bytes."""
    reason: str = ""
    """Why not, in the compiler's words."""
    where: SourceLine | None = None
    """Line of the source."""


class StaticKernel(Contract):
    """What the code of one kernel says."""

    kernel: str
    """Kernel name."""
    target: str
    """Platform name."""
    resources: KernelResources | None = None
    """Registers, spills, shared memory, occupancy."""
    grid: tuple[int, ...] = ()
    """Blocks in each dimension, as the host code asked at the inputs that were looked at."""
    calls: int = 1
    """Launches in one run of the candidate."""
    mix: InstructionMix = InstructionMix()
    """Instructions of the whole kernel."""
    loop_mix: InstructionMix = InstructionMix()
    """Instructions inside loops only."""
    accesses: tuple[GlobalAccess, ...] = ()
    """Accesses to device memory."""
    loops: tuple[Loop, ...] = ()
    """Loops."""
    matrix_operations: tuple[MatrixOperation, ...] = ()
    """Matrix multiplications."""
    shared_conversions: int = 0
    """Times that a value goes through shared memory to change its layout between threads."""
    divisions: tuple[SourceLine, ...] = ()
    """Lines with integer division or remainder by a value the compiler does not know."""
    spill_lines: tuple[SourceLine, ...] = ()
    """Lines whose code touches local memory, most frequent first."""
    barrier_lines: tuple[SourceLine, ...] = ()
    """Lines whose code waits for the whole block."""
    remarks: tuple[LoopRemark, ...] = ()
    """C++: loops and what became of them."""
    notes: tuple[str, ...] = ()
    """What a reader should know, e.g. what could not be read."""


# -- measured -------------------------------------------------------------------------------------------------------


class Scope(Contract):
    """A named stretch inside a kernel, from intra-kernel instrumentation. Instrumented code is never timed."""

    name: str
    """Name of the stretch."""
    cycles: float
    """Cycles that one warp spends in it, all passes together; mean over the warps."""
    share: float
    """Its cycles over those of the longest stretch of the kernel, 0 to 1. Loops contain the lines in them."""


class KernelMeasurement(Contract):
    """What was measured of one kernel, by any profiler."""

    kernel: str
    """Name as the device reports it."""
    calls: int = 1
    """Launches in one run of the candidate."""
    time_s: Metric | None = None
    """Median device time of one launch, without instrumentation."""
    metrics: dict[str, Metric] = Field(default_factory=dict)
    """Name (`docs/profiling.md` lists the ones that the diagnosis knows) → value."""
    lines: dict[int, float] = Field(default_factory=dict)
    """Line of the source → share of the samples that fell on it."""
    scopes: tuple[Scope, ...] = ()
    """Stretches inside it."""
    grid: tuple[int, ...] = ()
    """Blocks in each dimension."""
    threads_per_block: int | None = None
    """Threads of a block."""


class DeviceEvent(Contract):
    """One thing that happened in the timeline."""

    name: str
    """Kernel, copy, or call."""
    kind: str
    """`kernel`, `memcpy`, `memset`, `launch`, `sync`, `operator`."""
    start_us: float
    """Start, microseconds from the start of the traced stretch."""
    duration_us: float
    """Length, microseconds."""
    track: str
    """`stream 7`, `host`."""
    bytes: int | None = None
    """Bytes moved, for copies."""
    correlation: int | None = None
    """Ties a launch on the host to what it started on the device."""


class Timeline(Contract):
    """A few runs of the candidate as host and device saw them."""

    runs: int
    """Runs that were traced."""
    wall_us: float
    """Host time of one run, synchronised at its end, microseconds; median."""
    busy_us: float
    """Device time of one run with something running, microseconds; median."""
    launches: float
    """Kernels in one run."""
    gaps_us: float
    """Time between the first and the last device event of one run with nothing running, microseconds; median."""
    synchronizations: float
    """Times in one run that the host waited for the device before the end."""
    host_copies: float
    """Copies between host and device in one run."""
    device_copies: float
    """Copies within device memory in one run: `contiguous()`, `clone()`, transposes, layout conversions."""
    copy_us: float
    """Device time of all copies and layout conversions in one run, microseconds."""
    conversions: tuple[str, ...] = ()
    """Names of the kernels that only move or convert data."""
    events: tuple[DeviceEvent, ...] = ()
    """What happened in the first traced run, oldest first; at most 10,000."""
    dropped: int = 0
    """Events that were left out of `events`."""


class Ceiling(Contract):
    """One limit of the hardware."""

    kind: str
    """`bandwidth` (bytes per second) or `rate` (operations per second)."""
    value: float
    """In base units."""
    name: str
    """What it is, e.g. `HBM`, `bfloat16 matrix units`."""
    source: str
    """`spec sheet` or `measured`."""


class RooflinePoint(Contract):
    """Where one case lies under the roofline (Williams, Waterman and Patterson, CACM 2009)."""

    case: str
    """Case name."""
    kernel: str = ""
    """One kernel of the candidate; empty for the whole candidate."""
    dtype: str
    """Type whose peak rate applies."""
    time_s: float
    """Device time of one call, seconds, measured by the judge."""
    bytes: float
    """Bytes that must move, or that moved where counters know."""
    bytes_source: str
    """`task`, `inputs and outputs`, or `counters`."""
    flops: float | None = None
    """Operations, where the task or the counters know."""
    intensity: float | None = None
    """Operations for each byte."""
    ceilings: tuple[Ceiling, ...] = ()
    """The limits it is held against."""
    bound: str
    """`memory` or `compute`: the limit that a perfect kernel would hit."""
    share_of_sheet: float | None = None
    """Time that the spec sheet's limits need over the time taken; above 1 only where data stay in a cache."""
    share_of_measured: float | None = None
    """The same against ceilings measured on this device."""


# -- what it amounts to ---------------------------------------------------------------------------------------------


class BottleneckKind(StrEnum):
    """What keeps a kernel slow."""

    UNCOALESCED_ACCESS = "uncoalesced_access"
    BANK_CONFLICTS = "bank_conflicts"
    REGISTER_SPILLS = "register_spills"
    LOW_OCCUPANCY = "low_occupancy"
    SMALL_TILES = "small_tiles"
    NO_MATRIX_UNITS = "no_matrix_units"
    WIDE_DTYPE = "wide_dtype"
    REDUNDANT_PASS = "redundant_pass"
    ATOMIC_CONTENTION = "atomic_contention"
    LAUNCH_BOUND = "launch_bound"
    LAYOUT_CONVERSION = "layout_conversion"
    TAIL_EFFECT = "tail_effect"
    UNPIPELINED_LOOP = "unpipelined_loop"
    INDEX_ARITHMETIC = "index_arithmetic"
    HOST_SYNCHRONIZATION = "host_synchronization"
    HOST_COPIES = "host_copies"
    NARROW_ACCESS = "narrow_access"
    CACHE_MISSES = "cache_misses"
    BARRIER_STALLS = "barrier_stalls"
    LOAD_IMBALANCE = "load_imbalance"
    LOW_PARALLELISM = "low_parallelism"
    NOT_VECTORIZED = "not_vectorized"
    ENGINE_STALLS = "engine_stalls"
    LATENCY_BOUND = "latency_bound"
    MEMORY_BOUND = "memory_bound"
    COMPUTE_BOUND = "compute_bound"


class Evidence(Contract):
    """One observation behind a bottleneck."""

    metric: str
    """What was looked at."""
    value: float
    """What was seen."""
    unit: str = ""
    """Unit of both numbers; empty for counts and shares."""
    threshold: float
    """What it is held against."""
    relation: str = ">"
    """How the value lies to the threshold: `>` or `<`."""
    source: str
    """Which part of the profile saw it."""
    where: SourceLine | None = None
    """Line of the source."""


class Bottleneck(Contract):
    """One reason why the candidate is slow."""

    kind: BottleneckKind
    """What it is."""
    kernel: str = ""
    """The kernel; empty when it concerns the whole candidate."""
    share: float
    """Estimate of the candidate's time that mending it would save, 0 to 1; the rank follows from it."""
    summary: str
    """What is wrong, in a sentence, with the numbers."""
    advice: str
    """What to try."""
    evidence: tuple[Evidence, ...]
    """Why we think so; at least one."""
    knowledge: tuple[str, ...] = ()
    """Links to documents of the knowledge base, `knowledge://…`."""


class PartState(StrEnum):
    """How one part of the profile went."""

    DONE = "done"
    PARTIAL = "partial"
    """Something is there, and `why` says what is missing."""
    MISSING = "missing"
    """The tool is not here, or not allowed."""
    FAILED = "failed"
    """It was tried and did not work."""


class Part(Contract):
    """One source of evidence."""

    name: str
    """`static`, `timeline`, `proton`, `counters`, `perf`, or a plug-in's name."""
    state: PartState
    """How it went."""
    why: str = ""
    """What is missing and what to do about it; empty when done."""
    took_s: float = 0.0
    """Wall time, seconds."""


class ProfileReport(Contract):
    """Everything that is known about why one candidate takes the time it takes."""

    schema_version: int = SCHEMA_VERSION
    """Version of this layout."""
    task: str
    """Task name."""
    candidate: str
    """Candidate name."""
    language: str
    """Candidate language."""
    source_hash: str
    """SHA-256 of the candidate."""
    platform: str
    """Platform name."""
    device: str | None = None
    """The device that ran it, if one did."""
    level: Level
    """*executed* where it ran, *compiled* where only its code was looked at."""
    case: str
    """The case that was profiled: the heaviest."""
    dtype: str
    """Its dtype."""
    parts: tuple[Part, ...]
    """Sources of evidence and how each went."""
    static: tuple[StaticKernel, ...] = ()
    """What the code says, kernel by kernel."""
    kernels: tuple[KernelMeasurement, ...] = ()
    """What was measured, kernel by kernel."""
    timeline: Timeline | None = None
    """Launches, gaps, copies."""
    roofline: tuple[RooflinePoint, ...] = ()
    """Where each case lies."""
    candidate_ms: float | None = None
    """The judge's device time of the case, milliseconds."""
    bottlenecks: tuple[Bottleneck, ...] = ()
    """Ranked, the most costly first."""
    notes: tuple[str, ...] = ()
    """What a reader should know."""
