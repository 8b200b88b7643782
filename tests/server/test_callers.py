"""Several callers of one server: whose a search is, and what strangers to it are told."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from kernelevolve.search.store import Store
from kernelevolve.server.mcp_server import create_server
from kernelevolve.server.ownership import HANDLE_ARGUMENTS, searches_in
from kernelevolve.server.tokens import Scope, TokenStore
from tests.conftest import SCALE_CPP
from tests.server.test_http import Served, served, talk  # noqa: F401 - the fixture is used by its name

MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
}
SLOWER_CPP = SCALE_CPP + "\n// slower\n"


@pytest.fixture(scope="module")
def people(served: Served) -> dict[str, str]:  # noqa: F811
    store = TokenStore(served.state)
    secrets = {name: store.create(name, Scope.SEARCH)[1] for name in ("alice", "bob")}
    return {**secrets, "admin": served.tokens["admin"]}


def begin(served: Served, token: str, **more: Any) -> dict[str, Any]:  # noqa: F811
    arguments = {"task": "scale.py", "source": SCALE_CPP, "language": "cpp", "evaluations": 5, **more}
    answer = talk(served, token, lambda client: client.call_tool("start_search", arguments))
    assert not answer.is_error, answer.content[0].text
    return answer.structured_content


@pytest.fixture(scope="module")
def hers(served: Served, people: dict[str, str]) -> dict[str, Any]:  # noqa: F811
    """A search of Alice's, with one order open."""
    return begin(served, people["alice"])


def intrusions(search: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    search_id = search["summary"]["search_id"]
    order = search["orders"][0]["order"]["order_id"]
    pattern = {
        "name": "Write less", "about": "stores", "mechanism": "m", "method": "m", "structure": "s", "conditions": "c"
    }  # fmt: skip
    return [
        *(("get_search", {"search_id": search_id, "view": view}) for view in ("summary", "best", "tree", "events")),
        ("get_search", {"search_id": f" {search_id}"}),
        ("run_search_step", {"search_id": search_id}),
        ("run_search_step", {"search_id": search_id, "submissions": [{"order_id": order, "source": SLOWER_CPP}]}),
        ("run_search_step", {"search_id": search_id, "extend": [order]}),
        ("profile_kernel", {"node": f"{search_id}.0"}),
        ("store_pattern", {"nodes": [f"{search_id}.0"], "pattern": pattern}),
    ]


def test_a_stranger_is_told_that_there_is_no_such_search(
    served: Served,  # noqa: F811
    people: dict[str, str],
    hers: dict[str, Any],
) -> None:
    mine = begin(served, people["bob"])["summary"]["search_id"]
    search_id, order = hers["summary"]["search_id"], hers["orders"][0]["order"]["order_id"]
    for tool, arguments in intrusions(hers):
        refused = talk(served, people["bob"], lambda client, t=tool, a=arguments: client.call_tool(t, a))
        assert refused.is_error
        made_up = json.loads(json.dumps(arguments).replace(search_id, "zzzzzzzzzzzz"))
        unknown = talk(served, people["bob"], lambda client, t=tool, a=made_up: client.call_tool(t, a))
        # Word for word what is said of a search that does not exist.
        assert refused.content[0].text == unknown.content[0].text.replace("zzzzzzzzzzzz", search_id)
    # Nor through the back door of one's own search.
    for arguments in ({"submissions": [{"order_id": order, "source": SLOWER_CPP}]}, {"extend": [order]}):
        step = {"search_id": mine, **arguments}
        refused = talk(served, people["bob"], lambda client, a=step: client.call_tool("run_search_step", a))
        assert refused.is_error
        assert "no search" in refused.content[0].text
    with Store(served.state / "searches.sqlite") as store:
        assert store.search(search_id).step == 0
        assert store.search(search_id).owner == "alice"


@pytest.mark.parametrize("path", ["", "/nodes/0", "/verdicts/0", "/orders/1"])
@pytest.mark.parametrize("prefix", ["search://", "SEARCH://"])
def test_resources_of_others_are_not_there(
    served: Served,  # noqa: F811
    people: dict[str, str],
    hers: dict[str, Any],
    path: str,
    prefix: str,
) -> None:
    async def read(client: Client) -> str:
        try:
            return "read: " + str(await client.read_resource(f"{prefix}{hers['summary']['search_id']}{path}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must say nothing
            return str(error)

    assert not talk(served, people["bob"], read).startswith("read")
    if prefix == "search://":
        assert talk(served, people["alice"], read).startswith("read")
        assert talk(served, people["admin"], read).startswith("read")


def test_the_owner_and_an_admin_get_in(
    served: Served,  # noqa: F811
    people: dict[str, str],
    hers: dict[str, Any],
) -> None:
    arguments = {"search_id": hers["summary"]["search_id"], "view": "best"}
    for name in ("alice", "admin"):
        answer = talk(served, people[name], lambda client: client.call_tool("get_search", arguments))
        assert not answer.is_error
        assert SCALE_CPP.strip() in answer.content[0].text


def test_a_shared_search_is_for_all_who_may_search(served: Served, people: dict[str, str]) -> None:  # noqa: F811
    shared = begin(served, people["alice"], shared=True)
    step = {
        "search_id": shared["summary"]["search_id"],
        "submissions": [{"order_id": shared["orders"][0]["order"]["order_id"], "source": SLOWER_CPP}],
    }
    answer = talk(served, people["bob"], lambda client: client.call_tool("run_search_step", step))
    assert not answer.is_error, answer.content[0].text
    assert answer.structured_content["answers"][0]["accepted"]


def test_the_audit_log_names_the_searches(served: Served, people: dict[str, str], hers: dict[str, Any]) -> None:  # noqa: F811
    search_id = hers["summary"]["search_id"]
    talk(served, people["bob"], lambda client: client.call_tool("get_search", {"search_id": search_id}))
    last = json.loads((served.state / "audit.jsonl").read_text().splitlines()[-1])
    assert (last["caller"], last["tool"], last["outcome"]) == ("bob", "get_search", "refused")
    assert last["searches"] == [search_id]


def test_every_argument_that_names_a_search_is_checked(tmp_path: Path) -> None:
    async def tools() -> list[Any]:
        async with Client(create_server(tmp_path)) as client:
            return list((await client.list_tools()).tools)

    for tool in anyio.run(tools):
        for name, schema in tool.input_schema["properties"].items():
            names_one = re.search(r"search_?id|<search|lease|searches of", f"{name} {json.dumps(schema)}")
            numbers = schema.get("type") in ("integer", "number")
            assert name in HANDLE_ARGUMENTS or not names_one or numbers, f"{tool.name}: {name}"


@pytest.mark.parametrize(
    ("method", "params", "found"),
    [
        ("tools/call", {"arguments": {"search_id": "abc.3", "nodes": ["d.1", "e.o2", 5]}}, ["abc", "d", "e"]),
        ("tools/call", {"arguments": {"submissions": [{"order_id": "a.o1", "source": "b.c"}, "x", {}]}}, ["a", "x"]),
        ("tools/call", {"arguments": None}, []),
        ("tools/call", {"arguments": {"search_id": {"order_id": ["a"]}, "node": None}}, []),
        ("resources/read", {"uri": "SEARCH://abc/nodes/1"}, ["abc"]),
        ("resources/read", {"uri": "search://abc?x#y"}, ["abc"]),
        ("resources/read", {"uri": "knowledge://abc"}, []),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["search://abc/tree"]}}, ["abc"]),
        ("prompts/get", {"arguments": {"search_id": "abc"}}, []),
    ],
)
def test_handles_are_found_wherever_they_stand(method: str, params: dict[str, Any], found: list[str]) -> None:
    assert list(searches_in(method, params)) == found


def test_a_thousand_random_requests_do_no_harm(served: Served, people: dict[str, str], hers: dict[str, Any]) -> None:  # noqa: F811
    """Valid requests with anything in place of anything: each is answered, none with what it should not see."""
    chance = random.Random(20)
    search_id = hers["summary"]["search_id"]
    rubbish: list[Any] = [
        None, True, -1, 1e308, "", "x" * 5000, "../../etc/passwd", "\0", "\ud7ff", "kev_", search_id, [], {}, [[]],
        {"$ref": "#"}, {"order_id": search_id}, f"search://{search_id}/nodes/0", "aten::softmax", "file:///etc/passwd",
    ]  # fmt: skip
    methods = [
        "tools/list", "tools/call", "resources/list", "resources/read", "resources/templates/list", "prompts/list",
        "prompts/get", "completion/complete", "initialize", "ping", "server/discover", "tasks/get", "nonsense/x",
    ]  # fmt: skip
    names = ["get_search", "run_search_step", "profile_kernel", "store_pattern", "retrieve_hardware_docs", "nothing"]
    keys = ["search_id", "node", "nodes", "submissions", "extend", "view", "step", "query", "pattern", "limit", "seed"]
    session = served.post(people["bob"]).headers["mcp-session-id"]
    answered = 0
    for _ in range(1000):
        arguments = {chance.choice(keys): chance.choice(rubbish) for _ in range(chance.randrange(5))}
        method, name = chance.choice(methods), chance.choice(names)
        params: Any = {"name": name, "arguments": arguments, "uri": f"search://{search_id}", "_meta": MODERN}
        if chance.random() < 0.3:
            params[chance.choice(["arguments", "uri", "ref", "argument", "_meta"])] = chance.choice(rubbish)
        request: Any = {"jsonrpc": "2.0", "id": chance.randrange(9), "method": method, "params": params}
        if chance.random() < 0.1:
            request[chance.choice(list(request))] = chance.choice(rubbish)
        headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
        if chance.random() < 0.5:
            about = params["uri"] if method == "resources/read" else name
            headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": str(about)}
            headers = {key: value.encode("ascii", "replace").decode()[:200] for key, value in headers.items()}
            headers = {key: value if value.isprintable() else "?" for key, value in headers.items()}
        answer = served.post(people["bob"], headers, content=json.dumps(request))
        assert answer.status_code < 500, request
        answered += answer.status_code == 200
        for secret in (SCALE_CPP[:40], "root:", "Traceback", *people.values()):
            assert secret not in answer.text, request
    # Most must have come past the door.
    assert answered > 500
    assert served.post(people["bob"]).status_code == 200
    with Store(served.state / "searches.sqlite") as store:
        assert store.search(search_id).step == 0
