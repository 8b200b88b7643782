"""What a model server and its client say to each other, in both formats in use: requests, and streamed answers."""

from __future__ import annotations

import codecs
import email.utils
import io
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from typing import Any, ClassVar

from kernelevolve.search.prompt import tokens_of

_MOST_TOKENS = 10**9
"""Larger counts are no counts, and would overflow a price."""


class WireFormat(StrEnum):
    """How a server is spoken to."""

    OPENAI = "openai"
    """`POST {base}/chat/completions`, as OpenAI-compatible servers take it."""
    ANTHROPIC = "anthropic"
    """`POST {base}/messages`, as Anthropic-compatible servers take it."""


class Role(StrEnum):
    """Who said something."""

    USER = "user"
    ASSISTANT = "assistant"


class Finish(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model was done."""
    LENGTH = "length"
    """The limit of output tokens was reached."""
    CONTEXT = "context"
    """Prompt and answer together filled the model's context."""
    REFUSED = "refused"
    """The model or a filter would not go on."""
    OTHER = "other"
    """A reason that is not known here, or none was given."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True)
class ServerEvent:
    """One server-sent event."""

    name: str
    """Its `event` field; empty where there was none."""
    data: str
    """Its `data` lines."""


class MalformedStreamError(Exception):
    """What came is not what the format promises."""


class ErrorEventError(Exception):
    """The server reported an error inside its stream; the text is the server's own."""


# Requests


def path_of(wire: WireFormat) -> str:
    """What follows the base of the URL."""
    return "/chat/completions" if wire is WireFormat.OPENAI else "/messages"


def headers_of(wire: WireFormat) -> dict[str, str]:
    """Headers of a request, but for the key."""
    # Nothing compressed: the bound on an answer's size should hold before it is unpacked.
    headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
    return headers if wire is WireFormat.OPENAI else {**headers, "anthropic-version": "2023-06-01"}


def key_header(wire: WireFormat, key: str) -> tuple[str, str]:
    """Name and value of the header that carries the key."""
    return ("authorization", f"Bearer {key}") if wire is WireFormat.OPENAI else ("x-api-key", key)


def body_of(
    wire: WireFormat,
    *,
    model: str,
    system: str,
    turns: Sequence[Turn],
    max_output_tokens: int,
    output_limit_name: str = "max_tokens",
    temperature: float | None = None,
) -> dict[str, Any]:
    """A request for one streamed answer.

    Args:
        wire: the server's format.
        model: the server's name for the model.
        system: what holds for the whole conversation.
        turns: the conversation, which starts and ends with the user.
        max_output_tokens: limit for the answer.
        output_limit_name: how an OpenAI-compatible server calls that limit.
        temperature: None leaves it to the server.
    """
    messages = [{"role": turn.role.value, "content": sound(turn.text)} for turn in turns]
    body: dict[str, Any] = {"model": model, "stream": True}
    if wire is WireFormat.OPENAI:
        body["messages"] = [{"role": "system", "content": sound(system)}, *messages]
        body["stream_options"] = {"include_usage": True}
        body[output_limit_name] = max_output_tokens
    else:
        body["system"] = sound(system)
        body["messages"] = messages
        body["max_tokens"] = max_output_tokens
    if temperature is not None:
        body["temperature"] = temperature
    return body


def sound(text: str) -> str:
    """The text as UTF-8 can carry it: halves of surrogate pairs joined where they meet, replaced where they do not.

    A half comes from a compiler's output that is no UTF-8, or from a server that cuts an escaped pair in two.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# Streams


class EventDecoder:
    """Cuts a body into server-sent events, wherever the network cut it.

    See https://html.spec.whatwg.org/multipage/server-sent-events.html (section 9.2.6).
    """

    def __init__(self) -> None:
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
        self._line: list[str] = []
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that are complete with this chunk.

        Raises:
            MalformedStreamError: the bytes are no UTF-8.
        """
        try:
            text = self._decoder.decode(chunk)
        except UnicodeDecodeError as error:
            raise MalformedStreamError("the stream is not UTF-8") from error
        head, *lines = text.split("\n")
        self._line.append(head)
        for line in lines:
            whole = "".join(self._line)
            self._line = [line]
            if whole:
                self._field(whole)
            elif self._data:
                yield self._event()
            else:
                self._name = ""

    def rest(self) -> ServerEvent | None:
        """What the last lines say when the stream ends without the empty line that should follow an event."""
        self._field("".join(self._line))
        return self._event() if self._data else None

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value

    def _event(self) -> ServerEvent:
        event = ServerEvent(self._name, "\n".join(self._data))
        self._name, self._data = "", []
        return event


class AnswerReader(ABC):
    """Collects one answer from the events of its stream."""

    def __init__(self) -> None:
        self.begun = False
        """Whether the server has started to answer, and so to count tokens."""
        self.done = False
        """Whether the event came that ends every complete answer."""
        self.finish = Finish.OTHER
        """Why the answer ended."""
        self.input_tokens: int | None = None
        """Tokens of the request, as the server counts them; None where it does not say."""
        self.output_tokens: int | None = None
        """Tokens of the answer, hidden thoughts included; None where the server does not say."""
        self._pieces: list[str] = []
        self._thoughts = 0

    @property
    def text(self) -> str:
        """The answer so far, without what the model thought."""
        return sound("".join(self._pieces))

    @property
    def estimated_output_tokens(self) -> int:
        """Length of answer and thoughts so far, estimated."""
        return tokens_of("".join(self._pieces)) + tokens_of("x" * self._thoughts)

    def read(self, event: ServerEvent) -> None:
        """Take in one event.

        Raises:
            MalformedStreamError: it is no JSON, or has not the format's shape.
            ErrorEventError: the server reports an error.
        """
        if not event.data.strip():
            return
        if event.data.strip() == "[DONE]":
            self._end()
            return
        body = _parsed(event.data)
        if event.name == "error" or _is_error(body):
            raise ErrorEventError(error_text(event.data))
        self.begun = True
        self._take(body)

    @abstractmethod
    def _take(self, body: dict[str, Any]) -> None: ...

    def _end(self) -> None:
        self.done = True

    def _count(self, input_tokens: object = None, output_tokens: object = None) -> None:
        # Servers repeat the counts as they grow; 0 is what those say that do not count.
        self.input_tokens = max(self.input_tokens or 0, _tokens(input_tokens)) or None
        self.output_tokens = max(self.output_tokens or 0, _tokens(output_tokens)) or None


class OpenAIReader(AnswerReader):
    """Reads `chat.completion.chunk` objects, up to `[DONE]`."""

    _FINISHES: ClassVar = {"stop": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.REFUSED}

    def _take(self, body: dict[str, Any]) -> None:
        usage = _object(body, "usage")
        self._count(usage.get("prompt_tokens"), usage.get("completion_tokens"))
        choices = body.get("choices") or []
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise MalformedStreamError("`choices` is not a list of objects")
        for choice in choices[:1]:
            delta = _object(choice, "delta")
            self._content(delta.get("content"))
            for name in ("reasoning_content", "reasoning"):
                if isinstance(thought := delta.get(name), str):
                    self._thoughts += len(thought)
                    break
            if reason := choice.get("finish_reason"):
                self.finish = self._FINISHES.get(str(reason), Finish.OTHER)

    def _content(self, content: object) -> None:
        if isinstance(content, str):
            self._pieces.append(content)
        elif isinstance(content, list):
            # Some servers send parts, thoughts among them.
            for part in content:
                if isinstance(part, dict) and part.get("type") == "text":
                    self._content(part.get("text"))
        elif content is not None:
            raise MalformedStreamError("`content` is not a text")


class AnthropicReader(AnswerReader):
    """Reads the events of a message, up to `message_stop`."""

    _FINISHES: ClassVar = {
        "end_turn": Finish.STOP,
        "stop_sequence": Finish.STOP,
        "max_tokens": Finish.LENGTH,
        "model_context_window_exceeded": Finish.CONTEXT,
        "refusal": Finish.REFUSED,
    }
    _INPUTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")

    def _take(self, body: dict[str, Any]) -> None:
        kind = body.get("type")
        if kind == "message_start":
            # Its count of output tokens is only a beginning.
            self._count(self._input(_object(_object(body, "message"), "usage")))
        elif kind == "content_block_start":
            self._piece(_object(body, "content_block"))
        elif kind == "content_block_delta":
            self._piece(_object(body, "delta"))
        elif kind == "message_delta":
            usage = _object(body, "usage")
            self._count(self._input(usage), usage.get("output_tokens"))
            if reason := _object(body, "delta").get("stop_reason"):
                self.finish = self._FINISHES.get(str(reason), Finish.OTHER)
        elif kind == "message_stop":
            self.done = True

    def _end(self) -> None:
        raise MalformedStreamError("`[DONE]` does not belong into this format")

    def _input(self, usage: dict[str, Any]) -> int:
        return sum(_tokens(usage.get(name)) for name in self._INPUTS)

    def _piece(self, block: dict[str, Any]) -> None:
        if isinstance(text := block.get("text"), str):
            self._pieces.append(text)
        elif isinstance(thought := block.get("thinking"), str):
            self._thoughts += len(thought)


def reader_of(wire: WireFormat) -> AnswerReader:
    """A reader for one answer."""
    return OpenAIReader() if wire is WireFormat.OPENAI else AnthropicReader()


def _parsed(data: str) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedStreamError("an event is not JSON") from error
    if not isinstance(body, dict):
        raise MalformedStreamError("an event is not an object")
    return body


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedStreamError(f"`{name}` is not an object")
    return value


def _tokens(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else 0


# Errors


_TOO_LONG = re.compile(
    r"context[ _](length|window|size|limit)|maximum context|(prompt|input|request) is too (long|large)"
    r"|too many (input |prompt )?tokens|token count.{0,40}exceeds|reduce the (length|number of)",
    re.IGNORECASE,
)
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")


def error_text(body: str) -> str:
    """What a server says in an error: kind, code and message of an object as both formats have it, else everything."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return body
    error = parsed.get("error") or parsed if isinstance(parsed, dict) else parsed
    if not isinstance(error, dict):
        return error if isinstance(error, str) else body
    fields = [error.get(name) for name in ("type", "code", "message", "detail")]
    # Each once: some servers give the same word as kind and code.
    said = dict.fromkeys(str(field) for field in fields if field and field != "error")
    return ": ".join(said) or body


def reports_error(body: str) -> bool:
    """Whether a body is an object as both formats use it for errors."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict) and _is_error(parsed)


def says_too_long(error: str) -> bool:
    """Whether an error means that the prompt does not fit the model: servers share no code for that, but some words."""
    return _TOO_LONG.search(error) is not None


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds that a `Retry-After` header asks for (RFC 9110, section 10.2.3); 0 where there is none to be read."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    then = _timestamp(value)
    if then is None:
        return 0.0
    # By the server's own clock, where it shows it.
    now = _timestamp(headers.get("date", ""))
    return max(0.0, then - (time.time() if now is None else now))


def _timestamp(value: str) -> float | None:
    """Seconds since the epoch of an HTTP date."""
    try:
        date = email.utils.parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _is_error(body: dict[str, Any]) -> bool:
    return bool(body.get("error")) or "error" in (body.get("type"), body.get("object"))
