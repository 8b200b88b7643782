"""`/metrics`: the server's figures, for who has a token.

The scope `read` is enough. The page holds sums and no names, which is less than a reader may ask for anyway, and a
collector's token lies in a configuration file: it should open as little as there is.
"""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from kernelevolve.server.metrics import Metrics

METRICS = "/metrics"


def add_metrics_page(server: MCPServer[Any], metrics: Metrics) -> None:
    """Give a server that asks for tokens the page."""

    async def page(request: Request) -> Response:
        # Every scope allows what `read` does. The SDK has looked at the token; its own routes refuse, this one must.
        if not isinstance(request.scope.get("user"), AuthenticatedUser):
            text = "The figures need a token: kernelevolve token create NAME --scope read\n"
            return PlainTextResponse(text, 401, {"WWW-Authenticate": "Bearer"})
        figures = await anyio.to_thread.run_sync(metrics.text)
        return Response(figures, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    server.custom_route(METRICS, methods=["GET"], include_in_schema=False)(page)
