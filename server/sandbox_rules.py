"""What `--sandbox` and the settings beside it mean for this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kernelevolve.evaluation.judge import protection
from kernelevolve.evaluation.judge.protection import Protection

if TYPE_CHECKING:
    from kernelevolve.tools.execution import Execution


def choose_sandbox(given: str | None) -> Protection:
    """Set the level for this process and what it starts, and warn loudly where it is `none`.

    Raises:
        ProtectionError: there is no such level, or this machine cannot give it.
    """
    level = protection.parse(given) if given is not None else protection.chosen()
    if level is not Protection.AUTO:
        from kernelevolve.evaluation.judge.survey import ensure

        ensure(level)
    protection.choose(level)
    if level is Protection.NONE:
        from kernelevolve.server.rendering import stderr_console

        stderr_console().print(
            "[bold red]WARNING[/bold red]: --sandbox none: tasks and candidates run with your rights. They can read "
            "and change your files, use the network, and end your processes.",
            highlight=False,
        )
    return level


def execution_rules(sandbox: str | None, off: bool, unsandboxed: bool, ask: bool) -> Execution:
    """The rules of a server.

    Args:
        sandbox: what `--sandbox` says.
        off: `--no-exec`.
        unsandboxed: `--yes-unsandboxed`.
        ask: whether the client's user is whoever started the server, and may be asked. Others must not decide what
            runs on this machine with the rights of somebody else.

    Raises:
        KernelEvolveError: the level cannot be had, or nobody may be asked and walls are missing.
    """
    from kernelevolve.tools.execution import Execution

    rules = Execution(choose_sandbox(sandbox), off, unsandboxed)
    if not ask and not off:
        rules.permit(Path.cwd())
    return rules
