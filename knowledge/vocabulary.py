"""The closed vocabularies by which documents are found: platforms, kinds, topics, bottlenecks."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum

from kernelevolve.knowledge.errors import KnowledgeError

ANY = "*"
"""Platform of a document that holds everywhere."""

PLATFORM_PARENTS: dict[str, str] = {
    "nvidia": ANY,
    "ampere": "nvidia",
    "ada": "nvidia",
    "hopper": "nvidia",
    "blackwell": "nvidia",
    "blackwell_consumer": "nvidia",
    "amd": ANY,
    "cdna3": "amd",
    "cdna4": "amd",
    "mtia": ANY,
    "mtia_1": "mtia",
    "mtia_2i": "mtia",
    "mtia_300": "mtia",
    "cpu": ANY,
    "x86_avx2": "cpu",
    "x86_avx512": "cpu",
    "x86_amx": "cpu",
}
"""Platform → the wider one whose documents hold for it too."""


class Kind(StrEnum):
    """What a document is for."""

    CONSTRAINT = "constraint"
    """What must or must not be done; of severity `must`, it is shown whatever its rank."""
    GUIDANCE = "guidance"
    """How to do something, on any platform or on several."""
    HARDWARE = "hardware"
    """What a chip or an architecture has and does."""
    SAMPLE = "sample"
    """Code that the judge accepts."""
    PATTERN = "pattern"
    """A technique learned from searches, with its evidence."""


TOPICS: dict[str, str] = {
    "architecture": "what a chip is made of",
    "memory": "device memory and its bandwidth",
    "caches": "caches and how data stays in them",
    "shared_memory": "shared memory, LDS, scratchpads",
    "registers": "registers and spills",
    "occupancy": "how many warps or waves are resident",
    "coalescing": "how neighbouring threads touch memory",
    "matrix_units": "tensor cores, MFMA, AMX, dot-product engines",
    "vectorization": "SIMD and wide loads",
    "async_copy": "copies that run beside the computation: cp.async, TMA, DMA",
    "pipelining": "overlapping loads, computation and stores",
    "specialization": "warps or waves with different roles",
    "clusters": "blocks that work together",
    "persistent": "kernels whose blocks fetch work",
    "scheduling": "order and placement of blocks and waves",
    "synchronization": "barriers, fences, atomics, memory models",
    "launch": "starting kernels, grids, graphs",
    "threads": "threads of a CPU, OpenMP, NUMA",
    "isa": "instructions",
    "layout": "how tensors lie in memory and registers, swizzles",
    "tiling": "tile shapes and loop blocking",
    "fusion": "doing several operators in one kernel",
    "split_k": "splitting a reduction over blocks",
    "reduction": "sums, maxima, scans",
    "normalization": "softmax, layer norm, RMS norm",
    "attention": "attention kernels",
    "gemm": "matrix products",
    "convolution": "convolutions",
    "elementwise": "element-wise operators",
    "jagged": "jagged and ragged tensors",
    "embedding": "embedding lookups, gathers, scatters",
    "sorting": "sort, top-k, histogram",
    "random": "random numbers",
    "numerics": "accuracy, rounding, accumulation",
    "low_precision": "FP8, FP4, INT8, block scaling",
    "autotuning": "choosing parameters by measurement",
    "compilers": "compilers, flags, intermediate representations",
    "versions": "what changed between versions",
    "profiling": "finding out why a kernel is slow",
    "debugging": "finding out why a kernel is wrong",
    "verification": "showing that a kernel is right",
    "benchmarking": "timing",
    "portability": "one source for several chips",
    "interconnect": "links between chips and to the host",
    "power": "clocks, power, heat",
    "recommendation": "recommendation models and their preprocessing",
}

BOTTLENECKS: dict[str, str] = {
    "memory_bandwidth": "device memory is busy",
    "compute": "matrix or vector units are busy",
    "latency": "waiting on dependent instructions or loads",
    "occupancy": "too few resident warps",
    "registers": "register pressure or spills",
    "shared_memory": "shared memory limits occupancy",
    "bank_conflicts": "lanes hit the same bank",
    "uncoalesced": "scattered or narrow memory accesses",
    "cache_misses": "data does not stay in a cache",
    "launch_overhead": "many short kernels or a slow host",
    "load_imbalance": "some blocks work longer than others",
    "low_parallelism": "too little work for the whole chip",
    "matrix_units_idle": "matrix units unused or fed badly",
    "instruction_issue": "too many instructions for each byte or operation",
    "synchronization": "barriers, atomics, serialisation",
    "not_vectorized": "a CPU loop runs in scalar code",
    "compile_error": "the candidate does not compile",
    "runtime_error": "the candidate crashes",
    "wrong_result": "the candidate computes something else",
    "precision": "the candidate is not accurate enough",
    "timeout": "the candidate does not end",
    "rule_violation": "the candidate breaks a rule of the judge",
}

LANGUAGES = ("triton", "cuda", "hip", "cpp", "gluon", "tlx")


def ancestry(platform: str) -> tuple[str, ...]:
    """A platform and all wider ones, `*` last: whose documents hold for it."""
    found = [platform]
    while found[-1] != ANY:
        found.append(PLATFORM_PARENTS[found[-1]])
    return tuple(found)


def holds_for(platforms: Iterable[str], asked: str) -> bool:
    """Whether a document of `platforms` is of use to someone who asks for a platform.

    What is said of a wider platform holds for a narrower one; who asks for a wide one (`nvidia`) wants the narrow ones
    (`hopper`) too.
    """
    if asked not in PLATFORM_PARENTS:
        return asked in platforms or ANY in platforms
    wider = ancestry(asked)
    return any(
        platform in wider or (platform in PLATFORM_PARENTS and asked in ancestry(platform)) for platform in platforms
    )


def checked_words(what: str, words: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Words of a closed vocabulary, each once.

    Raises:
        KnowledgeError: an unknown one; the text suggests the nearest.
    """
    for word in words:
        if word not in known:
            raise KnowledgeError(
                f"There is no {what} {word!r}.{nearest(word, known)} Known: {', '.join(sorted(known))}."
            )
    return tuple(dict.fromkeys(words))


def checked_kinds(words: Sequence[str]) -> tuple[Kind, ...]:
    """Kinds by name.

    Raises:
        KnowledgeError: an unknown one.
    """
    return tuple(map(Kind, checked_words("kind", words, [kind.value for kind in Kind])))


def nearest(word: str, known: Iterable[str]) -> str:
    """The closest known word as a hint: ` Did you mean 'hopper'?`, or nothing."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
