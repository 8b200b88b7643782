"""Register what the server answers to. Nothing here takes time: what does runs in tasks and processes of its own."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from kernelevolve.server.language_server import features
from kernelevolve.server.language_server.client import ClientAbilities, plain
from kernelevolve.server.language_server.errors import Refused
from kernelevolve.server.language_server.server import KernelServer

COMMANDS = (
    "kernelevolve.verify",
    "kernelevolve.profile",
    "kernelevolve.optimize",
    "kernelevolve.stop",
    "kernelevolve.applyBest",
    "kernelevolve.addCase",
    "kernelevolve.makeTask",
    "kernelevolve.showKernel",
)


def register(server: KernelServer) -> None:
    """Register everything."""
    _register_life(server)
    _register_documents(server)
    _register_shown(server)
    _register_words(server)
    _register_requests(server)
    for name in COMMANDS:
        server.command(name)(_never)


async def _never(*_arguments: Any) -> None:
    """Commands are run by the protocol, which knows their progress; this makes their names known to the client."""
    raise AssertionError("a command reached the library's own handler")


def _register_life(server: KernelServer) -> None:
    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        server.able = ClientAbilities(params.capabilities)
        server.configure(params.initialization_options)

    @server.feature(types.INITIALIZED)
    async def initialized(_params: types.InitializedParams) -> None:
        if server.able.registers_configuration:
            registration = types.Registration(
                id="kernelevolve-settings",
                method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
                register_options=types.DidChangeConfigurationRegistrationOptions(section="kernelevolve"),
            )
            await server.client_register_capability_async(types.RegistrationParams(registrations=[registration]))
        await server.fetch_configuration()
        await server.vocabulary.start()
        if server.able.follows_searches:
            await server.desk.follow()

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def changed(params: types.DidChangeConfigurationParams) -> None:
        given = plain(params.settings)
        if given:
            server.configure(given)
        else:
            await server.fetch_configuration()

    @server.feature(types.SHUTDOWN)
    async def shutdown(_params: Any) -> None:
        await server.ended()


def _register_documents(server: KernelServer) -> None:
    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    async def opened(params: types.DidOpenTextDocumentParams) -> None:
        server.opened(params.text_document)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(params: types.DidChangeTextDocumentParams) -> None:
        server.changed(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE, types.SaveOptions(include_text=False))
    async def saved(params: types.DidSaveTextDocumentParams) -> None:
        server.saved(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    async def closed(params: types.DidCloseTextDocumentParams) -> None:
        server.closed(params.text_document.uri)


def _register_shown(server: KernelServer) -> None:
    @server.feature(types.TEXT_DOCUMENT_CODE_LENS, types.CodeLensOptions(resolve_provider=False))
    def lenses(params: types.CodeLensParams) -> list[types.CodeLens]:
        file = server.files.get(params.text_document.uri)
        return features.code_lenses(file, server.options, server.able, server.positions(file)) if file else []

    @server.feature(types.TEXT_DOCUMENT_INLAY_HINT, types.InlayHintOptions(resolve_provider=False))
    def hints(params: types.InlayHintParams) -> list[types.InlayHint]:
        file = server.files.get(params.text_document.uri)
        return features.inlay_hints(file, server.options, server.positions(file), params.range) if file else []

    options = types.DiagnosticOptions(
        identifier="kernelevolve", inter_file_dependencies=False, workspace_diagnostics=False
    )

    @server.feature(types.TEXT_DOCUMENT_DIAGNOSTIC, options)
    async def pulled(params: types.DocumentDiagnosticParams) -> types.RelatedFullDocumentDiagnosticReport:
        file = server.files.get(params.text_document.uri)
        items = await server.pulled(file) if file is not None else []
        return types.RelatedFullDocumentDiagnosticReport(items=items)

    kinds = [types.CodeActionKind.QuickFix, types.CodeActionKind.Refactor]

    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(code_action_kinds=kinds))
    def actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        file = server.files.get(params.text_document.uri)
        wanted = [kind if isinstance(kind, str) else kind.value for kind in params.context.only or ()]
        return features.code_actions(file, server.able, params.range, wanted or None) if file else []


def _register_words(server: KernelServer) -> None:
    @server.feature(types.TEXT_DOCUMENT_HOVER)
    async def hover(params: types.HoverParams) -> types.Hover | None:
        file = server.files.get(params.text_document.uri)
        if file is None:
            return None
        positions = server.positions(file)
        line, column = params.position.line, positions.column(params.position)
        return features.kernel_hover(file, server.options, positions, line, column) or await server.vocabulary.explain(
            file, server.options.targets, positions, line, column
        )

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=[".", "_"]))
    async def completion(params: types.CompletionParams) -> types.CompletionList:
        file = server.files.get(params.text_document.uri)
        if file is None:
            return types.CompletionList(is_incomplete=False, items=[])
        column = server.positions(file).column(params.position)
        items = await server.vocabulary.complete(file, server.options.targets, params.position.line, column)
        return types.CompletionList(is_incomplete=False, items=items)


def _register_requests(server: KernelServer) -> None:
    @server.feature("kernelevolve/status")
    async def status(_params: Any) -> dict[str, Any]:
        return await server.status()

    @server.feature("kernelevolve/searches")
    async def searches(_params: Any) -> dict[str, Any]:
        return await server.desk.searches()

    @server.feature("kernelevolve/search")
    async def search(params: Any) -> dict[str, Any]:
        given = plain(params)
        name = given.get("search") if isinstance(given, dict) else None
        if not isinstance(name, str):
            raise Refused("kernelevolve/search needs {search: ID}; kernelevolve/searches lists the ids.")
        return await server.desk.search(name)
