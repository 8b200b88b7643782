"""Asks the user before the first run without walls, in whichever way the client's protocol has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from mcp.server import MCPServer
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel, Field

from kernelevolve.tools.execution import HOW_TO_ALLOW, Execution
from kernelevolve.tools.judges import JudgePool

_POOLS: WeakKeyDictionary[MCPServer[Any], JudgePool] = WeakKeyDictionary()


class RunUnsandboxed(BaseModel):
    """What the user is asked."""

    allow: bool = Field(
        title="Run without a sandbox", description="Kernels and tasks then run with the rights of whoever started it."
    )


def ask_before_unsandboxed(server: MCPServer[Any], pool: JudgePool) -> None:
    """Have the tools of a server that take a `Consent` ask for this pool's rules."""
    _POOLS[server] = pool


def _ask(ctx: Context[Any, Any]) -> Elicit[RunUnsandboxed] | RunUnsandboxed:
    """The question, where something lies open that nobody agreed to."""
    execution, workspace = _rules(ctx)
    opened = () if execution.off else execution.open_to_candidates(workspace)
    if not opened:
        return RunUnsandboxed(allow=True)
    if not _can_ask(ctx):
        raise ToolError(
            f"Nothing was run: at --sandbox {execution.sandbox.value} candidates would reach {', '.join(opened)}, and "
            f"this client cannot ask its user. {HOW_TO_ALLOW}"
        )
    return Elicit(
        f"KernelEvolve is about to run kernels without a sandbox (--sandbox {execution.sandbox.value}). They would "
        f"reach {', '.join(opened)}. Allow this for {workspace} until the server ends?",
        RunUnsandboxed,
    )


def _agreed(ctx: Context[Any, Any], answer: Annotated[ElicitationResult[RunUnsandboxed], Resolve(_ask)]) -> bool:
    """Remember a yes; anything else ends the call."""
    if not isinstance(answer, AcceptedElicitation) or not answer.data.allow:
        raise ToolError(f"Nothing was run: the user did not agree to run kernels without a sandbox. {HOW_TO_ALLOW}")
    execution, workspace = _rules(ctx)
    if not execution.off and execution.open_to_candidates(workspace):
        execution.agree(workspace)
    return True


Consent = Annotated[bool, Resolve(_agreed)]
"""Parameter of a tool that runs code of tasks or candidates: the call comes through only where that is agreed to."""


def _rules(ctx: Context[Any, Any]) -> tuple[Execution, Path]:
    pool = _POOLS[ctx.mcp_server]
    return pool.execution, pool.folder


def _can_ask(ctx: Context[Any, Any]) -> bool:
    capabilities = ctx.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    # A bare `elicitation: {}`, from before there were modes, means forms.
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)
