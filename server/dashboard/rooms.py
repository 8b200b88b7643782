"""What the pages share: the searches, the judges, the knowledge base, and who may ask for which search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

from kernelevolve.evaluation.version import VERSION
from kernelevolve.search.errors import SearchError
from kernelevolve.search.node import Node, SearchRecord
from kernelevolve.search.page import page_environment
from kernelevolve.search.store import Overview, Store
from kernelevolve.server.access import write_audit
from kernelevolve.server.dashboard.access import Caller, Sessions, may_see
from kernelevolve.server.dashboard.guard import PREFIX
from kernelevolve.server.tokens import Scope
from kernelevolve.tools.judges import JudgePool

if TYPE_CHECKING:
    from kernelevolve.knowledge.base import KnowledgeBase


@dataclass(frozen=True)
class Rooms:
    """What the pages show. The MCP server of the same process works with the same."""

    state: Path
    """The state folder."""
    store: Callable[[], Store]
    """The searches, opened when first asked for."""
    pool: JudgePool
    """Lends the judge that confirms a winner."""
    base: Callable[[], KnowledgeBase]
    """The knowledge base, loaded when first asked for."""
    sessions: Sessions
    """Who is logged in."""
    cookie: str
    """Name of their cookie."""


TEMPLATES = page_environment([Path(__file__).parent / "templates"])


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from its template.

    Args:
        request: what it answers.
        template: file name in `templates/`.
        status: of the answer.
        values: what the template shows.
    """
    caller: Caller | None = request.state.caller
    text = TEMPLATES.get_template(template).render(
        base=PREFIX,
        version=VERSION,
        caller=caller,
        may_search=caller is not None and caller.scope.allows(Scope.SEARCH),
        **values,
    )
    return HTMLResponse(text, status)


def rooms_of(request: Request) -> Rooms:
    """The rooms of the application that serves a request."""
    rooms: Rooms = request.app.state.rooms
    return rooms


def caller_of(request: Request) -> Caller:
    """Who asks; the guard has let them in.

    Raises:
        PermissionError: nobody did: a page was reached past the guard.
    """
    caller: Caller | None = request.state.caller
    if caller is None:
        raise PermissionError("a page was reached without a caller")
    return caller


def note(request: Request, caller: Caller, what: str, outcome: str, began: float) -> None:
    """Write into the audit log what a caller did; `began` by `time.monotonic`."""
    audit = rooms_of(request).state / "audit.jsonl"
    write_audit(audit, caller.name, f"dashboard:{what}", outcome, time.monotonic() - began)


def search_of(request: Request) -> tuple[Store, SearchRecord]:
    """The search that a page is about.

    Raises:
        SearchError: there is none, or not for this caller; the two look alike.
    """
    store = rooms_of(request).store()
    search_id = request.path_params["search_id"]
    search = store.search(search_id)
    if not may_see(caller_of(request), search):
        raise SearchError.no_search(search_id)
    return store, search


def seen_by(caller: Caller, store: Store) -> dict[str, SearchRecord]:
    """The searches that a caller may see, by handle, the newest first."""
    return {search.search_id: search for search in store.searches() if may_see(caller, search)}


def node_of(request: Request) -> tuple[Store, SearchRecord, Node]:
    """The node that a page is about.

    Raises:
        SearchError: there is none.
    """
    store, search = search_of(request)
    return store, search, store.node(f"{search.search_id}.{request.path_params['step']}")


def overview(store: Store) -> Overview:
    """Questions about all that a store holds."""
    return Overview(store)
