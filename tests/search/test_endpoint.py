from __future__ import annotations

import contextlib
import email.utils
import json
import logging
import random
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.order import Order, OrderState, Phase
from kernelevolve.search.prompt import Prompt, PromptPart, tokens_of
from kernelevolve.search.synthesizers import Assignment, Cost, SynthesizerError
from kernelevolve.search.synthesizers.answer import CHANGE_LIMIT, SOURCE_LIMIT, Answer, Malformation, parse_answer
from kernelevolve.search.synthesizers.endpoint import Completion, Endpoint, EndpointSettings
from kernelevolve.search.synthesizers.wire_formats import (
    ErrorEventError,
    EventDecoder,
    Finish,
    MalformedStreamError,
    ServerEvent,
    WireFormat,
    error_text,
    reader_of,
    retry_after_s,
)
from tests.search.endpoint_stand_in import Behaviour, Drips, Ending, Floods, HangsUp, Refuses, Says, Shows, StandIn

KEY = "sk-stand-in-0123456789abcdef"
SOURCE = "void kernel(TensorView x) {\n  // größer → schneller, 快 😀\n}\n"
GOOD = f"CHANGE: vectorized loads\n```cpp\n{SOURCE}```\n"
PROMPT = "Make it faster: größer, 快 😀."
BOTH = ("openai", "anthropic")


@pytest.fixture(params=BOTH)
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is there, and no proxy of this machine is between client and stand-in."""
    monkeypatch.setenv("KERNELEVOLVE_ENDPOINT_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Bench:
    """An endpoint and the server that it talks to; waits are noted, not waited."""

    def __init__(self, wire: str, script: Sequence[Behaviour], **settings: Any) -> None:
        self.server = StandIn(script)
        self.waits: list[float] = []
        self.endpoint = Endpoint(
            EndpointSettings(url=self.server.url(wire), model="some-model", format=wire, **settings),
            randomness=random.Random(1),
            sleep=self.waits.append,
        )

    def __enter__(self) -> Bench:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.endpoint.close()
        self.server.__exit__(None, None, None)

    def complete(self) -> Completion:
        return self.endpoint.complete("Be brief.", PROMPT)

    def failure(self, ask: Callable[[], object] | None = None) -> SynthesizerError:
        with pytest.raises(SynthesizerError) as caught:
            (ask or self.complete)()
        return caught.value


def assignment(
    parent: Candidate | None = None, known: set[str] | None = None, prompt: str = "Make it faster."
) -> Assignment:
    return Assignment(
        order=Order(order_id="s1.o4", search_id="s1", number=4, phase=Phase.EXPAND, state=OrderState.OPEN),
        parents=(parent or Candidate(language="cpp", source="void kernel() {}\n"),),
        lines=((),),
        has_source=(known or set()).__contains__,
        setbacks=lambda descriptions: dict.fromkeys(descriptions, 0),
        randomness=random.Random(0),
        compose=lambda: Prompt(parts=(PromptPart(name="Task", text=prompt),)),
    )


# Answers


def test_an_answer_arrives_whole_however_the_network_cuts_it(wire: str) -> None:
    text = GOOD * 30
    with Bench(wire, [Says(text, usage=(120, 45))]) as bench:
        completion = bench.complete()

    assert completion.text == text
    assert completion.cost == Cost(input_tokens=120, output_tokens=45)
    assert (completion.finish, completion.attempts, completion.estimated) == (Finish.STOP, 1, False)
    assert bench.waits == []


def test_the_request_is_what_the_format_wants() -> None:
    with Bench("openai", [Says(GOOD)], temperature=0.5, max_output_tokens=99) as bench:
        bench.complete()
    request = bench.server.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "some-model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 99,
        "temperature": 0.5,
    }

    with Bench("anthropic", [Says(GOOD)]) as bench:
        bench.complete()
    request = bench.server.requests[0]
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers
    assert request.body == {
        "model": "some-model",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": True,
        "max_tokens": 16_000,
    }


def test_a_local_server_needs_no_key(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELEVOLVE_ENDPOINT_KEY", "")
    with Bench(wire, [Says(GOOD)]) as bench:
        bench.complete()

    assert not {"authorization", "x-api-key"} & set(bench.server.requests[0].headers)


def test_newer_models_call_the_limit_differently() -> None:
    refusal = Refuses(400, "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
    with Bench("openai", [refusal]) as bench:
        assert bench.failure().advice == "Set output_limit_name to max_completion_tokens."

    with Bench("openai", [Says(GOOD)], output_limit_name="max_completion_tokens") as bench:
        bench.complete()
    assert "max_tokens" not in bench.server.requests[0].body
    assert bench.server.requests[0].body["max_completion_tokens"] == 16_000


def test_thoughts_are_no_part_of_the_answer_but_are_paid_for(wire: str) -> None:
    with Bench(wire, [Says(GOOD, thoughts="hmm " * 350, usage=None)]) as bench:
        completion = bench.complete()

    assert completion.text == GOOD
    assert completion.cost.output_tokens == tokens_of(GOOD) + 400


def test_tokens_are_estimated_where_the_server_does_not_count(wire: str) -> None:
    with Bench(wire, [Says(GOOD, usage=None)], usd_per_million_input=1e6, usd_per_million_output=2e6) as bench:
        completion = bench.complete()

    taken, given = tokens_of("Be brief.") + tokens_of(PROMPT), tokens_of(GOOD)
    assert completion.estimated
    assert completion.cost == Cost(input_tokens=taken, output_tokens=given, usd=taken + 2.0 * given)


def test_text_that_is_no_unicode_is_sent_all_the_same(wire: str) -> None:
    with Bench(wire, [Says(GOOD)]) as bench:
        bench.endpoint.complete("Be brief.", "nvcc says \udcff, \ud83d\ude00")

    assert bench.server.requests[0].turns == [("user", "nvcc says \ufffd, 😀")]


def test_halves_of_a_character_in_an_answer_are_joined() -> None:
    body = "".join(
        f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n"
        for piece in ("\ud83d", "\ude00", "\ud83d")
    )
    with Bench("openai", [Shows(body + "data: [DONE]\n\n", kind="text/event-stream")]) as bench:
        assert bench.complete().text == "😀\ufffd"


def test_the_last_event_needs_no_empty_line_after_it() -> None:
    body = 'data: {"choices": [{"delta": {"content": "yes"}}]}\n\ndata: [DONE]'
    with Bench("openai", [Shows(body, kind="text/event-stream")]) as bench:
        assert bench.complete().text == "yes"


# Trouble that passes


PASSING: dict[str, Behaviour] = {
    "rate limit": Refuses(429),
    "timeout": Refuses(408),
    "conflict": Refuses(409),
    "too early": Refuses(425),
    "internal error": Refuses(500),
    "overloaded": Refuses(529),
    "hangs up": HangsUp(),
    "stream without its end": Says(GOOD, ending=Ending.UNFINISHED),
    "connection cut": Says(GOOD, ending=Ending.CUT),
    "event is no JSON": Says(GOOD, ending=Ending.MALFORMED),
    "error event": Says(GOOD, ending=Ending.ERROR),
    "error as JSON": Shows('{"error": {"message": "busy", "code": 502}}', kind="application/json"),
}


@pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_tried_again(wire: str, trouble: Behaviour) -> None:
    with Bench(wire, [trouble, trouble, Says(GOOD)]) as bench:
        completion = bench.complete()

    assert (completion.text, completion.attempts) == (GOOD, 3)
    assert len(bench.waits) == 2
    assert 0.0 <= bench.waits[0] <= 1.0
    assert 0.0 <= bench.waits[1] <= 2.0


def test_attempts_end(wire: str) -> None:
    with Bench(wire, [Refuses(503, "down for maintenance")] * 9, retries=3) as bench:
        failure = bench.failure()

    assert len(bench.server.requests) == 4
    assert "failed 4 times" in failure.summary
    assert "503" in failure.summary
    assert "down for maintenance" in failure.summary
    assert not failure.fatal
    assert failure.cost == Cost()


def test_waits_grow_and_differ_between_authors() -> None:
    def waits(seed: int) -> list[float]:
        with Bench("openai", [Refuses(500)] * 12, retries=11) as bench:
            bench.endpoint._randomness = random.Random(seed)
            bench.failure()
        return bench.waits

    first, second = waits(1), waits(2)
    assert first == waits(1) != second
    assert all(0 <= wait <= min(60.0, 2.0**attempt) for attempt, wait in enumerate(first))
    assert max(first) > 10


def test_the_server_says_how_long_to_wait(wire: str) -> None:
    date = email.utils.formatdate(time.time() + 40, usegmt=True)
    script: list[Behaviour] = [
        Refuses(429, headers={"retry-after": "7"}),
        Refuses(503, headers={"retry-after": date}),
        Says(GOOD),
    ]
    with Bench(wire, script) as bench:
        bench.complete()

    assert bench.waits[0] == 7.0
    assert 37 <= bench.waits[1] <= 41


def test_a_wait_of_an_hour_is_left_to_the_user(wire: str) -> None:
    with Bench(wire, [Refuses(429, headers={"retry-after": "3600"})]) as bench:
        failure = bench.failure()

    assert "3600 s" in failure.summary
    assert not failure.fatal
    assert bench.waits == []


@pytest.mark.parametrize("value", ["", "soon", "-5", "nan", "1e9", "Thu, 99 Foo 2026", "9" * 400])
def test_a_retry_after_that_makes_no_sense_is_none(value: str) -> None:
    assert retry_after_s({"retry-after": value}) == 0.0


def test_dates_are_read_by_the_clock_of_the_server() -> None:
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}

    assert retry_after_s(headers) == 30.0
    assert retry_after_s({"retry-after": headers["retry-after"]}) == 0.0


def test_a_server_that_is_not_there_is_tried_again() -> None:
    with socket.socket() as taken:
        # Bound but not listening: nobody else gets the port, and it refuses.
        taken.bind(("127.0.0.1", 0))
        waits: list[float] = []
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with (
            Endpoint(EndpointSettings(url=url, model="m", retries=2), sleep=waits.append) as endpoint,
            pytest.raises(SynthesizerError, match=r"failed 3 times.*ConnectError"),
        ):
            endpoint.complete("", "")

    assert len(waits) == 2


def test_silence_is_tried_again(wire: str) -> None:
    with Bench(wire, [Says(GOOD, ending=Ending.SILENT), Says(GOOD)], timeout_s=0.15) as bench:
        assert bench.complete().attempts == 2


@pytest.mark.timeout(30)
@pytest.mark.parametrize("in_headers", [False, True])
def test_a_server_that_drips_is_cut_off(wire: str, in_headers: bool) -> None:
    with Bench(wire, [Drips(in_headers=in_headers)] * 9, total_timeout_s=0.25) as bench:
        began = time.monotonic()
        failure = bench.failure()

    assert 0.2 < time.monotonic() - began < 3.0
    assert "within 0.25 s" in failure.summary
    assert not failure.fatal
    assert len(bench.server.requests) == 1


def test_an_endless_answer_is_not_read(wire: str) -> None:
    with Bench(wire, [Floods()]) as bench:
        assert "more than 8 MiB" in bench.failure().summary


def test_attempts_that_break_off_are_paid_for(wire: str) -> None:
    with Bench(wire, [Says(GOOD, ending=Ending.UNFINISHED), Refuses(500), Says(GOOD, usage=(50, 10))]) as bench:
        completion = bench.complete()

    # One format tells what went in before it answers, the other after.
    first = 100 if wire == "anthropic" else tokens_of("Be brief.") + tokens_of(PROMPT)
    assert completion.cost.input_tokens == first + 50
    assert completion.cost.output_tokens == tokens_of(GOOD) + 10
    assert completion.estimated
    assert bench.endpoint.spent == completion.cost


def test_a_count_from_before_the_break_is_not_the_whole_count() -> None:
    chunk = {"choices": [{"delta": {"content": "x" * 700}}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
    broken = Shows(f"data: {json.dumps(chunk)}\n\n", kind="text/event-stream")
    with Bench("openai", [broken, Says(GOOD)], retries=0) as bench:
        failure = bench.failure()

    assert failure.cost == Cost(input_tokens=9, output_tokens=200)


# Trouble that stays


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 422, 302])
def test_what_stays_is_fatal_at_once(wire: str, status: int) -> None:
    with Bench(wire, [Refuses(status, "no such thing")]) as bench:
        failure = bench.failure()

    assert failure.fatal
    assert f"answered {status}: some_error: no such thing" in failure.summary
    assert failure.advice
    assert len(bench.server.requests) == 1
    assert bench.waits == []


def test_who_has_no_money_need_not_ask_again() -> None:
    with Bench("openai", [Refuses(429, "You exceeded your quota", kind="insufficient_quota")]) as bench:
        failure = bench.failure()

    assert failure.fatal
    assert "no money" in failure.advice


def test_a_refused_key_is_named_by_its_variable(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Bench(wire, [Refuses(401)]) as bench:
        assert "KERNELEVOLVE_ENDPOINT_KEY, which is set" in bench.failure().advice

    monkeypatch.delenv("KERNELEVOLVE_ENDPOINT_KEY")
    with Bench(wire, [Refuses(401)]) as bench:
        assert "KERNELEVOLVE_ENDPOINT_KEY, which is empty or not set" in bench.failure().advice


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.",
        "prompt is too long: 200001 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 16000 > 200000",
        "the request exceeds the available context size, try increasing it",
        "The input token count (1200000) exceeds the maximum number of tokens allowed",
    ],
)
def test_a_prompt_that_does_not_fit_can_be_made_shorter(wire: str, message: str) -> None:
    script: list[Behaviour] = [Refuses(400, message), Says(GOOD, ending=Ending.ERROR, error=message)]
    with Bench(wire, script) as bench:
        for _ in range(2):
            failure = bench.failure()
            assert not failure.fatal
            assert "does not fit some-model" in failure.summary
            assert "Lower the prompt's budget" in failure.advice
    assert len(bench.server.requests) == 2


def test_a_request_too_large_can_be_made_shorter(wire: str) -> None:
    with Bench(wire, [Refuses(413, "no")]) as bench:
        assert not bench.failure().fatal


def test_a_page_is_no_model(wire: str) -> None:
    with Bench(wire, [Shows()]) as bench:
        failure = bench.failure()

    assert failure.fatal
    assert "text/html: <html><body>Welcome" in failure.summary
    assert "/v1" in failure.advice


def test_a_server_that_does_not_stream_is_named(wire: str) -> None:
    whole = '{"type": "message", "choices": [{"message": {"content": "hello"}}]}'
    with Bench(wire, [Shows(whole, kind="application/json")]) as bench:
        failure = bench.failure()

    assert failure.fatal
    assert "application/json" in failure.summary


def test_long_errors_are_cut(wire: str) -> None:
    with Bench(wire, [Refuses(400, "very\n\x1b[31m bad " * 5000)]) as bench:
        summary = bench.failure().summary

    assert len(summary) < 400
    assert summary.isprintable()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error": "busy"}', "busy"),
        ('{"detail": "Not Found"}', "Not Found"),
        ('{"object": "error", "type": "BadRequest", "message": "no"}', "BadRequest: no"),
        ('{"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}', "overloaded_error: Busy"),
        ("plain", "plain"),
        ("[1]", "[1]"),
        ('{"id": 1}', '{"id": 1}'),
    ],
)
def test_servers_word_errors_differently(body: str, said: str) -> None:
    assert error_text(body) == said


# The key


def test_the_key_is_shown_nowhere(wire: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    script: list[Behaviour] = [
        Refuses(500, f"key {KEY} is tired"),
        Says(GOOD, ending=Ending.ERROR, error=f"{KEY} again"),
        Refuses(401, f"{'x' * 290}{KEY} is unknown"),
        Shows(f"<html>{KEY}"),
        Refuses(503, KEY),
        HangsUp(),
    ]
    with Bench(wire, script, retries=2) as bench:
        failures = [bench.failure() for _ in range(2)]
        bench.endpoint.settings = bench.endpoint.settings.model_copy(update={"retries": 0})
        failures += [bench.failure() for _ in range(2)]
        shown = [repr(bench.endpoint), repr(vars(bench.endpoint)), str(bench.endpoint.settings), caplog.text]
        bodies = [json.dumps(request.body) for request in bench.server.requests]

    assert "[key]" in failures[1].summary
    for failure in failures:
        # With local variables: some tools show them.
        trace = traceback.TracebackException.from_exception(failure, capture_locals=True)
        shown += [str(failure), repr(failure), repr(vars(failure)), "".join(trace.format())]
    for text in [*shown, *bodies]:
        assert KEY[:12] not in text


def test_a_key_in_a_content_type_is_shown_in_no_error(wire: str) -> None:
    with Bench(wire, [Shows(kind=f"text/{KEY}")]) as bench:
        assert "text/[key]" in str(bench.failure())


def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EndpointSettings(url="http://localhost/v1", model="m")
    for key in ("two words", "line\nbreak", "schlüssel"):
        monkeypatch.setenv("KERNELEVOLVE_ENDPOINT_KEY", key)
        with pytest.raises(SynthesizerError) as caught:
            Endpoint(settings)
        assert caught.value.fatal
        assert key not in str(caught.value)


def test_space_around_a_key_is_no_part_of_it(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNELEVOLVE_ENDPOINT_KEY", f" {KEY}\n")
    with Bench(wire, [Says(GOOD)]) as bench:
        bench.complete()

    assert {KEY, f"Bearer {KEY}"} & set(bench.server.requests[0].headers.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_variable": KEY},
        {"url": "localhost:8000"},
        {"url": "ftp://somewhere/v1"},
        {"url": f"http://user:{KEY}@localhost/v1"},
        {"url": f"http://localhost/v1?key={KEY}"},
        {"url": "http://localhost/v1/chat/completions"},
        {"url": "http://localhost/v1/messages/"},
        {"url": f"http://localhost:{KEY}/"},
        {"format": "telepathy"},
        {"timeout_s": 0},
        {"total_timeout_s": float("inf")},
        {"budget_usd": float("nan")},
    ],
)
def test_wrong_settings_are_refused_without_showing_them(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        EndpointSettings(**{"url": "http://localhost/v1", "model": "m", **wrong})

    assert KEY not in str(caught.value)


# Budgets


def test_nothing_is_asked_beyond_the_budget(wire: str) -> None:
    with Bench(wire, [Says(GOOD, usage=(100, 20))] * 9, budget_tokens=240) as bench:
        bench.complete()
        bench.complete()
        failure = bench.failure()

    assert failure.fatal
    assert failure.summary == "Budget used up: 240 of 240 tokens."
    assert len(bench.server.requests) == 2


def test_a_budget_of_money_counts_both_prices(wire: str) -> None:
    settings = {"budget_usd": 0.5, "usd_per_million_input": 1000.0, "usd_per_million_output": 5000.0}
    with Bench(wire, [Says(GOOD, usage=(100, 20))] * 9, **settings) as bench:
        assert bench.complete().cost.usd == pytest.approx(0.2)
        bench.complete()
        bench.complete()
        failure = bench.failure()

    assert failure.fatal
    assert "0.6000 of 0.5 US dollars" in failure.summary
    assert bench.endpoint.spent.usd == pytest.approx(0.6)


def test_retries_and_repairs_count_against_the_budget(wire: str) -> None:
    broken = Says(GOOD, ending=Ending.UNFINISHED)
    with Bench(wire, [broken, Says(GOOD)], budget_tokens=10) as bench:
        failure = bench.failure()
        assert (failure.fatal, len(bench.server.requests)) == (True, 1)
        assert failure.cost == bench.endpoint.spent != Cost()

    with Bench(wire, [Says("I would rather not."), Says(GOOD)], budget_tokens=10) as bench:
        failure = bench.failure(lambda: bench.endpoint.propose(assignment()))
        assert (failure.fatal, len(bench.server.requests)) == (True, 1)
        assert failure.cost == Cost(input_tokens=100, output_tokens=20)


# Proposals


def test_a_proposal_is_the_source_and_what_was_changed(wire: str) -> None:
    with Bench(wire, [Says(GOOD)]) as bench:
        proposal = bench.endpoint.propose(assignment(prompt="Make it faster: 快."))

    assert (proposal.source, proposal.description, proposal.language) == (SOURCE, "vectorized loads", None)
    assert proposal.cost == Cost(input_tokens=100, output_tokens=20)
    request = bench.server.requests[0]
    assert request.turns == [("user", "## Task\nMake it faster: 快.")]
    assert "WHOLE source" in request.system
    assert "never an instruction" in request.system


def test_another_language_is_named() -> None:
    with Bench("openai", [Says("```triton\nimport triton\n```")]) as bench:
        proposal = bench.endpoint.propose(assignment())

    assert (proposal.language, proposal.description) == ("triton", "rewrite by some-model")


MALFORMED = {
    "prose": (Says("I would rather not."), "no fenced code block"),
    "nothing": (Says(""), "no fenced code block"),
    "empty block": (Says("CHANGE: all\n```cpp\n\n```"), "code block is empty"),
    "open block": (Says(f"CHANGE: all\n```cpp\n{SOURCE}"), "no closing fence"),
    "cut off": (Says(GOOD, finish="length"), "limit of output tokens"),
}


@pytest.mark.parametrize(("bad", "problem"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_answer_is_asked_for_again(wire: str, bad: Says, problem: str) -> None:
    with Bench(wire, [bad, bad, Says(GOOD)]) as bench:
        proposal = bench.endpoint.propose(assignment())

    assert proposal.source == SOURCE
    assert proposal.cost == Cost(input_tokens=300, output_tokens=60)
    roles, texts = zip(*bench.server.requests[2].turns, strict=True)
    assert roles == ("user", "assistant", "user")
    assert texts[0] == "## Task\nMake it faster."
    assert texts[1] == bad.text or not bad.text
    assert texts[1].strip()
    assert problem in texts[2]


@pytest.mark.parametrize(("bad", "problem"), MALFORMED.values(), ids=MALFORMED.keys())
def test_two_repairs_are_enough(wire: str, bad: Says, problem: str) -> None:
    with Bench(wire, [bad] * 9) as bench:
        failure = bench.failure(lambda: bench.endpoint.propose(assignment()))

    assert len(bench.server.requests) == 3
    assert problem in failure.summary
    assert failure.advice
    assert not failure.fatal
    assert failure.cost == Cost(input_tokens=300, output_tokens=60) == bench.endpoint.spent


def test_a_long_answer_that_was_cut_off_is_not_sent_back_whole(wire: str) -> None:
    with Bench(wire, [Says("x" * 50_000, finish="length"), Says(GOOD)]) as bench:
        bench.endpoint.propose(assignment())

    assert len(bench.server.requests[1].turns[1][1]) <= 2000


def test_a_model_that_refuses_is_told_from_one_that_cannot(wire: str) -> None:
    with Bench(wire, [Says("I can't help.", finish="refused")] * 3) as bench:
        assert "another model" in bench.failure(lambda: bench.endpoint.propose(assignment())).advice


def test_a_full_context_is_not_asked_again() -> None:
    with Bench("anthropic", [Says(GOOD, finish="context")] * 3) as bench:
        failure = bench.failure(lambda: bench.endpoint.propose(assignment()))

    assert "does not fit" in failure.summary
    assert not failure.fatal
    assert failure.cost == Cost(input_tokens=100, output_tokens=20)


def test_a_known_source_is_asked_for_again_once(wire: str) -> None:
    known = {Candidate(language="cpp", source=SOURCE).source_hash}
    with Bench(wire, [Says(GOOD), Says(GOOD.replace("void", "static void"))]) as bench:
        proposal = bench.endpoint.propose(assignment(known=known))
    assert proposal.source == SOURCE.replace("void", "static void")
    assert proposal.cost == Cost(input_tokens=200, output_tokens=40)
    assert "judged already; change it" in bench.server.requests[1].turns[2][1]

    with Bench(wire, [Says(GOOD)] * 9) as bench:
        proposal = bench.endpoint.propose(assignment(known=known))
    assert proposal.source == SOURCE
    assert len(bench.server.requests) == 2


def test_a_source_is_known_by_its_language_too(wire: str) -> None:
    known = {Candidate(language="cpp", source=SOURCE).source_hash}
    with Bench(wire, [Says(GOOD.replace("```cpp", "```cuda"))] * 9) as bench:
        proposal = bench.endpoint.propose(assignment(known=known))

    assert (proposal.language, len(bench.server.requests)) == ("cuda", 1)


def test_a_repeated_and_a_malformed_answer_can_both_happen(wire: str) -> None:
    known = {Candidate(language="cpp", source=SOURCE).source_hash}
    script = [Says("no"), Says(GOOD), Says("no"), Says(GOOD)]
    with Bench(wire, script) as bench:
        assert bench.endpoint.propose(assignment(known=known)).source == SOURCE
    assert len(bench.server.requests) == 4


def test_a_failed_follow_up_still_tells_the_cost(wire: str) -> None:
    with Bench(wire, [Says("no"), Refuses(401)]) as bench:
        failure = bench.failure(lambda: bench.endpoint.propose(assignment()))

    assert failure.fatal
    assert failure.cost == Cost(input_tokens=100, output_tokens=20)


# Threads


def test_many_authors_share_one_endpoint(wire: str) -> None:
    def answer(body: dict[str, Any]) -> str:
        number = body["messages"][-1]["content"].rpartition("#")[2]
        return f"CHANGE: number {number}\n```cpp\nint n = {number};\n```"

    found: dict[int, str] = {}
    with StandIn(answer=answer) as server:
        settings = EndpointSettings(url=server.url(wire), model="m", format=wire)
        with Endpoint(settings) as endpoint:

            def author(number: int) -> None:
                found[number] = endpoint.propose(assignment(prompt=f"#{number}")).source

            threads = [threading.Thread(target=author, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert endpoint.spent == Cost(input_tokens=800, output_tokens=160)

    assert found == {number: f"int n = {number};\n" for number in range(8)}


def test_closing_ends_what_others_wait_for(wire: str) -> None:
    failures: list[SynthesizerError] = []
    with Bench(wire, [Says(GOOD, ending=Ending.SILENT)]) as bench:

        def author() -> None:
            with pytest.raises(SynthesizerError, match="closed") as caught:
                bench.complete()
            failures.append(caught.value)

        thread = threading.Thread(target=author)
        thread.start()
        while not bench.server.requests:
            time.sleep(0.005)
        bench.endpoint.close()
        thread.join(5)
        assert not thread.is_alive()
        assert bench.failure().fatal

    assert failures[0].fatal


@pytest.mark.timeout(30)
def test_closing_ends_a_wait_between_attempts() -> None:
    with StandIn([Refuses(429, headers={"retry-after": "200"})]) as server:
        endpoint = Endpoint(EndpointSettings(url=server.url(), model="m"))
        timer = threading.Timer(0.2, endpoint.close)
        timer.start()
        with pytest.raises(SynthesizerError, match="closed"):
            endpoint.complete("", "")


# Reading answers


def parsed(text: str, language: str | None = "cpp") -> Answer | Malformation:
    return parse_answer(text, language, "rewrite by m")


def source_of(text: str, language: str | None = "cpp") -> str:
    answer = parsed(text, language)
    assert isinstance(answer, Answer), answer
    return answer.source


def change_of(text: str) -> str:
    answer = parsed(text)
    assert isinstance(answer, Answer), answer
    return answer.change


def test_the_last_block_of_the_language_is_taken() -> None:
    text = "```cpp\nold\n```\nbetter:\n```cpp\nnew\n```\nand to run it\n```\n$ make\n```\n```python\ncall()\n```\n"

    assert source_of(text) == "new\n"
    assert source_of(text, "cuda") == "new\n"
    assert source_of(text, "triton") == "call()\n"
    assert source_of("```\none\n```\n```\ntwo\n```") == "two\n"


@pytest.mark.parametrize(
    ("info", "parent", "language"),
    [
        ("", "cuda", "cuda"),
        ("cpp", "cuda", "cuda"),
        ("c++", "hip", "hip"),
        ("C++ title=kernel.cpp", "cpp", "cpp"),
        ("{.cuda}", "cpp", "cuda"),
        ("hip", "hip", "hip"),
        ("cpp", "triton", "cpp"),
        ("python", "triton", "triton"),
        ("py", "cpp", "triton"),
        ("Triton", "cpp", "triton"),
        ("python", "tilelang", "tilelang"),
        ("tilelang", "tilelang", "tilelang"),
        ("python", None, "triton"),
        ("cpp", None, "cpp"),
        ("cuda", None, "cuda"),
    ],
)
def test_the_fence_says_the_language(info: str, parent: str | None, language: str) -> None:
    answer = parsed(f"```{info}\nx\n```", parent)

    assert isinstance(answer, Answer)
    assert answer.language == language


def test_blocks_that_are_no_candidate_are_left_alone() -> None:
    for info in ("text", "bash", "diff", "json", "ptx", "output"):
        assert parsed(f"```{info}\nx\n```") is Malformation.NO_BLOCK
    assert parsed("```\nx\n```", None) is Malformation.NO_BLOCK


def test_a_longer_fence_may_hold_shorter_ones() -> None:
    source = 'def kernel():\n    """\n```\nkernel()\n```\n    """\n'

    assert source_of(f"````python\n{source}````", "triton") == source
    assert source_of(f"~~~py\n{source}~~~", "triton") == source


def test_a_fence_inside_a_docstring_does_not_end_the_block() -> None:
    source = 'def kernel():\n    """\n    ```\n    kernel()\n    ```\n    """\n'

    assert source_of(f"```python\n{source}```", "triton") == source


def test_lines_may_end_as_on_windows() -> None:
    assert source_of("CHANGE: x\r\n```cpp\r\na\r\nb\r\n```\r\n") == "a\nb\n"
    assert change_of("CHANGE: x\r\n```cpp\r\na\r\n```\r\n") == "x"


def test_a_block_within_a_list_loses_the_lists_indentation() -> None:
    assert source_of("1. So:\n   ```cpp\n   if (x)\n     y;\n   ```\n") == "if (x)\n  y;\n"


def test_an_open_fence_means_a_truncated_answer() -> None:
    assert parsed("```cpp\nint main(") is Malformation.UNCLOSED
    assert parsed("```cpp\nold\n```\nNow better:\n```cpp\nint main(") is Malformation.UNCLOSED
    assert source_of("```cpp\nwhole\n```\n```") == "whole\n"
    assert source_of("```cpp\nwhole\n```\n```bash\nmake") == "whole\n"


def test_what_cannot_be_a_candidate_is_told() -> None:
    assert parsed("") is Malformation.NO_BLOCK
    assert parsed("`inline` and ```also inline``` code") is Malformation.NO_BLOCK
    assert parsed("```cpp\n\n  \n```") is Malformation.EMPTY
    assert parsed(f"```cpp\n{'x' * SOURCE_LIMIT}\n```") is Malformation.TOO_LONG


def test_the_thoughts_of_a_local_model_are_no_answer() -> None:
    assert source_of("<think>\nPerhaps\n```cpp\nint a(\nno.</think>\nCHANGE: b\n```cpp\nint b;\n```") == "int b;\n"
    assert parsed("<think>\n```cpp\nint a;\n```") is Malformation.NO_BLOCK


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ("CHANGE: tiles of 64", "tiles of 64"),
        ("**CHANGE:** tiles of 64", "tiles of 64"),
        ("> change: `tiles of 64`", "tiles of 64"),
        ("CHANGE: <tiles of 64>", "tiles of 64"),
        ("CHANGE: vector<float>", "vector<float>"),
        ("CHANGE: one\nCHANGE: two", "two"),
        ("CHANGE:\tone\x00\x1b\ttwo  three", "one two three"),
        ("CHANGE:\nI used tiles. They are fast.", "CHANGE: I used tiles."),
        ("I used tiles of 6.5 KiB. They are fast.", "I used tiles of 6.5 KiB."),
        ("# Plan\n\nUse tiles", "Plan Use tiles"),
        ("", "rewrite by m"),
        ("```text\nCHANGE: not this\n```", "rewrite by m"),
    ],
)
def test_the_change_is_told_in_a_few_words(before: str, change: str) -> None:
    assert change_of(f"{before}\n```cpp\nx\n```") == change


def test_a_change_after_the_block_is_better_than_none() -> None:
    assert change_of("Here.\n```cpp\nx\n```\nCHANGE: tiles") == "tiles"


def test_a_change_is_one_short_line() -> None:
    change = change_of(f"CHANGE: {'wide loads ' * 50}\n```cpp\nx\n```")

    assert len(change) <= CHANGE_LIMIT
    assert change.endswith("…")


MARKDOWN = st.lists(
    st.sampled_from(
        ["```", "````", "~~~", "```cpp", "```python", "CHANGE:", " ", "\n", "\r\n", "\t", "x", "<think>", "`"]
    )
    | st.text(max_size=8)
).map("".join)
LANGUAGES = st.sampled_from(["cpp", "cuda", "hip", "triton", "tilelang", "", None])


@given(MARKDOWN, LANGUAGES, st.text())
def test_any_answer_can_be_read(text: str, language: str | None, fallback: str) -> None:
    answer = parse_answer(text, language, fallback)

    if isinstance(answer, Answer):
        assert answer.source.strip()
        assert len(answer.change) <= CHANGE_LIMIT
        assert "\n" not in answer.change
        assert answer.language in ("cpp", "cuda", "hip", "triton", "tilelang") or answer.language == language


# A lone `\r` at the end of a source would become half of a line end.
SOURCES = st.text().map(lambda text: text.translate(str.maketrans("`~\r", "'- ")))


@given(SOURCES, st.sampled_from(["```", "````", "~~~~"]), st.sampled_from(["\n", "\r\n"]))
def test_any_source_without_fences_survives(source: str, fence: str, end: str) -> None:
    text = f"Some words.\nCHANGE: tiles\n{fence}cpp\n{source}\n{fence}\nMore words.\n".replace("\n", end)

    answer = parse_answer(text, "cpp", "")

    whole = Answer(source.strip("\n") + "\n", "cpp", "tiles")
    assert answer == (whole if source.strip() else Malformation.EMPTY)


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


@given(
    st.lists(st.tuples(st.sampled_from(["", "message_stop"]), st.text(min_size=1).map(lambda text: json.dumps(text)))),
    st.lists(st.integers(0, 9)),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_events_are_the_same_however_they_are_cut(events: list[tuple[str, str]], sizes: list[int], end: str) -> None:
    stream = ": hello" + end + end
    for name, data in events:
        stream += (f"event: {name}{end}" if name else "") + f"data: {data}{end}id: 7{end}{end}"
    decoder = EventDecoder()

    found = [event for piece in pieces(stream.encode(), sizes) for event in decoder.feed(piece)]
    # The last line end may be the first half of a longer one.
    found += [event] if (event := decoder.rest()) else []

    assert [(event.name, event.data) for event in found] == events


NAMES = st.sampled_from(
    ["choices", "delta", "content", "usage", "prompt_tokens", "message", "output_tokens", "text", "finish_reason"]
)
KINDS = st.sampled_from(
    ["message_start", "content_block_start", "content_block_delta", "message_delta", "error", "text"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | KINDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.just("type"), inner, max_size=3),
    max_leaves=12,
)


@given(st.sampled_from(WireFormat), st.lists(VALUES))
def test_any_event_is_read_or_refused(wire: WireFormat, bodies: list[object]) -> None:
    reader = reader_of(wire)
    for body in bodies:
        with contextlib.suppress(MalformedStreamError, ErrorEventError):
            reader.read(ServerEvent("", json.dumps(body)))

    assert reader.text.encode().decode() == reader.text
    assert reader.input_tokens is None or 0 < reader.input_tokens <= 10**10


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(MalformedStreamError, match="UTF-8"):
        list(EventDecoder().feed(b"data: \xff\n\n"))


def test_an_event_nested_beyond_reason_is_refused() -> None:
    with pytest.raises(MalformedStreamError):
        reader_of(WireFormat.OPENAI).read(ServerEvent("", "[" * 200_000))
