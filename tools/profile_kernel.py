"""`profile_kernel`: task + candidate + platform → why it takes the time it takes, and what to try."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.client import Judge, Progress
from kernelevolve.knowledge.base import URI, KnowledgeBase
from kernelevolve.knowledge.deep_search import deep_search
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.situation import Phase, Situation, topics_of
from kernelevolve.profilers.profile import ProfileRequest, profile
from kernelevolve.profilers.report import Bottleneck, BottleneckKind, ProfileReport
from kernelevolve.profilers.trace import write_trace
from kernelevolve.tools.compile_and_verify import resolve_task
from kernelevolve.tools.judges import Cancellation, JudgePool

IN_KNOWLEDGE: dict[BottleneckKind, str] = {
    BottleneckKind.UNCOALESCED_ACCESS: "uncoalesced",
    BottleneckKind.NARROW_ACCESS: "uncoalesced",
    BottleneckKind.BANK_CONFLICTS: "bank_conflicts",
    BottleneckKind.REGISTER_SPILLS: "registers",
    BottleneckKind.LOW_OCCUPANCY: "occupancy",
    BottleneckKind.SMALL_TILES: "matrix_units_idle",
    BottleneckKind.NO_MATRIX_UNITS: "matrix_units_idle",
    BottleneckKind.WIDE_DTYPE: "matrix_units_idle",
    BottleneckKind.REDUNDANT_PASS: "memory_bandwidth",
    BottleneckKind.ATOMIC_CONTENTION: "synchronization",
    BottleneckKind.LAUNCH_BOUND: "launch_overhead",
    BottleneckKind.HOST_SYNCHRONIZATION: "launch_overhead",
    BottleneckKind.HOST_COPIES: "launch_overhead",
    BottleneckKind.LAYOUT_CONVERSION: "memory_bandwidth",
    BottleneckKind.TAIL_EFFECT: "load_imbalance",
    BottleneckKind.LOAD_IMBALANCE: "load_imbalance",
    BottleneckKind.LOW_PARALLELISM: "low_parallelism",
    BottleneckKind.UNPIPELINED_LOOP: "latency",
    BottleneckKind.INDEX_ARITHMETIC: "instruction_issue",
    BottleneckKind.CACHE_MISSES: "cache_misses",
    BottleneckKind.BARRIER_STALLS: "synchronization",
    BottleneckKind.NOT_VECTORIZED: "not_vectorized",
    BottleneckKind.ENGINE_STALLS: "latency",
    BottleneckKind.LATENCY_BOUND: "latency",
    BottleneckKind.MEMORY_BOUND: "memory_bandwidth",
    BottleneckKind.COMPUTE_BOUND: "compute",
}
"""What the profile finds → what the knowledge base calls it."""

_LINKED = 3
"""Bottlenecks that get documents."""
_DOCUMENTS_EACH = 2
_BUDGET_TOKENS = 600
_REMEMBERED = 512
# What to read depends on the bottleneck and the platform, not on the candidate, so most answers are known already.
_LOCK = threading.Lock()
_KNOWN: OrderedDict[tuple[KnowledgeBase, Situation], tuple[str, ...]] = OrderedDict()


def profile_kernel(
    pool: JudgePool,
    task: str,
    source: str,
    language: str,
    platform: str,
    parts: list[str],
    case: str | None,
    more: bool,
    limit_s: float,
    base: Callable[[], KnowledgeBase] | None = None,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> ProfileReport:
    """Profile one candidate; see `ProfileRequest` for the arguments, `compile_and_verify` for task and language.

    Args:
        pool: where judges come from.
        task: task.
        source: the candidate's text.
        language: its language.
        platform: platform name.
        parts: profilers to use; empty for all that fit.
        case: case to run.
        more: collect a second set of counters.
        limit_s: seconds one run of the profiled process may take.
        base: opens the knowledge base, whose documents are linked; None for no links.
        progress: told what is being done.
        cancellation: lets another thread end the call.
    """
    request = ProfileRequest(
        task=resolve_task(task, pool),
        candidate=Candidate(language=language, source=source),
        platform=platform,
        parts=tuple(parts),
        case=case,
        more=more,
        limit_s=limit_s,
    )
    cancelled = threading.Event()
    if cancellation is not None:
        cancellation.also(cancelled.set)
    with pool.lend(cancellation) as judge:
        return profiled(judge, request, pool.state, base, progress, cancelled)


def profiled(
    judge: Judge,
    request: ProfileRequest,
    state: Path,
    base: Callable[[], KnowledgeBase] | None,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> ProfileReport:
    """Profile, link what to read, and keep the report and its trace in the state folder."""
    report = profile(judge, request, state, progress, cancelled)
    if base is not None and report.bottlenecks:
        report = _with_documents(report, request.candidate.source, base)
    folder = profile_folder(state, profile_id(report))
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"report.{os.getpid()}.tmp"
    draft.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    draft.replace(folder / "report.json")
    if report.timeline is not None:
        write_trace(report, folder / "trace.pftrace")
    return report


def profile_id(report: ProfileReport) -> str:
    """Names a profile: the candidate, the platform and the case. Profiling the same again replaces it."""
    return f"{report.source_hash[:16]}-{report.platform.replace(':', '_')}-{report.case}".replace("/", "_")


def profile_folder(state: Path, profile: str) -> Path:
    """Where a profile's files lie: `report.json`, and `trace.pftrace` where something ran."""
    return state / "profiles" / profile


def stored_profile(state: Path, profile: str) -> ProfileReport:
    """A profile that was made before.

    Raises:
        TaskError: there is none of that name.
    """
    path = profile_folder(state, profile) / "report.json"
    if Path(profile).name != profile or not path.is_file():
        raise TaskError(Finding.TASK_UNREADABLE, f"There is no profile {profile!r}.", "profile_kernel makes one.")
    return ProfileReport.model_validate(json.loads(path.read_text(encoding="utf-8")))


def _with_documents(report: ProfileReport, source: str, base: Callable[[], KnowledgeBase]) -> ProfileReport:
    """Links for the bottlenecks that matter most. Without the knowledge base a profile is as good, so its failure is a
    note."""
    topics = topics_of(source)
    try:
        opened = base()
        linked = [
            entry.model_copy(update={"knowledge": _links(opened, report, entry, topics)}) if number < _LINKED else entry
            for number, entry in enumerate(report.bottlenecks)
        ]
    except KnowledgeError as error:
        return report.model_copy(update={"notes": (*report.notes, f"no documents are linked: {error}")})
    return report.model_copy(update={"bottlenecks": tuple(linked)})


def _links(base: KnowledgeBase, report: ProfileReport, entry: Bottleneck, topics: tuple[str, ...]) -> tuple[str, ...]:
    situation = Situation(
        platform=report.platform,
        language=report.language,
        phase=Phase.TUNE,
        topics=topics,
        bottlenecks=(IN_KNOWLEDGE[entry.kind],),
        words=f"{entry.kind.value.replace('_', ' ')}: {entry.advice}",
    )
    key = (base, situation)
    with _LOCK:
        if key in _KNOWN:
            _KNOWN.move_to_end(key)
            return _KNOWN[key]
    links = [f"{URI}{found.passage.id}" for found in deep_search(base, situation, _BUDGET_TOKENS).passages]
    chosen = tuple(dict.fromkeys(links))[:_DOCUMENTS_EACH]
    with _LOCK:
        _KNOWN[key] = chosen
        while len(_KNOWN) > _REMEMBERED:
            _KNOWN.popitem(last=False)
    return chosen
