"""In front of every page: Host and Origin, who asks, forms that really come from a page of ours, headers of answers."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from urllib.parse import parse_qsl, quote

import anyio.to_thread
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kernelevolve.server.dashboard.access import Caller, Sessions
from kernelevolve.server.tokens import TokenError

PREFIX = "/dashboard"
"""Where the pages lie."""
FORM_BYTES = 8192
"""A form that is larger is refused; the largest carries a token."""
_LOGIN, _STATIC = "/login", "/static/"
_SAFE = ("GET", "HEAD")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # `no-referrer` would make browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Lets a request through to the pages, with `state.caller` and, for a form, `state.form`; or refuses it.

    Args:
        app: the pages.
        sessions: who is logged in.
        security: the right values of Host and Origin: those of `/mcp`.
        cookie: name of the cookie that holds the session.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, security: TransportSecuritySettings, cookie: str) -> None:
        self._app = app
        self._sessions = sessions
        self._security = TransportSecurityMiddleware(security)
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            # The only other thing that a mounted application is asked for.
            await send({"type": "websocket.close", "code": 1008, "reason": "no WebSocket here"})
            return
        request = Request(scope, receive)

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                # A picture comes with a policy of its own.
                for name, value in {**_HEADERS, "Cache-Control": "no-store"}.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = await self._refusal(request)
        await (refusal or self._app)(scope, receive, guarded_send)

    async def _refusal(self, request: Request) -> Response | None:
        wrong = await self._security.validate_request(request)
        if wrong is not None:
            return wrong
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        public = path == _LOGIN or path.startswith(_STATIC)
        try:
            caller = await anyio.to_thread.run_sync(lambda: self._sessions.of(request.headers, self._cookie))
        except TokenError:
            # Its text names files of the server, which are nobody's business who is not let in.
            return PlainTextResponse("The server's tokens can't be read; who runs it must mend tokens.json.", 503)
        request.state.caller = caller
        if caller is None and not public:
            return _log_in_first(request, path)
        if request.method in _SAFE:
            return None
        form = await _form(request)
        if form is None:
            return PlainTextResponse(f"A form may have {FORM_BYTES} bytes of UTF-8, no more.", 413)
        request.state.form = form
        # The login needs no key: there is no session to misuse, and another page's Origin was refused above.
        if not public and (caller is None or not _is_ours(caller, form)):
            return PlainTextResponse("This form is out of date: load its page again, then repeat.", 403)
        return None


def still_there(sessions: Sessions, request: Request, cookie: str) -> Callable[[], bool]:
    """A function that says whether the caller of a long answer is still let in."""
    secret = request.headers.get("authorization", "").partition(" ")[2].strip()
    name = request.cookies.get(cookie, "")
    return lambda: (sessions.bearer(secret) if secret else sessions.caller(name)) is not None


def _is_ours(caller: Caller, form: dict[str, str]) -> bool:
    if caller.form_key is None:
        return True
    return hmac.compare_digest(form.get("form_key", "").encode(), caller.form_key.encode())


def _log_in_first(request: Request, path: str) -> Response:
    """To a page: the login; to what a script asked for: a plain answer."""
    if request.method in _SAFE and "text/html" in request.headers.get("accept", ""):
        there = f"{PREFIX}{path}" + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{PREFIX}{_LOGIN}?next={quote(there, safe='')}", 303)
    return PlainTextResponse("Log in first, or send a bearer token.", 401, {"WWW-Authenticate": "Bearer"})


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a form; None where it is too large or no text."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            return None
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=32))
    except ValueError:
        return None
