"""The change log as server-sent events: what happened, as it happens, from where a browser had got to."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.to_thread
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from kernelevolve.search.errors import SearchError
from kernelevolve.search.store.overview import SearchEvent
from kernelevolve.server.dashboard.access import may_see
from kernelevolve.server.dashboard.guard import still_there
from kernelevolve.server.dashboard.rooms import caller_of, overview, rooms_of, search_of

_POLL_S = 0.5
_PING_S = 15
MOST_STREAMS = 64
"""Browsers that follow at a time: what is left of the server's connections is for everybody else."""


class Streams:
    """Counts who follows."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._lock = threading.Lock()
        self._left = most

    def enter(self) -> bool:
        """Take a place, if there is one."""
        with self._lock:
            if self._left == 0:
                return False
            self._left -= 1
            return True

    def leave(self) -> None:
        """Give it back."""
        with self._lock:
            self._left += 1


async def follow(request: Request) -> Response:
    """Events after the one that `Last-Event-ID` names, or else `after`; of one search if `search` names it.

    Each has the number in the change log as its id. The stream ends when the caller's token is revoked.
    """
    search_id = request.query_params.get("search")
    known = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
    if not known.isdecimal() or len(known) > 15:
        return PlainTextResponse("`Last-Event-ID` and `after` are numbers of events.", 400)
    if search_id is not None:
        request.path_params["search_id"] = search_id
        await anyio.to_thread.run_sync(lambda: search_of(request))
    streams: Streams = request.app.state.streams
    if not streams.enter():
        return PlainTextResponse(
            "Too many browsers follow already: close one, then load the page again.", 503, {"Retry-After": "30"}
        )
    return _Stream(streams, _told(request, int(known), search_id))


class _Stream(EventSourceResponse):
    """An answer that gives its place back when it ends, however it ends."""

    def __init__(self, streams: Streams, told: AsyncIterator[ServerSentEvent]) -> None:
        super().__init__(told, ping=_PING_S, sep="\n")
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        complete = False

        async def noting_send(message: Message) -> None:
            nonlocal complete
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await super().__call__(scope, receive, noting_send)
            if not complete:
                # A server that ends lets streams go in the middle; the web server wants to hear of the end.
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._streams.leave()


async def _told(request: Request, known: int, search_id: str | None) -> AsyncIterator[ServerSentEvent]:
    rooms = rooms_of(request)
    welcome = still_there(rooms.sessions, request, rooms.cookie)
    seen = _seen(request)
    # Says at once that the stream is open, and how long to wait before coming back.
    yield ServerSentEvent(comment="following", retry=2000)
    while await anyio.to_thread.run_sync(welcome):
        found = await anyio.to_thread.run_sync(
            lambda after: overview(rooms.store()).events_after(after, search_id), known
        )
        for entry in found:
            known = entry.event.number
            if await anyio.to_thread.run_sync(seen, entry.search_id):
                yield _message(entry)
        if not found:
            await anyio.sleep(_POLL_S)
    yield ServerSentEvent(event="ended", data="your token is not good any more")


def _seen(request: Request) -> Callable[[str], bool]:
    store, caller = rooms_of(request).store(), caller_of(request)

    def may(search_id: str) -> bool:
        try:
            return may_see(caller, store.search(search_id))
        except SearchError:
            return False

    return may


def _message(entry: SearchEvent) -> ServerSentEvent:
    event = entry.event
    node = event.detail.get("node")
    data = {
        "search": entry.search_id,
        "kind": event.kind,
        "step": event.step,
        "node": int(node.rpartition(".")[2]) if isinstance(node, str) else None,
    }
    return ServerSentEvent(data=json.dumps(data), id=str(event.number))
