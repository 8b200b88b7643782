"""`kernelevolve docs` and `kernelevolve knowledge …`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from kernelevolve.knowledge.answer import KnowledgeAnswer
from kernelevolve.knowledge.base import URI, KnowledgeBase
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.ingestion.files import IngestionReport, add_files
from kernelevolve.knowledge.store import where_clause
from kernelevolve.knowledge.vocabulary import Kind, checked_kinds, nearest
from kernelevolve.server.rendering import stderr_console, table

_ADDABLE = (Kind.HARDWARE, Kind.GUIDANCE, Kind.CONSTRAINT, Kind.SAMPLE)


def ask(
    state: Path,
    query: str,
    platforms: Sequence[str],
    kinds: Sequence[str],
    languages: Sequence[str],
    versions: dict[str, str] | None,
    limit: int,
    neighbours: int,
) -> KnowledgeAnswer | str:
    """The answer to a question, or the text of a document whose id was given.

    Raises:
        KnowledgeError: an empty query, an unknown filter or document.
    """
    base = opened(state)
    name = query.strip().removeprefix(URI)
    if query.strip().startswith(URI) or base.store.document(name.partition("#")[0]):
        return base.read(name)
    return base.ask(
        query,
        platforms=platforms,
        kinds=kinds,
        languages=languages,
        versions=versions,
        limit=limit,
        neighbours=neighbours,
    )


def add(
    state: Path, paths: Sequence[Path], platforms: Sequence[str], source: str, kind: str, prune: bool, quiet: bool
) -> IngestionReport:
    """Read files and folders, with a progress bar unless `quiet`.

    Raises:
        KnowledgeError: a path that does not exist, an unknown kind.
    """
    if kind not in [entry.value for entry in _ADDABLE]:
        known = ", ".join(entry.value for entry in _ADDABLE)
        raise KnowledgeError(f"Documents of kind {kind!r} can't be added.{nearest(kind, _ADDABLE)} Known: {known}.")
    base = opened(state)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=stderr_console(), transient=True, disable=quiet) as bar:
        task = bar.add_task("reading", total=None)

        def progress(file: str, done: int, total: int) -> None:
            bar.update(task, description=Path(file).name[:40] if file else "done", completed=done, total=total)

        return add_files(base, paths, platforms, source=source, kind=Kind(kind), prune=prune, progress=progress)


def remove(state: Path, documents: Sequence[str]) -> None:
    """Delete documents that were added here."""
    opened(state).remove([name.removeprefix(URI) for name in documents])


def list_documents(state: Path, platforms: Sequence[str], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Every document as JSON values, by id."""
    base = opened(state)
    where = where_clause(base.resolve(platforms), checked_kinds(kinds))
    heads = base.store.select("position = 0" + (f" AND {where}" if where else ""))
    return [
        {
            "id": head.passage.document_id,
            "title": head.title,
            "kind": head.kind.value,
            "platforms": list(head.platforms),
            "origin": head.origin,
            "checked": head.checked,
        }
        for head in sorted(heads, key=lambda head: head.passage.document_id)
    ]


def stats(state: Path) -> dict[str, Any]:
    """What is in the base."""
    return opened(state).store.counts()


def opened(state: Path) -> KnowledgeBase:
    """The knowledge base, its index brought up to date; the first time says that it takes a moment."""
    base = KnowledgeBase(state)
    with stderr_console().status("opening the knowledge base") as status:
        base.open(lambda done, total: status.update(f"indexing the shipped documents: {done} of {total} chunks"))
    return base


def answer_view(answer: KnowledgeAnswer) -> RenderableType:
    """Numbers, then passages, for a terminal."""
    parts: list[RenderableType] = []
    for number in answer.numbers:
        parts.append(Text.assemble((number.chip, "bold"), f": {number.property} = ", (number.text, "bold green")))
        if number.note:
            parts.append(Text(f"  {number.note}", style="dim"))
        parts.append(Text(f"  {'; '.join(number.sources)} (read {number.checked})", style="dim"))
    for place, passage in enumerate(answer.passages, 1):
        parts += [Text(), Text(f"{place}. {passage.title}", style="bold")]
        facts = [passage.uri, ", ".join(passage.platforms)]
        if passage.applies_to:
            facts.append(f"holds for {', '.join(passage.applies_to)}")
        if passage.origin != "shipped":
            facts.append(passage.origin)
        parts += [Text(" · ".join(facts), style="dim"), Markdown(passage.text)]
        if passage.sources:
            parts.append(Text(f"sources: {'; '.join(passage.sources[:3])}", style="dim"))
    if not answer.numbers and not answer.passages:
        parts.append(Text("Nothing found. Try other words or fewer filters; `knowledge add` reads your own manuals."))
    if answer.rules:
        parts += [Text(), Text("Rules that always hold here:", style="bold")]
        parts += [Text(f"- {rule.title.split(' › ')[0]}  {rule.uri}") for rule in answer.rules]
    parts += [Text(f"note: {note}", style="yellow") for note in answer.notes]
    return Group(*parts)


def read_view(text: str) -> RenderableType:
    """A document for a terminal."""
    return Markdown(text)


def report_view(report: IngestionReport) -> RenderableType:
    """What became of the files."""
    parts: list[RenderableType] = [
        Text(
            f"{len(report.added)} added or changed, {len(report.unchanged)} unchanged, {len(report.removed)} removed, "
            f"{len(report.skipped)} skipped; for {', '.join(report.platforms)}"
        )
    ]
    if report.skipped:
        view = table("skipped", "why")
        for entry in report.skipped:
            view.add_row(entry.path, entry.reason)
        parts.append(view)
    parts += [Text(f"note: {note}", style="yellow") for note in report.notes]
    if report.gone:
        parts.append(Text(f"{len(report.gone)} documents whose file is gone are kept; --prune removes them."))
    if report.added:
        parts.append(Text(f'Try: kernelevolve docs "…" --platform {report.platforms[0]}', style="dim"))
    return Group(*parts)


def documents_view(entries: Sequence[dict[str, Any]]) -> RenderableType:
    """Documents as a table."""
    view = table("id", "title", "kind", "platforms")
    for entry in entries:
        view.add_row(entry["id"], entry["title"], entry["kind"], ", ".join(entry["platforms"]))
    return view


def stats_view(counts: dict[str, Any]) -> RenderableType:
    """Counts as a table."""
    view = table("what", "", right=("",))
    view.add_row("documents", str(counts["documents"]))
    for name, number in {**counts["by_kind"], **counts["by_origin"]}.items():
        view.add_row(f"  {name}", str(number))
    view.add_row("passages", str(counts["passages"]))
    view.add_row("chunks with vectors", str(counts["chunks"]))
    view.add_row("embedder", counts["embedder"] or "none: full text alone")
    if counts["bytes"] is not None:
        view.add_row("on disk", f"{counts['bytes'] / 2**20:.1f} MiB")
    view.add_row("index", counts["location"])
    return view
