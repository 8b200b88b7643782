"""Limits on who may ask how much over HTTP: a rate for each token, one for each address without a right one, a size."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Clock = Callable[[], float]
Identify = Callable[[Mapping[str, str]], str | None]
"""The caller's name by the headers of a request; None where they hold no right token."""

_MOST_KEYS = 10_000
"""Buckets and callers that are remembered, so that many addresses can't fill the memory."""
_STRANGER_BURST = 20
"""Requests without a right token that an address may send at once."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Names the HTTP request that is being answered, in logs and in the header `X-Request-Id`."""


class RateLimiter:
    """A token bucket for each key: `burst` requests at once, then `per_minute`.

    Args:
        per_minute: requests a minute, in the long run.
        burst: requests that may come at once.
        clock: seconds, never going back.
    """

    def __init__(self, per_minute: float, burst: int, clock: Clock = time.monotonic) -> None:
        self._per_second = per_minute / 60
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Count one request: 0.0 if it may pass, else the seconds until one may. A refused request costs nothing."""
        wait, level, now = self._look(key)
        if wait == 0.0:
            level -= 1
        self._buckets[key] = (level, now)
        self._buckets.move_to_end(key)
        while len(self._buckets) > _MOST_KEYS:
            self._buckets.popitem(last=False)
        return wait

    def wait(self, key: str) -> float:
        """Seconds until a request may pass, counting none."""
        return self._look(key)[0]

    def _look(self, key: str) -> tuple[float, float, float]:
        now = self._clock()
        level, then = self._buckets.get(key, (float(self._burst), now))
        level = min(float(self._burst), level + (now - then) * self._per_second)
        # A hair below one is one: the sum of many small refills is not exact.
        wait = 0.0 if level >= 1 - 1e-9 else (1 - level) / self._per_second
        return wait, level, now


@dataclass(frozen=True)
class Limits:
    """What the settings say."""

    per_minute: float = 600.0
    """Requests a minute for each token."""
    burst: int = 120
    """Requests of one token that may come at once."""
    strangers_per_minute: float = 60.0
    """Requests a minute for each address that shows no right token."""
    request_bytes: int = 4 << 20
    """Size of a request, at most; a candidate's source has at most 2 MB."""


@dataclass(frozen=True)
class Refused:
    """A request that was not let through."""

    reason: str
    """`rate`, `address`, `size` or `token`."""
    caller: str
    """Name of the token; empty without a right one."""
    address: str
    """Network address of the client."""


class Gate:
    """ASGI middleware in front of everything: names each request, and refuses what is too much or too large.

    An address that showed too many wrong tokens is refused before its next one is looked at, so guessing is slow. A
    token that was right from that address before goes on working: who shares an address with a guesser is not shut out.

    Args:
        app: what is behind it.
        limits: how much is too much.
        identify: knows the callers.
        refused: told of every refusal, those by the application itself for want of a token included.
        open_paths: paths without a rate, such as the one that says the server lives; `…/` is a whole folder.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        identify: Identify,
        refused: Callable[[Refused], None] = lambda _refused: None,
        open_paths: tuple[str, ...] = (),
        clock: Clock = time.monotonic,
    ) -> None:
        self._app = app
        self._limits = limits
        self._identify = identify
        self._refused = refused
        self._open_paths = open_paths
        self._callers = RateLimiter(limits.per_minute, limits.burst, clock)
        self._strangers = RateLimiter(limits.strangers_per_minute, _STRANGER_BURST, clock)
        self._known: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = secrets.token_hex(8)
        request_id.set(name)
        headers = Headers(scope=scope)
        address = scope["client"][0] if scope.get("client") else "local"
        caller, wait = ("", 0.0) if self._is_open(scope["path"]) else self._admit(headers, network_of(address))

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = name
                if message["status"] == 401:
                    self._refused(Refused("token", "", address))
            await send(message)

        if wait > 0:
            self._refused(Refused("rate" if caller else "address", caller, address))
            seconds = math.ceil(wait)
            text = f"Too many requests{'' if caller else ' without a right token'}: try again in {seconds} s."
            await _answer(named, 429, "rate_limited", text, [(b"retry-after", str(seconds).encode())])
            return
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limits.request_bytes:
            self._refused(Refused("size", caller, address))
            await _answer(named, 413, "too_large", f"A request may have {self._limits.request_bytes} bytes at most.")
            return
        await self._app(scope, self._counted(receive, caller, address), named)

    def _is_open(self, path: str) -> bool:
        return any(path == entry or (entry.endswith("/") and path.startswith(entry)) for entry in self._open_paths)

    def _admit(self, headers: Headers, address: str) -> tuple[str, float]:
        """The caller's name, empty for a stranger, and the seconds it has to wait."""
        shown = headers.get("authorization", "") + headers.get("cookie", "")
        key = hashlib.sha256(f"{address} {shown}".encode()).hexdigest()
        if key not in self._known and (wait := self._strangers.wait(address)) > 0:
            return "", wait
        caller = self._identify(headers)
        if caller is None:
            self._known.pop(key, None)
            return "", self._strangers.take(address)
        self._known[key] = None
        self._known.move_to_end(key)
        while len(self._known) > _MOST_KEYS:
            self._known.popitem(last=False)
        return caller, self._callers.take(caller)

    def _counted(self, receive: Receive, caller: str, address: str) -> Receive:
        """`receive` that ends a request without a declared length when it gets too large."""
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limits.request_bytes:
                self._refused(Refused("size", caller, address))
                raise HTTPException(413, f"A request may have {self._limits.request_bytes} bytes at most.")
            return message

        return counting


def network_of(address: str) -> str:
    """What one client holds of the network: its address, or of version 6 the /64 that every household gets."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))


async def _answer(
    send: Send, status: int, error: str, text: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = json.dumps({"error": error, "error_description": text}).encode()
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
