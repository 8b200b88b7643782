"""Commands that change texts: they ask the editor to, and write nothing themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from kernelevolve.server.language_server import edits
from kernelevolve.server.language_server.documents import OpenFile
from kernelevolve.server.language_server.errors import Refused, WrongArguments
from kernelevolve.server.language_server.given import optional_text, text_of
from kernelevolve.server.language_server.positions import Positions

if TYPE_CHECKING:
    from kernelevolve.server.language_server.server import KernelServer


async def apply_best(server: KernelServer, given: dict[str, Any], _token: Any) -> dict[str, Any]:
    """Replace a file's text by the best kernel found for its task, with its receipt in a comment."""
    file = server.file(text_of(given, "uri"))
    _edits(server)
    text = file.text
    asked = {
        "search": optional_text(given, "search"),
        "task": file.task.path,
        "why_no_task": file.task.why_not,
        "language": file.language,
    }
    best = await server.desk.ask("best", asked)
    if file.text != text:
        raise Refused("The text changed meanwhile, and nothing was replaced: ask again.")
    comment = "//" if file.is_native else "#"
    named = f"{comment} kernelevolve: task {file.scanned.task}" if file.scanned.task is not None else ""
    source = edits.with_receipt(best, named, comment)
    positions = server.positions(file)
    whole = positions.range(0, 0, len(positions.lines), 0)
    edit = types.TextEdit(range=whole, new_text=source)
    title = f"Best kernel of search {best['search']} ({best['speedup']:.2f}x)"
    applied = await _apply(server, title, [_document_edit(server, file.uri, [edit])])
    return {"applied": applied, "speedup": best["speedup"], "search": best["search"], "receipt": best["receipt"]}


async def add_case(server: KernelServer, given: dict[str, Any], _token: Any) -> dict[str, Any]:
    """Add a case to the task of a file: `{uri, name?, parameters?}`; without parameters a copy of the last one."""
    file = server.file(text_of(given, "uri"))
    _edits(server)
    if file.task.path is None:
        raise Refused(f"There is no task to add a case to. {file.task.why_not}")
    if file.task.path.startswith("aten::"):
        raise Refused("The cases of an aten:: task are torch's own; write a task file to have others.")
    parameters = given.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise WrongArguments(f"'parameters' is {parameters!r}, which is not an object.")
    uri = Path(file.task.path).as_uri()
    text = _text(server, uri, Path(file.task.path))
    try:
        offset, inserted = edits.add_case(text, optional_text(given, "name") or "case", parameters)
    except edits.CannotEditError as error:
        raise Refused(str(error)) from error
    line = text.count("\n", 0, offset)
    column = offset - (text.rfind("\n", 0, offset) + 1)
    at = Positions(text, server.workspace.position_codec).position(line, column)
    edit = types.TextEdit(range=types.Range(start=at, end=at), new_text=inserted)
    return {"applied": await _apply(server, "Add a case", [_document_edit(server, uri, [edit])]), "task": uri}


async def make_task(server: KernelServer, given: dict[str, Any], _token: Any) -> dict[str, Any]:
    """Write a task file beside a file, whose reference is one of its functions: `{uri, function}`."""
    file = server.file(text_of(given, "uri"))
    function = text_of(given, "function")
    _edits(server)
    if not server.able.creates_files:
        raise Refused(
            "This editor does not let a language server create files: write the task by hand beside this one."
        )
    if file.path is None:
        raise Refused("The file has no folder yet: save it first.")
    try:
        text = edits.make_task(file.text, function)
    except edits.CannotEditError as error:
        raise Refused(str(error)) from error
    path = file.path.parent / f"{function}_task.py"
    if path.exists():
        raise Refused(f"{path.name} exists already: rename it, or name it with `# kernelevolve: task {path.name}`.")
    start = types.Position(line=0, character=0)
    at_start = types.Range(start=start, end=start)
    identifier = types.OptionalVersionedTextDocumentIdentifier(uri=path.as_uri(), version=None)
    changes: list[Any] = [
        types.CreateFile(uri=path.as_uri(), options=types.CreateFileOptions(overwrite=False, ignore_if_exists=False)),
        types.TextDocumentEdit(text_document=identifier, edits=[types.TextEdit(range=at_start, new_text=text)]),
    ]
    if file.is_candidate and file.scanned.task is None:
        comment = types.TextEdit(range=at_start, new_text=f"# kernelevolve: task {path.name}\n")
        changes.append(_document_edit(server, file.uri, [comment]))
    applied = await _apply(server, f"Make a task from {function}", changes)
    return {"applied": applied, "task": path.as_uri()}


def _edits(server: KernelServer) -> None:
    if not server.able.applies_edits:
        raise Refused("This editor does not take edits from a language server (workspace/applyEdit).")


def _text(server: KernelServer, uri: str, path: Path) -> str:
    """The text of a file: as it is in the editor, else as it lies on the disk."""
    if uri in server.files:
        return server.files[uri].text
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"The task {path} cannot be read: {error}.") from error


def _document_edit(server: KernelServer, uri: str, changes: list[types.TextEdit]) -> types.TextDocumentEdit:
    file: OpenFile | None = server.files.get(uri)
    version = server.workspace.get_text_document(uri).version if file is not None else None
    identifier = types.OptionalVersionedTextDocumentIdentifier(uri=uri, version=version)
    return types.TextDocumentEdit(text_document=identifier, edits=changes)


async def _apply(server: KernelServer, title: str, changes: list[Any]) -> bool:
    workspace = server.client_capabilities.workspace
    edit_support = workspace.workspace_edit if workspace is not None else None
    if edit_support is not None and edit_support.document_changes:
        edit = types.WorkspaceEdit(document_changes=changes)
    else:
        # Old clients know edits by address alone, without versions.
        edit = types.WorkspaceEdit(changes={change.text_document.uri: list(change.edits) for change in changes})
    answer = await server.workspace_apply_edit_async(types.ApplyWorkspaceEditParams(edit=edit, label=title))
    if not answer.applied:
        reason = f": {answer.failure_reason}" if answer.failure_reason else "."
        raise Refused(f"The editor did not apply the change{reason}")
    return True
