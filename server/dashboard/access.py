"""Who looks at the dashboard, and what they may see: sessions of a browser, bound to the token that opened them."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import cookie_parser

from kernelevolve.search.node import SearchRecord
from kernelevolve.server import ownership
from kernelevolve.server.tokens import Scope, Token, TokenStore

SESSION_S = 12 * 3600.0
"""Seconds after which a browser has to log in again."""
_MOST_SESSIONS = 10_000


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    """The name of their token."""
    scope: Scope
    """The most they may do, here and now."""
    form_key: str | None = None
    """What a form they send must carry; None where they came with a token, which no other page can make a browser
    send."""

    @property
    def sees_all(self) -> bool:
        """Whether searches of others are shown too."""
        return self.scope is Scope.ADMIN


def may_see(caller: Caller, search: SearchRecord) -> bool:
    """Whether a caller may see a search. Every page, feed and picture asks here."""
    return ownership.may_see(caller.name, caller.scope, search)


@dataclass(frozen=True)
class _Session:
    digest: str
    form_key: str
    ends: float


class Sessions:
    """The browsers that are logged in. They are kept in memory: a server that starts anew asks for the token again.

    Args:
        tokens: a session is good as long as its token is.
        most: what anybody may do at most.
        clock: seconds, by which sessions end.
    """

    def __init__(self, tokens: TokenStore, most: Scope, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def open(self, secret: str) -> str | None:
        """Log in.

        Args:
            secret: a token.

        Returns:
            The session's name, which cannot be guessed; None where the token is wrong, revoked or expired.

        Raises:
            TokenError: the tokens can't be read.
        """
        token = self._tokens.find(secret)
        if token is None:
            return None
        name = secrets.token_urlsafe(32)
        session = _Session(token.digest, secrets.token_urlsafe(32), self._clock() + SESSION_S)
        with self._lock:
            self._sessions[name] = session
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return name

    def close(self, name: str) -> None:
        """Log out."""
        with self._lock:
            self._sessions.pop(name, None)

    def caller(self, name: str) -> Caller | None:
        """Who is behind a session; None where it has ended, or its token was revoked or has expired.

        Raises:
            TokenError: the tokens can't be read.
        """
        with self._lock:
            session = self._sessions.get(name)
        if session is None:
            return None
        now = datetime.now(UTC)
        found = None
        if self._clock() < session.ends:
            for token in self._tokens.tokens():
                if hmac.compare_digest(token.digest, session.digest) and token.usable(now):
                    found = token
        if found is None:
            self.close(name)
            return None
        return self._caller(found, session.form_key)

    def of(self, headers: Mapping[str, str], cookie: str) -> Caller | None:
        """Who sent a request: by the token that came with it, else by their cookie.

        Args:
            headers: of the request.
            cookie: name of the cookie.

        Raises:
            TokenError: the tokens can't be read.
        """
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme:
            return self.bearer(secret.strip()) if scheme.lower() == "bearer" else None
        name = cookie_parser(headers.get("cookie", "")).get(cookie)
        return None if name is None else self.caller(name)

    def bearer(self, secret: str) -> Caller | None:
        """Who is behind a token that came with a request, as it does at `/mcp`.

        Raises:
            TokenError: the tokens can't be read.
        """
        token = self._tokens.find(secret)
        return None if token is None else self._caller(token, None)

    def _caller(self, token: Token, form_key: str | None) -> Caller:
        return Caller(token.name, min(token.scope, self._most, key=list(Scope).index), form_key)
