"""The commands: arguments checked, work done under a progress, errors that say what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from kernelevolve.server.language_server.client import plain
from kernelevolve.server.language_server.costs import markdown
from kernelevolve.server.language_server.documents import OpenFile, VerdictOnFile
from kernelevolve.server.language_server.edit_commands import add_case, apply_best, make_task
from kernelevolve.server.language_server.errors import Refused, WrongArguments
from kernelevolve.server.language_server.given import number_of, text_of
from kernelevolve.server.language_server.progress import CommandProgress
from kernelevolve.server.language_server.searching import start_search

if TYPE_CHECKING:
    from kernelevolve.server.language_server.server import KernelServer

Handler = Callable[["KernelServer", dict[str, Any], "types.ProgressToken | None"], Awaitable[Any]]


async def run_command(server: KernelServer, params: types.ExecuteCommandParams) -> Any:
    """Run one command.

    Raises:
        JsonRpcException: it cannot be done.
    """
    handler = _HANDLERS.get(params.command)
    if handler is None:
        raise WrongArguments(f"There is no command {params.command!r}. Known: {', '.join(sorted(_HANDLERS))}.")
    arguments = plain(params.arguments or [])
    if len(arguments) != 1 or not isinstance(arguments[0], dict):
        raise WrongArguments(f"{params.command} takes one argument, an object.")
    return await handler(server, arguments[0], params.work_done_token)


async def _verify(server: KernelServer, given: dict[str, Any], token: Any) -> dict[str, Any]:
    file = _candidate(server, given, "verify")
    progress = CommandProgress(server, token, f"Verify {_name(file)}")
    asked = {**_judged(server, file), "timed_calls": _timed_calls(given)}
    verdict = await progress.run(server.desk.ask("verify", asked, _told(progress)))
    platforms = verdict.pop("platforms")
    file.verdict = VerdictOnFile(**verdict)
    server.refresh(file.uri)
    answer = {"status": verdict["status"], "message": verdict["message"], "platforms": platforms}
    optional = {"speedup": verdict["speedup"], "receipt": verdict["receipt"]}
    return answer | {name: value for name, value in optional.items() if value is not None}


async def _profile(server: KernelServer, given: dict[str, Any], token: Any) -> Any:
    file = _candidate(server, given, "profile")
    progress = CommandProgress(server, token, f"Profile {_name(file)}")
    return await progress.run(server.desk.ask("profile", _judged(server, file), _told(progress)))


async def _optimize(server: KernelServer, given: dict[str, Any], token: Any) -> dict[str, Any]:
    file = server.file(text_of(given, "uri"))
    _trusted(server, "optimize")
    evaluations = number_of(given, "evaluations", server.options.evaluations)
    minutes = number_of(given, "minutes", server.options.minutes)
    if file.task.path is None:
        raise Refused(f"Nothing to optimize yet. {file.task.why_not}")
    if file.scanned.entry is None and not file.scanned.is_task:
        raise Refused(_NO_ENTRY)
    progress = CommandProgress(server, token, f"Optimize {_name(file)}")
    search = await progress.run(start_search(server, file, int(evaluations), float(minutes), progress))
    return {"search": search}


async def _stop(server: KernelServer, given: dict[str, Any], token: Any) -> Any:
    search = text_of(given, "search")
    progress = CommandProgress(server, token, f"Stop search {search}")
    return await progress.run(server.desk.ask("stop", {"search": search}))


async def _show_kernel(server: KernelServer, given: dict[str, Any], _token: Any) -> dict[str, Any]:
    file = server.file(text_of(given, "uri"))
    name = text_of(given, "kernel")
    kernel = next((kernel for kernel in file.scanned.kernels if kernel.name == name), None)
    if kernel is None:
        raise Refused(f"There is no kernel {name!r} in this file.")
    target = given.get("target")
    targets = (target,) if isinstance(target, str) else server.options.targets
    return {"title": name, "text": markdown(file.costs_of(kernel, targets), kernel.text_hash)}


_NO_ENTRY = (
    "This file has no entry point to judge: define `kernel(...)` with the reference's arguments, or `class ModelNew`, "
    "that launches the kernels."
)


def _candidate(server: KernelServer, given: dict[str, Any], what: str) -> OpenFile:
    """The file that a command is about, if it can be judged.

    Raises:
        Refused: it cannot, with what is missing.
    """
    file = server.file(text_of(given, "uri"))
    _trusted(server, what)
    if file.scanned.is_task:
        raise Refused("This is the task itself: open a candidate for it, such as triton.py or kernel.cpp beside it.")
    if file.task.path is None:
        raise Refused(f"There is nothing to {what} against. {file.task.why_not}")
    if not file.is_candidate:
        raise Refused(_NO_ENTRY)
    return file


def _trusted(server: KernelServer, what: str) -> None:
    if not server.options.trusted:
        raise Refused(f"This workspace is not trusted, so its code is not run: trust it in the editor, then {what}.")


def _judged(server: KernelServer, file: OpenFile) -> dict[str, Any]:
    return {
        "task": file.task.path,
        "text": file.text,
        "language": file.language,
        "path": str(file.path),
        "targets": list(server.options.targets),
    }


def _timed_calls(given: Mapping[str, Any]) -> int | None:
    """Timed calls on each side, where somebody says; 0 leaves timing out."""
    value = given.get("timedCalls")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise WrongArguments(f"'timedCalls' is {value!r}, which is not a whole number of 0 or more.")
    return value


def _told(progress: CommandProgress) -> Callable[[dict[str, Any]], None]:
    return lambda event: progress.report(event["text"], event["share"])


def _name(file: OpenFile) -> str:
    return file.path.name if file.path is not None else file.uri.rpartition("/")[2]


_HANDLERS: Mapping[str, Handler] = {
    "kernelevolve.verify": _verify,
    "kernelevolve.profile": _profile,
    "kernelevolve.optimize": _optimize,
    "kernelevolve.stop": _stop,
    "kernelevolve.showKernel": _show_kernel,
    "kernelevolve.applyBest": apply_best,
    "kernelevolve.addCase": add_case,
    "kernelevolve.makeTask": make_task,
}
