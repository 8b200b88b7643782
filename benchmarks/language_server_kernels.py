"""Open every file of installed packages in the language server: for how many kernels can it say what they cost?

Counts files that fail, kernels with figures for all targets, and errors said of kernels: as nobody says the types of these
kernels' arguments, a `does-not-compile` of severity error would be a false one.

    python benchmarks/language_server_kernels.py liger_kernel.ops flag_gems.ops [--json FILE] [--path DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.client import BaseLanguageClient

from kernelevolve.server.language_server.kernels import Kind, scan

SERVER = (sys.executable, "-c", "from kernelevolve.server.entry import main; main()", "lsp", "--stdio")


def _files(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: pip install it, or name its folder with --path.")
    root = Path(next(iter(spec.submodule_search_locations)))
    return sorted(path for path in root.rglob("*.py") if scan(path.read_text(encoding="utf-8")).kernels)


class _Session:
    def __init__(self) -> None:
        self.client = BaseLanguageClient("benchmark", "1")
        self.diagnostics: dict[str, list[types.Diagnostic]] = {}
        self.messages: list[str] = []

        @self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: types.PublishDiagnosticsParams) -> None:
            self.diagnostics[params.uri] = list(params.diagnostics)

        @self.client.feature(types.WINDOW_SHOW_MESSAGE)
        def shown(params: types.ShowMessageParams) -> None:
            self.messages.append(params.message)

    async def file(self, path: Path) -> dict[str, Any]:
        """Open a file, wait until nothing is compiled any more, read what is shown, close it."""
        uri, text = path.as_uri(), path.read_text(encoding="utf-8")
        document = types.TextDocumentIdentifier(uri=uri)
        item = types.TextDocumentItem(uri=uri, language_id="python", version=1, text=text)
        began = time.perf_counter()
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(text_document=item))
        kernels = [kernel.name for kernel in scan(text).kernels if kernel.kind is Kind.KERNEL]
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(0.2)
            status = await self.client.protocol.send_request_async("kernelevolve/status", {})
            quiet = quiet + 1 if status.compiling == 0 else 0
        everything = types.Range(start=types.Position(line=0, character=0), end=types.Position(line=10**6, character=0))
        hints = await self.client.text_document_inlay_hint_async(
            types.InlayHintParams(text_document=document, range=everything)
        )
        lines = Counter(hint.position.line for hint in hints or () if " regs" in str(hint.label))
        self.client.text_document_did_close(types.DidCloseTextDocumentParams(text_document=document))
        found = self.diagnostics.get(uri, [])
        return {
            "kernels": len(kernels),
            "with_figures": sum(count == 2 for count in lines.values()),
            "refused": [item.message.splitlines()[0] for item in found if item.code == "does-not-compile"],
            "guesses_refused": sum(item.code == "guess-does-not-compile" for item in found),
            "remarks": dict(Counter(str(item.code) for item in found)),
            "seconds": round(time.perf_counter() - began, 2),
        }


async def measure(packages: list[str], path: Path | None, most: int) -> dict[str, Any]:
    """Every file of the packages."""
    session, found = _Session(), {}
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, **({"PYTHONPATH": str(path)} if path is not None else {})}
        await session.client.start_io(*SERVER, "--state", state, env=environment)
        able = types.ClientCapabilities(
            text_document=types.TextDocumentClientCapabilities(inlay_hint=types.InlayHintClientCapabilities())
        )
        await session.client.initialize_async(
            types.InitializeParams(capabilities=able, process_id=os.getpid(), root_uri=None)
        )
        session.client.initialized(types.InitializedParams())
        for package in packages:
            for file in _files(package)[:most]:
                found[f"{package}/{file.name}"] = answer = await session.file(file)
                print(
                    f"{package}/{file.name}: {answer['with_figures']}/{answer['kernels']} {answer['refused'][:1]}",
                    flush=True,
                )
        await session.client.shutdown_async(None)
        session.client.exit(None)
        await session.client.stop()
    kernels = sum(entry["kernels"] for entry in found.values())
    shown = sum(entry["with_figures"] for entry in found.values())
    return {"files": found, "kernels": kernels, "with_figures": shown, "messages": session.messages}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+")
    parser.add_argument("--path", type=Path, help="Folder in which the packages lie, where they are not installed.")
    parser.add_argument("--most", type=int, default=10_000, help="Files of each package, at most.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.path is not None:
        sys.path.insert(0, str(given.path))
    found = asyncio.run(measure(given.packages, given.path, given.most))
    rate = found["with_figures"] / max(found["kernels"], 1)
    print(f"{len(found['files'])} files, {found['kernels']} kernels, {found['with_figures']} with figures: {rate:.0%}")
    print(f"messages: {found['messages'] or 'none'}")
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
