"""MCP over HTTP: bearer tokens, Host and Origin checks that are always on, limits on what a request may be."""

from __future__ import annotations

from pathlib import Path

import uvicorn
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from kernelevolve.server.access import Authentication, StoredTokens
from kernelevolve.server.mcp_server import create_server
from kernelevolve.server.tokens import Scope, TokenError, TokenStore
from kernelevolve.tools.execution import Execution

PATH = "/mcp"
"""Where the protocol is spoken."""
REQUEST_BYTES = 4 << 20
"""A request that is larger is refused: sources have at most 2 MB."""
_CONNECTIONS = 256


def http_app(
    state: Path,
    host: str,
    port: int,
    workspace: Path,
    most: Scope = Scope.ADMIN,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    execution: Execution | None = None,
) -> Starlette:
    """The application that a web server runs.

    Args:
        state: state folder with the tokens.
        host: name or address that clients connect to.
        port: port that they connect to.
        workspace: the only folder whose tasks are taken.
        most: what any caller may do at most.
        hosts: further values of the Host header that are right, e.g. a proxy's `kernels.example.org`.
        origins: values of the Origin header that are right; requests of other web pages are refused.
        execution: whether code of tasks and candidates may be run, and behind which walls.

    Raises:
        TokenError: there is no token, so nobody could connect.
    """
    tokens = TokenStore(state)
    if not tokens.tokens():
        raise TokenError("Nobody could connect: make a token with `kernelevolve token create NAME`.")
    address = f"{host}:{port}"
    url = AnyHttpUrl(f"http://{address}{PATH}")
    auth = Authentication(
        StoredTokens(tokens),
        # Tokens are made for this server by hand, so there is no audience in them to check.
        AuthSettings(
            issuer_url=AnyHttpUrl(f"http://{address}"), resource_server_url=url, validate_token_resource=False
        ),
    )
    server = create_server(state, most, workspace, auth, execution)

    async def health(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    # The only page that needs no token; it says nothing but that the server lives.
    server.custom_route("/healthz", methods=["GET"])(health)
    local = ("localhost", "127.0.0.1", "[::1]") if host in ("localhost", "127.0.0.1", "::1") else (host,)
    return server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=REQUEST_BYTES,
        transport_security=TransportSecuritySettings(
            allowed_hosts=[*(f"{name}:{port}" for name in local), *hosts],
            allowed_origins=[*(f"http://{name}:{port}" for name in local), *origins],
        ),
        host=host,
    )


def serve_http(app: Starlette, host: str, port: int) -> None:
    """Serve until interrupted; logs go to stderr."""
    uvicorn.run(
        app, host=host, port=port, log_level="warning", limit_concurrency=_CONNECTIONS, server_header=False,
        timeout_graceful_shutdown=5,
    )  # fmt: skip
