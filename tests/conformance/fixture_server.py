"""The servers that the official conformance suite is run against.

`fixtures`: the product's own server, made by its own factory, with the tools, resources and prompts added that the
suite asks for by name. `product`: the application of `kernelevolve serve --http` as it is; the suite knows no tokens,
so one is put into its requests on the way.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn

from kernelevolve.server.http import PATH, http_app
from kernelevolve.server.limits import Limits
from kernelevolve.server.mcp_server import create_server
from kernelevolve.server.tokens import Scope, TokenStore
from tests.conformance.asking_fixtures import add_asking
from tests.conformance.content_fixtures import add_content
from tests.conformance.task_fixtures import ALL_LONG_TOOLS, add_task_tools


def fixtures_app(state: Path) -> Any:
    """The product with fixtures, open to everybody on this machine."""
    server = create_server(state, long_tools=ALL_LONG_TOOLS)
    add_content(server)
    add_asking(server)
    add_task_tools(server)
    return server.streamable_http_app(streamable_http_path=PATH, host="127.0.0.1")


def product_app(state: Path, port: int) -> Any:
    """The product as people run it."""
    _token, secret = TokenStore(state).create("conformance", Scope.ADMIN)
    # The suite asks as fast as it can.
    app = http_app(state, "localhost", port, workspace=state, limits=Limits(1_000_000, 100_000))
    header = (b"authorization", f"Bearer {secret}".encode())

    async def with_token(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], header]}
        await app(scope, receive, send)

    return with_token


def main() -> None:
    kind, port, state = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    app = product_app(state, port) if kind == "product" else fixtures_app(state)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=2)


if __name__ == "__main__":
    main()
