"""64 clients of one HTTP server for a minute, on mixed tools, against a bare echo server under the same clients.

Each client speaks one of the two protocol revisions, waits a random time around `--pace` between calls, and checks
every answer. The bare server gets the same clients, which call its echo tool. Latencies are of whole calls as clients
see them.

    python benchmarks/server_load.py --clients 64 --seconds 60
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import numpy as np

from kernelevolve.search.driver import drive
from kernelevolve.search.engine import Engine, start
from kernelevolve.search.landscape import Landscape
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Store
from kernelevolve.server.tokens import Scope, TokenStore

HERE = Path(__file__).resolve().parent
MODERN, LEGACY = "2026-07-28", "2025-11-25"
WHO = {"name": "benchmark", "version": "0"}
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": WHO,
}
TASK = '''"""Twice x, plus one."""
import torch
CASES = {"small": {"n": 4096}}
def make_inputs(case): return [torch.rand(case["n"])]
def reference(x): return 2 * x + 1
'''
CANDIDATE = """void kernel(TensorView x, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < x.numel(); ++i) to[i] = 2.0f * from[i] + 1.0f;
}
"""
QUESTIONS = (
    "shared memory per block on H100", "why does tl.dot spill registers", "v_mfma_f32_32x32x16_bf16",
    "how many registers can a thread have on sm_90", "bank conflicts when a tile is transposed", "AMX tile size",
)  # fmt: skip


class Client:
    """One caller: protocol revision, connection, what it has measured."""

    def __init__(self, url: str, token: str | None, era: str, number: int) -> None:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self.http = httpx2.AsyncClient(headers=headers, timeout=120)
        self.url, self.era = url, era
        self.chance = random.Random(number)
        self.headers: dict[str, str] = {"MCP-Protocol-Version": era}

    async def open(self) -> None:
        """Say hello, where the revision asks for it."""
        if self.era == LEGACY:
            params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": WHO}
            answer = await self._post("initialize", params)
            if session := answer.headers.get("mcp-session-id"):
                self.headers["Mcp-Session-Id"] = session
            ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await self.http.post(self.url, json=ready, headers=self.headers)

    async def _post(self, method: str, params: dict[str, Any]) -> httpx2.Response:
        headers = dict(self.headers)
        if self.era == MODERN:
            params = {**params, "_meta": META}
            headers |= {"Mcp-Method": method, "Mcp-Name": str(params.get("name") or params.get("uri") or "")}
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return await self.http.post(self.url, json=request, headers=headers)

    async def call(self, tool: str, arguments: dict[str, Any]) -> None:
        """Call a tool.

        Raises:
            AssertionError: the answer is none, or says that something failed.
        """
        answer = await self._post("tools/call", {"name": tool, "arguments": arguments})
        assert answer.status_code == 200, (tool, answer.status_code, answer.text[:300])
        lines = [line[5:] for line in answer.text.splitlines() if line.startswith("data:")] or [answer.text]
        message = json.loads(lines[-1])
        assert "result" in message, (tool, message)
        assert not message["result"].get("isError"), (tool, message["result"]["content"])


def product_calls(search_id: str) -> list[tuple[float, str, Any]]:
    """Share of all calls, tool, and what makes its arguments."""
    views = ("summary", "best", "tree", "events")
    return [
        (0.35, "get_search", lambda chance: {"search_id": search_id, "view": chance.choice(views)}),
        (0.35, "retrieve_hardware_docs", lambda chance: {"query": chance.choice(QUESTIONS)}),
        (0.2, "list_platforms", lambda chance: {}),
        (
            0.1,
            "compile_and_verify",
            lambda chance: {"task": "task.py", "source": CANDIDATE, "language": "cpp", "timed_calls": 0},
        ),
    ]


ECHO = [(1.0, "echo", lambda chance: {"text": "x" * 2000})]


async def load(url: str, token: str | None, calls: list[Any], clients: int, seconds: float, pace: float) -> Any:
    """Latencies by tool, seconds; and what went wrong."""
    took: dict[str, list[float]] = defaultdict(list)
    failures: list[str] = []
    ends = time.monotonic() + seconds

    async def one(number: int) -> None:
        client = Client(url, token, MODERN if number % 2 else LEGACY, number)
        try:
            await client.open()
            await anyio.sleep(client.chance.uniform(0, 2 * pace))
            while time.monotonic() < ends:
                _share, tool, arguments = client.chance.choices(calls, [share for share, _tool, _make in calls])[0]
                began = time.monotonic()
                await client.call(tool, arguments(client.chance))
                took[tool].append(time.monotonic() - began)
                await anyio.sleep(client.chance.uniform(0, 2 * pace))
        except Exception as error:  # noqa: BLE001 - every failure is counted and said
            failures.append(f"client {number}: {type(error).__name__}: {error}")
        finally:
            await client.http.aclose()

    async with anyio.create_task_group() as group:
        for number in range(clients):
            group.start_soon(one, number)
    return took, failures


@contextmanager
def served(command: list[str], address: str, log: Path) -> Iterator[int]:
    """A server's process."""
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx2.get(f"http://{address}/healthz", timeout=2)
                break
            except httpx2.TransportError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def summary(took: dict[str, list[float]]) -> dict[str, Any]:
    everything = [seconds for entry in took.values() for seconds in entry]
    rows = {**took, "all": everything}
    return {
        tool: {
            "calls": len(entry),
            **{f"p{share}_ms": round(float(np.percentile(entry, share)) * 1e3, 1) for share in (50, 90, 99)},
        }
        for tool, entry in rows.items()
    }


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pace", type=float, default=2.0, help="mean seconds between a client's calls")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "server_load.json")
    arguments = parser.parse_args()
    options = (arguments.clients, arguments.seconds, arguments.pace)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        state, workspace = root / "state", root / "workspace"
        state.mkdir(), workspace.mkdir()
        (workspace / "task.py").write_text(TASK)
        token = TokenStore(state).create("benchmark", Scope.ADMIN)[1]
        landscape = Landscape(seed=4)
        with Store(state / "searches.sqlite") as store:
            limits = OptimizeOptions(evaluations=200, stall=None, roofline_share=None)
            search_id = start(store, "landscape", "cpu", [landscape.start], limits, "mcts", "mock")
            engine = Engine(store, search_id, landscape, "benchmark")
            reason = drive(engine, landscape.author())
            assert reason is not None
            engine.finish(reason)
        at = address()
        with served([sys.executable, str(HERE / "bare_server.py"), at], at, root / "bare.log"):
            bare, bare_failures = anyio.run(load, f"http://{at}/mcp", None, ECHO, *options)
        at = address()
        command = [sys.executable, "-m", "kernelevolve.server", "serve", "--http", at]
        command += ["--state", str(state), "--workspace", str(workspace), "--rate", "1000000", "--burst", "100000"]
        with served(command, at, root / "ours.log") as pid:
            url, calls = f"http://{at}/mcp", product_calls(search_id)
            anyio.run(load, url, token, calls, 4, 8.0, 0.2)  # The judge and the index are warm.
            before = memory_mb(pid)
            ours, failures = anyio.run(load, url, token, calls, *options)
            after = memory_mb(pid)
            log = (root / "ours.log").read_text()
    found = {
        "clients": arguments.clients, "seconds": arguments.seconds, "pace_s": arguments.pace,
        "bare": summary(bare), "product": summary(ours), "failures": [*bare_failures, *failures][:20],
        "tracebacks": log.count("Traceback"), "server_memory_mb": [before, after],
        "load_average": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    for name in ("bare", "product"):
        for tool, row in found[name].items():
            print(f"{name:8} {tool:24} {row['calls']:6} calls  p50 {row['p50_ms']:8} ms  p99 {row['p99_ms']:8} ms")
    for share in ("p50_ms", "p99_ms"):
        print(f"{share}: x{found['product']['all'][share] / found['bare']['all'][share]:.2f} of the bare echo server")
    print(f"failures: {len(bare_failures) + len(failures)}; server {before:.0f} -> {after:.0f} MB")
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    if failures or bare_failures or found["tracebacks"]:
        sys.exit(f"failed: {[*bare_failures, *failures][:3]} {log[-2000:]}")


if __name__ == "__main__":
    main()
