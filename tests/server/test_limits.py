"""How much a caller may ask over HTTP: rates with a clock of our own, then the same on a server that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from kernelevolve.server import limits
from kernelevolve.server.limits import Gate, Limits, RateLimiter, Refused, network_of
from tests.server.serving import Server, serving


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_the_rate_counts() -> None:
    clock = Clock()
    limiter = RateLimiter(60, 3, clock)
    assert [limiter.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.take("a") == pytest.approx(1.0)
    assert limiter.take("b") == 0.0
    clock.now += 0.5
    assert limiter.take("a") == pytest.approx(0.5)
    clock.now += 0.5
    assert limiter.take("a") == 0.0
    assert limiter.take("a") > 0
    clock.now += 3600
    assert [limiter.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.take("a") > 0


@given(rate=st.floats(1, 6000), burst=st.integers(1, 50), steps=st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_never_more_passes_than_burst_and_rate_allow(rate: float, burst: int, steps: list[float]) -> None:
    clock = Clock()
    limiter = RateLimiter(rate, burst, clock)
    passed = 0
    for step in steps:
        clock.now += step
        passed += limiter.take("a") == 0.0
        assert passed <= burst + (clock.now - 1000.0) * rate / 60 + 1e-6


@given(rate=st.floats(1, 6000), burst=st.integers(1, 20))
def test_who_waits_as_long_as_told_passes(rate: float, burst: int) -> None:
    clock = Clock()
    limiter = RateLimiter(rate, burst, clock)
    while (wait := limiter.take("a")) == 0.0:
        pass
    clock.now += wait
    assert limiter.take("a") == 0.0


def test_many_keys_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MOST_KEYS", 10)
    limiter = RateLimiter(60, 1, Clock())
    for number in range(1000):
        limiter.take(str(number))
    assert len(limiter._buckets) == 10


def test_an_address_of_version_6_counts_as_its_network() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:0:1")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("testclient") == "testclient"


class Bench:
    """A gate in front of an application that reads what it is sent."""

    def __init__(self, **given: Any) -> None:
        self.clock, self.refusals, self.looked_up = Clock(), [], []  # type: ignore[var-annotated]
        self.tokens = {"Bearer right": "ada", "Bearer other": "bob"}
        gate = {"identify": self._identify, "refused": self.refusals.append, "clock": self.clock}
        app = Starlette(routes=[Route("/", self._answer, methods=["POST"]), Route("/open", self._answer)])
        app.add_middleware(Gate, limits=Limits(**given), open_paths=("/open",), **gate)
        self.app = app
        self.client = TestClient(app)

    def _identify(self, headers: Mapping[str, str]) -> str | None:
        self.looked_up.append(headers.get("authorization"))
        return self.tokens.get(headers.get("authorization", ""))

    async def _answer(self, request: Request) -> PlainTextResponse:
        size = len(await request.body())
        known = request.headers.get("authorization") in self.tokens
        return PlainTextResponse(str(size), 200 if known or request.url.path == "/open" else 401)

    def post(self, token: str | None = None, client: TestClient | None = None, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return (client or self.client).post("/", headers=headers, **more)


def test_each_token_has_a_rate_of_its_own() -> None:
    bench = Bench(per_minute=6, burst=2)
    assert [bench.post("right").status_code for _ in range(3)] == [200, 200, 429]
    assert bench.post("other").status_code == 200
    refused = bench.post("right")
    assert refused.headers["retry-after"] == "10"
    assert "try again in 10 s" in refused.json()["error_description"]
    assert [entry.reason for entry in bench.refusals] == ["rate", "rate"]
    bench.clock.now += 10
    assert bench.post("right").status_code == 200


def test_guessing_is_slowed_and_a_guess_is_not_even_looked_at() -> None:
    bench = Bench(strangers_per_minute=6)
    answers = [bench.post(f"guess{number}").status_code for number in range(30)]
    allowed = answers.count(401)
    assert answers == [401] * allowed + [429] * (30 - allowed)
    assert len(bench.looked_up) == allowed
    # Even the right token is not looked at: else guessing would go on at full speed.
    assert bench.post("right").status_code == 429
    assert "Bearer right" not in bench.looked_up
    bench.clock.now += 10
    assert bench.post("right").status_code == 200
    assert {entry.reason for entry in bench.refusals} == {"token", "address"}


def test_a_token_that_was_right_goes_on_beside_a_guesser_until_it_is_revoked() -> None:
    bench = Bench(strangers_per_minute=6)
    assert bench.post("right").status_code == 200
    while bench.post("guess").status_code == 401:
        pass
    assert bench.post("right").status_code == 200
    del bench.tokens["Bearer right"]
    assert bench.post("right").status_code in (401, 429)
    assert bench.post("right").status_code == 429


def test_addresses_are_slowed_one_by_one() -> None:
    bench = Bench(strangers_per_minute=6)
    while bench.post().status_code == 401:
        pass
    elsewhere = TestClient(bench.app, client=("192.0.2.7", 5000))
    assert bench.post(client=elsewhere).status_code == 401


def test_the_open_page_has_no_rate() -> None:
    bench = Bench(strangers_per_minute=1)
    assert {bench.client.get("/open").status_code for _ in range(100)} == {200}


def test_a_large_request_is_refused_whether_or_not_it_says_its_size() -> None:
    bench = Bench(request_bytes=1000)
    assert bench.post("right", content=b"x" * 1000).text == "1000"
    assert bench.post("right", content=b"x" * 1001).status_code == 413
    assert bench.post("right", content=iter([b"x" * 600, b"x" * 600])).status_code == 413
    assert [entry.reason for entry in bench.refusals] == ["size", "size"]
    assert isinstance(bench.refusals[0], Refused)


def test_each_answer_names_its_request() -> None:
    bench = Bench(per_minute=6, burst=1)
    names = [bench.post("right").headers["x-request-id"] for _ in range(2)]
    assert len(set(names)) == 2


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ("--rate", "1", "--burst", "4", "--rate-without-token", "1", "--max-request-bytes", "5000")
    with serving(tmp_path_factory.mktemp("state"), tmp_path_factory.mktemp("workspace"), *flags) as server:
        yield server


def test_a_server_refuses_what_is_too_much(strict: Server) -> None:
    answers = [strict.post(strict.tokens["search"]) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert strict.post(strict.tokens["admin"]).status_code == 200


def test_a_server_refuses_what_is_too_large(strict: Server) -> None:
    token = strict.tokens["evaluate"]
    assert strict.post(token, content=b"x" * 5001).status_code == 413
    assert strict.post(token, content=iter([b"x" * 3000, b"x" * 3000])).status_code == 413
    assert strict.post(token).status_code == 200


def test_a_forged_address_does_not_help(strict: Server) -> None:
    statuses = [
        strict.post("kev_guess", headers={"X-Forwarded-For": f"192.0.2.{number}"}).status_code for number in range(40)
    ]
    assert statuses[-1] == 429
    assert strict.post(strict.tokens["admin"]).status_code == 200


def test_a_trusted_proxy_says_who_the_client_is(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (tmp_path / "state").mkdir()
    with serving(tmp_path / "state", workspace, "--rate-without-token", "1", "--trusted-proxy", "127.0.0.1") as server:
        statuses = {
            server.post("kev_guess", headers={"X-Forwarded-For": f"192.0.2.{number}"}).status_code
            for number in range(40)
        }
    assert statuses == {401}
