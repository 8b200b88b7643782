"""The protocol's Tasks extension: a long tool answers with a handle at once, its result waits in a durable store."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import anyio.abc
import anyio.to_thread
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp.types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    InputRequiredResult,
    InputResponse,
    RequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, TypeAdapter, ValidationError

from kernelevolve.server.access import within_limit
from kernelevolve.server.task_store import KEEP_S, TaskRecord, TaskStatus, TaskStore, TaskStoreError, stopped_text
from kernelevolve.server.task_wire import (
    TASKS,
    caller,
    declared,
    detailed,
    failure,
    on_the_wire,
    outcome,
    refused,
    undeclared,
)

MOST_RUNNING = 24
"""Tasks of all callers under way in one server: each keeps a thread, and other tools need some."""

_LOOK_S = 0.25
"""How often a running task looks whether another server was told to cancel it, or was given answers."""
_NOTE_S = 1.0
"""How often what a task does is written down, at most."""
_log = logging.getLogger(__name__)
_Value = TypeVar("_Value")


@cache
def _response() -> TypeAdapter[Any]:
    """What an answer to a question must be; made when the first is asked."""
    return TypeAdapter(InputResponse)


@dataclass(frozen=True)
class LongTool:
    """How a tool becomes a task, for clients that declared the extension."""

    required: bool = False
    """Refuse clients that did not declare it, in place of letting them wait for the answer."""
    asks_first: bool = False
    """What the tool needs to ask comes before the task, as rounds of the call itself."""


LONG_TOOLS: Mapping[str, LongTool] = {
    name: LongTool()
    for name in ("compile_and_verify", "profile_kernel", "start_search", "run_search_step", "export_kernel")
}
"""The tools of this server that may take longer than a client waits."""


class TaskParams(RequestParams):
    """Parameters of `tasks/get` and `tasks/cancel`."""

    task_id: str


class TaskUpdateParams(TaskParams):
    """Parameters of `tasks/update`."""

    input_responses: dict[str, Any]


class Tasks(Extension):
    """Tasks of one server.

    Args:
        state: the state folder, where they are kept.
        long_tools: which tools become tasks.
        ended: told of each task that ended, while its caller is the present one: tool, outcome, seconds.
        keep_s: seconds that a task is known after it was made, and its result after it ended.
    """

    identifier = TASKS

    def __init__(
        self,
        state: Path,
        long_tools: Mapping[str, LongTool] = LONG_TOOLS,
        ended: Callable[[str, str, float], None] | None = None,
        keep_s: float = KEEP_S,
    ) -> None:
        self._long = long_tools
        self._ended = ended
        self._store = TaskStore(state, keep_s)
        self._group: anyio.abc.TaskGroup | None = None
        self._running: dict[str, anyio.CancelScope] = {}
        self._making = 0
        # Not the threads that tools work in: asking how a task stands must not wait for tasks.
        self._limiter: anyio.CapacityLimiter | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While this is open tasks work; leaving it stops them, and says so in their state."""
        outer = self._group
        self._limiter = anyio.CapacityLimiter(4)
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                try:
                    yield
                finally:
                    self._group = outer
                    group.cancel_scope.cancel()
        finally:
            if outer is None:
                self._store.close()

    def methods(self) -> Sequence[MethodBinding]:
        """`tasks/get`, `tasks/update`, `tasks/cancel`, for the revisions that know extensions."""
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [
            MethodBinding("tasks/get", TaskParams, self._get, versions),
            MethodBinding("tasks/update", TaskUpdateParams, self._update, versions),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, versions),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Make a task of a call where tool and client allow it."""
        tool = self._long.get(params.name)
        if tool is None:
            return await call_next(ctx)
        if not declared(ctx):
            if tool.required:
                raise undeclared()
            return await call_next(ctx)
        if tool.asks_first and params.input_responses is None:
            return await call_next(ctx)
        if self._group is None:
            raise RuntimeError("a task was asked for outside the server's life")
        if len(self._running) + self._making >= MOST_RUNNING:
            return refused(f"This server has {MOST_RUNNING} tasks under way, which is all it takes: try again later.")
        self._making += 1
        try:
            task = await self._threaded(lambda: self._store.create(caller(), params.name))
        except TaskStoreError as error:
            return refused(str(error))
        finally:
            self._making -= 1
        scope = anyio.CancelScope()
        self._running[task.id] = scope
        self._group.start_soon(self._work, task, scope, params, ctx, call_next)
        return {"resultType": "task", **on_the_wire(task)}

    async def _work(
        self,
        task: TaskRecord,
        scope: anyio.CancelScope,
        params: CallToolRequestParams,
        ctx: ServerRequestContext[Any, Any],
        call_next: CallNext,
    ) -> None:
        """Run a task's tool and write down what comes of it."""
        session = _TaskSession(ctx.session, lambda text: self._note(task, text))
        quiet = replace(ctx, session=cast(Any, session))
        end: dict[str, Any] = {}
        cancelled = False
        try:
            with scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch, task, scope)
                    end = await self._outcome(task, params, quiet, call_next)
                    group.cancel_scope.cancel()
            # Where the server ends, in place of this task alone, this line is not reached.
            cancelled = scope.cancelled_caught
        finally:
            self._running.pop(task.id, None)
            if not end:
                stopped = failure(INTERNAL_ERROR, stopped_text(task.tool))
                end = {"status": TaskStatus.CANCELLED} if cancelled else stopped
            with anyio.CancelScope(shield=True):
                await self._settle(task, end)
            self._tell(task, outcome(end))

    def _tell(self, task: TaskRecord, how: str) -> None:
        if self._ended is None:
            return
        try:
            self._ended(task.tool, how, time.time() - task.created / 1000)
        except OSError:
            # There is no request to fail any more, and other tasks go on.
            _log.exception("the end of a task of %s could not be written to the audit log", task.tool)

    async def _outcome(
        self, task: TaskRecord, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> dict[str, Any]:
        """How a task ends, as arguments of `TaskStore.settle`."""
        asked = 0
        try:
            while True:
                result = await call_next(ctx)
                if not isinstance(result, InputRequiredResult):
                    break
                # The tool is called again with the parameters it was called with, this very object.
                params.input_responses = await self._ask(task, result, asked)
                params.request_state = result.request_state
                asked += 1
        except MCPError as error:
            return failure(error.error.code, error.error.message, error.error.data)
        except Exception:  # noqa: BLE001 - a defect of a tool must end its task, never the server
            _log.exception("task of %s failed", task.tool)
            return failure(INTERNAL_ERROR, f"{task.tool} failed inside the server; its log has the details.")
        value = (
            result.model_dump(mode="json", by_alias=True, exclude_none=True)
            if isinstance(result, BaseModel)
            else result
        )
        return {"status": TaskStatus.COMPLETED, "result": within_limit(value) or {}}

    async def _ask(self, task: TaskRecord, result: InputRequiredResult, asked: int) -> dict[str, Any]:
        """Put a tool's questions to the client and wait for all answers."""
        # A key is never used twice in a task's life, whatever its tool calls its questions.
        keys = {f"{asked}-{key}": key for key in result.input_requests or {}}
        requests = {
            name: request.model_dump(mode="json", by_alias=True, exclude_none=True)
            for name, request in zip(keys, (result.input_requests or {}).values(), strict=True)
        }
        if requests:
            await self._threaded(lambda: self._store.ask(task.id, requests))
        while True:
            await anyio.sleep(_LOOK_S)
            _, responses = await self._threaded(lambda: self._store.look(task.id))
            if responses is not None:
                return {
                    keys[name]: _response().validate_python(value) for name, value in responses.items() if name in keys
                }

    async def _watch(self, task: TaskRecord, scope: anyio.CancelScope) -> None:
        """End a task that was cancelled at another server, or that is past its time."""
        while True:
            await anyio.sleep(_LOOK_S)
            try:
                cancel, _ = await self._threaded(lambda: self._store.look(task.id))
            except TaskStoreError as error:
                _log.warning("whether a task of %s was cancelled elsewhere can't be seen: %s", task.tool, error)
                continue
            if cancel or time.time() * 1000 >= task.expires:
                scope.cancel()

    async def _note(self, task: TaskRecord, text: str) -> None:
        try:
            await self._threaded(lambda: self._store.note(task.id, text))
        except TaskStoreError as error:
            # What a task does is a courtesy: its work goes on.
            _log.warning("what a task of %s does can't be noted: %s", task.tool, error)

    async def _settle(self, task: TaskRecord, end: dict[str, Any]) -> None:
        try:
            await self._threaded(lambda: self._store.settle(task.id, **end))
        except TaskStoreError:
            # It stays under way until this server ends, and has failed from then on.
            _log.exception("the end of a task of %s could not be kept", task.tool)

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        task = await self._find(ctx, params)
        return {"resultType": "complete", **detailed(task)}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: TaskUpdateParams) -> HandlerResult:
        task = await self._find(ctx, params)
        for key in task.requests.keys() & params.input_responses.keys():
            try:
                _response().validate_python(params.input_responses[key])
            except ValidationError as error:
                raise MCPError(INVALID_PARAMS, f"inputResponses[{key!r}] is no answer to a request.") from error
        await self._asked(lambda: self._store.answer(task.id, params.input_responses))
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        task = await self._find(ctx, params)
        await self._asked(lambda: self._store.request_cancel(task.id))
        if (scope := self._running.get(task.id)) is not None:
            scope.cancel()
        return {"resultType": "complete"}

    async def find(self, task_id: str) -> TaskRecord | None:
        """A task of the present caller; None where there is none, or it is past its time.

        Raises:
            TaskStoreError: the store can't be used.
        """
        return await self._threaded(lambda: self._store.find(task_id, caller()))

    async def _find(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> TaskRecord:
        if not declared(ctx):
            raise undeclared()
        headers = getattr(ctx.request, "headers", None)
        if headers is not None and decode_header_value(headers.get(MCP_NAME_HEADER)) != params.task_id:
            raise MCPError(HEADER_MISMATCH, f"The header {MCP_NAME_HEADER} must be the request's taskId.")
        task = await self._asked(lambda: self._store.find(params.task_id, caller()))
        if task is None:
            raise MCPError(
                INVALID_PARAMS, "There is no such task of yours: it is unknown, or past its time. Call the tool again."
            )
        return task

    async def _asked(self, work: Callable[[], _Value]) -> _Value:
        """The store, for a request: its failure becomes the answer."""
        try:
            return await self._threaded(work)
        except TaskStoreError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error

    async def _threaded(self, work: Callable[[], _Value]) -> _Value:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


class _TaskSession:
    """A request's session after its answer: progress, which has nowhere to go any more, becomes the task's message."""

    def __init__(self, session: Any, note: Callable[[str], Awaitable[None]]) -> None:
        self._session = session
        self._note = note
        self._noted = -_NOTE_S

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def report_progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Note the message, now and then."""
        now = time.monotonic()
        if message and now - self._noted >= _NOTE_S:
            self._noted = now
            share = f" ({progress / total:.0%})" if total else ""
            await self._note(f"{message}{share}")
