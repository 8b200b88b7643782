"""The dashboard in a real browser: headless Chromium against a real server, on searches that the engine made."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.store import Store
from kernelevolve.server.dashboard.mcp_app import search_tree_page
from kernelevolve.server.http import http_app
from kernelevolve.server.limits import Limits
from kernelevolve.server.tokens import Scope, TokenStore
from kernelevolve.tools.searches import get_search
from tests.server.dashboard_searches import advance, begun, filled

LARGE = 20_000
ROW = 28
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A server in a thread, and what it serves."""

    base: str
    state: Path
    searches: dict[str, str]
    secret: str


@contextmanager
def serving(state: Path) -> Iterator[str]:
    """Serve a state folder over real HTTP; the address of its dashboard."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    # Without a lifespan: MCP is not asked, so no judge need be warm.
    app = http_app(state, "127.0.0.1", port, state, limits=Limits(60_000, 10_000, 60_000))
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="error", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}/dashboard"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    state = tmp_path_factory.mktemp("site")
    searches = filled(state, LARGE)
    secret = TokenStore(state).create("ada", Scope.SEARCH)[1]
    with serving(state) as base:
        yield Site(base, state, searches, secret)


@dataclass
class Tab:
    """A page of the browser, and whatever it complained of."""

    page: Any
    site: Site
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(self.site.base + path.format(**self.site.searches))

    def wait(self, script: str) -> None:
        # Playwright's own waiting evaluates text inside the page, which its policy forbids.
        for _ in range(400):
            if self.ask(script):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {script}")

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def open_tree(self, search: str) -> None:
        self.go(f"/searches/{{{search}}}")
        self.wait("document.querySelectorAll('#tree .row .label:not(:empty)').length > 0")
        self.page.focus("#tree")

    def chosen(self) -> int:
        return int(self.ask("document.querySelector('.row.chosen .step').textContent.slice(1)"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on PATH")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def tab(browser: Any, site: Site) -> Iterator[Tab]:
    context = browser.new_context(color_scheme="light", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    found = Tab(page, site)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("console", lambda said: found.complaints.append(said.text) if said.type in ("error", "warning") else None)
    found.go("/login")
    page.fill("#token", site.secret)
    page.press("#token", "Enter")
    page.wait_for_url(f"{site.base}/")
    yield found
    context.close()
    assert found.complaints == []


def test_a_token_logs_in_once_and_scripts_never_see_the_session(tab: Tab) -> None:
    assert tab.ask("document.cookie") == ""
    assert tab.ask("location.href").endswith("/dashboard/")
    (cookie,) = tab.page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert tab.site.secret not in json.dumps(cookie)
    tab.page.click("text=Log out")
    tab.page.wait_for_url(f"{tab.site.base}/login")
    tab.go("/orders")
    assert "/login?next=" in tab.ask("location.href")
    tab.page.fill("#token", "kev_wrong")
    tab.page.press("#token", "Enter")
    tab.page.wait_for_selector("[role=alert]")
    # The browser itself notes the refused login.
    assert all("401" in complaint for complaint in tab.complaints)
    tab.complaints.clear()


def test_the_tree_can_be_walked_with_the_keyboard(tab: Tab) -> None:
    tab.open_tree("made")
    tab.press("Home")
    assert tab.chosen() == 0
    tab.press("j", "ArrowDown")
    second = tab.chosen()
    tab.press("k")
    assert tab.chosen() not in (0, second)
    tab.press("b")
    best = tab.chosen()
    assert tab.ask("document.querySelector('.row.chosen .badge').textContent") == "best"
    active = tab.ask("document.getElementById('tree').getAttribute('aria-activedescendant')")
    assert tab.ask(f"document.getElementById('{active}').getAttribute('aria-selected')") == "true"
    assert tab.ask("getComputedStyle(document.getElementById('tree')).outlineStyle") != "none"
    tab.press("Enter")
    tab.page.wait_for_url(f"**/nodes/{best}")
    tab.press("j")
    tab.page.wait_for_url(f"**/nodes/{best + 1}")
    tab.press("ArrowLeft")
    tab.page.wait_for_url(f"**/nodes/{best}")
    tab.press("u")
    tab.page.wait_for_url(f"**/searches/{tab.site.searches['made']}")
    tab.press("u")
    tab.page.wait_for_url(f"{tab.site.base}/")


def test_branches_fold_and_unfold(tab: Tab) -> None:
    tab.open_tree("made")
    tab.press("Home")
    tab.page.click("[data-fold=shut]")
    assert tab.ask("document.querySelectorAll('#tree .row').length") == 1
    assert tab.ask("document.querySelector('.folded').textContent").startswith("+119, best 1.")
    tab.page.focus("#tree")
    tab.press("ArrowRight")
    assert tab.ask("document.querySelector('#tree .row').getAttribute('aria-expanded')") == "true"
    assert tab.ask("document.querySelectorAll('#tree .row').length") > 1
    tab.press("ArrowRight")
    assert tab.chosen() != 0
    tab.press("ArrowLeft", "ArrowLeft")
    assert tab.chosen() == 0
    tab.page.click("[data-fold=open]")
    assert tab.ask("document.querySelector('.tree-canvas').style.height") == f"{120 * ROW}px"


def test_a_point_of_the_curve_leads_to_its_candidate(tab: Tab) -> None:
    tab.open_tree("made")
    tab.page.click("#curve [data-step='12'] path", force=True)
    tab.page.wait_for_url("**/nodes/12")


def test_the_list_and_the_help_answer_to_keys(tab: Tab) -> None:
    tab.press("j", "j")
    rows = tab.ask(
        "[...document.querySelectorAll('[data-rows] tbody tr')].findIndex(row => row.contains(document.activeElement))"
    )
    assert rows == 1
    tab.press("?")
    assert tab.ask("document.getElementById('help').open")
    tab.press("Escape")
    assert not tab.ask("document.getElementById('help').open")
    tab.press("/")
    tab.page.keyboard.type("attention")
    tab.press("Enter")
    tab.page.wait_for_url("**q=attention**")
    assert tab.ask("document.querySelectorAll('[data-rows] tbody tr').length") == 1
    tab.press("j", "Enter")
    tab.page.wait_for_url(f"**/searches/{tab.site.searches['large']}")


def test_the_tree_is_searched_from_the_keyboard(tab: Tab) -> None:
    tab.open_tree("large")
    tab.press("/")
    tab.page.keyboard.type("change 19999 of")
    tab.wait("document.querySelector('#tree .match .step')?.textContent === '#19999'")
    assert tab.ask("document.getElementById('tree-note').textContent").startswith("1 of 20,000")
    tab.press("Enter")
    assert tab.chosen() == 19999
    tab.press("Enter")
    tab.page.wait_for_url("**/nodes/19999")


def test_twenty_thousand_candidates_are_few_elements_and_few_bytes(tab: Tab) -> None:
    fetched: dict[str, int] = {}

    def note(answer: Any) -> None:
        if "/live" not in answer.url:
            fetched[answer.url.partition("?")[0]] = len(answer.body())

    tab.page.on("response", note)
    tab.open_tree("large")
    tab.page.remove_listener("response", note)
    assert fetched[f"{tab.site.base}/searches/{tab.site.searches['large']}/tree"] < 400_000
    assert sum(fetched.values()) < 800_000
    tab.page.click("[data-fold=open]")
    count = "document.querySelectorAll('*').length"
    assert tab.ask("document.querySelector('.tree-canvas').style.height") == f"{LARGE * ROW}px"
    assert tab.ask("document.querySelectorAll('#tree .row').length") <= 60
    before = tab.ask(count)
    assert before < 4000
    tab.page.focus("#tree")
    tab.press("End")
    assert tab.ask("document.querySelector('#tree').scrollTop") > LARGE * ROW * 0.9
    assert tab.ask(count) < before + 400
    tab.press("k", "k", "PageUp")
    tab.wait("[...document.querySelectorAll('#tree .row .label')].every(label => label.textContent !== '')")
    tab.page.click("[data-fold=shut]")
    assert tab.ask("document.querySelectorAll('#tree .row').length") == 1
    assert tab.ask("document.querySelector('.folded').textContent").startswith("+19,999")


def test_four_hundred_candidates_are_readable(tab: Tab) -> None:
    tab.open_tree("middle")
    tab.page.click("[data-fold=open]")
    tab.wait("[...document.querySelectorAll('#tree .row .label')].every(label => label.textContent !== '')")
    boxes = tab.ask(
        "[...document.querySelectorAll('#tree .row')].map(row => [...row.children].map(part => "
        "{ const box = part.getBoundingClientRect(); return [box.left, box.right, box.width]; }))"
    )
    assert len(boxes) > 20
    for row in boxes:
        for (_left, right, _width), (left, _right, _w) in itertools.pairwise(row):
            assert right <= left + 0.5, "parts of a row overlap"
    assert tab.ask("document.querySelector('#tree .row .label').getBoundingClientRect().width") >= 40


def test_a_page_follows_a_search_that_goes_on(tab: Tab) -> None:
    with Store(tab.site.state / "searches.sqlite") as store:
        engine = begun(store, 4)
        tab.go(f"/searches/{engine.search_id}")
        tab.wait("document.getElementById('following').textContent === 'live'")
        tab.wait("document.getElementById('tree-note').textContent === '5 candidates'")
        advance(engine, 3)
        tab.wait("document.getElementById('tree-note').textContent === '8 candidates'")
        tab.wait("document.querySelector('#figures').textContent.includes('8')")
        tab.wait("document.querySelector('.budget').textContent.includes('8 of 500')")
        order = engine.next_order()
        assert order is not None
        number = order.order_id.rpartition(".")[2]
        tab.wait(f"document.querySelector('#side .feed').textContent.includes('{number}')")
        # What is judged again changes where it stands.
        winner = engine.confirm_winner()
        assert winner is not None
        tab.wait(
            f"[...document.querySelectorAll('.row.confirmed .step')].some(at => at.textContent === '#{winner.step}')"
        )
        # A tab in the background lets go, and hears what it missed when it is looked at again.
        show = "document.dispatchEvent(new Event('visibilitychange'))"
        tab.ask(
            f"Object.defineProperty(document, 'visibilityState', {{ value: 'hidden', configurable: true }}); {show}"
        )
        assert tab.ask("document.getElementById('following').textContent") == "paused"
        engine.submit(order, Candidate(language="triton", source="knob_0 = 1\nknob_1 = 1\n"), "while nobody looked")
        tab.ask(f"delete document.visibilityState; {show}")
        tab.wait("document.getElementById('tree-note').textContent === '9 candidates'")
    tab.go("/")
    tab.wait("document.getElementById('following').textContent === 'live'")
    with Store(tab.site.state / "searches.sqlite") as store:
        search_id = begun(store, 1).search_id
        tab.wait(f"document.querySelector('#searches').textContent.includes('{search_id}')")


def test_what_candidates_say_runs_nowhere(tab: Tab) -> None:
    for path in ("/", "/searches/{hostile}", "/searches/{hostile}/nodes/1", "/orders"):
        tab.go(path)
        if path == "/searches/{hostile}":
            tab.wait("document.querySelectorAll('#tree .row .label:not(:empty)').length > 1")
            shown = tab.ask("document.getElementById('tree').textContent")
            assert "<img src=x" in shown
            assert "⟨U+202E⟩" in shown
            assert "\u202e" not in tab.ask("document.documentElement.outerHTML")
        assert tab.ask("document.title") != "taken"
        assert tab.ask("document.images.length") == 0
        assert tab.ask("document.scripts.length") == 2


def test_colours_follow_the_reader_and_the_switch(browser: Any, tab: Tab) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = tab.ask(colour)
    tab.page.emulate_media(color_scheme="dark")
    dark = tab.ask(colour)
    assert light != dark
    tab.page.click("#theme")
    assert tab.ask(colour) == light
    tab.page.reload()
    assert tab.ask(colour) == light
    tab.page.click("#theme")
    assert tab.ask(colour) == dark


@pytest.mark.parametrize("path", ["/", "/searches/{made}", "/searches/{made}/nodes/30", "/receipts", "/platforms"])
def test_a_narrow_page_does_not_scroll_sideways(tab: Tab, path: str) -> None:
    tab.page.set_viewport_size({"width": 360, "height": 740})
    tab.go(path)
    assert tab.ask("document.documentElement.scrollWidth") <= 360


def test_texts_have_enough_contrast(tab: Tab) -> None:
    script = """() => {
      const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
      };
      const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
      const poor = [];
      for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !element.checkVisibility() || element.closest("svg, .hidden, .skip, option")) continue;
        let behind = [255, 255, 255, 0];
        for (let at = element; at && behind[3] < 255; at = at.parentElement) {
          const found = rgba(getComputedStyle(at).backgroundColor);
          if (found[3] === 255) behind = found;
        }
        const [one, two] = [light(rgba(getComputedStyle(element).color)), light(behind)].sort((a, b) => b - a);
        const ratio = (one + 0.05) / (two + 0.05);
        if (ratio < 4.5) poor.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
      }
      return [...new Set(poor)];
    }"""
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)
        for path in ("/", "/searches/{made}", "/searches/{made}/nodes/12", "/platforms"):
            tab.go(path)
            assert tab.ask(script) == [], f"{scheme} {path}"


# -- the stream of events, as a client of its own sees it -------------------------------------------------------------


def told(site: Site, query: str, headers: dict[str, str], count: int) -> list[tuple[int, dict[str, Any]]]:
    """Number and content of the next events."""
    found: list[tuple[int, dict[str, Any]]] = []
    given = {"Authorization": f"Bearer {site.secret}", **headers}
    with httpx2.stream("GET", f"{site.base}/live{query}", headers=given, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        number = -1
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                number = int(value)
            elif name == "data":
                found.append((number, json.loads(value)))
                if len(found) == count:
                    break
    return found


def test_a_stream_goes_on_where_a_browser_had_got_to(site: Site) -> None:
    with Store(site.state / "searches.sqlite") as store:
        engine = begun(store, 5)
        query = f"?search={engine.search_id}"
        log = [(event.number, event.kind) for event in store.events(engine.search_id)]
        assert [(number, data["kind"]) for number, data in told(site, query, {}, len(log))] == log
        middle = log[4][0]
        # The header counts, not where the address once began.
        resumed = told(site, query + "&after=0", {"Last-Event-ID": str(middle)}, len(log) - 5)
        assert [(number, data["kind"]) for number, data in resumed] == log[5:]
        nodes = {data["node"] for _number, data in resumed if data["kind"] == "node"}
        assert nodes == {node.step for node in store.nodes(engine.search_id) if node.step in nodes}
        advance(engine, 1)
        later = told(site, query, {"Last-Event-ID": str(log[-1][0])}, 2)
        assert [data["kind"] for _number, data in later] == ["order", "node"]


def test_a_stream_ends_when_its_token_is_revoked(site: Site) -> None:
    secret = TokenStore(site.state).create("guest", Scope.READ)[1]
    with httpx2.stream(
        "GET", f"{site.base}/live?after=999999", headers={"Authorization": f"Bearer {secret}"}, timeout=30
    ) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith(":")
        TokenStore(site.state).revoke("guest")
        assert any("not good any more" in line for line in lines)


# -- the tree inside an assistant -------------------------------------------------------------------------------------

HOST = (
    """<!doctype html><title>host</title><iframe id="app" sandbox="allow-scripts" width="900" height="700"></iframe>"""
)
TALK = """([page, first, answers]) => {
  const frame = document.getElementById("app");
  window.heard = [];
  addEventListener("message", ({ data, source }) => {
    if (source !== frame.contentWindow) return;
    window.heard.push(data);
    const send = (message) => source.postMessage({ jsonrpc: "2.0", ...message }, "*");
    if (data.method === "ui/initialize") {
      send({ id: data.id, result: { protocolVersion: "2026-01-26", hostInfo: { name: "test", version: "1" },
        hostCapabilities: { serverTools: {} }, hostContext: { theme: "dark" } } });
    } else if (data.method === "ui/notifications/initialized") {
      send({ method: "ui/notifications/tool-result", params: first });
    } else if (data.method === "tools/call") {
      send({ id: data.id, result: answers[data.params.arguments.view] });
    }
  });
  frame.srcdoc = page;
}"""


def answer_of(store: Store, search_id: str, view: str, step: int | None = None) -> dict[str, Any]:
    report, text = get_search(store, search_id, view, step)
    return {"content": [{"type": "text", "text": text}], "structuredContent": report.model_dump(mode="json")}


def test_an_assistant_can_show_the_tree(browser: Any, site: Site) -> None:
    with Store(site.state / "searches.sqlite") as store:
        search_id = site.searches["large"]
        summary = answer_of(store, search_id, "summary")
        answers = {"tree": answer_of(store, search_id, "tree"), "node": answer_of(store, search_id, "best")}
        leader = store.leader(search_id)
        assert leader is not None
    page = browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    # As strict as clients are when an app names no places to fetch from.
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
    frame = search_tree_page().replace(
        "<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{policy}">'
    )
    page.set_content(HOST)
    page.evaluate(TALK, [frame, summary, answers])
    app = page.frame_locator("#app")
    app.locator(".row .badge").wait_for()
    assert f"best {leader.score.speedup:.2f}× at #{leader.step}" in app.locator("#app-summary").inner_text()
    assert app.locator("html").get_attribute("data-theme") == "dark"
    assert app.locator(".row.chosen .step").inner_text() == f"#{leader.step}"
    app.locator("#app-unfold").click()
    assert 20 < app.locator(".row").count() < 60
    app.locator("#app-best").click()
    app.locator("#app-tree").focus()
    page.keyboard.press("Enter")
    app.locator("#app-detail", has_text="knob_0").wait_for()
    heard = page.evaluate("window.heard")
    assert [message["method"] for message in heard if "ui/init" in message.get("method", "")] == ["ui/initialize"]
    assert {message["params"]["arguments"]["view"] for message in heard if message.get("method") == "tools/call"} == {
        "tree", "node",
    }  # fmt: skip
    assert any(message.get("method") == "ui/notifications/size-changed" for message in heard)
    assert complaints == []
    page.close()
