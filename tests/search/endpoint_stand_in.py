"""A model server that only pretends, over real HTTP: it speaks both wire formats and misbehaves as it is told."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

FORMATS = {"/v1/chat/completions": "openai", "/v1/messages": "anthropic"}
_PIECES = (1, 2, 3, 5, 7, 64, 400)
_CHUNKS = (1, 3, 2, 7, 97, 1024)


class Ending(StrEnum):
    """How a stream ends."""

    COMPLETE = "complete"
    UNFINISHED = "unfinished"
    """In order as HTTP, but without the format's last event."""
    CUT = "cut"
    """The connection is closed in the middle of an event."""
    MALFORMED = "malformed"
    """An event is no JSON."""
    ERROR = "error"
    """An event reports an error."""
    SILENT = "silent"
    """Nothing more comes, and the connection stays open."""


@dataclass(frozen=True)
class Says:
    """Streams an answer."""

    text: str = ""
    finish: str = "stop"
    """`stop`, `length`, `context` or `refused`; in the words of either format."""
    usage: tuple[int, int] | None = (100, 20)
    """Tokens in and out; None: the server does not count."""
    ending: Ending = Ending.COMPLETE
    """What happens after the text, or in its middle."""
    error: str = "Overloaded"
    """Text of the error event."""
    thoughts: str = ""
    """What a reasoning model sends before its answer."""


@dataclass(frozen=True)
class Refuses:
    """Answers with an error status."""

    status: int
    message: str = "try again"
    kind: str = "some_error"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shows:
    """Answers with a page that is no stream."""

    body: str = "<html><body>Welcome</body></html>"
    kind: str = "text/html; charset=utf-8"
    status: int = 200


@dataclass(frozen=True)
class Drips:
    """Sends a few bytes at a time, for ever: within the stream, or before the headers are complete."""

    pause_s: float = 0.01
    in_headers: bool = False


@dataclass(frozen=True)
class HangsUp:
    """Closes the connection without an answer."""


@dataclass(frozen=True)
class Floods:
    """Sends more than anybody wants to read."""

    mebibytes: int = 9


Behaviour = Says | Refuses | Shows | Drips | HangsUp | Floods


@dataclass(frozen=True)
class Recorded:
    """A request as it arrived."""

    path: str
    headers: Mapping[str, str]
    """Names in small letters."""
    body: dict[str, Any]

    @property
    def turns(self) -> list[tuple[str, str]]:
        """Role and text of each message but the system's."""
        return [(turn["role"], turn["content"]) for turn in self.body["messages"] if turn["role"] != "system"]

    @property
    def system(self) -> str:
        """What the model is told first."""
        return self.body.get("system") or next(
            turn["content"] for turn in self.body["messages"] if turn["role"] == "system"
        )


class StandIn:
    """The server, on a port of its own, for as long as it is entered.

    Args:
        script: what each request gets, in turn.
        answer: makes the text of every answer after the script's, from the request's body.
    """

    def __init__(self, script: Sequence[Behaviour] = (), answer: Callable[[dict[str, Any]], str] | None = None) -> None:
        self.requests: list[Recorded] = []
        self.stopping = threading.Event()
        self._script = iter(script)
        self._answer = answer
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, wire: str = "openai") -> str:
        """Base of the endpoint; the same for both formats."""
        assert wire in FORMATS.values()
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def next_behaviour(self, request: Recorded) -> Behaviour:
        """Record a request and look up what it gets."""
        with self._lock:
            self.requests.append(request)
            behaviour = next(self._script, None)
        if behaviour is not None:
            return behaviour
        if self._answer is not None:
            return Says(self._answer(request.body))
        return Refuses(400, "The script is at its end.")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        wire = FORMATS.get(self.path)
        behaviour = self.stand_in.next_behaviour(Recorded(self.path, headers, body))
        try:
            if wire is None:
                self._whole(404, "text/plain", "There is nothing here.")
            elif isinstance(behaviour, Says):
                self._says(behaviour, wire)
            elif isinstance(behaviour, Refuses):
                error = {"type": "error", "error": {"type": behaviour.kind, "message": behaviour.message}}
                self._whole(behaviour.status, "application/json", json.dumps(error), behaviour.headers)
            elif isinstance(behaviour, Shows):
                self._whole(behaviour.status, behaviour.kind, behaviour.body)
            elif isinstance(behaviour, Drips):
                self._drips(behaviour)
            elif isinstance(behaviour, Floods):
                self._begin_stream()
                for _ in range(behaviour.mebibytes * 16):
                    self._chunk(b": " + b"x" * 65533 + b"\n")
                self._chunk(b"")
            else:
                self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _whole(self, status: int, kind: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _says(self, behaviour: Says, wire: str) -> None:
        events = _openai(behaviour) if wire == "openai" else _anthropic(behaviour)
        stream = "".join(events).encode()
        if behaviour.ending is Ending.CUT:
            stream = stream[: len(stream) * 2 // 3]
        self._begin_stream()
        at = 0
        for size in itertools.cycle(_CHUNKS):
            if at >= len(stream):
                break
            self._chunk(stream[at : at + size])
            at += size
        if behaviour.ending is Ending.SILENT:
            self.stand_in.stopping.wait(30)
        if behaviour.ending in (Ending.CUT, Ending.SILENT):
            self.close_connection = True
        else:
            self._chunk(b"")

    def _drips(self, behaviour: Drips) -> None:
        if behaviour.in_headers:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        else:
            self._begin_stream()
        while not self.stand_in.stopping.wait(behaviour.pause_s):
            if behaviour.in_headers:
                self.wfile.write(b"x")
            else:
                self._chunk(b": wait\n\n")

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        # A chunk for each: the client then sees the same pieces, characters torn apart among them.
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def _handler_of(stand_in: StandIn) -> type[_Handler]:
    return type("Handler", (_Handler,), {"stand_in": stand_in})


def _pieces(text: str) -> Iterator[str]:
    at = 0
    for size in itertools.cycle(_PIECES):
        if at >= len(text):
            return
        yield text[at : at + size]
        at += size


def _event(body: object, name: str = "", newline: str = "\n") -> str:
    head = f"event: {name}{newline}" if name else ""
    return f"{head}data: {json.dumps(body, ensure_ascii=False)}{newline}{newline}"


def _openai(behaviour: Says) -> Iterator[str]:
    """As OpenAI-compatible servers stream: nameless events, `\\n`, comments in between."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _event({"object": "chat.completion.chunk", "choices": [choice], "usage": None})

    yield ": thinking about it\n\n"
    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(behaviour.thoughts):
        yield chunk({"content": None, "reasoning_content": piece})
    for piece in _pieces(behaviour.text):
        yield chunk({"content": piece})
    if behaviour.ending in (Ending.UNFINISHED, Ending.SILENT):
        return
    if behaviour.ending is Ending.MALFORMED:
        yield 'data: {"choices": [{"delta"\n\n'
    if behaviour.ending is Ending.ERROR:
        yield _event({"error": {"message": behaviour.error, "type": "server_error", "code": None}})
        return
    words = {"refused": "content_filter", "context": "length"}
    yield chunk({}, words.get(behaviour.finish, behaviour.finish))
    if behaviour.usage is not None:
        taken, given = behaviour.usage
        counts = {"prompt_tokens": taken, "completion_tokens": given, "total_tokens": taken + given}
        yield _event({"object": "chat.completion.chunk", "choices": [], "usage": counts})
    yield "data: [DONE]\n\n"


def _anthropic(behaviour: Says) -> Iterator[str]:
    """As Anthropic-compatible servers stream: named events; here with `\\r\\n`, which the standard allows too."""

    def event(name: str, **more: object) -> str:
        return _event({"type": name, **more}, name, "\r\n")

    taken, given = behaviour.usage or (0, 0)
    cached = taken // 4
    counts = {"input_tokens": taken - cached, "cache_read_input_tokens": cached, "output_tokens": 1}
    yield event("message_start", message={"role": "assistant", "usage": counts if behaviour.usage else {}})
    if behaviour.thoughts:
        yield event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
        for piece in _pieces(behaviour.thoughts):
            yield event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": piece})
        yield event("content_block_stop", index=0)
    yield event("content_block_start", index=1, content_block={"type": "text", "text": ""})
    yield event("ping")
    for piece in _pieces(behaviour.text):
        yield event("content_block_delta", index=1, delta={"type": "text_delta", "text": piece})
    if behaviour.ending in (Ending.UNFINISHED, Ending.SILENT):
        return
    if behaviour.ending is Ending.MALFORMED:
        yield 'event: content_block_delta\r\ndata: {"type": "content_block\r\n\r\n'
    if behaviour.ending is Ending.ERROR:
        yield event("error", error={"type": "overloaded_error", "message": behaviour.error})
        return
    yield event("content_block_stop", index=1)
    words = {
        "stop": "end_turn",
        "length": "max_tokens",
        "refused": "refusal",
        "context": "model_context_window_exceeded",
    }
    usage = {"output_tokens": given} if behaviour.usage else {}
    yield event("message_delta", delta={"stop_reason": words.get(behaviour.finish, behaviour.finish)}, usage=usage)
    yield event("message_stop")
