"""Spans of what is done, for whoever traces. Nobody does by default, and then a span costs a comparison.

No span says what a caller sent: names, numbers and words of this project alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

_tracer: Any = None
PREFIX = "kernelevolve."
"""Begins the name of every attribute."""


@dataclass(frozen=True)
class Past:
    """Something that ended already, here or in another process of this machine."""

    name: str
    began_ns: int
    """Nanoseconds since the epoch."""
    ended_ns: int
    """Nanoseconds since the epoch."""
    attributes: dict[str, Any]
    """Name without the prefix → a word, a number, or a list of them."""


def use_tracer(tracer: Any) -> None:
    """Give every span from now on to an OpenTelemetry tracer; None ends that."""
    global _tracer
    _tracer = tracer


def is_traced() -> bool:
    """Whether anybody traces."""
    return _tracer is not None


def span(name: str, **attributes: Any) -> AbstractContextManager[Any]:
    """Time what happens inside. An exception shows by its type alone: its text may quote a source."""
    return nullcontext() if _tracer is None else _span(_tracer, name, attributes)


@contextmanager
def _span(tracer: Any, name: str, attributes: dict[str, Any]) -> Iterator[Any]:
    from opentelemetry.trace import StatusCode

    with tracer.start_as_current_span(
        name, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_attribute("error.type", type(error).__qualname__)
            current.set_status(StatusCode.ERROR)
            raise


def add_past(whole: Past, parts: Iterable[Past], error: str = "") -> None:
    """Add a span and its parts afterwards, under the span that is current.

    Args:
        whole: the span.
        parts: what it was made of.
        error: the kind of failure that ended it; empty for none.
    """
    if _tracer is None:
        return
    from opentelemetry.trace import StatusCode, set_span_in_context

    above = _tracer.start_span(whole.name, start_time=whole.began_ns, attributes=_named(whole.attributes))
    for part in parts:
        below = _tracer.start_span(
            part.name, set_span_in_context(above), start_time=part.began_ns, attributes=_named(part.attributes)
        )
        below.end(part.ended_ns)
    if error:
        above.set_attribute("error.type", error)
        above.set_status(StatusCode.ERROR)
    above.end(whole.ended_ns)


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    return {PREFIX + name: value for name, value in attributes.items()}
