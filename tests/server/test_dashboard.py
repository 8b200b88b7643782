"""The dashboard's routes: who gets in, what they see, what a hostile candidate or page gets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from kernelevolve.evaluation.judge.device_lock import device_lock, held_devices
from kernelevolve.evaluation.verdict import CaseTiming, Interval, Speed
from kernelevolve.profilers.report import ProfileReport
from kernelevolve.search.node import SearchState
from kernelevolve.search.store import Store
from kernelevolve.server.dashboard import rooms
from kernelevolve.server.dashboard.access import SESSION_S, Sessions
from kernelevolve.server.dashboard.guard import FORM_BYTES
from kernelevolve.server.dashboard.live import Streams
from kernelevolve.server.dashboard.marks import BAR_WIDTH, document, interval_bars, source_lines, spark_path
from kernelevolve.server.http import http_app
from kernelevolve.server.tokens import Scope, TokenStore
from tests.server.dashboard_searches import HOSTILE, advance, begun, filled, hostile, made

BASE = "http://127.0.0.1:8770"
PAGES = ("/", "/orders", "/receipts", "/platforms", "/searches/{made}", "/searches/{made}/nodes/30")
DATA = ("/searches/{made}/tree", "/searches/{made}/labels?steps=1", "/searches/{made}/find?q=knob", "/live")
HTML = {"Accept": "text/html"}


@dataclass(frozen=True)
class World:
    """A state folder with searches and tokens."""

    state: Path
    searches: dict[str, str]
    tokens: dict[str, str]

    def client(self, scope: str | None = None, most: Scope = Scope.ADMIN) -> TestClient:
        """A browser, logged in with the token of a scope if one is named."""
        app = http_app(self.state, "127.0.0.1", 8770, self.state, most)
        client = TestClient(app, base_url=BASE, follow_redirects=False, headers=HTML)
        if scope is not None:
            answer = client.post("/dashboard/login", data={"token": self.tokens[scope], "next": "/dashboard/"})
            assert answer.status_code == 303, answer.text
        return client

    def address(self, path: str) -> str:
        return "/dashboard" + path.format(**self.searches)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    state = tmp_path_factory.mktemp("dashboard")
    store = TokenStore(state)
    return World(state, filled(state, 1000), {scope.value: store.create(scope.value, scope)[1] for scope in Scope})


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[World, Store]]:
    """A state folder of a test's own, with a token of each scope and no search."""
    tokens = TokenStore(tmp_path)
    with Store(tmp_path / "searches.sqlite") as store:
        yield World(tmp_path, {}, {scope.value: tokens.create(scope.value, scope)[1] for scope in Scope}), store


def form_key(text: str) -> str:
    found = re.search(r'name="form_key" value="([^"]+)"', text)
    assert found
    return found[1]


class Page(HTMLParser):
    """Elements of a page, with a check that they close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


# -- who gets in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_a_page_leads_who_is_not_logged_in_to_the_login_and_back(world: World, path: str) -> None:
    client = world.client()
    answer = client.get(world.address(path))
    assert answer.status_code == 303
    login = client.get(answer.headers["location"])
    assert login.status_code == 200
    there = next(field["value"] for field in Page(login.text).all("input") if field["name"] == "next")
    answer = client.post("/dashboard/login", data={"token": world.tokens["read"], "next": there})
    assert answer.headers["location"] == world.address(path)
    assert client.get(answer.headers["location"]).status_code == 200


@pytest.mark.parametrize("path", DATA)
def test_data_is_refused_without_a_login(world: World, path: str) -> None:
    answer = world.client().get(world.address(path), headers={"Accept": "application/json"})
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["www-authenticate"]


@pytest.mark.parametrize("token", ["", "kev_wrong", "x" * 4000, "kev_\0"])
def test_a_wrong_token_opens_nothing(world: World, token: str) -> None:
    client = world.client()
    answer = client.post("/dashboard/login", data={"token": token})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text


def test_the_cookie_holds_no_token_and_no_script_or_other_page_gets_at_it(world: World) -> None:
    answer = world.client().post("/dashboard/login", data={"token": world.tokens["read"]})
    cookie = answer.headers["set-cookie"]
    assert "kev_" not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/dashboard"} <= set(cookie.split("; "))
    assert cookie.startswith("kernelevolve_8770=")


@pytest.mark.parametrize(
    "there",
    ["https://evil.example/", "//evil.example", "/mcp", "/dashboard/\\evil", "/dashboard/\r\nX: y", "javascript:1"],
)
def test_the_login_leads_to_no_other_place(world: World, there: str) -> None:
    answer = world.client().post("/dashboard/login", data={"token": world.tokens["read"], "next": there})
    assert answer.headers["location"] == "/dashboard/"
    assert "x" not in answer.headers


def test_a_bearer_token_serves_as_it_does_at_mcp(world: World) -> None:
    client = world.client()
    path = world.address("/searches/{made}/tree")
    assert client.get(path, headers={"Authorization": f"Bearer {world.tokens['read']}"}).status_code == 200
    for wrong in ("Bearer kev_wrong", "Bearer", "Basic eDp5", f"Token {world.tokens['read']}"):
        assert client.get(path, headers={"Authorization": wrong, "Accept": "*/*"}).status_code == 401


def test_a_revoked_token_s_session_ends_at_once(small: tuple[World, Store]) -> None:
    world, _store = small
    client = world.client("read")
    assert client.get("/dashboard/").status_code == 200
    TokenStore(world.state).revoke("read")
    assert client.get("/dashboard/").status_code == 303
    # A new token of the same name is another token.
    TokenStore(world.state).create("read", Scope.READ)
    assert client.get("/dashboard/").status_code == 303


def test_a_session_ends_after_its_time_and_by_logging_out(tmp_path: Path) -> None:
    now = [0.0]
    tokens = TokenStore(tmp_path)
    _token, secret = tokens.create("ada", Scope.ADMIN)
    sessions = Sessions(tokens, Scope.SEARCH, clock=lambda: now[0])
    name, other = sessions.open(secret), sessions.open(secret)
    assert name is not None
    assert other is not None
    assert name != other
    caller = sessions.caller(name)
    assert caller is not None
    assert caller.scope is Scope.SEARCH
    sessions.close(other)
    assert sessions.caller(other) is None
    now[0] = SESSION_S + 1
    assert sessions.caller(name) is None
    assert sessions.caller("guessed") is None


def test_logging_out_needs_the_key_and_forgets_the_session(world: World) -> None:
    client = world.client("read")
    key = form_key(client.get("/dashboard/").text)
    assert client.post("/dashboard/logout", data={"form_key": "guessed"}).status_code == 403
    kept = client.cookies.get("kernelevolve_8770")
    assert client.post("/dashboard/logout", data={"form_key": key}).status_code == 303
    client.cookies.set("kernelevolve_8770", str(kept), path="/dashboard")
    assert client.get("/dashboard/").status_code == 303


def test_tokens_that_cannot_be_read_let_nobody_in_and_tell_no_paths(small: tuple[World, Store]) -> None:
    world, _store = small
    client = world.client("read")
    (world.state / "tokens.json").write_text("{")
    answer = client.get("/dashboard/")
    assert answer.status_code == 503
    assert str(world.state) not in answer.text


@pytest.mark.parametrize("path", ["/", "/login", "/static/main.js", "/live"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 421), ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403)],
)
def test_other_hosts_and_origins_are_refused(world: World, path: str, headers: dict[str, str], status: int) -> None:
    assert world.client("admin").get(f"/dashboard{path}", headers=headers).status_code == status


def test_another_page_can_not_log_a_browser_in(world: World) -> None:
    data = {"token": world.tokens["read"]}
    refused = world.client().post("/dashboard/login", data=data, headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    assert world.client().post("/dashboard/login", data=data, headers={"Origin": BASE}).status_code == 303


def test_large_and_broken_forms_are_refused(world: World) -> None:
    client = world.client()
    assert client.post("/dashboard/login", content=b"token=" + b"x" * FORM_BYTES).status_code == 413
    assert client.post("/dashboard/login", content=b"\xff\xfe").status_code == 413
    assert client.post("/dashboard/login", content="&".join("a=1" for _ in range(100))).status_code == 413


def test_the_root_leads_to_the_dashboard_and_mcp_stays_what_it_was(world: World) -> None:
    client = world.client()
    assert client.get("/").headers["location"] == "/dashboard/"
    assert client.get("/healthz").text == "ok"
    assert client.post("/mcp", json={}).status_code == 401


# -- what stopping needs ----------------------------------------------------------------------------------------------


def test_stopping_needs_the_scope_and_the_key(small: tuple[World, Store]) -> None:
    world, store = small
    search_id = begun(store).search_id
    path = f"/dashboard/searches/{search_id}"
    reader, writer, limited = world.client("read"), world.client("search"), world.client("admin", Scope.READ)
    assert f"{path}/stop" not in reader.get(path).text
    assert f"{path}/stop" not in limited.get(path).text
    assert f"{path}/stop" in writer.get(path).text
    for client in (reader, limited):
        answer = client.post(f"{path}/stop", data={"form_key": form_key(client.get("/dashboard/").text)})
        assert answer.status_code == 403
        assert "&#39;search&#39;" in answer.text
    assert writer.post(f"{path}/stop", data={}).status_code == 403
    assert writer.get(f"{path}/stop").status_code == 405
    assert store.search(search_id).state is SearchState.RUNNING
    log = [json.loads(line) for line in (world.state / "audit.jsonl").read_text().splitlines()]
    noted = [(entry["caller"], entry["outcome"]) for entry in log if entry["tool"] == "dashboard:stop_search"]
    assert noted == [("read", "refused"), ("admin", "refused")]
    assert [entry["caller"] for entry in log if entry["tool"] == "dashboard:log_in"] == ["read", "search", "admin"]


def test_stopping_ends_the_search(warm_state: Path) -> None:
    secret = TokenStore(warm_state).create("stopper", Scope.SEARCH)[1]
    with Store(warm_state / "searches.sqlite") as store:
        engine = begun(store)
        engine.confirm_winner()
        world = World(warm_state, {}, {"search": secret})
        client = world.client("search")
        path = f"/dashboard/searches/{engine.search_id}"
        answer = client.post(f"{path}/stop", data={"form_key": form_key(client.get(path).text)})
        assert answer.headers["location"] == path
        assert store.search(engine.search_id).state is SearchState.FINISHED
    text = client.get(path).text
    assert "ended: stopped" in text
    last = json.loads((warm_state / "audit.jsonl").read_text().splitlines()[-1])
    assert (last["caller"], last["tool"], last["outcome"]) == ("stopper", "dashboard:stop_search", "ok")
    assert f"{path}/stop" not in text


# -- what pages hold --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, "/login", "/nowhere", "/searches/none", "/searches/{made}/nodes/99999"])
def test_every_page_is_strict_and_can_be_found_one_s_way_in(world: World, path: str) -> None:
    answer = world.client(None if path == "/login" else "read").get(world.address(path))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    page = Page(answer.text)
    assert all(attrs.get("src", "").startswith("/dashboard/static/") for attrs in page.all("script"))  # type: ignore[union-attr]
    assert not page.all("style")
    assert not any(name == "style" or name.startswith("on") for _tag, attrs in page.elements for name in attrs)
    assert [attrs["lang"] for attrs in page.all("html")] == ["en"]
    for landmark in ("header", "main", "h1"):
        assert len(page.all(landmark)) == 1, landmark
    fields = [attrs for attrs in page.all("input") if attrs.get("type") != "hidden"]
    labelled = {attrs.get("for") for attrs in page.all("label")}
    assert all(attrs.get("aria-label") or attrs.get("id") in labelled for attrs in [*fields, *page.all("select")])
    assert all(attrs.get("scope") for attrs in page.all("th"))
    assert all(attrs.get("alt") for attrs in page.all("img"))


def test_the_list_filters_and_pages(small: tuple[World, Store]) -> None:
    world, store = small
    client = world.client("read")
    assert "There are no searches yet" in client.get("/dashboard/").text
    ids = [made(store, 3, task=f"task_{number % 2}/t{number}.py") for number in range(52)]
    running = begun(store, task="other/going.py").search_id

    def listed(query: str) -> set[str]:
        text = client.get(f"/dashboard/{query}").text
        return {search_id for search_id in [*ids, running] if f'/searches/{search_id}"' in text}

    assert len(listed("")) == 50
    assert listed("?page=2") == set(ids[:3])
    assert listed("?state=running") == {running}
    assert listed("?q=t7.py+beam") == {ids[7]}
    assert listed("?q=nothing+like+it") == set()
    assert listed("?page=x") == listed("?page=0") == listed("")
    assert client.get("/dashboard/?part=1").text.startswith('<div id="searches"')


def test_a_search_shows_where_it_stands(world: World) -> None:
    text = world.client("read").get(world.address("/searches/{made}")).text
    with Store(world.state / "searches.sqlite") as store:
        search = store.search(world.searches["made"])
        leader = store.leader(search.search_id)
        assert leader is not None
    assert f"{search.leader_score:.2f}×" in text
    assert f"#{leader.step}</a>" in text
    assert "120 of 120 judged" in text
    assert f'href="/dashboard/searches/{search.search_id}/nodes/{leader.step}"' in text
    assert text.count("data-step=") == 121  # The winner is drawn twice: as judged, and as confirmed.
    assert "search ended: evaluations" in text
    part = world.client("read").get(world.address("/searches/{made}?part=1")).text
    assert "<html" not in part
    assert {attrs["id"] for tag, attrs in Page(part).elements if "data-region" in attrs} == {"figures", "curve", "side"}


def test_the_curve_of_a_large_search_stays_small_and_keeps_who_led(world: World) -> None:
    text = world.client("read").get(world.address("/searches/{large}")).text
    assert len(text) < 300_000
    with Store(world.state / "searches.sqlite") as store:
        leads = rooms.overview(store).leads(world.searches["large"])
    assert len(leads) > 2
    for step, _speedup in leads:
        assert f"step {step}: " in text


def test_a_node_shows_source_difference_times_and_family(world: World) -> None:
    client = world.client("read")
    with Store(world.state / "searches.sqlite") as store:
        nodes = store.nodes(world.searches["made"])
        right = next(node for node in nodes if node.viable and node.parents and node.children)
        wrong = next(node for node in nodes if not node.viable)
        source = store.candidate(right).source
    page = Page(client.get(world.address(f"/searches/{{made}}/nodes/{right.step}")).text)
    text = "".join(page.text)
    assert all(line in text for line in source.splitlines())
    assert f"Difference to #{right.parents[0].rpartition('.')[2]}" in text
    assert "pair 0" in text
    assert right.mutation in text
    text = client.get(world.address(f"/searches/{{made}}/nodes/{wrong.step}")).text
    assert "Why it was refused" in text
    assert "A knob is at a setting that breaks the candidate." in text
    saved = client.get(world.address(f"/searches/{{made}}/nodes/{right.step}/source"))
    assert saved.text == source
    assert saved.headers["content-type"].startswith("text/plain")
    assert saved.headers["content-disposition"].startswith("attachment")


def test_a_node_without_a_profile_has_no_pictures_and_one_with_a_profile_has(world: World) -> None:
    client = world.client("read")
    path = world.address("/searches/{made}/nodes/0")
    for picture in ("roofline", "timeline", "secret"):
        assert client.get(f"{path}/{picture}.svg").status_code == 404
    recorded = Path(__file__).parents[2] / "benchmarks" / "results" / "h200" / "reports.json"
    with Store(world.state / "searches.sqlite") as store:
        node = store.node(f"{world.searches['made']}.0")
    report = next(
        report
        for report in _reports(recorded)
        if report.roofline and report.timeline is not None and report.bottlenecks
    ).model_copy(update={"source_hash": node.source_hash, "platform": "cpu"})
    folder = world.state / "profiles" / f"{node.source_hash[:16]}-cpu-case"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(report.model_dump_json())
    text = client.get(path).text
    assert report.bottlenecks[0].summary in "".join(Page(text).text)
    for picture in ("roofline", "timeline"):
        answer = client.get(f"{path}/{picture}.svg")
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "script-src" not in answer.headers["content-security-policy"]
        assert answer.text.startswith("<svg")


def _reports(path: Path) -> list[ProfileReport]:
    found: list[ProfileReport] = []

    def look(value: Any) -> None:
        if isinstance(value, dict) and "schema_version" in value:
            found.append(ProfileReport.model_validate(value))
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                look(inner)

    look(json.loads(path.read_text()))
    return found


@pytest.mark.parametrize(
    "path", ["/", "/searches/{hostile}", "/searches/{hostile}/nodes/1", "/orders", "/?q=%3Cscript%3E"]
)
def test_texts_of_candidates_stay_texts(world: World, path: str) -> None:
    page = Page(world.client("read").get(world.address(path)).text)
    assert not page.all("img")
    assert len(page.all("script")) == 2
    assert "\u202e" not in "".join(page.text)
    if "nodes" in path:
        assert HOSTILE.replace("\u202e", "⟨U+202E⟩") in "".join(page.text)


def test_a_hostile_source_is_saved_as_it_is_and_shown_as_text(world: World) -> None:
    answer = world.client("read").get(world.address("/searches/{hostile}/nodes/1/source"))
    assert HOSTILE in answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    lines, more = source_lines(f"x = '''{HOSTILE}\n'''\n<b>", "triton")
    assert more == 0
    assert not any("<script" in line or "<img" in line or "<b>" in line for line in lines)
    lines, more = source_lines("<b>\n" * 100_000, "cpp")
    assert len(lines) + more == 100_000
    assert lines[0] == "&lt;b&gt;"


def test_documents_hold_no_html_and_no_foreign_pictures() -> None:
    text = document(
        "<script>x</script>\n\n[a](knowledge://chips/h100) [b](javascript:alert(1)) [c](https://x.example)\n\n"
        "![p](https://x.example/p.png)\n\n| n |\n| --: |\n| 1 |\n"
    )
    assert "<script" not in text
    assert "<img" not in text
    assert 'href="/dashboard/knowledge/documents/chips/h100"' in text
    assert 'href="javascript' not in text
    assert 'href="https://x.example" rel="noreferrer noopener"' in text
    assert "style=" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd",
        "/static/....//app.py",
        "/knowledge/documents/../../tokens.json", "/knowledge/documents/%2e%2e/%2e%2e/tokens.json",
        "/searches/..%2f..%2ftokens.json", "/searches/{made}/nodes/0/..%2f..%2froofline.svg", "/searches/{made}.0",
    ],
)  # fmt: skip
def test_paths_lead_nowhere_else(world: World, path: str) -> None:
    answer = world.client("admin").get(world.address(path))
    assert answer.status_code in (404, 405), answer.text[:200]
    assert "digest" not in answer.text
    assert "root:" not in answer.text
    assert "def " not in answer.text


@pytest.mark.parametrize(
    "query",
    ["?steps=", "?steps=a,b", "?steps=1,,2", "?after=x", "?after=-5", "?after=999999999999999", "?steps=" + "9" * 400],
)
def test_nonsense_in_addresses_is_no_error_of_the_server(world: World, query: str) -> None:
    client = world.client("read")
    for kind in ("tree", "labels", "find"):
        assert client.get(world.address(f"/searches/{{made}}/{kind}{query}")).status_code == 200
    assert client.get("/dashboard/live?after=x").status_code == 400
    assert client.get("/dashboard/live?search=none").status_code == 404


def test_the_tree_comes_whole_in_part_and_by_name(world: World) -> None:
    client = world.client("read")

    def tree(query: str) -> dict[str, Any]:
        answer: dict[str, Any] = client.get(world.address(f"/searches/{{made}}/tree{query}")).json()
        return answer

    with Store(world.state / "searches.sqlite") as store:
        nodes = store.nodes(world.searches["made"])
    whole = tree("")
    assert whole["first"] == 0
    assert whole["parents"] == [int(node.parents[0].rpartition(".")[2]) if node.parents else -1 for node in nodes]
    assert whole["speedups"] == [round(node.score.speedup, 3) if node.viable else 0.0 for node in nodes]
    kinds = [whole["kinds"][index] for index in whole["kind"]]
    assert kinds[whole["leader"]] == "confirmed"
    assert kinds.count("wrong") == sum(node.status.value == "wrong" for node in nodes)
    late = tree("?after=100")
    assert late["first"] == 101
    assert late["parents"] == whole["parents"][101:]
    named = tree("?steps=7,3,5000")
    assert named["steps"] == [3, 7]
    labels = client.get(world.address("/searches/{made}/labels?steps=0,1,5000")).json()
    assert labels["0"][0].startswith("starting point")
    assert labels["1"][0] == nodes[1].mutation
    assert set(labels) == {"0", "1"}


def test_nodes_are_found_by_their_texts(world: World) -> None:
    client = world.client("read")

    def find(words: str) -> list[int]:
        steps: list[int] = client.get(world.address("/searches/{made}/find"), params={"q": words}).json()["steps"]
        return steps

    with Store(world.state / "searches.sqlite") as store:
        nodes = store.nodes(world.searches["made"])
    assert sorted(find("KNOB 5 to")) == [node.step for node in nodes if "knob 5 to" in node.mutation]
    assert sorted(find("wrong")) == [node.step for node in nodes if node.status.value == "wrong"]
    assert find("#7") == [7]
    assert find("7000") == []
    assert find("%") == find("") == []


def test_what_a_caller_may_not_see_is_nowhere(small: tuple[World, Store]) -> None:
    world, store = small
    hidden = made(store, 20, owner="search", shared=False)
    mine = made(store, 3, owner="read", shared=False)
    world.searches.update(made=hidden)
    stranger, owner, admin = (world.client(scope) for scope in ("read", "search", "admin"))
    for path in ("/", "/orders", "/receipts", "/platforms"):
        assert hidden not in stranger.get(world.address(path)).text
    assert mine in stranger.get(world.address("/")).text
    assert hidden in owner.get(world.address("/")).text
    assert {search_id in admin.get(world.address("/")).text for search_id in (hidden, mine)} == {True}
    paths = ("", "/tree", "/labels?steps=1", "/find?q=knob", "/nodes/1", "/nodes/1/source", "/nodes/1/roofline.svg")
    for path in paths:
        answer = stranger.get(world.address(f"/searches/{{made}}{path}"))
        assert answer.status_code == 404
        assert "knob" not in answer.text
        if "roofline" not in path:
            assert owner.get(world.address(f"/searches/{{made}}{path}")).status_code == 200


def test_orders_under_way_are_listed(small: tuple[World, Store]) -> None:
    world, store = small
    client = world.client("read")
    assert "Nobody holds an order" in client.get("/dashboard/orders").text
    engine = begun(store)
    order = engine.next_order()
    assert order is not None
    text = client.get("/dashboard/orders").text
    assert order.order_id.rpartition(".")[2] in text
    assert "being written" in text
    assert "ada" in text
    assert "lease ends in" in client.get(f"/dashboard/searches/{engine.search_id}").text
    store.reserve(order.order_id, engine.search_id, "0" * 64, 60.0)
    assert "being judged" in client.get("/dashboard/orders").text
    assert order.order_id.rpartition(".")[2] in client.get("/dashboard/platforms").text


def test_receipts_show_whether_their_chain_holds(small: tuple[World, Store]) -> None:
    world, store = small
    search_id = made(store, 12)
    client = world.client("read")
    assert "Nothing has been judged" in client.get("/dashboard/receipts").text
    previous, lines = "0" * 64, []
    for node in store.nodes(search_id):
        receipt = store.verdict(node).receipt.model_copy(update={"previous": previous, "receipt_hash": ""}).sealed()
        previous = receipt.receipt_hash
        lines.append(receipt.model_dump_json())
    ledger = world.state / "receipts.jsonl"
    ledger.write_text("\n".join(lines) + "\n")
    text = client.get("/dashboard/receipts").text
    assert "every link between neighbours holds" in text
    assert f"{search_id}.3</a>" in text
    assert previous[:16] in text
    ledger.write_text("\n".join([*lines[:5], *lines[6:]]) + "\n")
    assert "link broken" in client.get("/dashboard/receipts").text
    ledger.write_text("\n".join([*lines[:5], lines[5].replace('"landscape"', '"forged"'), "{", *lines[6:]]) + "\n")
    text = client.get("/dashboard/receipts").text
    assert "hash wrong" in text
    assert "a line that is no receipt" in text
    assert "A hash or a link is wrong" in text


def test_only_the_newest_receipts_of_a_long_ledger_are_read(small: tuple[World, Store]) -> None:
    world, store = small
    receipt = store.verdict(store.nodes(made(store, 2))[0]).receipt
    line = receipt.model_copy(update={"machine": {"processor": "p" * 3000}}).sealed().model_dump_json()
    (world.state / "receipts.jsonl").write_text(f"{line}\n" * 300)
    text = world.client("read").get("/dashboard/receipts").text
    assert "The newest 100 of" in text


def test_a_device_is_shown_as_held_while_it_is(world: World) -> None:
    with device_lock("dashboard-test", 5.0):
        assert held_devices()["dashboard-test"] is not None
        assert re.search(
            r"Device dashboard-test</th><td><span class=\"status going\">held",
            world.client("read").get("/dashboard/platforms").text,
        )
    assert held_devices()["dashboard-test"] is None


def test_places_to_follow_from_are_counted() -> None:
    streams = Streams(2)
    assert [streams.enter() for _ in range(3)] == [True, True, False]
    streams.leave()
    assert streams.enter()


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_a_spark_rises_with_the_best() -> None:
    assert spark_path([], 10) == ""
    path = spark_path([(0, 1.0), (5, 2.0)], 10)
    ends = [float(number) for number in re.findall(r"[\d.]+", path)]
    assert ends[1] > ends[3]
    assert spark_path([(0, 1.0)], 0).startswith("M2.0 ")


def test_intervals_share_one_axis() -> None:
    def timing(low: float, mid: float, high: float) -> CaseTiming:
        interval = Interval(speedup=mid, low=low, high=high, confidence=0.95, rounds=10)
        return CaseTiming(
            case="c", baseline="eager", weight=1, candidate_ms=1, baseline_ms=mid, interval=interval,
            speed=Speed.FASTER, calls=9,
        )  # fmt: skip

    narrow, wide, endless = interval_bars(
        [timing(0.9, 1.0, 1.1), timing(1.0, 2.0, 4.0), timing(0.5, 1.0, float("inf"))]
    )
    assert narrow.unity == wide.unity == narrow.at
    assert wide.low == narrow.unity
    assert narrow.high < wide.high < BAR_WIDTH == endless.high


def test_the_list_sees_a_search_that_moved(small: tuple[World, Store]) -> None:
    world, store = small
    client = world.client("read")
    engine = begun(store, 3)
    before = client.get("/dashboard/").text
    advance(engine, 60)
    after = client.get("/dashboard/").text
    assert 'd="M' in before
    assert re.findall(r' d="[^"]+"', before) != re.findall(r' d="[^"]+"', after)


def test_a_hostile_search_can_be_made(tmp_path: Path) -> None:
    with Store(tmp_path / "searches.sqlite") as store:
        assert HOSTILE in store.candidate(store.node(f"{hostile(store)}.1")).source


def test_the_knowledge_base_answers_and_its_documents_can_be_read(world: World) -> None:
    client = world.client("read")
    text = client.get("/dashboard/knowledge", params={"q": "shared memory per block", "platform": "H100"}).text
    assert "227 KiB" in text
    links = {str(attrs["href"]) for attrs in Page(text).all("a") if "/documents/" in str(attrs.get("href"))}
    assert len(links) > 3
    for link in links:
        answer = client.get(link)
        assert answer.status_code == 200, link
        Page(answer.text)
    text = client.get("/dashboard/knowledge?kind=constraint").text
    assert len(Page(text).all("tr")) > 5
    for query in ({"q": "x", "platform": "quantum"}, {"q": "x", "kind": "nonsense"}, {"q": "x" * 5000}):
        refused = client.get("/dashboard/knowledge", params=query)
        assert refused.status_code == 400
        assert 'role="alert"' in refused.text
    missing = client.get("/dashboard/knowledge/documents/no/such")
    assert missing.status_code == 404
    assert "There is no document" in missing.text
