"""How quick the language server is, beside a server of the same library that does nothing, in one run.

Four measures: the start to the answer of `initialize`; hovers while a kernel is being compiled; the time from a save to
the hints for one kernel and two targets; a file of 5,000 lines. Ratios hold across machines, milliseconds do not.

    python benchmarks/language_server.py [--json FILE] [--starts N] [--hovers N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.client import BaseLanguageClient

OURS = (sys.executable, "-c", "from kernelevolve.server.entry import main; main()", "lsp", "--stdio")
BARE = (
    sys.executable,
    "-c",
    "from lsprotocol import types\n"
    "from pygls.lsp.server import LanguageServer\n"
    "server = LanguageServer('bare', '1')\n"
    "@server.feature(types.TEXT_DOCUMENT_HOVER)\n"
    "def hover(params):\n"
    "    return types.Hover(contents='nothing')\n"
    "server.start_io()\n",
)
BUDGETS = {"initialize_ratio": 1.2, "hover_p95_ms": 50.0, "hint_s": 1.5}
_KERNEL = """import triton
import triton.language as tl


# kernelevolve: x_ptr=*fp32, y_ptr=*fp32, n=i32, BLOCK=1024
@triton.jit
def kernel_{number}(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0)
    largest = tl.max(x, axis=0)
    e = tl.exp(x - largest) * {factor}
    tl.store(y_ptr + at, e / tl.sum(e, axis=0), mask=at < n)
"""


def _capabilities() -> types.ClientCapabilities:
    return types.ClientCapabilities(
        text_document=types.TextDocumentClientCapabilities(inlay_hint=types.InlayHintClientCapabilities()),
        workspace=types.WorkspaceClientCapabilities(
            inlay_hint=types.InlayHintWorkspaceClientCapabilities(refresh_support=True)
        ),
    )


@asynccontextmanager
async def _server(command: Sequence[str]) -> Any:
    client = BaseLanguageClient("benchmark", "1")
    client.refreshed = asyncio.Event()  # type: ignore[attr-defined]

    @client.feature(types.WORKSPACE_INLAY_HINT_REFRESH)
    def refreshed(_params: Any) -> None:
        client.refreshed.set()  # type: ignore[attr-defined]

    @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def published(_params: Any) -> None:
        """Not measured."""

    began = time.perf_counter()
    await client.start_io(*command)
    await client.initialize_async(
        types.InitializeParams(capabilities=_capabilities(), process_id=os.getpid(), root_uri=None)
    )
    client.took = time.perf_counter() - began  # type: ignore[attr-defined]
    client.initialized(types.InitializedParams())
    try:
        yield client
    finally:
        await client.shutdown_async(None)
        client.exit(None)
        await client.stop()


def _open(client: BaseLanguageClient, path: Path) -> str:
    item = types.TextDocumentItem(uri=path.as_uri(), language_id="python", version=1, text=path.read_text())
    client.text_document_did_open(types.DidOpenTextDocumentParams(text_document=item))
    return path.as_uri()


def _change(client: BaseLanguageClient, uri: str, version: int, text: str) -> None:
    client.text_document_did_change(
        types.DidChangeTextDocumentParams(
            text_document=types.VersionedTextDocumentIdentifier(uri=uri, version=version),
            content_changes=[types.TextDocumentContentChangeWholeDocument(text=text)],
        )
    )


async def _hints(client: BaseLanguageClient, uri: str) -> list[str]:
    everything = types.Range(start=types.Position(line=0, character=0), end=types.Position(line=10**6, character=0))
    found = await client.text_document_inlay_hint_async(
        types.InlayHintParams(text_document=types.TextDocumentIdentifier(uri=uri), range=everything)
    )
    return [str(hint.label) for hint in found or ()]


async def _fresh_hints(client: Any, uri: str, count: int) -> None:
    while True:
        client.refreshed.clear()
        hints = await _hints(client, uri)
        if len(hints) == count and all(" regs" in hint and "before the edit" not in hint for hint in hints):
            return
        await client.refreshed.wait()


async def _hover_ms(client: BaseLanguageClient, uri: str, line: int, character: int) -> float:
    began = time.perf_counter()
    params = types.HoverParams(
        text_document=types.TextDocumentIdentifier(uri=uri), position=types.Position(line=line, character=character)
    )
    found = await client.text_document_hover_async(params)
    assert found is not None
    return (time.perf_counter() - began) * 1e3


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": statistics.median(ordered), "p95": ordered[int(0.95 * (len(ordered) - 1))], "max": ordered[-1]}


async def measure_initialize(state: Path, starts: int) -> dict[str, Any]:
    """Spawn to the answer of `initialize`, ours and the bare server by turns."""
    ours, bare = [], []
    for number in range(starts + 1):
        async with _server(BARE) as client:
            bare_s = client.took
        async with _server([*OURS, "--state", str(state)]) as client:
            ours_s = client.took
        if number:  # The first of each reads files from the disk.
            bare.append(bare_s)
            ours.append(ours_s)
    return {
        "ours_s": statistics.median(ours),
        "bare_s": statistics.median(bare),
        "ratio": statistics.median(mine / its for mine, its in zip(ours, bare, strict=True)),
        "starts": starts,
    }


async def measure_hover(client: Any, folder: Path, hovers: int) -> dict[str, Any]:
    """Hovers while kernels are compiled all the time."""
    path = folder / "hover.py"
    path.write_text(_KERNEL.format(number=0, factor=1.0))
    uri = _open(client, path)
    await _fresh_hints(client, uri, 2)
    times: list[float] = []
    compiling = 0
    version = 1
    while len(times) < hovers:
        version += 1
        _change(client, uri, version, _KERNEL.format(number=0, factor=float(version)))
        client.text_document_did_save(
            types.DidSaveTextDocumentParams(text_document=types.TextDocumentIdentifier(uri=uri))
        )
        for _ in range(20):
            times.append(await _hover_ms(client, uri, 8, 12))
            status = await client.protocol.send_request_async("kernelevolve/status", {})
            compiling += status.compiling > 0
            await asyncio.sleep(0.02)
    return {**_quantiles(times), "hovers": len(times), "share_while_compiling": compiling / len(times)}


async def measure_bare_hover(hovers: int, folder: Path) -> dict[str, float]:
    """The same with the bare server, which looks nothing up."""
    path = folder / "bare.py"
    path.write_text(_KERNEL.format(number=0, factor=1.0))
    async with _server(BARE) as client:
        uri = _open(client, path)
        times = []
        for _ in range(hovers):
            times.append(await _hover_ms(client, uri, 8, 12))
            await asyncio.sleep(0.02)
    return _quantiles(times)


async def measure_hints(client: Any, folder: Path, saves: int) -> dict[str, Any]:
    """Save of a kernel that nobody has compiled to the hints for two targets."""
    path = folder / "hints.py"
    path.write_text(_KERNEL.format(number=1, factor=time.time()))
    uri = _open(client, path)
    await _fresh_hints(client, uri, 2)
    times = []
    for number in range(saves):
        _change(client, uri, number + 2, _KERNEL.format(number=1, factor=time.time()))
        began = time.perf_counter()
        client.text_document_did_save(
            types.DidSaveTextDocumentParams(text_document=types.TextDocumentIdentifier(uri=uri))
        )
        await _fresh_hints(client, uri, 2)
        times.append(time.perf_counter() - began)
    return {**_quantiles(times), "saves": saves}


async def measure_large(client: Any, folder: Path, lines: int) -> dict[str, Any]:
    """Keystrokes and hovers in a long file."""
    body = _KERNEL.split("\n\n\n", 1)
    text = body[0] + "\n"
    number = 0
    while text.count("\n") < lines:
        text += "\n\n" + body[1].format(number=number, factor=1.0)
        number += 1
    path = folder / "large.py"
    path.write_text(text)
    uri = _open(client, path)
    times = []
    line = text.count("\n") - 4
    for version in range(2, 102):
        at = types.Position(line=line, character=4)
        event = types.TextDocumentContentChangePartial(range=types.Range(start=at, end=at), text="a")
        client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                text_document=types.VersionedTextDocumentIdentifier(uri=uri, version=version), content_changes=[event]
            )
        )
        times.append(await _hover_ms(client, uri, 8, 12))
        await asyncio.sleep(0.02)
    return {**_quantiles(times), "lines": text.count("\n"), "kernels": number}


async def measure(starts: int, hovers: int) -> dict[str, Any]:
    """All four."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, state = Path(scratch), Path(scratch, "state")
        found: dict[str, Any] = {"initialize": await measure_initialize(state, starts)}
        found["bare_hover_ms"] = await measure_bare_hover(hovers, folder)
        async with _server([*OURS, "--state", str(state)]) as client:
            found["hint_s"] = await measure_hints(client, folder, 8)
            found["hover_while_compiling_ms"] = await measure_hover(client, folder, hovers)
        async with _server([*OURS, "--state", str(state)]) as client:
            found["large_file_ms"] = await measure_large(client, folder, 5_000)
    found["hover_ratio_p50"] = found["hover_while_compiling_ms"]["p50"] / found["bare_hover_ms"]["p50"]
    found["machine"] = {"processors": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()}
    found["budgets"] = BUDGETS
    return found


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--json", type=Path, nargs="?", const=Path(__file__).parent / "results" / "language_server.json"
    )
    parser.add_argument("--starts", type=int, default=9)
    parser.add_argument("--hovers", type=int, default=200)
    given = parser.parse_args()
    found = asyncio.run(measure(given.starts, given.hovers))
    start, hover, hint, large = (
        found[name] for name in ("initialize", "hover_while_compiling_ms", "hint_s", "large_file_ms")
    )
    print(f"initialize         {start['ours_s']:.3f} s, bare {start['bare_s']:.3f} s: {start['ratio']:.2f}x")
    print(f"hover, compiling   p50 {hover['p50']:.1f} ms, p95 {hover['p95']:.1f} ms "
          f"({hover['share_while_compiling']:.0%} of {hover['hovers']} while compiling); "
          f"bare p50 {found['bare_hover_ms']['p50']:.1f} ms")  # fmt: skip
    print(f"save to hints      p50 {hint['p50']:.2f} s, max {hint['max']:.2f} s (one kernel, two targets)")
    print(
        f"{large['lines']} lines        hover after keystrokes: p50 {large['p50']:.1f} ms, p95 {large['p95']:.1f} ms"
    )
    print(f"load of the machine {found['machine']['load'][0]:.1f} on {found['machine']['processors']} processors")
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
