"""Work-done progress of one command: shown where the client can, cancelled where the user wants."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from lsprotocol import types

if TYPE_CHECKING:
    from kernelevolve.server.language_server.server import KernelServer

_Result = TypeVar("_Result")


class CommandProgress:
    """Progress under a token of the client's, or one of ours; nothing where the client shows none.

    Args:
        server: the server.
        token: the token that came with the request.
        title: what is done, in a few words.
    """

    def __init__(self, server: KernelServer, token: types.ProgressToken | None, title: str) -> None:
        self._server = server
        self._token = token
        self._title = title
        self._open = False

    async def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do the work under the progress; a user who cancels the progress cancels the work.

        Raises:
            asyncio.CancelledError: it was cancelled.
        """
        await self._begin()
        task = asyncio.ensure_future(work)
        if self._open and self._token is not None:
            loop = asyncio.get_running_loop()
            self._server.work_done_progress.tokens[self._token].add_done_callback(
                lambda future: loop.call_soon_threadsafe(task.cancel) if future.cancelled() else None
            )
        outcome = "failed"
        try:
            result = await task
            outcome = "done"
            return result
        except asyncio.CancelledError:
            task.cancel()
            outcome = "cancelled"
            raise
        finally:
            self._end(outcome)

    def report(self, text: str, share: float | None = None) -> None:
        """Say what is being done.

        Args:
            text: in a few words.
            share: how much is done, 0 to 1.
        """
        if self._open and self._token is not None:
            percentage = None if share is None else max(0, min(100, int(share * 100)))
            value = types.WorkDoneProgressReport(message=text, percentage=percentage, cancellable=True)
            self._server.work_done_progress.report(self._token, value)

    async def _begin(self) -> None:
        progress = self._server.work_done_progress
        if self._token is None and self._server.able.shows_progress:
            token = str(uuid.uuid4())
            # A client that declines a token is worked for without progress.
            with contextlib.suppress(Exception):
                await progress.create_async(token)
                self._token = token
        if self._token is not None:
            begin = types.WorkDoneProgressBegin(title=self._title, cancellable=True, percentage=0)
            progress.begin(self._token, begin)
            self._open = True

    def _end(self, outcome: str) -> None:
        if self._open and self._token is not None:
            self._server.work_done_progress.end(self._token, types.WorkDoneProgressEnd(message=outcome))
            self._server.work_done_progress.tokens.pop(self._token, None)
            self._open = False
