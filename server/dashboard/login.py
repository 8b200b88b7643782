"""Logging in with a token, and out."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kernelevolve.server.dashboard.access import SESSION_S
from kernelevolve.server.dashboard.guard import PREFIX
from kernelevolve.server.dashboard.rooms import note, page, rooms_of


def show_login(request: Request) -> Response:
    """The form that takes a token."""
    if request.state.caller is not None:
        return RedirectResponse(_inside(request.query_params.get("next")), 303)
    return page(request, "login.html", wrong=False, next=_inside(request.query_params.get("next")))


def log_in(request: Request) -> Response:
    """Take a token once; from then on the browser holds a session's name, never the token."""
    form: dict[str, str] = request.state.form
    began = time.monotonic()
    there = _inside(form.get("next"))
    rooms = rooms_of(request)
    name = rooms.sessions.open(form.get("token", "").strip())
    if name is None:
        return page(request, "login.html", 401, wrong=True, next=there)
    caller = rooms.sessions.caller(name)
    if caller is not None:
        note(request, caller, "log_in", "ok", began)
    answer = RedirectResponse(there, 303)
    answer.set_cookie(
        rooms.cookie, name, max_age=int(SESSION_S), path=PREFIX, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


def log_out(request: Request) -> Response:
    """Forget the session."""
    rooms = rooms_of(request)
    rooms.sessions.close(request.cookies.get(rooms.cookie, ""))
    answer = RedirectResponse(f"{PREFIX}/login", 303)
    answer.delete_cookie(rooms.cookie, path=PREFIX, httponly=True, samesite="strict")
    return answer


def _inside(there: str | None) -> str:
    """A page of the dashboard to go on to: never another server's."""
    if there and there.startswith(f"{PREFIX}/") and "\\" not in there and not any(ord(sign) < 32 for sign in there):
        return there
    return f"{PREFIX}/"
