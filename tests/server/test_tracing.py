"""Traces: one tree for one call, without what a caller sent; off unless the standard variables ask for them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.server.settings import SettingError
from kernelevolve.server.tracing import configure_tracing
from tests.conftest import SCALE_CPP, SCALE_TASK
from tests.server.serving import serving

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")

MARK = "planted_marker_4711"
ARGUMENTS = {"task": SCALE_TASK, "source": f"{SCALE_CPP}\n// {MARK}\n", "language": "cpp", "timed_calls": 5}
# A process of its own: a tracer provider is set once for the life of a process.
SCRIPT = """
import json, sys
from pathlib import Path
import anyio
from mcp import Client
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from kernelevolve.server.mcp_server import create_server
from kernelevolve.server.tracing import configure_tracing

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
assert configure_tracing()

async def run(state, calls):
    async with Client(create_server(state)) as client:
        for name, arguments in calls:
            await client.call_tool(name, arguments)

anyio.run(run, Path(sys.argv[1]), json.loads(sys.stdin.read()))
print(json.dumps([json.loads(span.to_json()) for span in exporter.get_finished_spans()]))
"""


def traced(state: Path, *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The spans of some calls, in the order in which they ended."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(state)], input=json.dumps(calls), capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spans: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return spans


def named(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [span for span in spans if span["name"] == name]
    return found


def below(spans: list[dict[str, Any]], parent: dict[str, Any]) -> list[dict[str, Any]]:
    return [span for span in spans if span["parent_id"] == parent["context"]["span_id"]]


def test_one_call_is_one_tree_with_the_verdict_and_without_the_source(warm_state: Path) -> None:
    spans = traced(warm_state, ("compile_and_verify", ARGUMENTS))
    call = named(spans, "tools/call compile_and_verify")
    (judge,) = below(spans, call)
    assert judge["name"] == "judge"
    assert judge["attributes"]["kernelevolve.status"] == "correct"
    assert judge["attributes"]["kernelevolve.status.cpu"] == "correct"
    assert judge["attributes"]["kernelevolve.language"] == "cpp"
    parts = below(spans, judge)
    assert {"start process", "build", "load", "check", "time", "wait for device"} <= {part["name"] for part in parts}
    for part in parts:
        assert judge["start_time"] <= part["start_time"] <= part["end_time"] <= judge["end_time"]
    assert {span["context"]["trace_id"] for span in (judge, *parts)} == {call["context"]["trace_id"]}
    assert MARK not in json.dumps(spans)
    assert "void kernel" not in json.dumps(spans)


def test_a_refused_candidate_is_no_error_and_a_task_at_fault_is_one(warm_state: Path) -> None:
    wrong = {**ARGUMENTS, "source": SCALE_CPP.replace("1.0f;", "1.5f;"), "timed_calls": 0}
    broken = {**ARGUMENTS, "task": f"import torch\nCASES = {{}}\ndef reference(x): return x  # {MARK}\n"}
    spans = traced(warm_state, ("compile_and_verify", wrong), ("compile_and_verify", broken))
    refused, failed = [span for span in spans if span["name"] == "judge"]
    assert refused["attributes"]["kernelevolve.status"] == "wrong"
    assert refused["status"]["status_code"] == "UNSET"
    assert failed["attributes"]["error.type"] == "task_without_inputs"
    assert failed["status"]["status_code"] == "ERROR"
    assert MARK not in json.dumps(spans)


def test_searches_and_questions_have_spans_of_store_and_retrieval(warm_state: Path) -> None:
    question = {"query": f"shared memory per block on H100 {MARK}"}
    start = {"task": SCALE_TASK, "source": SCALE_CPP, "language": "cpp", "evaluations": 2}
    spans = traced(warm_state, ("retrieve_hardware_docs", question), ("start_search", start))
    assert named(spans, "retrieve")["attributes"] == {"kernelevolve.limit": 6}
    call = named(spans, "tools/call start_search")
    names = {span["name"] for span in below(spans, call)}
    assert {"store.write", "store.read", "judge"} <= names
    assert MARK not in json.dumps(spans)


class Collector:
    """Takes what is sent by OTLP over HTTP."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.spans: list[Any] = []
        self.services: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    outer.services |= {
                        entry.value.string_value
                        for entry in resource.resource.attributes
                        if entry.key == "service.name"
                    }
                    outer.spans += [span for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @contextmanager
    def listening(self) -> Iterator[str]:
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{self.server.server_address[1]}"
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()


def test_a_server_sends_its_spans_where_the_standard_variables_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra otel")
    workspace, state = tmp_path / "workspace", tmp_path / "state"
    workspace.mkdir()
    state.mkdir()
    (workspace / "scale.py").write_text(SCALE_TASK)
    collector = Collector()
    with collector.listening() as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        # Longer than the test: what arrives is what is sent when the server is told to end.
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
        with serving(state, workspace) as server:
            arguments = {**ARGUMENTS, "task": "scale.py", "timed_calls": 0}
            server.talk(server.tokens["evaluate"], lambda client: client.call_tool("compile_and_verify", arguments))
    names = [span.name for span in collector.spans]
    assert "tools/call compile_and_verify" in names
    assert {"judge", "check"} <= set(names)
    assert collector.services == {"kernelevolve"}
    assert not any(MARK in str(span) or server.tokens["evaluate"] in str(span) for span in collector.spans)


def test_nothing_is_traced_unless_asked() -> None:
    assert configure_tracing({}) is False
    assert configure_tracing({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}) is False
    assert configure_tracing({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}) is False


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf"),
    ],
)
def test_what_there_is_not_is_refused(said: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        configure_tracing(said)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; sys.modules['opentelemetry.sdk.resources'] = None\n"
        "from kernelevolve.server.command_line import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", "--state", str(tmp_path)], capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OTEL_TRACES_EXPORTER": "otlp"}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "kernelevolve[otel]" in done.stderr
    assert "Traceback" not in done.stderr
