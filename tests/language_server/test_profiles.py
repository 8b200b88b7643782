"""The real server as VS Code, Neovim and Emacs see it, with the capabilities that pytest-lsp captured from them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.language_server.profiles import MODERN, PROFILES, Session, session_of

KERNEL = "rmsnorm_swiglu_kernel"
FOREIGN = '''"""µ-Kern."""
import triton
import triton.language as tl


@triton.jit
def größe(x_ptr, out_ptr):
    naïve = "𝛼𝛽 µ"; lanes = tl.arange(0, 100)
    größer = "𝛼"; tl.store(out_ptr + lanes, tl.load(x_ptr + lanes))
'''


@pytest.fixture(scope="module", params=PROFILES)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with session_of(request.param, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def triton_file(session: Session) -> tuple[str, str]:
    """The example's Triton candidate, open."""
    return session.open("triton.py")


def test_it_takes_the_client_s_encoding_of_positions(session: Session) -> None:
    assert session.server.server_info is not None
    assert session.server.server_info.name == "kernelevolve"
    general = session.capabilities.general
    offered = [str(getattr(one, "value", one)) for one in (general.position_encodings if general else None) or ()]
    assert session.encoding in (offered or ["utf-16"])
    assert session.encoding == {"neovim@v0.11": "utf-8", "emacs@v29": "utf-32"}.get(session.profile, "utf-16")


def test_lenses_name_commands_that_exist(session: Session, triton_file: tuple[str, str]) -> None:
    uri, text = triton_file
    lenses = session.lenses(uri)
    titles = [lens.command.title for lens in lenses if lens.command]
    assert titles[:3] == ["Optimize", "Verify", "Profile"]
    provider = session.server.capabilities.execute_command_provider
    assert provider is not None
    for lens in lenses:
        assert lens.command is not None
        assert lens.command.command in provider.commands
        assert lens.command.arguments is not None
        assert lens.command.arguments[0]["kernel"] == KERNEL
        assert f"def {KERNEL}" in session.under(text, lens.range)


def test_figures_show_as_hints_or_else_as_lenses(session: Session, triton_file: tuple[str, str]) -> None:
    uri, _text = triton_file

    def figures() -> list[str]:
        shown = session.hints(uri) if session.shows_hints else []
        shown = shown or [lens.command.title for lens in session.lenses(uri) if lens.command]
        return [label for label in shown if "sm_90" in label and "regs" in label]

    for _ in range(240):
        if found := figures():
            break
        session.run(asyncio.sleep(0.5))
    else:
        raise AssertionError(f"no figures; messages: {session.client.messages}")
    assert "spills" in found[0]
    assert "occ" in found[0]


def test_only_declared_refreshes_were_sent(session: Session, triton_file: tuple[str, str]) -> None:
    """After the figures came: a client that answers refreshes got them, one that does not got none."""
    uri, _text = triton_file
    declared = session.declared_refreshes()
    if declared:
        session.until("the declared refreshes", lambda: set(session.refreshes) >= declared)
    else:
        session.until("diagnostics instead", lambda: uri in session.client.diagnostics)
    assert set(session.refreshes) == declared


def test_a_task_has_a_lens(session: Session) -> None:
    uri, text = session.open("task.py")
    titles = {lens.command.title: session.under(text, lens.range) for lens in session.lenses(uri) if lens.command}
    assert "def reference" in titles["Optimize"]


@pytest.fixture(scope="module")
def foreign(session: Session) -> tuple[str, str]:
    """A file whose kernel and lines have characters of one, two and four bytes before what matters."""
    return session.open("foreign.py", FOREIGN)


def test_diagnostics_lie_on_the_right_characters(session: Session, foreign: tuple[str, str]) -> None:
    uri, text = foreign
    found = session.diagnostics(uri, lambda one: "power" in one.message or "power" in str(one.code))
    assert len(found) == 1
    assert session.under(text, found[0].range) in ("100", "tl.arange(0, 100)", "tl.arange", "0, 100")
    assert found[0].source == "kernelevolve"
    assert found[0].severity == types.DiagnosticSeverity.Error


def test_who_pulls_lints_is_not_pushed_them(session: Session, foreign: tuple[str, str]) -> None:
    uri, _text = foreign
    session.diagnostics(uri, lambda one: "power" in one.message or "power" in str(one.code))
    if session.pulls:
        pushed = [one for one in session.client.diagnostics.get(uri, ()) if str(one.code).startswith("KE")]
        assert pushed == []


def test_hover_explains_the_word_under_the_cursor(session: Session, foreign: tuple[str, str]) -> None:
    uri, text = foreign
    place = session.at(text, "load(")
    asked = types.HoverParams(types.TextDocumentIdentifier(uri), place)
    hover = session.run(session.client.text_document_hover_async(asked))
    assert hover is not None
    assert isinstance(hover.contents, types.MarkupContent)
    assert hover.contents.kind == types.MarkupKind.Markdown
    assert "load" in hover.contents.value
    assert hover.range is not None
    assert session.under(text, hover.range) in ("tl.load", "load")
    nothing = types.HoverParams(types.TextDocumentIdentifier(uri), session.at(text, '"𝛼"'))
    assert session.run(session.client.text_document_hover_async(nothing)) is None


def test_completion_knows_the_language(session: Session, foreign: tuple[str, str]) -> None:
    uri, text = foreign
    place = session.at(text, "store(out_ptr")
    asked = types.CompletionParams(types.TextDocumentIdentifier(uri), place)
    answer = session.run(session.client.text_document_completion_async(asked))
    assert answer is not None
    items = answer.items if isinstance(answer, types.CompletionList) else answer
    labels = {item.label.rpartition(".")[2] for item in items}
    assert {"load", "store", "arange", "dot"} <= labels


def test_code_actions_run_commands_that_exist(session: Session, triton_file: tuple[str, str]) -> None:
    uri, text = triton_file
    place = session.at(text, "row = tl.program_id")
    asked = types.CodeActionParams(
        types.TextDocumentIdentifier(uri), types.Range(place, place), types.CodeActionContext(diagnostics=[])
    )
    actions = session.run(session.client.text_document_code_action_async(asked)) or []
    commands = {one.title: one.command for one in actions if isinstance(one, types.CodeAction) and one.command}
    verify = next(command for title, command in commands.items() if title.startswith("Verify"))
    assert verify.command == "kernelevolve.verify"
    assert list(verify.arguments or ()) == [{"uri": uri, "kernel": KERNEL}]
    provider = session.server.capabilities.execute_command_provider
    assert provider is not None
    assert {command.command for command in commands.values()} <= set(provider.commands)


def kinds(session: Session, token: Any) -> list[str]:
    return [one.kind for one in session.client.progress_reports.get(token, ())]


def test_a_verdict_comes_with_progress(session: Session, triton_file: tuple[str, str]) -> None:
    """The token is the server's or, as VS Code's commands may bring one, the client's."""
    uri, _text = triton_file
    token = "mine" if session.profile == MODERN else None
    if token:
        session.client.progress_reports[token] = []
    before = set(session.client.progress_reports) - {token}
    verdict = session.execute("kernelevolve.verify", {"uri": uri, "timedCalls": 0}, token)
    assert verdict["status"] in ("compiles", "correct")
    assert verdict["message"]
    used = [token] if token else [one for one in session.client.progress_reports if one not in before]
    assert len(used) == 1
    session.until("the end of the progress", lambda: "end" in kinds(session, used[0]))
    assert kinds(session, used[0])[0] == "begin"
    assert kinds(session, used[0]).count("end") == 1
    assert kinds(session, used[0])[-1] == "end"


def test_a_verdict_can_be_cancelled(session: Session, triton_file: tuple[str, str]) -> None:
    uri, _text = triton_file
    before = set(session.client.progress_reports)

    async def start_and_cancel() -> BaseException | None:
        asked = types.ExecuteCommandParams(command="kernelevolve.profile", arguments=[{"uri": uri}])
        work = asyncio.ensure_future(session.client.workspace_execute_command_async(asked))
        while not (begun := [one for one in session.client.progress_reports if one not in before]):
            await asyncio.sleep(0.01)
        session.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(token=begun[0]))
        try:
            await work
        except JsonRpcException as error:
            return error
        return None

    error = session.run(start_and_cancel())
    assert isinstance(error, JsonRpcException), "it was done before it could be cancelled, or not cancelled at all"
    (token,) = (one for one in session.client.progress_reports if one not in before)
    session.until("the end of the progress", lambda: kinds(session, token)[-1:] == ["end"])
    # What was given up leaves a server that works.
    assert session.lenses(uri)


@pytest.mark.parametrize(
    ("command", "argument", "part"),
    [
        ("kernelevolve.verify", {"uri": "file:///nowhere/kernel.py"}, "open it first"),
        ("kernelevolve.verify", {}, "'uri'"),
        ("kernelevolve.verify", "triton.py", "one argument, an object"),
        ("kernelevolve.stop", {"search": "none-such"}, "none-such"),
    ],
)
def test_a_command_that_cannot_be_done_says_what_to_do(
    session: Session, triton_file: tuple[str, str], command: str, argument: Any, part: str
) -> None:
    with pytest.raises(JsonRpcException) as refused:
        session.execute(command, argument)
    assert part in refused.value.message


def test_a_task_is_made_by_an_edit_or_refused_where_the_client_creates_no_files(session: Session) -> None:
    uri, _text = session.open(
        "plain.py", '"""µ"""\nimport torch\n\n\ndef double(x: torch.Tensor) -> torch.Tensor:\n    return 2 * x\n'
    )
    argument = {"uri": uri, "function": "double"}
    workspace = session.capabilities.workspace
    assert workspace is not None
    declared = workspace.workspace_edit
    if declared is None or not declared.document_changes or "create" not in (declared.resource_operations or ()):
        with pytest.raises(JsonRpcException, match="does not let a language server create files"):
            session.execute("kernelevolve.makeTask", argument)
        assert session.edits == []
        return
    session.execute("kernelevolve.makeTask", argument)
    assert len(session.edits) == 1
    changes = session.edits.pop().edit.document_changes
    assert changes is not None
    assert isinstance(changes[0], types.CreateFile)
    assert "def reference" in repr(changes[1])
