from __future__ import annotations

import shutil
import tracemalloc
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema

from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.resources import KernelResources
from kernelevolve.profilers.report import (
    Bottleneck,
    BottleneckKind,
    DeviceEvent,
    Evidence,
    KernelMeasurement,
    Metric,
    Part,
    PartState,
    ProfileReport,
    Scope,
    StaticKernel,
    Timeline,
)
from kernelevolve.profilers.trace import COUNTERS, TraceInfo, write_trace

EVENT = schema.TrackEvent


def event(name: str, kind: str, start: float, duration: float, track: str, **more: Any) -> DeviceEvent:
    return DeviceEvent(name=name, kind=kind, start_us=start, duration_us=duration, track=track, **more)


EVENTS = (
    event("aten::mm", "operator", 1.0, 20.0, "host", correlation=2),
    event("cudaLaunchKernel", "launch", 4.0, 6.5, "host", correlation=101),
    event("cudaGraphLaunch", "launch", 30.0, 8.0, "host", correlation=102),
    event("cudaStreamSynchronize", "sync", 40.0, 60.25, "host", correlation=103),
    event("matmul_kernel", "kernel", 12.0, 40.0, "stream 13", correlation=101),
    event("softmax_kernel", "kernel", 34.0, 10.125, "stream 7", correlation=102),
    event("matmul_kernel", "kernel", 60.0, 38.0, "stream 7", correlation=102),
    event("Memcpy DtoH (Device -> Pinned)", "memcpy", 98.0, 2.0, "stream 7", correlation=7, bytes=4_000_000),
)
SCOPES = (
    Scope(name="loop 12", cycles=8000.0, share=1.0),
    Scope(name="line 14", cycles=300.0, share=0.5),
    Scope(name="line 15", cycles=200.0, share=0.3),
    Scope(name="line 16", cycles=100.0, share=0.25),
)


def share(value: float) -> Metric:
    return Metric(value=value, source="counters")


MATMUL = KernelMeasurement(
    kernel="matmul_kernel",
    calls=2,
    time_s=Metric(value=39e-6, unit="s", source="timeline"),
    metrics={
        "occupancy": share(0.375),
        "memory_share": share(0.62),
        "dram_read_bytes": Metric(value=3.2e7, unit="B", source="counters"),
        "stall.barrier": share(0.2),
    },
    lines={14: 0.75, 21: 0.25},
    scopes=SCOPES,
    grid=(128, 2),
    threads_per_block=256,
)
SOFTMAX = KernelMeasurement(kernel="softmax_kernel", metrics={"occupancy": share(0.9)})


def bottleneck(kernel: str, kind: BottleneckKind) -> Bottleneck:
    seen = Evidence(metric="occupancy", value=0.375, threshold=0.5, relation="<", source="counters")
    return Bottleneck(kind=kind, kernel=kernel, share=0.2, summary="Slow.", advice="Mend it.", evidence=(seen,))


def report(events: tuple[DeviceEvent, ...] | None = EVENTS, dropped: int = 0, **more: Any) -> ProfileReport:
    timeline = None
    if events is not None:
        timeline = Timeline(
            runs=5, wall_us=105.0, busy_us=80.0, launches=3, gaps_us=10.0, synchronizations=1, host_copies=1,
            device_copies=0, copy_us=2.0, events=events, dropped=dropped,
        )  # fmt: skip
    values: dict[str, Any] = {
        "task": "matmul_softmax",
        "candidate": "fused",
        "language": "triton",
        "source_hash": "ab" * 32,
        "platform": "cuda:sm_90",
        "device": "NVIDIA H100 80GB HBM3",
        "level": Level.EXECUTED,
        "case": "large",
        "dtype": "float16",
        "parts": (Part(name="perf", state=PartState.MISSING, why="There is no perf here."),),
        "kernels": (MATMUL, SOFTMAX),
        "timeline": timeline,
    }
    return ProfileReport(**{**values, **more})


@dataclass
class Slice:
    name: str
    track: str
    uuid: int
    start: int
    end: int | None
    depth: int
    category: str
    arguments: dict[str, Any]
    starts: list[int]
    ends: list[int]


@dataclass
class Reader:
    """A trace as the trace processor understands it: packets in order of time, a stack of slices for each track."""

    packets: list[Any]
    tracks: dict[int, Any] = field(default_factory=dict)
    slices: list[Slice] = field(default_factory=list)
    instants: list[Slice] = field(default_factory=list)
    counters: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        names: dict[tuple[int, str], dict[int, str]] = defaultdict(dict)
        for packet in self.packets:
            if packet.sequence_flags & schema.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED:
                assert not any(names[packet.trusted_packet_sequence_id, table] for table in ("names", "categories"))
            for table, entries, text in (
                ("names", packet.interned_data.event_names, "name"),
                ("categories", packet.interned_data.event_categories, "name"),
                ("keys", packet.interned_data.debug_annotation_names, "name"),
                ("strings", packet.interned_data.debug_annotation_string_values, "str"),
            ):
                for entry in entries:
                    value = getattr(entry, text)
                    known = names[packet.trusted_packet_sequence_id, table]
                    assert entry.iid not in known
                    known[entry.iid] = value.decode() if isinstance(value, bytes) else value
            if packet.HasField("track_descriptor"):
                assert packet.track_descriptor.uuid not in self.tracks
                self.tracks[packet.track_descriptor.uuid] = packet.track_descriptor
        stacks: dict[int, list[Slice]] = defaultdict(list)
        for packet in sorted(self.packets, key=lambda packet: packet.timestamp):
            if not packet.HasField("track_event"):
                continue
            told, known = packet.track_event, packet.trusted_packet_sequence_id
            for counter, value in zip(
                told.extra_double_counter_track_uuids, told.extra_double_counter_values, strict=True
            ):
                assert self.tracks[counter].HasField("counter")
                self.counters[self.tracks[counter].name].append((packet.timestamp, value))
            assert not self.tracks[told.track_uuid].HasField("counter")
            if told.type == EVENT.TYPE_SLICE_END:
                stacks[told.track_uuid].pop().end = packet.timestamp
                continue
            stack = stacks[told.track_uuid]
            arguments = {
                names[known, "keys"][entry.name_iid]: self.value(entry, names, known)
                for entry in told.debug_annotations
            }
            fresh = Slice(
                name=names[known, "names"][told.name_iid],
                track=self.tracks[told.track_uuid].name,
                uuid=told.track_uuid,
                start=packet.timestamp,
                end=None,
                depth=len(stack),
                category=names[known, "categories"][told.category_iids[0]],
                arguments=arguments,
                starts=list(told.flow_ids),
                ends=list(told.terminating_flow_ids),
            )
            if told.type == EVENT.TYPE_INSTANT:
                self.instants.append(fresh)
            else:
                assert told.type == EVENT.TYPE_SLICE_BEGIN
                stack.append(fresh)
                self.slices.append(fresh)
        assert not any(stacks.values()), "a slice that never ends"

    def value(self, entry: Any, names: Any, known: int) -> Any:
        if entry.dict_entries:
            return {names[known, "keys"][item.name_iid]: self.value(item, names, known) for item in entry.dict_entries}
        if entry.array_values:
            return [self.value(item, names, known) for item in entry.array_values]
        which = entry.WhichOneof("value")
        assert which is not None
        return names[known, "strings"][entry.string_value_iid] if which == "string_value_iid" else getattr(entry, which)

    def named(self, name: str) -> list[Slice]:
        return [entry for entry in self.slices if entry.name == name]

    def flows(self) -> list[tuple[Slice, Slice]]:
        """Source and target of every arrow."""
        everything = self.slices + self.instants
        sources = {flow: entry for entry in everything for flow in entry.starts}
        assert len(sources) == sum(len(entry.starts) for entry in everything)
        return [(sources[flow], entry) for entry in everything for flow in entry.ends]


def assert_known(message: Message) -> None:
    """No field that the real schema does not have, in the message and all within it."""
    assert len(UnknownFieldSet(message)) == 0, type(message).__name__
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for item in value if descriptor.is_repeated else [value]:
                assert_known(item)


def parse(path: Path) -> Any:
    trace = schema.Trace()
    trace.ParseFromString(path.read_bytes())
    return trace


def written(tmp_path: Path, profile: ProfileReport, **more: Any) -> tuple[TraceInfo, Reader]:
    path = tmp_path / "profile.pftrace"
    info = write_trace(profile, path, **more)
    assert info.path == path
    assert info.bytes == path.stat().st_size
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    return info, Reader(list(parse(path).packet))


def test_every_packet_is_in_the_schema_and_complete(tmp_path: Path) -> None:
    write_trace(report(bottlenecks=(bottleneck("", BottleneckKind.LAUNCH_BOUND),), dropped=3), tmp_path / "trace")

    trace = parse(tmp_path / "trace")

    assert_known(trace)
    started = set()
    for packet in trace.packet:
        sequence = packet.trusted_packet_sequence_id
        cleared = bool(packet.sequence_flags & schema.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED)
        assert sequence > 0
        assert packet.sequence_flags & schema.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        assert cleared == packet.first_packet_on_sequence == (sequence not in started)
        started.add(sequence)
        assert packet.HasField("timestamp")
        assert packet.WhichOneof("data") in ("track_event", "track_descriptor")
        if packet.HasField("track_event"):
            assert packet.track_event.HasField("track_uuid")
            assert len(packet.track_event.extra_double_counter_values) <= 8  # The trace processor refuses more.


def test_host_is_a_thread_and_every_stream_a_track_of_the_process(tmp_path: Path) -> None:
    _info, read = written(tmp_path, report())

    process = next(track for track in read.tracks.values() if track.HasField("process"))
    thread = next(track for track in read.tracks.values() if track.HasField("thread"))
    streams = {track.name: track for track in read.tracks.values() if track.name.startswith("stream")}

    assert process.process.process_name == "fused on NVIDIA H100 80GB HBM3"
    assert (thread.thread.pid, thread.thread.thread_name) == (process.process.pid, "host")
    assert set(streams) == {"stream 7", "stream 13"}
    assert {track.parent_uuid for track in streams.values()} == {process.uuid}
    assert streams["stream 7"].sibling_order_rank < streams["stream 13"].sibling_order_rank


def test_slices_begin_and_end_when_the_events_did(tmp_path: Path) -> None:
    info, read = written(tmp_path, report())

    found = {(entry.name, entry.category, entry.start, entry.end, entry.track) for entry in read.slices}
    expected = {
        (entry.name, entry.kind, round(entry.start_us * 1e3), round((entry.start_us + entry.duration_us) * 1e3),
         entry.track)
        for entry in EVENTS
    }  # fmt: skip

    assert expected <= found
    assert {entry[1] for entry in found - expected} == {"scope"}
    assert (info.events, info.dropped) == (len(EVENTS), 0)
    assert read.named("cudaLaunchKernel")[0].depth == 1  # Inside `aten::mm`.


def test_a_launch_is_tied_to_what_it_started_and_to_nothing_else(tmp_path: Path) -> None:
    _info, read = written(tmp_path, report())

    tied = [(source.name, target.name, target.start) for source, target in read.flows()]

    # The operator's correlation 2 and the copy's 7 have no launch; a graph's arrows all begin at its launch.
    assert sorted(tied) == [
        ("cudaGraphLaunch", "matmul_kernel", 60_000),
        ("cudaGraphLaunch", "softmax_kernel", 34_000),
        ("cudaLaunchKernel", "matmul_kernel", 12_000),
    ]


def test_what_starts_before_its_launch_is_not_tied_to_it(tmp_path: Path) -> None:
    early = (
        event("cudaLaunchKernel", "launch", 10.0, 1.0, "host", correlation=5),
        event("k", "kernel", 9.0, 4.0, "stream 7", correlation=5),
    )

    _info, read = written(tmp_path, report(early))

    assert read.flows() == []
    assert read.named("cudaLaunchKernel")[0].starts == []


def test_counters_hold_during_a_kernel_and_fall_to_zero_after_it(tmp_path: Path) -> None:
    _info, read = written(tmp_path, report())

    assert read.counters["occupancy, stream 7"] == [(34_000, 90.0), (44_125, 0.0), (60_000, 37.5), (98_000, 0.0)]
    # The softmax on the other stream ends meanwhile, and changes nothing here.
    assert read.counters["occupancy, stream 13"] == [(12_000, 37.5), (52_000, 0.0)]
    assert read.counters["memory_share, stream 13"] == [(12_000, 62.0), (52_000, 0.0)]
    assert {track.counter.unit_name for track in read.tracks.values() if track.HasField("counter")} == {"%"}


def test_all_counters_at_once_are_as_many_as_perfetto_takes(tmp_path: Path) -> None:
    every = MATMUL.model_copy(update={"metrics": {name: share(0.5) for name in COUNTERS}})

    _info, read = written(tmp_path, report(kernels=(every,)))

    assert len(read.counters) == 2 * len(COUNTERS)
    assert len(COUNTERS) <= 8


def test_a_counter_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    broken = MATMUL.model_copy(update={"metrics": {"occupancy": share(float("nan")), "l2_share": share(0.5)}})

    _info, read = written(tmp_path, report(kernels=(broken,)))

    assert set(read.counters) == {"l2_share, stream 7", "l2_share, stream 13"}


def test_scopes_lie_inside_the_first_slice_of_their_kernel_by_share(tmp_path: Path) -> None:
    _info, read = written(tmp_path, report())

    scopes = [entry for entry in read.slices if entry.category == "scope"]
    first, second = read.named("matmul_kernel")

    assert first.start == 12_000
    assert second.end is not None
    assert all(entry.uuid == first.uuid for entry in scopes)  # None in the second launch, on the other stream.
    assert {entry.name: (entry.end or 0) - entry.start for entry in scopes} == {
        "loop 12": 40_000, "line 14": 20_000, "line 15": 12_000, "line 16": 10_000,
    }  # fmt: skip
    # The loop is the kernel; two lines fit into it one after the other; the last finds room only inside another.
    assert {entry.name: entry.depth for entry in scopes} == {"loop 12": 1, "line 14": 2, "line 15": 2, "line 16": 3}
    assert next(entry for entry in scopes if entry.name == "line 14").arguments["cycles"] == 300.0


@settings(max_examples=200, deadline=None)
@given(shares=st.lists(st.floats(0, 1), min_size=1, max_size=24), duration=st.integers(1, 10**6))
def test_scopes_of_any_shares_nest(
    shares: list[float], duration: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scopes = tuple(Scope(name=f"s{index}", cycles=1, share=part) for index, part in enumerate(shares))
    kernel = KernelMeasurement(kernel="k", scopes=scopes)
    profile = report((event("k", "kernel", 0, duration / 1000, "stream 7"),), kernels=(kernel,))

    _info, read = written(tmp_path_factory.mktemp("scopes"), profile)

    found = {entry.name: (entry.end or 0) - entry.start for entry in read.slices if entry.category == "scope"}
    expected = {f"s{index}": int(duration * part) for index, part in enumerate(shares)}
    assert found == {name: length for name, length in expected.items() if length > 0}


def test_arguments_carry_launch_metrics_lines_and_resources(tmp_path: Path) -> None:
    resources = KernelResources(kernel="matmul_kernel", target="cuda:sm_90", registers=168, spills=4)
    static = StaticKernel(kernel="matmul_kernel", target="cuda:sm_90", resources=resources)

    _info, read = written(tmp_path, report(static=(static,)))

    for launch in read.named("matmul_kernel"):
        assert launch.arguments["grid"] == [128, 2]
        assert launch.arguments["threads_per_block"] == 256
        assert launch.arguments["median_us"] == pytest.approx(39.0)
        assert launch.arguments["metrics"] == {
            "occupancy": 0.375, "memory_share": 0.62, "dram_read_bytes (B)": 3.2e7, "stall.barrier": 0.2,
        }  # fmt: skip
        assert launch.arguments["samples_by_line"] == {"line 14": 0.75, "line 21": 0.25}
        assert launch.arguments["resources"] == {"registers": 168, "spills": 4}
    assert read.named("matmul_kernel")[0].arguments["correlation"] == 101
    copy = read.named("Memcpy DtoH (Device -> Pinned)")[0]
    assert copy.arguments["bytes"] == 4_000_000
    assert copy.arguments["bytes_per_s"] == pytest.approx(2e12)


def test_the_profile_says_what_it_is_of(tmp_path: Path) -> None:
    _info, read = written(tmp_path, report(notes=("ceilings are the spec sheet's",), candidate_ms=0.1))

    (about,) = [entry for entry in read.instants if entry.name == "profile"]

    assert about.arguments["task"] == "matmul_softmax"
    assert about.arguments["candidate_ms"] == 0.1
    assert about.arguments["parts"] == {"perf": "missing. There is no perf here"}
    assert about.arguments["timeline"]["wall_us"] == 105.0
    assert about.arguments["notes"] == ["ceilings are the spec sheet's"]


def test_bottlenecks_lie_over_the_first_launch_of_their_kernel_or_over_the_run(tmp_path: Path) -> None:
    found = (bottleneck("softmax_kernel", BottleneckKind.LOW_OCCUPANCY), bottleneck("", BottleneckKind.LAUNCH_BOUND))

    info, read = written(tmp_path, report(bottlenecks=found))

    drawn = {
        entry.name: (entry.start, entry.end, entry.track) for entry in read.slices if entry.category == "diagnosis"
    }
    assert drawn == {
        "low occupancy": (34_000, 44_125, "diagnosis"),
        "launch bound": (1_000, 100_250, "diagnosis"),
    }
    assert read.named("low occupancy")[0].arguments["advice"] == "Mend it."
    assert info.events == len(EVENTS)


def test_kernels_that_overlap_on_one_stream_lie_on_rows_of_their_own(tmp_path: Path) -> None:
    overlapping = (
        event("matmul_kernel", "kernel", 0.0, 10.0, "stream 7"),
        event("softmax_kernel", "kernel", 8.0, 10.0, "stream 7"),
        event("matmul_kernel", "kernel", 18.0, 2.0, "stream 7"),
        event("softmax_kernel", "kernel", 18.5, 0.5, "stream 7"),
    )

    _info, read = written(tmp_path, report(overlapping))

    kernels = [entry for entry in read.slices if entry.category == "kernel"]
    assert [(entry.start, entry.end) for entry in kernels] == [(0, 10_000), (8_000, 18_000), (18_000, 20_000),
                                                              (18_500, 19_000)]  # fmt: skip
    assert [entry.depth for entry in kernels] == [0, 0, 0, 0]  # One kernel does not call another.
    assert len({entry.uuid for entry in kernels}) == 2
    assert {entry.track for entry in kernels} == {"stream 7"}
    assert read.counters["occupancy, stream 7, row 2"] == [(8_000, 90.0), (18_000, 0.0), (18_500, 90.0), (19_000, 0.0)]


def test_kernels_right_after_one_another_share_a_row(tmp_path: Path) -> None:
    close = tuple(event("k", "kernel", 5.0 * index, 5.0, "stream 7") for index in range(4))

    _info, read = written(tmp_path, report(close))

    assert len({entry.uuid for entry in read.named("k")}) == 1


def test_what_has_no_length_is_an_instant(tmp_path: Path) -> None:
    profile = report((event("cudaLaunchKernel", "launch", 4.0, 0.0, "host", correlation=1),
                      event("k", "kernel", 4.0, 2.0, "stream 7", correlation=1)))  # fmt: skip

    info, read = written(tmp_path, profile)

    assert [entry.name for entry in read.instants if entry.category == "launch"] == ["cudaLaunchKernel"]
    assert [(source.name, target.name) for source, target in read.flows()] == [("cudaLaunchKernel", "k")]
    assert info.events == 2


times = st.floats(0, 1000).map(lambda value: round(value, 3))


@settings(max_examples=150, deadline=None)
@given(spans=st.lists(st.tuples(times, times, st.sampled_from(["host", "stream 7"])), max_size=40))
def test_any_events_give_slices_that_end_when_they_did(
    spans: list[tuple[float, float, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    events = tuple(
        event(f"e{index}", "kernel" if track != "host" else "operator", start, duration, track)
        for index, (start, duration, track) in enumerate(spans)
    )

    info, read = written(tmp_path_factory.mktemp("events"), report(events, kernels=()))

    lengths = {entry.name: (entry.start, entry.end) for entry in read.slices}
    lengths |= {entry.name: (entry.start, entry.start) for entry in read.instants if entry.category != "profile"}
    assert lengths == {
        entry.name: (round(entry.start_us * 1000), round((entry.start_us + entry.duration_us) * 1000))
        for entry in events
    }
    assert info.events == len(events)


def many(count: int) -> tuple[DeviceEvent, ...]:
    return tuple(
        piece
        for index in range(count)
        for piece in (
            event("cudaLaunchKernel", "launch", index * 10.0, 4.0, "host", correlation=index),
            event("matmul_kernel", "kernel", index * 10.0 + 5.0, 4.0, "stream 7", correlation=index),
        )
    )


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    profile = report(many(50), bottlenecks=(bottleneck("", BottleneckKind.LAUNCH_BOUND),))

    write_trace(profile, tmp_path / "one")
    write_trace(ProfileReport.model_validate_json(profile.model_dump_json()), tmp_path / "two")

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("limit", [4_000, 10_000, 40_000])
def test_over_the_limit_the_oldest_events_stay_and_the_trace_says_so(tmp_path: Path, limit: int) -> None:
    profile = report(many(1000))

    info, read = written(tmp_path, profile, limit_bytes=limit)

    events = [entry for entry in read.slices if entry.category in ("kernel", "launch")]
    (notice,) = [entry for entry in read.instants if entry.category == "dropped"]
    assert info.bytes <= limit
    assert info.bytes > 0.8 * limit
    assert 0 < info.events < 2000
    assert info.events + info.dropped == 2000
    assert sorted(entry.start for entry in events) == [
        round(entry.start_us * 1000) for entry in many(1000)[: info.events]
    ]
    assert notice.name == f"{info.dropped} later events are left out: the trace would be larger than {limit} bytes"


def test_a_limit_that_fits_exactly_drops_nothing(tmp_path: Path) -> None:
    profile = report(many(20))
    whole, _read = written(tmp_path, profile)
    notice = 200  # Room that is kept for saying what was dropped.

    enough, _read = written(tmp_path, profile, limit_bytes=whole.bytes + notice)
    little, read = written(tmp_path, profile, limit_bytes=whole.bytes - 1)

    assert enough.dropped == 0
    assert little.dropped > 0
    assert [entry.category for entry in read.instants] == ["profile", "dropped"]


def test_a_limit_below_the_head_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least [\d,]+ bytes; the limit is 100\."):
        write_trace(report(), tmp_path / "trace", limit_bytes=100)

    assert list(tmp_path.iterdir()) == []


def test_events_that_were_not_recorded_or_have_no_times_are_said(tmp_path: Path) -> None:
    broken = (*EVENTS, event("k", "kernel", float("nan"), 1.0, "stream 7"), event("k", "kernel", 1.0, -1.0, "stream 7"))

    info, read = written(tmp_path, report(broken, dropped=1234))

    assert {entry.name for entry in read.instants if entry.category == "dropped"} == {
        "1234 events of the run were not recorded",
        "2 events have no usable times",
    }
    assert (info.events, info.dropped) == (len(EVENTS), 1236)
    assert read.named("k") == []


def test_times_before_the_start_are_moved_together(tmp_path: Path) -> None:
    profile = report((event("a", "kernel", -2.5, 1.0, "stream 7"), event("b", "kernel", 1.0, 1.0, "stream 7")))

    _info, read = written(tmp_path, profile)

    assert [(entry.name, entry.start, entry.end) for entry in read.slices] == [("a", 0, 1000), ("b", 3500, 4500)]


def test_a_profile_without_a_timeline_still_says_what_it_is(tmp_path: Path) -> None:
    info, read = written(tmp_path, report(None))

    assert (info.events, info.dropped) == (0, 0)
    assert [entry.name for entry in read.instants] == ["profile"]
    assert read.slices == []


def test_names_of_any_characters_survive(tmp_path: Path) -> None:
    odd = "void k<λ, \x00>(\ud800)"

    _info, read = written(tmp_path, report((event(odd, "kernel", 0.0, 1.0, "stream 7"),)))

    assert read.slices[0].name == "void k<λ, \x00>(?)"


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    sizes, peaks = [], []
    for metrics in (1, 200):
        measured = MATMUL.model_copy(update={"metrics": {f"metric {index}": share(0.5) for index in range(metrics)}})
        profile = report(many(5000), kernels=(measured,))
        tracemalloc.start()
        sizes.append(write_trace(profile, tmp_path / "trace").bytes)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert sizes[1] - sizes[0] > 10 << 20
    assert peaks[1] - peaks[0] < 1 << 20


def test_the_trace_processor_reads_it_without_complaint(tmp_path: Path) -> None:
    program = shutil.which("trace_processor_shell") or shutil.which("trace_processor")
    if program is None:
        pytest.skip("no trace_processor_shell on PATH; get it from github.com/google/perfetto/releases")
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

    write_trace(report(), tmp_path / "trace")
    with TraceProcessor(trace=str(tmp_path / "trace"), config=TraceProcessorConfig(bin_path=program)) as processor:
        complaints = processor.query("select name from stats where severity != 'info' and value > 0")
        slices = processor.query("select count(*) as n from slice where category != 'scope' and dur > 0")
        flows = processor.query("select count(*) as n from flow")

        assert [row.name for row in complaints] == []
        assert next(iter(slices)).n == len(EVENTS)
        assert next(iter(flows)).n == 3
