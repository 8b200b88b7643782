"""The recorder of `recorder.py` for HTTP: a proxy in front of the server that writes down every JSON-RPC message."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.clients.recorder import note

_NOT_PASSED_ON = {"host", "content-length", "connection", "transfer-encoding", "content-encoding", "accept-encoding"}


@contextmanager
def recording_proxy(upstream: str, log: Path) -> Iterator[str]:
    """Serve on a port of its own; yields the address that stands for `upstream`, path included.

    Each request is noted with its `Authorization` header, each answer with its status.
    """
    http = httpx2.AsyncClient(timeout=120)
    base, path = upstream.rsplit("/", 1)

    async def forward(request: Request) -> Response:
        body = await request.body()
        if body:
            note(log, "client", json.loads(body), authorization=request.headers.get("authorization"))
        headers = {key: value for key, value in request.headers.items() if key not in _NOT_PASSED_ON}
        asked = http.build_request(request.method, base + request.url.path, headers=headers, content=body)
        answer = await http.send(asked, stream=True)
        kept = {key: value for key, value in answer.headers.items() if key not in _NOT_PASSED_ON}
        return StreamingResponse(_noted(log, answer), answer.status_code, kept)

    app = Starlette(routes=[Route("/{rest:path}", forward, methods=["GET", "POST", "DELETE"])])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the proxy did not start"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/{path}"
        finally:
            server.should_exit = True
            thread.join(30)


async def _noted(log: Path, answer: httpx2.Response) -> AsyncIterator[bytes]:
    """Pass an answer on as it comes; note the messages in it, be it JSON or an event stream."""
    rest = b""
    async for chunk in answer.aiter_raw():
        yield chunk
        rest += chunk
        *lines, rest = rest.split(b"\n")
        for line in lines:
            _note(log, line.removeprefix(b"data:"), answer.status_code)
    _note(log, rest, answer.status_code)
    await answer.aclose()


def _note(log: Path, text: bytes, status: int) -> None:
    try:
        message = json.loads(text)
    except ValueError:
        return
    if isinstance(message, dict):
        note(log, "server", message, status=status)
