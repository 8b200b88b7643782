"""An editor for tests: a real client of the protocol around a real server process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.client import BaseLanguageClient

from kernelevolve.server.language_server.client import plain

SERVER = (sys.executable, "-m", "kernelevolve.server", "lsp", "--stdio")
LIMIT_S = 120.0
"""How long a test waits for what must come; only a failing one waits so long."""

SCALE_TRITON = """import torch
import triton
import triton.language as tl


@triton.jit
def scale(x_ptr, y_ptr, count, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    tl.store(y_ptr + index, 2.0 * tl.load(x_ptr + index, mask=inside) + 1.0, mask=inside)


def kernel(x):
    x = x.contiguous()
    y = torch.empty_like(x)
    scale[(triton.cdiv(x.numel(), 256),)](x, y, x.numel(), BLOCK=256)
    return y
"""
KERNEL_LINE = 6
"""Line of `def scale`."""


def capabilities(
    pull: bool = False, refresh: bool = True, hints: bool = True, searches: bool = False, encodings: Any = None
) -> types.ClientCapabilities:
    """What a client can do."""
    return types.ClientCapabilities(
        general=types.GeneralClientCapabilities(position_encodings=encodings),
        text_document=types.TextDocumentClientCapabilities(
            inlay_hint=types.InlayHintClientCapabilities() if hints else None,
            diagnostic=types.DiagnosticClientCapabilities() if pull else None,
        ),
        window=types.WindowClientCapabilities(work_done_progress=True),
        workspace=types.WorkspaceClientCapabilities(
            apply_edit=True,
            workspace_edit=types.WorkspaceEditClientCapabilities(
                document_changes=True, resource_operations=[types.ResourceOperationKind.Create]
            ),
            inlay_hint=types.InlayHintWorkspaceClientCapabilities(refresh_support=refresh),
            code_lens=types.CodeLensWorkspaceClientCapabilities(refresh_support=refresh),
            diagnostics=types.DiagnosticWorkspaceClientCapabilities(refresh_support=refresh),
        ),
        experimental={"kernelevolve": {"searches": True}} if searches else None,
    )


class Editor:
    """Opens files, types, asks; notes everything that the server sends by itself."""

    def __init__(self) -> None:
        self.client = BaseLanguageClient("test-editor", "1")
        self.diagnostics: dict[str, list[types.Diagnostic]] = {}
        self.messages: list[str] = []
        self.refreshes: list[str] = []
        self.progress: list[tuple[Any, Any]] = []
        self.moved: list[str] = []
        self.edits: list[types.WorkspaceEdit] = []
        self.versions: dict[str, int] = {}
        self.accept_edits = True
        self._listen()

    def _listen(self) -> None:
        client = self.client

        @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def published(params: types.PublishDiagnosticsParams) -> None:
            self.diagnostics[params.uri] = list(params.diagnostics)

        @client.feature(types.WINDOW_SHOW_MESSAGE)
        def shown(params: types.ShowMessageParams) -> None:
            self.messages.append(params.message)

        @client.feature(types.WINDOW_WORK_DONE_PROGRESS_CREATE)
        def created(params: types.WorkDoneProgressCreateParams) -> None:
            self.progress.append((params.token, "create"))

        @client.feature(types.PROGRESS)
        def progressed(params: types.ProgressParams) -> None:
            self.progress.append((params.token, plain(params.value)))

        @client.feature("kernelevolve/searchesChanged")
        def moved(params: Any) -> None:
            self.moved.extend(plain(params)["searches"])

        @client.feature(types.WORKSPACE_APPLY_EDIT)
        def edited(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            self.edits.append(params.edit)
            return types.ApplyWorkspaceEditResult(applied=self.accept_edits)

        for name in (
            types.WORKSPACE_INLAY_HINT_REFRESH,
            types.WORKSPACE_CODE_LENS_REFRESH,
            types.WORKSPACE_DIAGNOSTIC_REFRESH,
        ):
            client.feature(name)(lambda _params, name=name: self.refreshes.append(name))

    def open(self, path: Path, text: str | None = None, language: str = "python") -> str:
        """Open a file; its text comes from the disk if not given."""
        uri = path.as_uri()
        self.versions[uri] = 1
        item = types.TextDocumentItem(
            uri=uri, language_id=language, version=1, text=path.read_text() if text is None else text
        )
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(text_document=item))
        return uri

    def change(self, uri: str, changes: list[types.TextDocumentContentChangeEvent]) -> None:
        """Send changes."""
        self.versions[uri] += 1
        identifier = types.VersionedTextDocumentIdentifier(uri=uri, version=self.versions[uri])
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(text_document=identifier, content_changes=changes)
        )

    def replace(self, uri: str, text: str) -> None:
        """Replace the whole text."""
        self.change(uri, [types.TextDocumentContentChangeWholeDocument(text=text)])

    def save(self, uri: str) -> None:
        """Say that the file was saved."""
        self.client.text_document_did_save(types.DidSaveTextDocumentParams(text_document=document(uri)))

    async def hints(self, uri: str) -> list[str]:
        """Labels of all hints."""
        everything = types.Range(
            start=types.Position(line=0, character=0), end=types.Position(line=100_000, character=0)
        )
        found = await self.client.text_document_inlay_hint_async(
            types.InlayHintParams(text_document=document(uri), range=everything)
        )
        return [str(hint.label) for hint in found or ()]

    async def lenses(self, uri: str) -> list[str]:
        """Titles of all lenses."""
        found = await self.client.text_document_code_lens_async(types.CodeLensParams(text_document=document(uri)))
        return [lens.command.title for lens in found or () if lens.command is not None]

    async def hover(self, uri: str, line: int, character: int) -> str:
        """Text of a hover; empty where there is none."""
        found = await self.client.text_document_hover_async(
            types.HoverParams(text_document=document(uri), position=types.Position(line=line, character=character))
        )
        return found.contents.value if found is not None else ""  # type: ignore[union-attr]

    async def pull(self, uri: str) -> list[types.Diagnostic]:
        """Diagnostics, asked for."""
        found = await self.client.text_document_diagnostic_async(
            types.DocumentDiagnosticParams(text_document=document(uri))
        )
        return list(found.items)  # type: ignore[union-attr]

    async def command(self, command: str, token: str | None = None, **argument: Any) -> Any:
        """Run a command."""
        params = types.ExecuteCommandParams(
            command=f"kernelevolve.{command}", arguments=[argument], work_done_token=token
        )
        return plain(await self.client.workspace_execute_command_async(params))

    async def ask(self, name: str, **params: Any) -> Any:
        """Send a request of our own."""
        return plain(await self.client.protocol.send_request_async(f"kernelevolve/{name}", params))


def document(uri: str) -> types.TextDocumentIdentifier:
    """Names a document."""
    return types.TextDocumentIdentifier(uri=uri)


async def until(what: Callable[[], Any] | Callable[[], Awaitable[Any]], limit_s: float = LIMIT_S) -> Any:
    """Wait for something to be true, and give it back.

    Raises:
        TimeoutError: it never was.
    """
    deadline = asyncio.get_running_loop().time() + limit_s
    while True:
        found = what()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"nothing came within {limit_s} s")
        await asyncio.sleep(0.05)


@asynccontextmanager
async def editing(
    state: Path,
    able: types.ClientCapabilities | None = None,
    options: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Any:
    """An editor with a server that has been initialized; ended in good order."""
    editor = Editor()
    await editor.client.start_io(*SERVER, "--state", str(state), env={**os.environ, **(environment or {})})
    editor.initialized = await editor.client.initialize_async(  # type: ignore[attr-defined]
        types.InitializeParams(
            capabilities=able or capabilities(), process_id=os.getpid(), root_uri=None, initialization_options=options
        )
    )
    editor.client.initialized(types.InitializedParams())
    try:
        yield editor
    finally:
        await asyncio.wait_for(editor.client.shutdown_async(None), LIMIT_S)
        editor.client.exit(None)
        await asyncio.wait_for(editor.client.stop(), LIMIT_S)
