"""OpenTelemetry: off unless the standard `OTEL_*` variables ask for it, or somebody set a tracer provider up before."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from kernelevolve.evaluation.spans import use_tracer
from kernelevolve.evaluation.version import VERSION
from kernelevolve.server.setting_files import SettingError

_EXPORTERS = ("otlp", "console", "none")
_PROTOCOL = "http/protobuf"


def configure_tracing(environment: Mapping[str, str] | None = None) -> bool:
    """Begin to trace, if somebody wants it.

    `OTEL_TRACES_EXPORTER` says where to: `otlp`, `console` (stderr) or `none`; without it
    `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) asks for `otlp`. `OTEL_SDK_DISABLED=true` turns all off. What
    else there is (`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS` …) the SDK reads itself.

    Args:
        environment: this process's by default.

    Returns:
        Whether anybody traces now.

    Raises:
        SettingError: a variable asks for what there is not.
    """
    said = os.environ if environment is None else environment
    exporter = _exporter_named(said)
    if exporter is None and not _provider_is_set():
        return False
    from opentelemetry import trace

    if exporter is not None and not _provider_is_set():
        trace.set_tracer_provider(_provider(exporter, said))
    use_tracer(trace.get_tracer("kernelevolve", VERSION))
    return True


def end_as_told() -> None:
    """Have SIGTERM end this process in order, so that the last spans are sent. Call it from the main thread."""
    # The web server shuts down first, then raises the signal again for whoever was there before it.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))


def _exporter_named(said: Mapping[str, str]) -> str | None:
    if said.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    named = said.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not named:
        asked = said.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or said.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        return "otlp" if asked else None
    if named not in _EXPORTERS:
        raise SettingError(f"OTEL_TRACES_EXPORTER is {named!r}, which is not {', '.join(_EXPORTERS[:-1])} or none.")
    return None if named == "none" else named


def _provider_is_set() -> bool:
    """Whether a provider was set up before us, as `opentelemetry-instrument` does. Asks without loading anything."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _provider(exporter: str, said: Mapping[str, str]) -> Any:
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes before these.
    named = said.get("OTEL_SERVICE_NAME") or "service.name=" in said.get("OTEL_RESOURCE_ATTRIBUTES", "")
    ours = {"service.version": VERSION} | ({} if named else {"service.name": "kernelevolve"})
    provider = TracerProvider(resource=Resource.create(ours))
    provider.add_span_processor(BatchSpanProcessor(_exporter(exporter, said)))
    return provider


def _exporter(exporter: str, said: Mapping[str, str]) -> Any:
    if exporter == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        # Not stdout: that is where the protocol is spoken.
        return ConsoleSpanExporter(out=sys.stderr)
    protocol = said.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or said.get("OTEL_EXPORTER_OTLP_PROTOCOL") or _PROTOCOL
    if protocol != _PROTOCOL:
        raise SettingError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; traces are sent by {_PROTOCOL} alone.")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return OTLPSpanExporter()


def _missing(error: ModuleNotFoundError) -> SettingError:
    return SettingError(
        f"OTEL_* variables ask for traces, and {error.name} is not installed: pip install 'kernelevolve[otel]', or set "
        "OTEL_SDK_DISABLED=true."
    )
