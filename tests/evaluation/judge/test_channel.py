"""The channel: whatever the other side sends, it is a message, a closed connection or a timeout, and nothing leaks."""

from __future__ import annotations

import array
import contextlib
import json
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelevolve.evaluation.judge.channel import Channel, ChannelClosedError, NonsenseError, ReceiveTimeoutError

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test fails because the machine is busy."""

Pair = tuple[Channel, socket.socket]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
bodies = st.dictionaries(st.text(), json_values, max_size=4)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A channel, and the bare socket at its other end, for whoever does not keep to the rules."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def frame(payload: bytes, descriptors: int = 0) -> bytes:
    return struct.pack("!IB", len(payload), descriptors) + payload


def send_descriptors(connection: socket.socket, data: bytes, descriptors: list[int]) -> None:
    connection.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


def soon() -> float:
    return time.monotonic() + 5


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@settings(PATIENT)
@given(st.lists(bodies, min_size=1, max_size=5))
def test_messages_arrive_whole_and_in_order(sent: list[dict[str, Any]]) -> None:
    ours, theirs = socket.socketpair()
    left, right = Channel(ours), Channel(theirs)

    for body in sent:
        left.send(body)

    assert [right.receive(soon()).body for _ in sent] == sent
    left.close()
    right.close()


def test_a_message_larger_than_the_socket_s_buffer(pair: Pair) -> None:
    channel, theirs = pair
    body = {"text": "x" * 5_000_000}
    other = Channel(theirs)

    thread = in_thread(lambda: other.send(body))

    assert channel.receive(soon()).body == body
    thread.join()


def test_descriptors_travel_with_their_message(pair: Pair, tmp_path: Path) -> None:
    channel, theirs = pair
    other = Channel(theirs)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    files = [os.open(tmp_path / name, os.O_RDONLY) for name in ("a", "b", "c")]

    other.send({"number": 0})
    other.send({"number": 1}, files[:1])
    other.send({"number": 2}, files[1:])
    messages = [channel.receive(soon()) for _ in range(3)]

    texts = [[os.read(descriptor, 10).decode() for descriptor in message.descriptors] for message in messages]
    assert texts == [[], ["a"], ["b", "c"]]
    for descriptor in [*files, *(one for message in messages for one in message.descriptors)]:
        os.close(descriptor)


def test_descriptors_that_nobody_takes_are_closed() -> None:
    """From a candidate: with each, memory would stay taken when the candidate is gone."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours, from_candidate=True)
    with Path("/dev/null").open() as file:
        before = open_descriptors()
        send_descriptors(theirs, frame(b'{"number": 1}'), [file.fileno()] * 8)
        send_descriptors(theirs, frame(b'{"number": 2}', descriptors=8), [file.fileno()] * 8)

        assert channel.receive(soon()).body == {"number": 1}
        with pytest.raises(NonsenseError, match="8 descriptors"):
            channel.receive(soon())
        assert open_descriptors() == before
    channel.close()
    theirs.close()


def test_a_candidate_cannot_fill_the_judge_with_values() -> None:
    """Twenty million empty lists are 60 MB of text and 1.5 GB of memory."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours, from_candidate=True)
    thread = in_thread(lambda: _send_quietly(theirs, frame(b'{"outputs": [' + b"[]," * 3_000_000 + b"[]]}")))

    with pytest.raises(NonsenseError, match="values"):
        channel.receive(time.monotonic() + 60)
    thread.join()
    channel.close()
    theirs.close()


@pytest.mark.parametrize("half", [b'"\\ud800"', b'"\\uDfff"', b'"\xed\xa0\x80"'])
def test_every_text_can_be_written_down(pair: Pair, half: bytes) -> None:
    channel, theirs = pair
    theirs.sendall(frame(b'{"failed": ' + half + b', "' + half[1:-1] + b'x": 1, "whole": "\\ud83d\\ude00"}'))

    body = channel.receive(soon()).body

    json.dumps(body, ensure_ascii=False).encode()
    assert set(body["failed"]) == {"?"}
    assert body["whole"] == "\N{GRINNING FACE}"


@settings(PATIENT)
@given(bodies, st.data())
def test_a_message_may_come_in_pieces(body: dict[str, Any], data: st.DataObject) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    whole = frame(json.dumps(body).encode()) * 2
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))

    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        theirs.sendall(whole[start:end])

    assert channel.receive(soon()).body == body
    assert channel.receive(soon()).body == body
    channel.close()
    theirs.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 64,  # an impossible length
        frame(b"not json"),
        frame(b"\xff\xfe\x00"),
        frame(b""),
        frame(b"[1, 2]"),  # JSON, but no object
        frame(b"null"),
        frame(b'{"number": 1'),
        frame(b"[" * 200_000),  # nested deeper than Python's stack
        frame(b'{"a":' * 200_000),
        frame(b'{"a": ' + b"9" * 10_000 + b"}"),  # more digits than Python converts
        frame(b"{}", descriptors=9),
        frame(b"{}", descriptors=1),  # announces a descriptor that does not come
        struct.pack("!IB", 64 * 1024 * 1024 + 1, 0),
        struct.pack("!IB", 0xFFFFFFFF, 0) + b"x" * 100,
    ],
)
def test_nonsense_counts_as_hanging_up(pair: Pair, garbage: bytes) -> None:
    channel, theirs = pair
    thread = in_thread(lambda: _send_quietly(theirs, garbage))

    with pytest.raises(ChannelClosedError):
        channel.receive(soon())
    channel.close()
    thread.join()


def _send_quietly(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)


@settings(PATIENT, max_examples=200)
@given(st.binary(max_size=200))
def test_random_bytes_never_do_more_than_hang_up(garbage: bytes) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.sendall(garbage)
    theirs.close()

    def receive_all() -> None:
        while True:
            channel.receive(soon())

    with pytest.raises(ChannelClosedError):
        receive_all()
    channel.close()


def test_an_oversized_message_is_refused_before_it_is_read(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(struct.pack("!IB", 100 * 1024 * 1024, 0))

    with pytest.raises(ChannelClosedError, match="not allowed"):
        channel.receive(soon())


@pytest.mark.parametrize("sent", [b"", b"\x00\x00", frame(b'{"number": 1}')[:-1]])
def test_the_deadline_holds_for_nothing_and_for_half_a_message(pair: Pair, sent: bytes) -> None:
    channel, theirs = pair
    theirs.sendall(sent)

    with pytest.raises(ReceiveTimeoutError):
        channel.receive(time.monotonic() + 0.05)


def test_a_message_that_comes_after_a_timeout_is_still_whole(pair: Pair) -> None:
    channel, theirs = pair
    whole = frame(b'{"number": 1}') + frame(b'{"number": 2}')
    for cut in (3, 5, 10):
        theirs.sendall(whole[:cut])
        with pytest.raises(ReceiveTimeoutError):
            channel.receive(time.monotonic() + 0.05)
        theirs.sendall(whole[cut:])

        assert [channel.receive(soon()).body["number"] for _ in range(2)] == [1, 2]


def test_a_deadline_in_the_past_does_not_lose_what_is_there(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(frame(b'{"number": 1}'))
    with pytest.raises(ReceiveTimeoutError):
        channel.receive(time.monotonic() - 1)

    assert channel.receive(soon()).body == {"number": 1}


def test_bytes_that_trickle_in_do_not_extend_the_deadline(pair: Pair) -> None:
    channel, theirs = pair
    stop = threading.Event()

    def trickle() -> None:
        theirs.sendall(struct.pack("!IB", 1000, 0))
        while not stop.wait(0.01):
            theirs.sendall(b"x")

    thread = in_thread(trickle)
    with pytest.raises(ReceiveTimeoutError):
        channel.receive(time.monotonic() + 0.2)
    stop.set()
    thread.join()


def test_a_peer_that_closes_is_noticed(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(frame(b'{"number": 1}')[:-3])
    theirs.close()

    with pytest.raises(ChannelClosedError):
        channel.receive(soon())
    with pytest.raises(ChannelClosedError):
        channel.send({"text": "x" * 1_000_000})


def test_what_was_sent_before_closing_still_arrives(pair: Pair) -> None:
    channel, theirs = pair
    theirs.sendall(frame(b'{"number": 1}'))
    theirs.close()

    assert channel.receive(soon()).body == {"number": 1}


def test_hanging_up_from_another_thread_ends_a_wait_without_deadline(pair: Pair) -> None:
    channel, _theirs = pair
    timer = threading.Timer(0.05, channel.hang_up)
    timer.start()

    with pytest.raises(ChannelClosedError):
        channel.receive()
    timer.join()


def test_whoever_waits_may_give_up() -> None:
    class GoneError(Exception):
        pass

    calls = []

    def still_wanted() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise GoneError

    ours, theirs = socket.socketpair()
    channel = Channel(ours, still_wanted)

    with pytest.raises(GoneError):
        channel.receive()
    channel.close()
    theirs.close()


def test_descriptors_nobody_took_are_closed_with_the_channel(pair: Pair) -> None:
    channel, theirs = pair
    before = open_descriptors()
    with Path("/dev/null").open() as file:
        send_descriptors(theirs, frame(b"{}"), [file.fileno()] * 5)  # five come, none is announced
        channel.receive(soon())

    assert open_descriptors() == before + 5
    channel.close()
    assert open_descriptors() == before - 1


def test_a_flood_of_descriptors_is_refused_and_leaves_none_behind(pair: Pair) -> None:
    channel, theirs = pair
    before = open_descriptors()
    with Path("/dev/null").open() as file:
        theirs.sendall(struct.pack("!IB", 1000, 8))
        for _ in range(50):
            send_descriptors(theirs, b"x", [file.fileno()] * 8)

    with pytest.raises(ChannelClosedError, match="descriptors"):
        channel.receive(soon())
    assert open_descriptors() <= before + 32
    channel.close()
    theirs.close()
    assert open_descriptors() <= before - 2


def test_descriptors_past_1023_work() -> None:
    """A server with many open files: `select` would refuse to wait on these."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip(f"this process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    ours, theirs = socket.socketpair()
    high = socket.socket(fileno=os.dup2(ours.fileno(), 1100, inheritable=False))
    ours.close()
    channel = Channel(high)
    try:
        theirs.sendall(frame(b'{"number": 1}'))

        assert channel.receive(soon()).body == {"number": 1}
    finally:
        channel.close()
        theirs.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
