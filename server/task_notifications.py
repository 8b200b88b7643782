"""`notifications/tasks`: tells a client that listens how its tasks stand, so that it need not ask."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import anyio
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import TokenVerifier
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.types import (
    INVALID_PARAMS,
    Notification,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsListenResult,
)

from kernelevolve.server.task_store import TaskRecord, TaskStoreError
from kernelevolve.server.task_wire import POLL_MS, declared, detailed, undeclared

MOST_FOLLOWED = 64
"""Tasks that one stream may name."""
_log = logging.getLogger(__name__)

FindTask = Callable[[str], Awaitable[TaskRecord | None]]
"""The present caller's task of an id."""


class TaskNotification(Notification[dict[str, Any], Literal["notifications/tasks"]]):
    """How a task stands: what `tasks/get` would answer."""

    method: Literal["notifications/tasks"] = "notifications/tasks"


class TaskSubscriptions(ServerMiddleware[Any]):
    """Serves the task ids of `subscriptions/listen`; everything else about it is the protocol library's.

    Only tasks of the caller are followed, wherever they run: their state comes from the store that all servers of a
    state folder share. A caller that is not let in any more hears nothing more.

    Args:
        find: the caller's task of an id.
        verifier: knows the tokens; None where callers need none.
    """

    def __init__(self, find: FindTask, verifier: TokenVerifier | None = None) -> None:
        self._find = find
        self._verifier = verifier

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Look at one message."""
        wanted = _wanted(ctx.params) if ctx.method == "subscriptions/listen" else None
        if not wanted:
            return await call_next(ctx)
        if not declared(ctx):
            raise undeclared()
        try:
            known = [key for key in wanted if await self._find(key) is not None]
        except TaskStoreError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error
        meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        session = _ListenSession(ctx.session, known)
        result: HandlerResult = SubscriptionsListenResult(_meta=meta)
        failed: MCPError | None = None
        async with anyio.create_task_group() as group:

            async def follow() -> None:
                await session.acknowledged.wait()
                await self._follow(ctx, known, meta)
                if not await self._may_listen():
                    group.cancel_scope.cancel()

            group.start_soon(follow)
            try:
                result = await call_next(replace(ctx, session=cast(Any, session)))
            except MCPError as error:
                # Past the group it would be wrapped in another one.
                failed = error
            group.cancel_scope.cancel()
        if failed is not None:
            raise failed
        return result

    async def _follow(self, ctx: ServerRequestContext[Any, Any], known: list[str], meta: Mapping[str, Any]) -> None:
        """Tell how tasks stand, at first and after each change, until all have ended."""
        told: dict[str, dict[str, Any]] = {}
        left = list(known)
        while left and await self._may_listen():
            for key in list(left):
                try:
                    task = await self._find(key)
                except TaskStoreError as error:
                    _log.warning("how a task stands can't be seen: %s", error)
                    continue
                if task is None:
                    left.remove(key)  # Past its time.
                    continue
                view = detailed(task)
                if view != told.get(key):
                    told[key] = view
                    notification: Any = TaskNotification(params={"_meta": dict(meta), **view})
                    await ctx.session.send_notification(notification, related_request_id=ctx.request_id)
                if not task.status.active:
                    left.remove(key)
            await anyio.sleep(POLL_MS / 1000)

    async def _may_listen(self) -> bool:
        token = get_access_token()
        if token is None or self._verifier is None:
            return True
        return await self._verifier.verify_token(token.token) is not None


class _ListenSession:
    """A request's session whose acknowledgement also names the tasks that are followed."""

    def __init__(self, session: Any, known: list[str]) -> None:
        self._session = session
        self._known = known
        self.acknowledged = anyio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def send_notification(self, notification: Any, related_request_id: Any = None) -> None:
        """Send what the protocol library has to say."""
        if self._known and isinstance(notification, SubscriptionsAcknowledgedNotification):
            agreed = notification.params.notifications.model_dump(by_alias=True, exclude_none=True)
            agreed["taskIds"] = self._known
            params = notification.params.model_copy(update={"notifications": SubscriptionFilter.model_validate(agreed)})
            notification = notification.model_copy(update={"params": params})
        await self._session.send_notification(notification, related_request_id=related_request_id)
        self.acknowledged.set()


def _wanted(params: Mapping[str, Any] | None) -> list[str]:
    """Ids of the tasks that a client wants to hear of.

    Raises:
        MCPError: they are no list of ids, or too many.
    """
    notifications = (params or {}).get("notifications")
    wanted = notifications.get("taskIds") if isinstance(notifications, Mapping) else None
    if wanted is None:
        return []
    if not isinstance(wanted, list) or not all(isinstance(key, str) for key in wanted):
        raise MCPError(INVALID_PARAMS, "notifications.taskIds is no list of task ids.")
    if len(wanted) > MOST_FOLLOWED:
        raise MCPError(INVALID_PARAMS, f"notifications.taskIds has {len(wanted)} ids; name at most {MOST_FOLLOWED}.")
    return list(dict.fromkeys(wanted))
