"""A language server that answers as `kernelevolve lsp` promises to, at once and always the same.

Editors are driven against it where the real server's answers take minutes or depend on the machine: searches that move,
work that waits to be cancelled, commands that fail. It speaks the real protocol, in a process of its own.
It writes each command and cancellation it gets as a line of JSON into the file that its one argument names.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams, JsonRpcRequestCancelled
from pygls.lsp.server import LanguageServer

LOG = Path(sys.argv[1]) if len(sys.argv) > 1 else None
KERNEL = re.compile(r"^(?:@triton\.jit\s+)def\s+(\w+)", re.MULTILINE)
COMMANDS = ("verify", "profile", "optimize", "stop", "applyBest", "addCase", "makeTask", "showKernel")
BOTTLENECK = {"kind": "uncoalesced access", "share": 0.4, "summary": "Rows apart.", "advice": "Swap the loops."}

server = LanguageServer("kernelevolve", "0.contract", text_document_sync_kind=types.TextDocumentSyncKind.Incremental)
searches: dict[str, dict[str, Any]] = {}


def note(**what: Any) -> None:
    if LOG is not None:
        with LOG.open("a") as file:
            file.write(json.dumps(what) + "\n")


def kernels(uri: str) -> list[tuple[str, types.Range]]:
    """Name and place of each kernel of a file, in the client's own units of positions."""
    document = server.workspace.get_text_document(uri)
    found = []
    for match in KERNEL.finditer(document.source):
        line = document.source.count("\n", 0, match.start(1))
        start = match.start(1) - (document.source.rfind("\n", 0, match.start(1)) + 1)
        place = types.Range(types.Position(line, start), types.Position(line, start + len(match[1])))
        found.append((match[1], document.position_codec.range_to_client_units(document.lines, place)))
    return found


@server.feature(types.INITIALIZED)
def initialized(params: types.InitializedParams) -> None:
    note(experimental=as_dict(server.client_capabilities.experimental))


@server.feature(types.TEXT_DOCUMENT_CODE_LENS, types.CodeLensOptions(resolve_provider=True))
def lenses(params: types.CodeLensParams) -> list[types.CodeLens]:
    uri = params.text_document.uri
    return [
        types.CodeLens(range=place, data={"uri": uri, "kernel": name, "what": what})
        for name, place in kernels(uri)
        for what in ("optimize", "verify", "profile")
    ]


@server.feature(types.CODE_LENS_RESOLVE)
def resolve(lens: types.CodeLens) -> types.CodeLens:
    data: Any = lens.data
    argument = {"uri": data["uri"], "kernel": data["kernel"]}
    lens.command = types.Command(
        title=data["what"].capitalize(), command=f"kernelevolve.{data['what']}", arguments=[argument]
    )
    return lens


@server.feature(types.TEXT_DOCUMENT_INLAY_HINT)
def hints(params: types.InlayHintParams) -> list[types.InlayHint]:
    label = "H100 (sm_90): 64 regs · 0 spills · 48 KiB smem · occ 50 % (registers)"
    return [
        types.InlayHint(position=place.end, label=label, padding_left=True)
        for _, place in kernels(params.text_document.uri)
    ]


@server.feature(types.TEXT_DOCUMENT_HOVER)
def hover(params: types.HoverParams) -> types.Hover | None:
    document = server.workspace.get_text_document(params.text_document.uri)
    word = document.word_at_position(params.position)
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, f"**{word}**")) if word else None


def problems(uri: str) -> list[types.Diagnostic]:
    return [
        types.Diagnostic(
            range=place,
            message=f"{name} spills 12 registers: use fewer.",
            severity=types.DiagnosticSeverity.Warning,
            source="kernelevolve",
            code="KE901",
        )
        for name, place in kernels(uri)
    ]


@server.feature(
    types.TEXT_DOCUMENT_DIAGNOSTIC,
    types.DiagnosticOptions(inter_file_dependencies=False, workspace_diagnostics=False),
)
def diagnose(params: types.DocumentDiagnosticParams) -> types.RelatedFullDocumentDiagnosticReport:
    return types.RelatedFullDocumentDiagnosticReport(items=problems(params.text_document.uri))


@server.feature(types.TEXT_DOCUMENT_DID_OPEN)
def opened(params: types.DidOpenTextDocumentParams) -> None:
    if server.client_capabilities.text_document.diagnostic is None:
        uri = params.text_document.uri
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, problems(uri)))


@server.feature("kernelevolve/searches")
def list_searches(params: Any) -> dict[str, Any]:
    return {"searches": list(searches.values())}


@server.feature("kernelevolve/search")
def one_search(params: Any) -> dict[str, Any]:
    search = searches.get(params.search)
    if search is None:
        raise JsonRpcInvalidParams(f"There is no search {params.search!r}. kernelevolve/searches lists them.")
    nodes = [
        {"id": 1, "parents": [], "status": "correct", "speedup": 1.0, "generation": 0, "note": "start"},
        {"id": 2, "parents": [1], "status": "correct", "speedup": 1.8, "generation": 1, "note": "wider tiles"},
        {"id": 3, "parents": [2, 1], "status": "wrong", "speedup": None, "generation": 2, "note": ""},
    ]
    return {
        **search,
        "nodes": nodes[: search["evaluations"]],
        "best": {"node": 2, "source": "# best\npass\n", "receipt": "r2"},
        "report": None,
        "dashboard": None,
    }


@server.feature("kernelevolve/status")
def status(params: Any) -> dict[str, Any]:
    targets = [{"name": "cuda:sm_90", "compiles": True}, {"name": "hip:gfx950", "compiles": False, "reason": "no lld"}]
    return {
        "version": "0.contract", "state": "/state", "targets": targets, "triton": None, "compiling": 0, "trusted": True,
    }  # fmt: skip


@server.command("kernelevolve.verify")
async def verify(argument: Any) -> dict[str, Any]:
    """A kernel called `endless` is judged until it is cancelled."""
    given = as_dict(argument)
    note(command="verify", **given)
    if given.get("kernel") == "refused":
        raise JsonRpcInvalidParams("No task is known for this file. Name one: `# kernelevolve: task PATH`.")
    progress = server.work_done_progress
    token = f"verify-{len(progress.tokens) + 1}"
    await progress.create_async(token)
    progress.begin(token, types.WorkDoneProgressBegin(title="Verify", cancellable=True, percentage=0))
    endless = given.get("kernel") == "endless"
    for step in range(600 if endless else 5):
        if progress.tokens[token].cancelled():
            note(cancelled=token)
            progress.end(token, types.WorkDoneProgressEnd(message="given up"))
            raise JsonRpcRequestCancelled("Given up.")
        progress.report(token, types.WorkDoneProgressReport(message=f"step {step}", percentage=step))
        await asyncio.sleep(0.05)
    progress.end(token, types.WorkDoneProgressEnd(message="done"))
    return {"status": "correct", "speedup": 1.8, "message": "All cases agree.", "receipt": "r1"}


@server.command("kernelevolve.profile")
def profile(argument: Any) -> dict[str, Any]:
    note(command="profile", **as_dict(argument))
    return {"summary": "Bound by memory.", "bottlenecks": [BOTTLENECK], "report": "/state/report.json"}


@server.command("kernelevolve.optimize")
async def optimize(argument: Any) -> dict[str, Any]:
    """Starts a search that finishes after three candidates."""
    given = as_dict(argument)
    note(command="optimize", **given)
    search = f"s{len(searches) + 1}"
    searches[search] = {
        "id": search, "task": "rmsnorm", "platform": "cpu", "state": "running", "evaluations": 0,
        "budget": given.get("evaluations", 40), "best_speedup": None, "kernel_uri": given["uri"], "started": "now",
    }  # fmt: skip
    moving.append(asyncio.get_running_loop().create_task(move(search)))
    return {"search": search}


moving: list[asyncio.Task[None]] = []


async def move(search: str) -> None:
    for done in range(1, 4):
        await asyncio.sleep(0.3)
        searches[search].update(evaluations=done, best_speedup=[1.0, 1.8, 1.8][done - 1])
        if done == 3:
            searches[search]["state"] = "finished"
        server.protocol.notify("kernelevolve/searchesChanged", {"searches": [search]})


@server.command("kernelevolve.stop")
def stop(argument: Any) -> dict[str, Any]:
    given = as_dict(argument)
    note(command="stop", **given)
    if given.get("search") not in searches:
        raise JsonRpcInvalidParams(f"There is no search {given.get('search')!r}. kernelevolve/searches lists them.")
    return {"search": given["search"], "state": "stopping"}


@server.command("kernelevolve.applyBest")
async def apply_best(argument: Any) -> dict[str, Any]:
    given = as_dict(argument)
    note(command="applyBest", **given)
    document = server.workspace.get_text_document(given["uri"])
    whole = types.Range(types.Position(0, 0), types.Position(len(document.lines), 0))
    edit = types.TextEdit(range=whole, new_text="# receipt r2\npass\n")
    answer = await server.workspace_apply_edit_async(
        types.ApplyWorkspaceEditParams(edit=types.WorkspaceEdit(changes={given["uri"]: [edit]}))
    )
    return {"applied": answer.applied, "speedup": 1.8}


def as_dict(argument: Any) -> Any:
    """What pygls makes named tuples of, as the client sent it."""
    if hasattr(argument, "_asdict"):
        return {name: as_dict(value) for name, value in argument._asdict().items()}
    return argument


if __name__ == "__main__":
    server.start_io()
