"""A session with the real server as a known editor would have it: its capabilities, what it was sent, its positions."""

from __future__ import annotations

import asyncio
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union

from lsprotocol import types
from pygls.protocol import default_converter
from pytest_lsp import LanguageClient, client_capabilities
from pytest_lsp.client import LspSpecificationWarning, register_lsp_features

from kernelevolve.server.language_server.client import plain

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("kernelevolve")
MODERN = "visual-studio-code, as of 2026"
"""pytest-lsp's capture of VS Code is of 2022: this one adds what the editor has learnt since."""
PROFILES = ("visual-studio-code", MODERN, "neovim@v0.11", "emacs@v29")
TARGETS = ["cuda:sm_90"]

_Answer = TypeVar("_Answer")


def capabilities_of(profile: str) -> types.ClientCapabilities:
    """What a client of this profile declares."""
    found = client_capabilities("visual-studio-code" if profile == MODERN else profile)
    if profile == MODERN:
        assert found.workspace is not None
        assert found.text_document is not None
        found.text_document.inlay_hint = types.InlayHintClientCapabilities(dynamic_registration=True)
        found.text_document.diagnostic = types.DiagnosticClientCapabilities(related_document_support=True)
        found.workspace.inlay_hint = types.InlayHintWorkspaceClientCapabilities(refresh_support=True)
        found.workspace.diagnostics = types.DiagnosticWorkspaceClientCapabilities(refresh_support=True)
    return found


def read_code_action(value: Any, _type: Any) -> types.Command | types.CodeAction:
    """A code action or a bare command; lsprotocol 2025.0.0 takes each action that has a command for a bare one."""
    kind = types.Command if isinstance(value.get("command"), str) else types.CodeAction
    return default_converter().structure(value, kind)


def make_client() -> LanguageClient:
    """pytest-lsp's client, which can read code actions."""

    def converter() -> Any:
        made = default_converter()
        made.register_structure_hook(Union[types.Command, types.CodeAction], read_code_action)  # noqa: UP007
        return made

    client = LanguageClient(converter_factory=converter)
    register_lsp_features(client)
    return client


def unit_length(text: str, encoding: str) -> int:
    """Length of a text in the units of a position encoding."""
    if encoding == "utf-32":
        return len(text)
    return len(text.encode("utf-8")) if encoding == "utf-8" else len(text.encode("utf-16-le")) // 2


@dataclass
class Session:
    """One client and its server; `run` drives both."""

    profile: str
    client: LanguageClient
    runner: asyncio.Runner
    project: Path
    capabilities: types.ClientCapabilities
    refreshes: Counter[str]
    edits: list[types.ApplyWorkspaceEditParams]
    server: types.InitializeResult = field(init=False)

    def run(self, work: Awaitable[_Answer], limit_s: float = 120) -> _Answer:
        """Drive the conversation until an answer is there."""

        async def bounded() -> _Answer:
            return await asyncio.wait_for(work, limit_s)

        return self.runner.run(bounded())

    def until(self, what: str, holds: Callable[[], Any], limit_s: float = 120) -> Any:
        """Let messages come until something holds."""

        async def poll() -> Any:
            while not (value := holds()):
                await asyncio.sleep(0.05)
            return value

        try:
            return self.run(poll(), limit_s)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}; messages: {self.client.messages}") from None

    # -- positions ----------------------------------------------------------------------------------------------------

    @property
    def encoding(self) -> str:
        """What positions count, as agreed."""
        agreed = self.server.capabilities.position_encoding
        return str(getattr(agreed, "value", agreed)) if agreed is not None else "utf-16"

    def at(self, text: str, part: str) -> types.Position:
        """Where a part of a text begins, in the agreed units."""
        index = text.index(part)
        start = text.rfind("\n", 0, index) + 1
        return types.Position(text.count("\n", 0, index), unit_length(text[start:index], self.encoding))

    def under(self, text: str, place: types.Range) -> str:
        """The text of a range within a line, by the agreed units; fails where one lies inside a character."""
        assert place.start.line == place.end.line, place
        line = text.split("\n")[place.start.line]
        offsets = {unit_length(line[:count], self.encoding): count for count in range(len(line) + 1)}
        return line[offsets[place.start.character] : offsets[place.end.character]]

    # -- documents ----------------------------------------------------------------------------------------------------

    def open(self, name: str, text: str | None = None) -> tuple[str, str]:
        """Open a file of the project, with its own text or another; its address and text."""
        path = self.project / name
        if text is not None:
            path.write_text(text, encoding="utf-8")
        shown = path.read_text(encoding="utf-8")
        item = types.TextDocumentItem(uri=path.as_uri(), language_id="python", version=1, text=shown)

        async def send() -> None:
            self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))

        self.run(send())
        return path.as_uri(), shown

    def lenses(self, uri: str) -> list[types.CodeLens]:
        """The lenses of a file, each with its command."""
        asked = types.CodeLensParams(types.TextDocumentIdentifier(uri))

        async def ask() -> list[types.CodeLens]:
            found = await self.client.text_document_code_lens_async(asked) or []
            return [lens if lens.command else await self.client.code_lens_resolve_async(lens) for lens in found]

        return self.run(ask())

    def hints(self, uri: str) -> list[str]:
        """The labels of a file's inlay hints."""
        everywhere = types.Range(types.Position(0, 0), types.Position(10_000, 0))
        asked = types.InlayHintParams(types.TextDocumentIdentifier(uri), everywhere)
        return [str(hint.label) for hint in self.run(self.client.text_document_inlay_hint_async(asked)) or []]

    def diagnostics(self, uri: str, wanted: Callable[[types.Diagnostic], bool]) -> list[types.Diagnostic]:
        """A file's diagnostics, as this client gets them, once one is as wanted."""
        if not self.pulls:
            return list(
                self.until(
                    "a pushed diagnostic",
                    lambda: [one for one in self.client.diagnostics.get(uri, ()) if wanted(one)],
                )
            )
        asked = types.DocumentDiagnosticParams(types.TextDocumentIdentifier(uri))
        report = self.run(self.client.text_document_diagnostic_async(asked))
        assert report.kind == "full"
        return [one for one in report.items if wanted(one)]

    def execute(self, command: str, argument: Any, token: str | None = None) -> Any:
        """Run a command."""
        asked = types.ExecuteCommandParams(command=command, arguments=[argument], work_done_token=token)
        return plain(self.run(self.client.workspace_execute_command_async(asked), 240))

    # -- what the client declared -------------------------------------------------------------------------------------

    @property
    def pulls(self) -> bool:
        assert self.capabilities.text_document is not None
        return self.capabilities.text_document.diagnostic is not None

    @property
    def shows_hints(self) -> bool:
        assert self.capabilities.text_document is not None
        return self.capabilities.text_document.inlay_hint is not None

    def declared_refreshes(self) -> set[str]:
        """The refresh requests that the client said it answers."""
        workspace = self.capabilities.workspace
        assert workspace is not None
        declared = {
            types.WORKSPACE_CODE_LENS_REFRESH: workspace.code_lens,
            types.WORKSPACE_INLAY_HINT_REFRESH: workspace.inlay_hint,
            types.WORKSPACE_DIAGNOSTIC_REFRESH: workspace.diagnostics,
        }
        return {method for method, what in declared.items() if what is not None and what.refresh_support}


@contextmanager
def session_of(profile: str, folder: Path) -> Iterator[Session]:
    """A client of a profile and a server of its own, with a project that holds one example.

    Everything the protocol's conformity checks remark on is an error at the end.
    """
    project = folder / "project"
    shutil.copytree(ROOT / "examples" / "rmsnorm_swiglu", project)
    refreshes: Counter[str] = Counter()
    edits: list[types.ApplyWorkspaceEditParams] = []
    client = make_client()
    for method in (
        types.WORKSPACE_CODE_LENS_REFRESH,
        types.WORKSPACE_INLAY_HINT_REFRESH,
        types.WORKSPACE_DIAGNOSTIC_REFRESH,
    ):
        if method in client.protocol.fm.features:
            del client.protocol.fm.features[method]
        client.feature(method)(lambda *_params, method=method: refreshes.update([method]))
    client.feature(types.CLIENT_REGISTER_CAPABILITY)(lambda *_params: None)

    @client.feature(types.WORKSPACE_APPLY_EDIT)
    def apply_edit(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
        edits.append(params)
        return types.ApplyWorkspaceEditResult(applied=True)

    capabilities = capabilities_of(profile)
    with asyncio.Runner() as runner, warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always", LspSpecificationWarning)
        session = Session(profile, client, runner, project, capabilities, refreshes, edits)
        # Editors start servers in the workspace, whose triton.py must not stand in for Triton.
        session.run(client.start_io(str(PROGRAM), "lsp", "--stdio", "--state", str(folder / "state"), cwd=project))
        asked = types.InitializeParams(
            capabilities=capabilities,
            process_id=None,
            root_uri=project.as_uri(),
            initialization_options={"targets": TARGETS},
        )
        session.server = session.run(client.initialize_session(asked))
        yield session
        session.run(client.shutdown_session())
        session.run(client.stop())
    breaches = [str(one.message) for one in remarks if issubclass(one.category, LspSpecificationWarning)]
    assert not breaches, breaches
