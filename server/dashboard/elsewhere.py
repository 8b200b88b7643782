"""Pages beside the searches: receipts, the knowledge base, platforms and the judge."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from kernelevolve.evaluation.judge.client import warm_host
from kernelevolve.evaluation.judge.device_lock import held_devices
from kernelevolve.evaluation.receipt import Receipt
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.vocabulary import Kind
from kernelevolve.search.node import Node
from kernelevolve.server.dashboard.marks import document
from kernelevolve.server.dashboard.rooms import caller_of, overview, page, rooms_of, seen_by
from kernelevolve.server.dashboard.searches import title_of
from kernelevolve.tools.list_platforms import available_platforms

_RECEIPTS = 100
_BLOCK = 1 << 16
_FIRST = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the ledger."""

    receipt: Receipt | None
    """None for a line that is no receipt."""
    sealed: bool
    """Whether its hash is right."""
    linked: bool | None
    """Whether it names the hash of the line before; None where that is not shown."""
    nodes: tuple[Node, ...]
    """Nodes with its source that the caller may see."""


def show_receipts(request: Request) -> Response:
    """The newest receipts of the state folder, and whether their chain holds."""
    rooms = rooms_of(request)
    lines = list(_last_lines(rooms.state / "receipts.jsonl", _RECEIPTS + 1))
    receipts = [_receipt(line) for line in lines]
    seen = seen_by(caller_of(request), rooms.store())
    sources = [receipt.source_hash for receipt in receipts if receipt is not None]
    nodes: dict[str, list[Node]] = {}
    hidden: set[str] = set()
    for node in overview(rooms.store()).nodes_of_sources(sources):
        if node.search_id in seen:
            nodes.setdefault(node.source_hash, []).append(node)
        else:
            hidden.add(node.source_hash)
    entries = []
    for place, receipt in enumerate(receipts[:_RECEIPTS]):
        if receipt is None:
            entries.append(Entry(None, False, None, ()))
        elif receipt.source_hash in nodes or receipt.source_hash not in hidden:
            linked = _linked(receipt, receipts[place + 1 : place + 2])
            there = tuple(nodes.get(receipt.source_hash, ()))
            entries.append(Entry(receipt, receipt.digest() == receipt.receipt_hash, linked, there))
    whole = all(entry.sealed and entry.linked is not False for entry in entries)
    return page(request, "receipts.html", entries=entries, whole=whole, path=rooms.state / "receipts.jsonl")


def _linked(receipt: Receipt, before: list[Receipt | None]) -> bool | None:
    if not before:
        return receipt.previous == _FIRST
    return None if before[0] is None else receipt.previous == before[0].receipt_hash


def _receipt(line: str) -> Receipt | None:
    try:
        return Receipt.model_validate_json(line)
    except ValueError:
        return None


def _last_lines(path: Path, count: int) -> Iterator[str]:
    """The last lines of a file that only grows, the last one first; nothing where there is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        rest = b""
        while end > 0 and count > 0:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            parts = (file.read(end - begin) + rest).split(b"\n")
            rest, end = (parts[0], begin) if begin else (b"", 0)
            for part in reversed(parts if not begin else parts[1:]):
                if part.strip() and count > 0:
                    yield part.decode(errors="replace")
                    count -= 1


def ask_knowledge(request: Request) -> Response:
    """Ask the knowledge base, or list its documents."""
    asked = request.query_params
    words, platform, kind = asked.get("q", "").strip(), asked.get("platform", "").strip(), asked.get("kind", "")
    base = rooms_of(request).base()
    answer, wrong, heads = None, "", []
    try:
        if words:
            answer = base.ask(words, platforms=[platform] if platform else [], kinds=[kind] if kind else [], limit=12)
        else:
            base.open()
            where = f"position = 0 AND kind = '{Kind(kind).value}'" if kind in set(Kind) else "position = 0"
            heads = sorted(base.store.select(where), key=lambda head: head.passage.document_id)
    except KnowledgeError as error:
        wrong = str(error)
    return page(
        request, "knowledge.html", 400 if wrong else 200, words=words, platform=platform, kind=kind, kinds=list(Kind),
        answer=answer, wrong=wrong, heads=heads, document=document,
    )  # fmt: skip


def show_document(request: Request) -> Response:
    """One document of the knowledge base."""
    name = request.path_params["name"]
    text = rooms_of(request).base().read(name)
    return page(request, "document.html", name=name, text=document(text))


def show_platforms(request: Request) -> Response:
    """What can be judged here, and what the judge is at."""
    rooms = rooms_of(request)
    store = rooms.store()
    seen = seen_by(caller_of(request), store)
    orders = [entry for entry in overview(store).open_orders() if entry.judging and entry.order.search_id in seen]
    return page(
        request, "platforms.html", platforms=available_platforms(), host=warm_host(rooms.state),
        devices=held_devices(), judging=[(entry.order, seen[entry.order.search_id]) for entry in orders],
        title_of=title_of, now=time.time(),
    )  # fmt: skip
