"""`export_kernel`: the best nodes of a search → one importable module, judged before it is handed over."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError, TaskError
from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge.client import Judge, Progress
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.task_cases import TaskCases
from kernelevolve.evaluation.verdict import PlatformVerdict
from kernelevolve.search.errors import SearchError
from kernelevolve.search.export.header import MARK, header
from kernelevolve.search.export.module import module_text, reference_text
from kernelevolve.search.export.plan import make_plan
from kernelevolve.search.export.selection import ExportNode, select_nodes
from kernelevolve.search.prompt import shorten
from kernelevolve.search.store.reading import Reader
from kernelevolve.tools.compile_and_verify import TEXT_LIMIT
from kernelevolve.tools.export_summary import ExportedCase, ExportedNode, ExportRequest, ExportSummary
from kernelevolve.tools.judges import Cancellation, JudgePool

_COMMENT = f"// {MARK}: "


def export_kernel(
    pool: JudgePool,
    store: Reader,
    request: ExportRequest,
    path: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> tuple[ExportSummary, str]:
    """Export, judge the export, keep it in the state folder, and write it if a path is given.

    Args:
        pool: where judges come from; its workspace is the only folder that is written to.
        store: where the searches are.
        request: what to export.
        path: `.py` file in the workspace, or in the server's working folder where there is no workspace.
        overwrite: replace an export that is there.
        progress: told what is being done.
        cancellation: lets another thread end the call.

    Returns:
        The summary, and the module's text.

    Raises:
        SearchError: nodes cannot be exported, or the path cannot be written.
        KernelEvolveError: the module was judged and refused, or the task cannot be used.
    """
    target = None if path is None else target_path(path, pool.workspace or Path.cwd(), overwrite)
    nodes = select_nodes(store, request.search_id, request.steps, request.also, request.allow_unexecuted)
    search = store.search(request.search_id)
    with pool.lend(cancellation) as judge:
        cases = judge.describe_cases(search.task)
        if search.task_hash is not None and cases.task.task_hash != search.task_hash:
            raise SearchError(
                f"The task {search.task} is not the one that search {search.search_id} was about: it has changed.",
                "Put the old task back, or search again.",
            )
        text, checked, plan, used = _texts(store, request, nodes, cases)
        verdicts = [_judge(judge, request, search.task, checked, name, progress) for name in plan["platforms"]]
    summary = _summary(request, plan, used, verdicts, text, cases)
    _keep(pool.state, request.search_id, text)
    if target is not None:
        written = write_module(target, text, used, overwrite)
        summary = summary.model_copy(update={"files": tuple(map(str, written))})
    return summary, text


def _texts(
    store: Reader, request: ExportRequest, nodes: Sequence[ExportNode], cases: TaskCases
) -> tuple[str, str, dict[str, Any], list[ExportNode]]:
    """The module's text, the text to judge (with the reference in any case), the plan, and the nodes it uses."""
    embed = request.embed_reference
    if not cases.reference_source and embed:
        raise TaskError(
            Finding.TASK_UNREADABLE,
            f"The reference of task {cases.task.name} is no text that a module could carry.",
            "Write a task file for the operator.",
        )
    native = any(node.candidate.language != "triton" for node in nodes)
    if not embed and (native or cases.task.form == "kernelbench"):
        why = "its parameters come from the reference's module" if not native else "the shapes of outputs come from it"
        raise SearchError(f"This export needs the reference: {why}.", "Embed it.")
    plan, positions = make_plan(nodes, cases, embed)
    if not positions:
        raise SearchError(
            "No kernel is faster than the reference in any case: there is nothing to export.",
            "Go on with the search first.",
        )
    used = [nodes[position] for position in positions]
    searches = [store.search(name) for name in dict.fromkeys(node.node.search_id for node in used)]
    sources = [node.candidate.source for node in used]
    head = header(cases.task, used, plan, searches, embed)
    if embed:
        text = module_text(head, plan, sources, reference_text(cases.task, cases.reference_source))
        return text, text, plan, used
    return module_text(head, plan, sources, None), module_text(head, plan, sources, cases.reference_source), plan, used


def _judge(
    judge: Judge, request: ExportRequest, task: str, text: str, platform: str, progress: Progress | None
) -> tuple[PlatformVerdict, str]:
    """Load the module in a confined process and check it on the task's cases.

    Raises:
        CandidateError: it is not correct, or does not choose what was planned.
    """
    verdict = judge.judge(
        JudgeRequest(
            task=task,
            candidate=Candidate(language="export", source=text, name="the export"),
            platforms=(platform,),
            timed_calls=0,
            limit_s=request.limit_s,
        ),
        progress,
    )
    entry = verdict.of(platform)
    if entry.status is not Status.CORRECT:
        found = entry.diagnosis
        assert found is not None
        raise CandidateError(
            found.finding,
            f"The export was judged for {platform} and refused: {found.summary}",
            found.advice or "Export other nodes, or judge these again.",
            found.log,
        )
    if entry.level is not Level.EXECUTED and not request.allow_unexecuted:
        level = entry.level.value if entry.level else "not judged"
        raise SearchError(
            f"The module could not be executed for {platform} on this machine ({level}).",
            "Export where the device is, or allow unexecuted kernels (allow_unexecuted, --allow-unexecuted).",
        )
    return entry, verdict.receipt.receipt_hash


def _summary(
    request: ExportRequest,
    plan: dict[str, Any],
    used: Sequence[ExportNode],
    verdicts: Sequence[tuple[PlatformVerdict, str]],
    text: str,
    cases: TaskCases,
) -> ExportSummary:
    choices = {entry["case"]: entry["choice"] for entry in plan["entries"]}
    return ExportSummary(
        search_id=request.search_id,
        task=cases.task.name,
        entry="ModelNew" if plan["form"] == "kernelbench" else "kernel",
        nodes=tuple(
            ExportedNode(
                node_id=node.node.node_id,
                language=node.candidate.language,
                platform=node.platform,
                level=node.entry.level,
                confirmed=node.confirmed,
                receipt_hash=node.verdict.receipt.receipt_hash,
            )
            for node in used
        ),
        cases=tuple(
            _case(case, platform, None if index is None else used[index])
            for case, choice in choices.items()
            for platform, index in choice.items()
        ),
        judged=tuple(entry for entry, _receipt in verdicts),
        receipt_hashes=tuple(receipt for _entry, receipt in verdicts),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        characters=len(text),
        resource=f"search://{request.search_id}/export",
    )


def _case(case: str, platform: str, node: ExportNode | None) -> ExportedCase:
    timing = node.timing(case) if node is not None else None
    if node is None or timing is None:
        return ExportedCase(case=case, platform=platform, node_id=None if node is None else node.node.node_id)
    interval = timing.interval
    return ExportedCase(
        case=case, platform=platform, node_id=node.node.node_id, speedup=interval.speedup, low=interval.low,
        high=interval.high,
    )  # fmt: skip


def summary_text(summary: ExportSummary) -> str:
    """An export as text for a model, at most `TEXT_LIMIT` characters."""
    lines = [
        f"exported search {summary.search_id} (task {summary.task}): import `{summary.entry}`; "
        f"{summary.characters} characters, SHA-256 {summary.sha256[:16]}"
    ]
    for node in summary.nodes:
        said = "confirmed" if node.confirmed else "judged once, not confirmed"
        level = node.level.value if node.level else "not judged"
        lines.append(f"  {node.node_id}: {node.language} for {node.platform}, {level}, {said}")
    for case in summary.cases:
        if case.node_id is None:
            lines.append(f"  {case.case}, {case.platform}: the reference, which was faster")
            continue
        speed = "" if case.speedup is None else f", {case.speedup:.3f}x [{case.low:.3f}, {case.high:.3f}]"
        lines.append(f"  {case.case}, {case.platform}: {case.node_id}{speed}")
    for entry, receipt in zip(summary.judged, summary.receipt_hashes, strict=True):
        level = entry.level.value if entry.level else "not judged"
        lines.append(
            f"the whole module, {entry.platform}: {entry.status.value} ({level}), {entry.checks} outputs compared, "
            f"receipt {receipt[:16]}"
        )
        lines.extend(f"  note: {note}" for note in entry.notes)
    lines += [f"wrote {file}" for file in summary.files]
    lines.append(f"module: {summary.resource}")
    return shorten("\n".join(lines), TEXT_LIMIT)


# -- files ------------------------------------------------------------------------------------------------------------


def _keep(state: Path, search_id: str, text: str) -> None:
    folder = state / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / f"{search_id}.py", text)


def stored_export(state: Path, search_id: str) -> str:
    """The module that was exported last of a search.

    Raises:
        SearchError: there is none.
    """
    path = state / "exports" / f"{search_id}.py"
    if path.parent.resolve() != path.resolve().parent or not path.is_file():
        raise SearchError(f"Nothing was exported of search {search_id!r}.", "export_kernel does it.")
    return path.read_text(encoding="utf-8")


def target_path(path: str, root: Path, overwrite: bool) -> Path:
    """The file to write.

    Raises:
        SearchError: it lies outside `root`, is no `.py` file, or holds something that must not be replaced.
    """
    root = root.resolve()
    target = (root / Path(path).expanduser()).resolve()
    if not target.is_relative_to(root):
        raise SearchError("The path leads out of the folder that may be written to.", "Give a path relative to it.")
    if target.suffix != ".py" or not target.stem.isidentifier():
        raise SearchError(
            f"{target.name!r} is no name that could be imported.", "Name the file like a Python module: my_kernel.py."
        )
    if not target.parent.is_dir():
        raise SearchError(f"There is no folder {target.parent.relative_to(root)}.", "Make it first.")
    _may_replace(target, f'"""{MARK}', overwrite)
    return target


def _may_replace(file: Path, beginning: str, overwrite: bool) -> None:
    if not file.exists():
        return
    if not overwrite:
        raise SearchError(f"{file.name} is there already.", "Name another file, or allow overwriting it.")
    if not file.is_file() or not file.read_bytes().startswith(beginning.encode()):
        raise SearchError(f"{file.name} is not an export.", "Only an earlier export is ever replaced.")


def write_module(target: Path, text: str, nodes: Sequence[ExportNode], overwrite: bool) -> list[Path]:
    """Write the module, and a copy of each C++ and CUDA source beside it, for reading.

    Raises:
        SearchError: a file is in the way; nothing is written then.
    """
    suffixes = {"cpp": ".cpp", "cuda": ".cu", "hip": ".hip"}
    copies = {}
    for node in nodes:
        if suffix := suffixes.get(node.candidate.language):
            said = f"{_COMMENT}the source of node {node.node.node_id}, for reading; {target.name} holds its own.\n"
            copies[target.with_name(f"{target.stem}_{node.node.node_id}{suffix}")] = said + node.candidate.source
    _may_replace(target, f'"""{MARK}', overwrite)
    for file in copies:
        _may_replace(file, _COMMENT, overwrite)
    try:
        for file, content in {**copies, target: text}.items():
            _put(file, content)
    except OSError as error:
        raise SearchError(f"{error.filename} can't be written: {error.strerror}.", "Check the folder.") from error
    return [target, *copies]


def _put(file: Path, text: str) -> None:
    """Write in one step: a reader sees the old file or the new one."""
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}.", suffix=".tmp")
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
    Path(draft).chmod(0o644)
    Path(draft).replace(file)
