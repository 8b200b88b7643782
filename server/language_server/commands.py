"""The commands: arguments checked, work done under a progress, errors that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lsprotocol import types

from kernelevolve.server.language_server.client import plain
from kernelevolve.server.language_server.costs import markdown
from kernelevolve.server.language_server.errors import Refused, WrongArguments

if TYPE_CHECKING:
    from kernelevolve.server.language_server.server import KernelServer


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


async def _show_kernel(server: KernelServer, given: dict[str, Any], _token: Any) -> dict[str, Any]:
    file = server.file(text_of(given, "uri"))
    name = text_of(given, "kernel")
    kernel = next((kernel for kernel in file.scanned.kernels if kernel.name == name), None)
    if kernel is None:
        raise Refused(f"There is no kernel {name!r} in this file.")
    target = given.get("target")
    targets = (target,) if isinstance(target, str) else server.options.targets
    return {"title": name, "text": markdown(file.costs_of(kernel, targets), kernel.text_hash)}


async def _not_built(_server: KernelServer, _given: dict[str, Any], _token: Any) -> Any:
    raise Refused("This command is not built yet. Use the command line: `kernelevolve --help`.")


def text_of(given: dict[str, Any], name: str) -> str:
    """An argument that must be a text.

    Raises:
        WrongArguments: it is missing or something else.
    """
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise WrongArguments(f"The argument needs {name!r}, a text.")
    return value


_HANDLERS: dict[str, Any] = {
    "kernelevolve.showKernel": _show_kernel,
    **dict.fromkeys(
        ("kernelevolve.verify", "kernelevolve.profile", "kernelevolve.optimize", "kernelevolve.stop",
         "kernelevolve.applyBest", "kernelevolve.addCase", "kernelevolve.makeTask"), _not_built
    ),
}  # fmt: skip
