"""MCP and the dashboard over HTTP: bearer tokens, checks of Host and Origin, limits on what a request may be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from kernelevolve.server.access import Authentication, StoredTokens
from kernelevolve.server.dashboard.access import Sessions
from kernelevolve.server.dashboard.app import mount_dashboard
from kernelevolve.server.dashboard.guard import PREFIX
from kernelevolve.server.dashboard.rooms import Rooms
from kernelevolve.server.limits import Gate, Limits
from kernelevolve.server.mcp_server import Parts, create_server
from kernelevolve.server.metrics import Metrics
from kernelevolve.server.metrics_page import add_metrics_page
from kernelevolve.server.observation import Observation
from kernelevolve.server.tokens import Scope, TokenError, TokenStore
from kernelevolve.tools.execution import Execution

PATH = "/mcp"
"""Where the protocol is spoken."""
HEALTH = "/healthz"
"""The only page that needs no token and has no rate."""


def http_app(
    state: Path,
    host: str,
    port: int,
    workspace: Path,
    most: Scope = Scope.ADMIN,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    limits: Limits = Limits(),  # noqa: B008 - frozen
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
        limits: how much callers may ask.
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
    parts, metrics = Parts(state, workspace, execution), Metrics()
    server = create_server(state, most, workspace, auth, parts=parts, metrics=metrics)
    add_metrics_page(server, metrics)

    async def health(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    # It says nothing but that the server lives.
    server.custom_route(HEALTH, methods=["GET"])(health)
    local = ("localhost", "127.0.0.1", "[::1]") if host in ("localhost", "127.0.0.1", "::1") else (host,)
    security = TransportSecuritySettings(
        allowed_hosts=[*(f"{name}:{port}" for name in local), *hosts],
        allowed_origins=[*(f"http://{name}:{port}" for name in local), *origins],
    )
    app = server.streamable_http_app(
        streamable_http_path=PATH, max_request_body_size=limits.request_bytes, transport_security=security, host=host
    )
    # A cookie belongs to a host whatever the port, and two servers of one machine must not log each other out.
    rooms = Rooms(state, parts.shelf.store, parts.pool, parts.base, Sessions(tokens, most), f"kernelevolve_{port}")
    mount_dashboard(app, rooms, security)

    def identify(headers: Mapping[str, str]) -> str | None:
        try:
            caller = rooms.sessions.of(headers, rooms.cookie)
        except TokenError:
            return None  # A stranger to the gate; what is behind it says why nobody gets in.
        return None if caller is None else caller.name

    app.add_middleware(
        Gate,
        limits=limits,
        identify=identify,
        refused=Observation(metrics).refused,
        open_paths=(HEALTH, f"{PREFIX}/static/"),
    )
    return app
