"""`start_search`, `run_search_step`, `get_search` and the `search://` resources."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, ResourceLink, ToolAnnotations
from pydantic import Field

from kernelevolve.search.options import OptimizeOptions
from kernelevolve.server.consent import Consent
from kernelevolve.server.dashboard.mcp_app import SEARCH_TREE_META
from kernelevolve.server.mcp_support import in_thread, link, read_in_thread, reporter, result
from kernelevolve.server.ownership import caller
from kernelevolve.server.settings import synthesizer_for
from kernelevolve.tools.advice import Advisor
from kernelevolve.tools.judges import Cancellation, JudgePool
from kernelevolve.tools.search_answers import SearchReport, SearchStep, Submission

if TYPE_CHECKING:
    from kernelevolve.search.store import Store

_POLL_S = 0.2
"""How often a long poll looks at the change log."""


def add_search_tools(server: MCPServer[Any], pool: JudgePool, store: Callable[[], Store], advise: Advisor) -> None:
    """`start_search`, `run_search_step`, `get_search`, and the resources of a search.

    Args:
        server: gets them.
        pool: where judges come from.
        store: the searches, opened when first asked for.
        advise: what a prompt says of the hardware.
    """

    @server.tool(
        name="start_search",
        title="Start a search for a faster kernel",
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False),
    )
    async def start_search(
        task: Annotated[str, Field(description="Path of a task, aten::<operator>, or the text of a task file.")],
        ctx: Context[Any, Any],
        consent: Consent,
        platform: Annotated[str, Field(description="e.g. cpu, cuda:sm_90")] = "cpu",
        source: Annotated[str | None, Field(description="Candidate to start from; the task's own if left out.")] = None,
        language: Annotated[str | None, Field(description="triton, cpp, cuda or hip.")] = None,
        policy: Annotated[str, Field(description="greedy, beam, mcts, evolutionary, best_of_n or random.")] = "greedy",
        policy_parameters: dict[str, float] | None = None,
        synthesizer: Annotated[
            Literal["assistant", "mutator", "endpoint"],
            Field(description="assistant: you write. mutator: built in, no model. endpoint: the server's own model."),
        ] = "assistant",
        evaluations: Annotated[int, Field(ge=1, le=1_000_000, description="Candidates to judge, at most.")] = 40,
        minutes: Annotated[float | None, Field(gt=0, description="Wall clock, at most.")] = None,
        stall: Annotated[int | None, Field(ge=1, description="Stop after so many without a gain.")] = 20,
        target_speedup: Annotated[float | None, Field(gt=0)] = None,
        usd: Annotated[float | None, Field(gt=0, description="Money for a model, at most.")] = None,
        baseline: Literal["eager", "compile"] = "eager",
        seed: int = 0,
        lease_minutes: Annotated[float, Field(gt=0, le=1440, description="Time for one candidate.")] = 15.0,
        orders: Annotated[int, Field(ge=1, le=16, description="Orders you want now.")] = 1,
        agent: Annotated[str, Field(max_length=100, description="Your name, if several work on it.")] = "",
        shared: Annotated[bool, Field(description="Callers with other tokens may see it and work on it.")] = False,
    ) -> Annotated[CallToolResult, SearchStep]:
        """Begin a search on one operator; answers with its id and your first orders, each with a prompt."""

        def work() -> CallToolResult:
            from kernelevolve.tools import searches

            options = OptimizeOptions(
                baseline=baseline,
                evaluations=evaluations,
                wall_clock_s=None if minutes is None else 60 * minutes,
                stall=stall,
                target_speedup=target_speedup,
                usd=usd,
                seed=seed,
                lease_s=60 * lease_minutes,
                policy_parameters=policy_parameters or {},
            )
            if synthesizer == "endpoint":
                synthesizer_for(synthesizer)  # Missing settings show now, not at the first step.
            step, text = searches.start_search(
                pool, store(), task, platform, policy, synthesizer, options, source, language, agent, orders,
                reporter(ctx), cancellation, advise, owner, shared,
            )  # fmt: skip
            return result(text, step, links_of(step))

        owner, cancellation = caller(), Cancellation()
        answer: CallToolResult = await in_thread(work, cancellation)
        return answer

    @server.tool(
        name="run_search_step",
        title="Hand in candidates, get the next orders",
        annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False),
    )
    async def run_search_step(
        search_id: str,
        ctx: Context[Any, Any],
        consent: Consent,
        submissions: Annotated[
            list[Submission], Field(max_length=16, description="What you wrote for your orders.")
        ] = [],  # noqa: B006
        orders: Annotated[int, Field(ge=0, le=16, description="Orders you want next.")] = 1,
        seconds: Annotated[
            float, Field(gt=0, le=600, description="How long a search that writes by itself works before it answers.")
        ] = 40.0,
        extend: Annotated[
            list[str], Field(max_length=16, description="Orders you still work on: their leases begin anew.")
        ] = [],  # noqa: B006
        agent: Annotated[str, Field(max_length=100)] = "",
    ) -> Annotated[CallToolResult, SearchStep]:
        """Judge your candidates, keep them, say what is wrong or how fast they are, and give the next orders."""

        def work() -> CallToolResult:
            from kernelevolve.tools import searches

            step, text = searches.run_search_step(
                pool, store(), search_id, submissions, orders, agent, seconds, extend, synthesizer_for,
                reporter(ctx), cancellation, advise,
            )  # fmt: skip
            return result(text, step, links_of(step))

        cancellation = Cancellation()
        answer: CallToolResult = await in_thread(work, cancellation)
        await ctx.notify_resource_updated(f"search://{search_id}")
        return answer

    @server.tool(
        name="get_search",
        title="Look at a search",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
        meta=SEARCH_TREE_META,
    )
    async def get_search(
        search_id: str,
        view: Annotated[
            Literal["summary", "best", "tree", "node", "order", "events"],
            Field(description="best and node show a source with its verdict, order a whole prompt."),
        ] = "summary",
        step: Annotated[int | None, Field(ge=0, description="Which node, for view=node.")] = None,
        order: Annotated[int | None, Field(ge=0, description="Which order, for view=order.")] = None,
        after: Annotated[int, Field(ge=0, description="For view=events: the last event you know.")] = 0,
        wait_seconds: Annotated[
            float, Field(ge=0, le=300, description="Wait so long for a change past `after`, or past now.")
        ] = 0.0,
    ) -> Annotated[CallToolResult, SearchReport]:
        """Show a search: how it stands, its best candidate, its tree, one node, one order, or what happened."""

        def look() -> CallToolResult:
            from kernelevolve.tools import searches

            report, text = searches.get_search(store(), search_id, view, step, order, after, advise)
            links = [link(f"search://{search_id}", f"search {search_id}")]
            if report.node is not None:
                links += [
                    link(f"search://{search_id}/{what}/{report.node.step}", f"{what} of step {report.node.step}")
                    for what in ("nodes", "verdicts")
                ]
            return result(text, report, links)

        if wait_seconds:
            known = after or await in_thread(lambda: store().last_event(search_id))
            ends = anyio.current_time() + wait_seconds
            while anyio.current_time() < ends and await in_thread(lambda: store().is_quiet(search_id, known)):
                await anyio.sleep(_POLL_S)
        answer: CallToolResult = await in_thread(look)
        return answer

    @server.resource("search://{search_id}", title="A search", mime_type="text/plain")
    async def search_resource(search_id: str) -> str:
        """How a search stands, and its tree."""

        def read() -> str:
            from kernelevolve.tools import searches

            return searches.get_search(store(), search_id, "tree")[1]

        return await read_in_thread(read)

    @server.resource("search://{search_id}/nodes/{step}", title="A node of a search", mime_type="text/plain")
    async def node_resource(search_id: str, step: int) -> str:
        """The source of a node."""

        def read() -> str:
            kept = store()
            return kept.candidate(kept.node(f"{search_id}.{step}")).source

        return await read_in_thread(read)

    @server.resource("search://{search_id}/verdicts/{step}", title="A verdict", mime_type="application/json")
    async def verdict_resource(search_id: str, step: int) -> str:
        """The whole verdict of a node, with its receipt."""

        def read() -> str:
            kept = store()
            node = kept.node(f"{search_id}.{step}")
            return (kept.confirmation(node) or kept.verdict(node)).model_dump_json(indent=1)

        return await read_in_thread(read)

    @server.resource("search://{search_id}/orders/{number}", title="An order's prompt", mime_type="text/markdown")
    async def order_resource(search_id: str, number: int) -> str:
        """All that the author of an order should read."""

        def read() -> str:
            from kernelevolve.tools import searches

            kept = store()
            return searches.prompt_text(kept, kept.order(f"{search_id}.o{number}"), advise=advise)

        return await read_in_thread(read)


def links_of(step: SearchStep) -> list[ResourceLink]:
    """Where all of a step can be read."""
    search_id = step.summary.search_id
    prompts = [link(order.prompt_uri, f"prompt of order {order.order.order_id}") for order in step.orders]
    return [link(f"search://{search_id}", f"search {search_id}"), *prompts]
