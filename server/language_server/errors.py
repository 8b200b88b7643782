"""Errors that a client is told."""

from __future__ import annotations

from lsprotocol import types
from pygls.exceptions import JsonRpcException


class Refused(JsonRpcException):
    """A request that cannot be served now, with what to do about it."""

    CODE = types.LSPErrorCodes.RequestFailed.value

    def __init__(self, message: str, data: object = None) -> None:
        super().__init__(message, self.CODE, data)


class WrongArguments(JsonRpcException):
    """A command was called with arguments that make no sense."""

    CODE = types.ErrorCodes.InvalidParams.value

    def __init__(self, message: str) -> None:
        super().__init__(message, self.CODE)
