"""`/metrics`: who may look, and that a server's figures are what happened, as Prometheus' own parser reads them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client
from prometheus_client.parser import text_string_to_metric_families

from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.platform import known_platforms
from kernelevolve.server.access import TOOL_SCOPES
from kernelevolve.server.tokens import TokenStore
from tests.conftest import SCALE_CPP, SCALE_TASK
from tests.server.serving import Server, serving

MARK = "planted_marker_4711"
ARGUMENTS = {"task": "scale.py", "source": SCALE_CPP, "language": "cpp", "timed_calls": 0}
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    workspace = tmp_path_factory.mktemp("workspace")
    (workspace / "scale.py").write_text(SCALE_TASK)
    flags = ("--rate-without-token", "1")
    with serving(tmp_path_factory.mktemp("state"), workspace, *flags) as server:
        yield server


def figures(server: Server) -> Figures:
    answer = server.get("/metrics", server.tokens["read"])
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found: Figures = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def of(found: Figures, name: str, **labels: str) -> float:
    return found.get((f"kernelevolve_{name}", frozenset(labels.items())), 0.0)


def test_the_figures_need_a_token_and_any_scope_will_do(counted: Server) -> None:
    assert counted.get("/metrics").status_code == 401
    assert counted.get("/metrics", "kev_wrong").status_code == 401
    assert all(counted.get("/metrics", secret).status_code == 200 for secret in counted.tokens.values())
    TokenStore(counted.state).revoke("admin")
    assert counted.get("/metrics", counted.tokens["admin"]).status_code == 401


def test_what_happened_is_counted(counted: Server) -> None:
    before = figures(counted)

    async def conversation(client: Client) -> None:
        await client.call_tool("compile_and_verify", ARGUMENTS)
        wrong = {**ARGUMENTS, "source": SCALE_CPP.replace("1.0f;", "1.5f;"), "platforms": ["cpu"]}
        await client.call_tool("compile_and_verify", wrong)
        await client.call_tool("compile_and_verify", {**ARGUMENTS, "platforms": [MARK]})
        await client.call_tool("compile_and_verify", {**ARGUMENTS, "task": "missing.py"})
        await client.call_tool(MARK, {})
        await client.call_tool(
            "start_search", {"task": "scale.py", "evaluations": 3, "language": "cpp", "source": SCALE_CPP}
        )

    counted.talk(counted.tokens["search"], conversation)
    after = figures(counted)

    def grown(name: str, **labels: str) -> float:
        return of(after, name, **labels) - of(before, name, **labels)

    assert grown("tool_calls_total", tool="compile_and_verify", outcome="ok") == 3
    assert grown("tool_calls_total", tool="compile_and_verify", outcome="error") == 1
    assert grown("tool_calls_total", tool="other", outcome="refused") == 1
    assert grown("tool_call_seconds_count", tool="compile_and_verify") == 4
    assert grown("tool_call_seconds_sum", tool="compile_and_verify") > 0
    assert grown("verdicts_total", status="wrong", platform="cpu") == 1
    assert grown("verdicts_total", status="correct", platform="cpu") >= 1
    assert (
        grown("verdicts_total", status=Status.HARNESS_ERROR.value, platform="other")
        + grown("verdicts_total", status=Status.UNSUPPORTED.value, platform="other")
        == 1
    )
    assert of(after, "searches", state="running") == 1
    assert of(after, "orders_open") == 1
    assert of(after, "nodes") >= 1
    assert of(after, "store_up") == 1
    assert of(after, "tool_calls_in_flight") == 0
    assert of(after, "judges_busy") == 0
    assert of(after, "judges_idle") >= 1
    assert of(after, "judge_queue") == 0
    walls = {dict(labels)["wall"]: value for (name, labels), value in after.items() if name.endswith("sandbox_wall")}
    assert walls
    assert set(walls.values()) <= {0.0, 1.0}
    assert ("process_resident_memory_bytes", frozenset()) in after


def test_refusals_are_counted(counted: Server) -> None:
    before = figures(counted)
    statuses = [counted.post("kev_wrong").status_code for _ in range(30)]
    after = figures(counted)
    assert of(after, "auth_failures_total") - of(before, "auth_failures_total") == statuses.count(401)
    limited = of(after, "rate_limited_total", reason="address") - of(before, "rate_limited_total", reason="address")
    assert limited == statuses.count(429) > 0


def test_no_label_holds_what_a_caller_chose(counted: Server) -> None:
    counted.talk(counted.tokens["evaluate"], lambda client: client.call_tool(MARK, {}))
    allowed = {
        "tool": {*TOOL_SCOPES, "other"},
        "outcome": {"ok", "error", "refused", "cancelled", "failed"},
        "platform": {*known_platforms(), "other"},
        "status": {status.value for status in Status},
        "state": {"running", "finished"},
        "reason": {"rate", "address", "size"},
    }
    free = {"wall", "version", "le", "generation", "implementation", "major", "minor", "patchlevel"}
    found = figures(counted)
    for _name, labels in found:
        for label, value in labels:
            assert label in free or value in allowed[label], (label, value)
    assert not any(MARK in str(key) for key in found)


def test_a_server_on_stdio_does_not_load_what_makes_figures(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from kernelevolve.server.mcp_server import create_server;"
        f"create_server(Path({str(tmp_path)!r}));"
        "heavy = {'prometheus_client', 'opentelemetry.sdk', 'torch', 'triton', 'lancedb'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
