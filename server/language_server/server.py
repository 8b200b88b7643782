"""The language server itself: which message leads to what."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method
from pygls.uris import to_fs_path

from kernelevolve.evaluation.version import VERSION
from kernelevolve.server.language_server import diagnostics
from kernelevolve.server.language_server.client import ClientAbilities, plain
from kernelevolve.server.language_server.compilation import Compilation, triton_version
from kernelevolve.server.language_server.desk import Desk
from kernelevolve.server.language_server.documents import OpenFile
from kernelevolve.server.language_server.errors import Refused
from kernelevolve.server.language_server.options import SECTION, Options, read_options
from kernelevolve.server.language_server.positions import Positions
from kernelevolve.server.language_server.task_files import find_task
from kernelevolve.server.language_server.vocabulary import Vocabulary

_LINT_DEBOUNCE_S = 0.2
_REFRESH_DEBOUNCE_S = 0.05


class _Protocol(LanguageServerProtocol):
    """The library's protocol, with commands that see their progress token and can be cancelled."""

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # type: ignore[override]
        self, params: types.ExecuteCommandParams
    ) -> Any:
        """Run a command; cancelling the request cancels it."""
        from kernelevolve.server.language_server.commands import run_command

        assert isinstance(self._server, KernelServer)
        return await run_command(self._server, params)


class KernelServer(LanguageServer):
    """All open files, and the processes that find out about them.

    Args:
        state: state folder that `--state` names.
    """

    def __init__(self, state: Path | None) -> None:
        super().__init__(
            "kernelevolve",
            VERSION,
            text_document_sync_kind=types.TextDocumentSyncKind.Incremental,
            protocol_cls=_Protocol,
        )
        self._given_state = state
        self.options = Options()
        self.able = ClientAbilities(types.ClientCapabilities())
        self.files: dict[str, OpenFile] = {}
        self._compilation: Compilation | None = None
        self._desk: Desk | None = None
        self.vocabulary = Vocabulary()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._told: set[str] = set()
        self._searches: set[asyncio.Task[int]] = set()

    # -- what it works with -------------------------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        """The state folder: of `--state`, else the setting, else the command line's."""
        if self._given_state is not None:
            return self._given_state.expanduser().absolute()
        if self.options.state is not None:
            return Path(self.options.state).expanduser().absolute()
        from kernelevolve.server.settings import state_folder

        return state_folder().expanduser().absolute()

    @property
    def compilation(self) -> Compilation:
        """The background compilation, made at its first use."""
        if self._compilation is None:
            self._compilation = Compilation(self.state, self.refresh, lambda text: self.tell(text, once=True))
        return self._compilation

    @property
    def desk(self) -> Desk:
        """The process that reads the state folder and judges, started at its first use."""
        if self._desk is None:
            self._desk = Desk(self.state, self._searches_moved)
        return self._desk

    def file(self, uri: str) -> OpenFile:
        """An open file.

        Raises:
            Refused: it is not open.
        """
        found = self.files.get(uri)
        if found is None:
            raise Refused(f"{uri} is not open in the editor: open it first.")
        return found

    def positions(self, file: OpenFile) -> Positions:
        """Positions in a file's text, as the client counts them."""
        return Positions(file.text, self.workspace.position_codec)

    def tell(self, text: str, kind: types.MessageType = types.MessageType.Warning, once: bool = False) -> None:
        """Show a message; the same one again only if `once` is false."""
        if once and text in self._told:
            return
        self._told.add(text)
        self.window_show_message(types.ShowMessageParams(type=kind, message=text))

    def keep(self, process: asyncio.subprocess.Process) -> None:
        """Collect a search's process when it ends, so that no dead one is left. It outlives this server."""
        task = asyncio.get_running_loop().create_task(process.wait())
        self._searches.add(task)
        task.add_done_callback(self._searches.discard)

    # -- the life of a file -------------------------------------------------------------------------------------------

    def opened(self, document: types.TextDocumentItem) -> None:
        """A file was opened."""
        path = to_fs_path(document.uri)
        local = Path(path) if path and document.uri.startswith("file:") else None
        suffix = Path(path or document.uri).suffix.lower()
        file = OpenFile(document.uri, local, suffix)
        self.files[document.uri] = file
        file.update(document.text)
        self.saved(document.uri)

    def changed(self, uri: str) -> None:
        """A file's text changed: nothing that takes time happens at once."""
        file = self.files.get(uri)
        if file is not None:
            file.update(self.workspace.get_text_document(uri).source)
            self._lint_later(file)

    def saved(self, uri: str) -> None:
        """A file lies on the disk as it is now."""
        file = self.files.get(uri)
        if file is not None:
            self._later("look", uri, self._look(file))
            self._lint_later(file)

    def closed(self, uri: str) -> None:
        """A file was closed: everything under way for it is given up."""
        self.files.pop(uri, None)
        if self._compilation is not None:
            self._compilation.forget(uri)
        for key in [key for key in self._tasks if key[1] == uri]:
            self._tasks.pop(key).cancel()
        if not self._pulls():
            self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri=uri, diagnostics=[]))

    async def _look(self, file: OpenFile) -> None:
        """Find the task, then start what takes longer."""
        file.task = await asyncio.to_thread(find_task, file.path, file.scanned)
        if self.options.compile_on_save and self.options.trusted:
            self.compilation.schedule(file, self.options)
        self.refresh(file.uri)
        if file.scanned.entry is not None or file.scanned.is_task or file.scanned.kernels:
            await self.desk.recall(file)
            self.refresh(file.uri)

    def _lint_later(self, file: OpenFile) -> None:
        # A client that asks for diagnostics does so after each change, and is answered then.
        if not self.able.pulls_diagnostics:
            self._later("lint", file.uri, self._lint(file))
        elif not self._pulls():
            self.refresh(file.uri)

    async def _lint(self, file: OpenFile) -> None:
        await asyncio.sleep(_LINT_DEBOUNCE_S)
        await self._relint(file)
        self.refresh(file.uri)

    async def _relint(self, file: OpenFile) -> None:
        """Look for mistakes, if the text has changed since."""
        text = file.text
        if not self.options.lints or file.is_native or file.linted == text:
            return
        found = await self.vocabulary.lint(text)
        if file.text == text:
            file.lints, file.linted = found, text

    def refresh(self, uri: str) -> None:
        """A file has news: soon, tell the client in the way it understands."""
        if uri in self.files:
            self._later("refresh", uri, self._refresh(self.files[uri]), keep=True)

    async def _refresh(self, file: OpenFile) -> None:
        await asyncio.sleep(_REFRESH_DEBOUNCE_S)
        self._tasks.pop(("refresh", file.uri), None)
        if self.able.refreshes_hints:
            self.workspace_inlay_hint_refresh(None)
        if self.able.refreshes_lenses:
            self.workspace_code_lens_refresh(None)
        if self._pulls():
            self.workspace_diagnostic_refresh(None)
        else:
            self._push(file)

    def _pulls(self) -> bool:
        """Whether the client fetches all diagnostics, and fetches them again when told to."""
        return self.able.pulls_diagnostics and self.able.refreshes_diagnostics

    def _push(self, file: OpenFile) -> None:
        positions = self.positions(file)
        found = diagnostics.finding_diagnostics(file, self.options, positions)
        if not self.able.pulls_diagnostics:
            found = diagnostics.lint_diagnostics(file, self.options, positions) + found
        version = self.workspace.get_text_document(file.uri).version
        self.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri=file.uri, diagnostics=found, version=version)
        )

    async def pulled(self, file: OpenFile) -> list[types.Diagnostic]:
        """What a client that asks for diagnostics gets.

        One that cannot be told to ask again gets here what the text shows; what takes longer is pushed to it.
        """
        await self._relint(file)
        positions = self.positions(file)
        lints = diagnostics.lint_diagnostics(file, self.options, positions)
        if not self._pulls():
            return lints
        return lints + diagnostics.finding_diagnostics(file, self.options, positions)

    def _later(self, what: str, uri: str, work: Any, keep: bool = False) -> None:
        """Start a task of a file in place of an earlier one of its kind, or leave that one (`keep`)."""
        before = self._tasks.get((what, uri))
        if before is not None and not before.done():
            if keep:
                work.close()
                return
            before.cancel()
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._done)
        self._tasks[what, uri] = task

    def _done(self, task: asyncio.Task[None]) -> None:
        """A task that failed says so; none fails silently."""
        if not task.cancelled() and (error := task.exception()) is not None:
            message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
            self.tell(f"kernelevolve: {message}", types.MessageType.Error, once=True)

    # -- settings -----------------------------------------------------------------------------------------------------

    def configure(self, given: Any) -> None:
        """Take settings and look at every open file again."""
        state_before = self.options.state
        self.options = read_options(plain(given), self.options)
        for complaint in self.options.complaints:
            self.tell(complaint, once=True)
        if self.options.state != state_before and (self._desk is not None or self._compilation is not None):
            self.tell("kernelevolve.state has changed: restart the language server to use the other folder.", once=True)
        for uri in list(self.files):
            self.saved(uri)

    async def fetch_configuration(self) -> None:
        """Ask the client for its settings, if it can say them."""
        if not self.able.has_configuration:
            return
        item = types.ConfigurationItem(section=SECTION)
        answer = await self.workspace_configuration_async(types.ConfigurationParams(items=[item]))
        self.configure(plain(answer[0]) if answer else None)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def _searches_moved(self, searches: list[str]) -> None:
        if self.able.follows_searches:
            self.protocol.notify("kernelevolve/searchesChanged", {"searches": searches})
        for file in self.files.values():
            self._later("recall", file.uri, self._recall(file))

    async def _recall(self, file: OpenFile) -> None:
        before = file.best
        await self.desk.recall(file)
        if file.best != before:
            self.refresh(file.uri)

    async def status(self) -> dict[str, Any]:
        """What `kernelevolve/status` answers."""
        installed = triton_version()
        trouble = self._compilation.trouble if self._compilation is not None else ""
        return {
            "version": VERSION,
            "state": str(self.state),
            "targets": await self.desk.targets(self.options.targets, trouble),
            "triton": None if trouble else installed,
            "compiling": self._compilation.running if self._compilation is not None else 0,
            "trusted": self.options.trusted,
        }

    async def ended(self) -> None:
        """End every process and task, all at once: eglot gives a server a second and a half to answer `shutdown`."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        parts = (self._compilation, self._desk, self.vocabulary)
        await asyncio.gather(*(part.close() for part in parts if part is not None))


def build_server(state: Path | None = None) -> KernelServer:
    """A server with every feature registered."""
    from kernelevolve.server.language_server.registration import register

    server = KernelServer(state)
    register(server)
    return server
