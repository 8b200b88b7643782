"""Whose a search is. Over HTTP each belongs to the caller that began it; others are told that there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken

from kernelevolve.search.errors import SearchError
from kernelevolve.server.scopes import Scope

if TYPE_CHECKING:
    from kernelevolve.search.node import SearchRecord

HANDLE_ARGUMENTS = ("search_id", "also", "node", "nodes", "submissions", "extend")
"""Arguments of tools that name a search, a node or an order; handles of the latter two begin with the search's."""
_SCHEME = "search://"


class ForeignSearchError(SearchError):
    """A search is somebody else's; the caller is told what it would be told if there were none."""


def caller() -> str:
    """Name of the caller's token; empty for a client on stdio, which started the server itself."""
    token = get_access_token()
    return "" if token is None else token.client_id


def scope_of(token: AccessToken | None) -> Scope:
    """What a caller's token allows; everything where there is none, on stdio."""
    if token is None:
        return Scope.ADMIN
    known = [Scope(scope) for scope in token.scopes if scope in set(Scope)]
    return max(known, key=list(Scope).index, default=Scope.READ)


def may_see(name: str, scope: Scope, search: SearchRecord) -> bool:
    """Whether a caller may see a search, and work on it as far as its scope goes."""
    return scope is Scope.ADMIN or search.shared or search.owner == name


def sees_everything() -> bool:
    """Whether the present caller may see what belongs to others."""
    return scope_of(get_access_token()) is Scope.ADMIN


def seen_by_caller(search: SearchRecord) -> bool:
    """`may_see` of the present caller."""
    return may_see(caller(), scope_of(get_access_token()), search)


def searches_in(method: str, params: Mapping[str, Any]) -> Iterator[str]:
    """Ids of the searches that a message names, whether they exist or not.

    Args:
        method: the protocol's, e.g. `tools/call`.
        params: the message's parameters as they came in.
    """
    if method == "tools/call":
        given = params.get("arguments")
        for argument in HANDLE_ARGUMENTS:
            for handle in _handles(given.get(argument)) if isinstance(given, Mapping) else ():
                yield handle.strip().partition(".")[0]
    elif method in ("resources/read", "resources/subscribe", "subscriptions/listen"):
        for uri in _strings(list(params.values())):
            if uri.lower().startswith(_SCHEME):
                yield re.split(r"[/?#]", uri[len(_SCHEME) :], maxsplit=1)[0]


def refuse_what_is_not_theirs(
    token: AccessToken, method: str, params: Mapping[str, Any], find: Callable[[str], SearchRecord]
) -> None:
    """Check every search that a message names.

    Args:
        token: the caller's.
        method: the protocol's.
        params: the message's parameters.
        find: the search of an id.

    Raises:
        ForeignSearchError: it is somebody else's.
        SearchError: there is no such search.
    """
    scope = scope_of(token)
    if scope is Scope.ADMIN:
        return
    for search_id in dict.fromkeys(searches_in(method, params)):
        if not may_see(token.client_id, scope, find(search_id)):
            raise ForeignSearchError.no_search(search_id)


def _handles(value: Any) -> Iterator[str]:
    """Handles in an argument: a string, a list, or submissions, which have one each."""
    for entry in value if isinstance(value, list) else [value]:
        handle = entry.get("order_id") if isinstance(entry, Mapping) else entry
        # What is no string is refused as an argument afterwards.
        if isinstance(handle, str):
            yield handle


def _strings(value: Any) -> Iterator[str]:
    """All strings inside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _strings(entry)
    elif isinstance(value, Mapping):
        yield from _strings(list(value.values()))
