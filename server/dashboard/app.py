"""The dashboard as an application that is mounted beside `/mcp`."""

from __future__ import annotations

from pathlib import Path

from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.search.errors import SearchError
from kernelevolve.search.page import HERE as SHARED
from kernelevolve.server.dashboard import elsewhere, login, nodes, searches
from kernelevolve.server.dashboard.guard import PREFIX, Guard
from kernelevolve.server.dashboard.live import Streams, follow
from kernelevolve.server.dashboard.rooms import Rooms, page
from kernelevolve.server.tokens import TokenError

_STATIC = Path(__file__).parent / "static"
_SEARCH = "/searches/{search_id:str}"
_NODE = _SEARCH + "/nodes/{step:int}"


def mount_dashboard(app: Starlette, rooms: Rooms, security: TransportSecuritySettings) -> None:
    """Add the dashboard to an application that serves MCP.

    Args:
        app: gets the pages below `PREFIX`, and leads its root there.
        rooms: what the pages show.
        security: the right values of Host and Origin.
    """
    app.router.routes.append(Mount(PREFIX, app=dashboard(rooms, security)))
    app.router.routes.append(Route("/", _to_dashboard, methods=["GET"]))


def dashboard(rooms: Rooms, security: TransportSecuritySettings) -> Starlette:
    """The pages, behind their guard."""
    app = Starlette(
        routes=[
            Route("/", searches.show_searches, methods=["GET"]),
            Route("/login", login.show_login, methods=["GET"]),
            Route("/login", login.log_in, methods=["POST"]),
            Route("/logout", login.log_out, methods=["POST"]),
            Route("/live", follow, methods=["GET"]),
            Route("/orders", searches.show_orders, methods=["GET"]),
            Route("/receipts", elsewhere.show_receipts, methods=["GET"]),
            Route("/platforms", elsewhere.show_platforms, methods=["GET"]),
            Route("/knowledge", elsewhere.ask_knowledge, methods=["GET"]),
            Route("/knowledge/documents/{name:path}", elsewhere.show_document, methods=["GET"]),
            Route(_SEARCH, searches.show_search, methods=["GET"]),
            Route(_SEARCH + "/stop", searches.stop, methods=["POST"]),
            Route(_SEARCH + "/tree", nodes.give_tree, methods=["GET"]),
            Route(_SEARCH + "/labels", nodes.give_labels, methods=["GET"]),
            Route(_SEARCH + "/find", nodes.find_nodes, methods=["GET"]),
            Route(_NODE, nodes.show_node, methods=["GET"]),
            Route(_NODE + "/source", nodes.show_source, methods=["GET"]),
            Route(_NODE + "/{picture:str}.svg", nodes.show_picture, methods=["GET"]),
            Route("/static/look.css", _look, methods=["GET"]),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[Middleware(Guard, sessions=rooms.sessions, security=security, cookie=rooms.cookie)],
        exception_handlers={
            404: _not_found,
            SearchError: _missing,
            KnowledgeError: _missing,
            KernelEvolveError: _failed,
            TokenError: _failed,
        },
    )
    app.state.rooms = rooms
    app.state.streams = Streams()
    return app


async def _to_dashboard(_request: Request) -> Response:
    return RedirectResponse(f"{PREFIX}/", 303)


async def _look(_request: Request) -> Response:
    return FileResponse(SHARED / "look.css", headers={"Cache-Control": "no-cache"})


async def _not_found(request: Request, _error: Exception) -> Response:
    return page(request, "message.html", 404, title="Not here", text="There is no such page.")


async def _missing(request: Request, error: Exception) -> Response:
    return page(request, "message.html", 404, title="Not found", text=str(error))


async def _failed(request: Request, error: Exception) -> Response:
    return page(request, "message.html", 500, title="This did not work", text=str(error))
