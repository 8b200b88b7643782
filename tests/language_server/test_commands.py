"""Commands of the editor: judged, searched, applied, cancelled; every refusal says what to do."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from kernelevolve.evaluation.tasks.loading import load_task
from kernelevolve.server.language_server import edits
from tests.conftest import SCALE_TASK
from tests.language_server.editor import Editor, editing, until

needs_gcc = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def run(work) -> None:  # type: ignore[no-untyped-def]
    asyncio.run(asyncio.wait_for(work, 290))


def applied(text: str, edit: types.TextEdit) -> str:
    """The text after an edit of the protocol (ASCII only)."""
    lines = text.split("\n")

    def offset(at: types.Position) -> int:
        if at.line >= len(lines):
            return len(text)
        return sum(len(line) + 1 for line in lines[: at.line]) + min(at.character, len(lines[at.line]))

    return text[: offset(edit.range.start)] + edit.new_text + text[offset(edit.range.end) :]


def only_edit(editor: Editor) -> tuple[str, types.TextEdit]:
    """Address and edit of the one change that came."""
    [edit] = editor.edits
    [change] = edit.document_changes or ()
    assert isinstance(change, types.TextDocumentEdit)
    [found] = change.edits
    assert isinstance(found, types.TextEdit)
    return change.text_document.uri, found


@needs_gcc
def test_verify_says_what_is_wrong_and_marks_it_stale(tmp_path: Path, project: Path) -> None:
    path = project / "scale.cpp"
    good = path.read_text()
    path.write_text(good.replace("+ 1.0f", "+ 1.5f"))

    async def work() -> None:
        async with editing(tmp_path / "state") as editor:
            uri = editor.open(path, language="cpp")
            answer = await editor.command("verify", token="the-token", uri=uri, timedCalls=0)
            assert answer["status"] == "wrong"
            assert answer["receipt"]
            kinds = [value["kind"] for token, value in editor.progress if token == "the-token"]
            assert kinds[0] == "begin"
            assert kinds[-1] == "end"
            assert "report" in kinds

            def codes() -> list[str]:
                return [str(item.code) for item in editor.diagnostics.get(uri, ())]

            await until(lambda: codes() == ["verdict"])
            path.write_text(good)
            editor.replace(uri, good)
            await until(lambda: codes() == ["stale-verdict"])
            assert editor.diagnostics[uri][0].message.startswith("Stale, the text has changed")
            assert (await editor.command("verify", uri=uri, timedCalls=0))["status"] == "correct"
            await until(lambda: codes() == [])
        # The next server knows the verdict of the file as it is.
        async with editing(tmp_path / "state") as editor:
            path.write_text(good.replace("+ 1.0f", "+ 1.5f"))
            uri = editor.open(path, language="cpp")
            await until(lambda: [str(item.code) for item in editor.diagnostics.get(uri, ())] == ["stale-verdict"])

    run(work())


@needs_gcc
def test_search_is_seen_and_its_best_is_applied(tmp_path: Path, project: Path) -> None:
    state = tmp_path / "state"

    async def work() -> None:
        from tests.language_server.editor import capabilities

        path = project / "scale.cpp"
        text = path.read_text()
        async with (
            editing(state, capabilities(searches=True)) as editor,
            editing(state, capabilities(searches=True)) as other,
        ):
            uri = editor.open(path, language="cpp")
            seen = other.open(path, language="cpp")
            with pytest.raises(Exception, match="No search has been made yet"):
                await editor.command("applyBest", uri=uri)
            search = (await editor.command("optimize", uri=uri, evaluations=2, minutes=2))["search"]
            # The other editor on the same state folder hears of it.
            await until(lambda: search in other.moved)

            async def ended() -> dict[str, Any] | None:
                [found] = (await other.ask("searches"))["searches"]
                return found if found["state"] == "finished" else None

            found = await until(ended, 200)
            assert found["id"] == search
            assert found["kernel_uri"] == uri
            assert found["evaluations"] >= 1
            whole = await other.ask("search", search=search)
            assert len(whole["nodes"]) == found["evaluations"]
            if whole["best"] is None:
                pytest.skip(f"nothing could be timed on this machine now: {found['reason']}")
            await until(lambda: _lens(other, seen))
            answer = await editor.command("applyBest", uri=uri, search=search)
            assert answer["applied"] is True
            changed, edit = only_edit(editor)
            assert changed == uri
            after = applied(text, edit)
            assert after.startswith(f"// kernelevolve: found by search {search}, node ")
            assert whole["best"]["receipt"] in after.split("\n")[0]
            assert whole["best"]["source"] in after
            stopped = await editor.command("stop", search=search)
            assert stopped == {"search": search, "state": "finished"}

    run(work())


async def _lens(editor: Editor, uri: str) -> bool:
    return any(title.startswith("Best known ") for title in await editor.lenses(uri))


@needs_gcc
def test_cancelled_progress_ends_the_work(tmp_path: Path, project: Path) -> None:
    path = project / "scale.cpp"
    path.write_text(path.read_text().replace("for (", "volatile int spin = 1; while (spin) {}\n  for ("))

    async def work() -> None:
        async with editing(tmp_path / "state") as editor:
            uri = editor.open(path, language="cpp")
            pending = asyncio.ensure_future(editor.command("verify", token="stop-me", uri=uri))
            await until(
                lambda: any(value.get("kind") == "report" for token, value in editor.progress if token == "stop-me")
            )
            editor.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(token="stop-me"))
            with pytest.raises(Exception, match=r"(?i)cancel"):
                await asyncio.wait_for(pending, 60)
            last = [value for token, value in editor.progress if token == "stop-me"][-1]
            assert last == {"kind": "end", "message": "cancelled"}
            # The server goes on, and the next verdict is a fresh one.
            path.write_text(path.read_text().replace("spin = 1", "spin = 0"))
            editor.replace(uri, path.read_text())
            assert (await editor.command("verify", uri=uri, timedCalls=0))["status"] == "correct"

    run(work())


def test_progress_begins_by_itself_where_the_client_gave_no_token(tmp_path: Path, project: Path) -> None:
    async def work() -> None:
        async with editing(tmp_path / "state") as editor:
            editor.open(project / "scale.cpp", language="cpp")
            with pytest.raises(Exception, match="no search 'gone'"):
                await editor.command("stop", search="gone")
            created = [token for token, value in editor.progress if value == "create"]
            assert len(created) == 1
            await until(lambda: (created[0], {"kind": "end", "message": "failed"}) in editor.progress)

    run(work())


def test_refusals_say_what_to_do(tmp_path: Path, project: Path) -> None:
    (project / "sub").mkdir()
    lonely = project / "sub" / "lonely.py"
    lonely.write_text((project / "scale.py").read_text())
    parts = project / "parts.py"
    parts.write_text((project / "scale.py").read_text().split("def kernel")[0])

    async def work() -> None:
        async with editing(tmp_path / "state", options={"compileOnSave": False}) as editor:
            scale, task = editor.open(project / "scale.py"), editor.open(project / "task.py")
            alone, entryless = editor.open(lonely), editor.open(parts)
            await until(lambda: _settled(editor, scale))
            cases = [
                ("verify", {"uri": "file:///not/open.py"}, "is not open in the editor"),
                ("verify", {}, "needs 'uri'"),
                ("verify", {"uri": 3}, "needs 'uri'"),
                ("verify", {"uri": alone}, r"kernelevolve: task PATH"),
                ("verify", {"uri": entryless}, "has no entry point"),
                ("verify", {"uri": task}, "is the task itself"),
                ("optimize", {"uri": alone}, "kernelevolve: task PATH"),
                ("optimize", {"uri": scale, "evaluations": 0}, "'evaluations' is 0"),
                ("optimize", {"uri": scale, "minutes": "x"}, "'minutes' is 'x'"),
                ("addCase", {"uri": alone}, "no task to add a case to"),
                ("makeTask", {"uri": scale, "function": "nothing"}, "no function 'nothing'"),
                ("showKernel", {"uri": scale, "kernel": "nothing"}, "no kernel 'nothing'"),
                ("stop", {"search": "gone"}, "no search 'gone'"),
                ("nonsense", {}, "no command 'kernelevolve.nonsense'"),
            ]
            for name, argument, text in cases:
                with pytest.raises(Exception, match=text):
                    await editor.command(name, **argument)

    async def _settled(editor: Editor, uri: str) -> bool:
        return bool(await editor.lenses(uri))

    run(work())


def test_triton_search_without_its_device_says_so(tmp_path: Path, project: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")

    async def work() -> None:
        async with editing(tmp_path / "state", options={"compileOnSave": False}) as editor:
            uri = editor.open(project / "scale.py")
            with pytest.raises(Exception, match="no device for cuda:sm_90, hip:gfx950 is here"):
                await until(lambda: editor.command("optimize", uri=uri))

    run(work())


def test_case_is_added_to_the_task(tmp_path: Path, project: Path) -> None:
    async def work() -> None:
        async with editing(tmp_path / "state", options={"compileOnSave": False}) as editor:
            uri = editor.open(project / "scale.py")
            await until(lambda: editor.lenses(uri))
            await editor.command("addCase", uri=uri, name="wide", parameters={"rows": 2, "cols": 70000})
            changed, edit = only_edit(editor)
            assert changed == (project / "task.py").as_uri()
            (project / "task.py").write_text(applied(SCALE_TASK, edit))
            cases = {case.name: case.parameters for case in load_task(project / "task.py").task.cases}
            assert cases["wide"] == {"rows": 2, "cols": 70000}
            editor.accept_edits = False
            with pytest.raises(Exception, match="did not apply the change"):
                await editor.command("addCase", uri=uri)

    run(work())


@pytest.mark.parametrize(
    "cases",
    [
        'CASES = {"a": {"n": 1}}\n',
        'CASES = {"a": {"n": 1},}\n',
        'CASES = {\n    "a": {"n": 1},\n}\n',
        'CASES = {\n    "a": {"n": 1}\n}\nafter = {}\n',
        "CASES: dict[str, dict[str, int]] = {}\n",
        'CASES = {"ä": {"n": 1}}\n',
    ],
)
def test_case_goes_into_any_dict(cases: str) -> None:
    offset, inserted = edits.add_case(cases, "a", {"n": 2})
    names: dict[str, Any] = {}
    exec(cases[:offset] + inserted + cases[offset:], names)
    assert {"n": 2} in names["CASES"].values()


def test_task_is_made_from_a_function(tmp_path: Path, project: Path) -> None:
    source = (
        "from __future__ import annotations\nimport math\nimport torch.nn.functional as F\n\nSCALE = 2.0\n\n"
        "def half(x):\n    return x / SCALE\n\ndef unused():\n    pass\n\n"
        "def gelu(x, weight, approximate: bool = True):\n    return F.gelu(half(x)) * weight * math.pi\n"
    )
    path = tmp_path / "ops" / "gelu.py"
    path.parent.mkdir()
    path.write_text(source)

    async def work() -> None:
        async with editing(tmp_path / "state", options={"compileOnSave": False}) as editor:
            uri = editor.open(path)
            place = types.Range(start=types.Position(line=13, character=4), end=types.Position(line=13, character=4))
            params = types.CodeActionParams(
                text_document=types.TextDocumentIdentifier(uri=uri),
                range=place,
                context=types.CodeActionContext(diagnostics=[]),
            )
            actions = await editor.client.text_document_code_action_async(params)
            # The client's library reads an action with a command as a bare command, so its title is what is left.
            assert "Make a task from gelu" in [action.title for action in actions or ()]
            await editor.command("makeTask", uri=uri, function="gelu")
            [edit] = editor.edits
            create, write = edit.document_changes or ()
            assert isinstance(create, types.CreateFile)
            assert isinstance(write, types.TextDocumentEdit)
            text = write.edits[0].new_text  # type: ignore[union-attr]
            assert "unused" not in text
            task = path.parent / "gelu_task.py"
            assert create.uri == task.as_uri()
            task.write_text(text)
            program = load_task(task)
            inputs = program.make_inputs(program.task.cases[0], "float32", "cpu", 0)
            assert program.build_reference("float32", "cpu", 0)(*inputs.args).shape == (16, 100)
            with pytest.raises(Exception, match="exists already"):
                await editor.command("makeTask", uri=uri, function="gelu")

    run(work())
