"""How the HTTP server ends: streams and calls end too, in order, and nobody waits for a client to hang up."""

from __future__ import annotations

import asyncio
import socket
import sys

import anyio
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STARTUP_FAILURE = 3
"""Exit code where nothing could be served, as of the web server's own command."""
_GRACE_S = 0.5
"""What can be answered in this time still is."""
_GRACEFUL_S = 2
"""When the web server gives up waiting for answers that don't end even when cancelled."""


class Farewell:
    """An application around another: ends all it is answering when it is told to.

    A call that is cancelled this way frees its device, as one does that its client cancels.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: set[anyio.CancelScope] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = complete = False

        async def noting_send(message: Message) -> None:
            nonlocal began, complete
            began = True
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with anyio.CancelScope() as answering:
            self._open.add(answering)
            try:
                await self._app(scope, receive, noting_send)
            finally:
                self._open.discard(answering)
        if answering.cancelled_caught and not complete:
            if not began:
                headers = [(b"content-type", b"text/plain"), (b"retry-after", b"5")]
                await send({"type": "http.response.start", "status": 503, "headers": headers})
            text = b"" if began else b"The server is ending: ask again when it is back."
            await send({"type": "http.response.body", "body": text, "more_body": False})

    def end(self) -> None:
        """Cancel what is being answered."""
        for answering in list(self._open):
            answering.cancel()


class EndingServer(uvicorn.Server):
    """A web server that ends what its application is answering when it shuts down.

    Args:
        config: for the web server; its application is `farewell`.
        farewell: the application.
    """

    def __init__(self, config: uvicorn.Config, farewell: Farewell) -> None:
        super().__init__(config)
        self._farewell = farewell

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order."""
        asyncio.get_running_loop().call_later(_GRACE_S, self._farewell.end)
        await super().shutdown(sockets)


def serve_http(app: ASGIApp, host: str, port: int, connections: int = 256, proxies: tuple[str, ...] = ()) -> None:
    """Serve until interrupted or told to end.

    Args:
        app: what answers.
        host: address to listen at.
        port: its port.
        connections: connections at a time; further ones get 503.
        proxies: addresses whose X-Forwarded-For says who the client is.
    """
    farewell = Farewell(app)
    config = uvicorn.Config(
        farewell, host=host, port=port, log_config=None, access_log=False, limit_concurrency=connections,
        server_header=False, proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies),
        timeout_graceful_shutdown=_GRACEFUL_S,
    )  # fmt: skip
    server = EndingServer(config, farewell)
    server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)
