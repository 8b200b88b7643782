from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelevolve.profilers.plots import roofline_svg, timeline_svg
from kernelevolve.profilers.plots.paper import BOUNDS, KINDS, WIDTH
from kernelevolve.profilers.report import Ceiling, DeviceEvent, RooflinePoint, Timeline

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert('x')</script>&\"\u202eevil\x00\ud800"

SHEET_BANDWIDTH = Ceiling(kind="bandwidth", value=3.35e12, name="device memory", source="spec sheet")
SHEET_RATE = Ceiling(kind="rate", value=989e12, name="bfloat16 matrix products", source="spec sheet")
DEVICE_BANDWIDTH = Ceiling(kind="bandwidth", value=2.93e12, name="device memory", source="measured")
DEVICE_RATE = Ceiling(kind="rate", value=712e12, name="bfloat16 matrix products", source="measured")
CEILINGS = (SHEET_BANDWIDTH, SHEET_RATE, DEVICE_BANDWIDTH, DEVICE_RATE)


def point(case: str, time_s: float, moved: float, flops: float | None, **more: Any) -> RooflinePoint:
    values: dict[str, Any] = {
        "case": case,
        "dtype": "bfloat16",
        "time_s": time_s,
        "bytes": moved,
        "bytes_source": "inputs and outputs",
        "flops": flops,
        "intensity": flops / moved if flops and moved else None,
        "ceilings": CEILINGS,
        "bound": "memory",
    }
    return RooflinePoint(**{**values, **more})


POINTS = (
    point("large", 250e-6, 1e8, 1.37e11, bound="compute", share_of_sheet=0.56, share_of_measured=0.77),
    point("large", 60e-6, 1.34e8, 6.7e7, kernel="void ns::softmax_kernel<float, 4>(float*)", share_of_sheet=0.66),
    point("small", 9e-6, 6e6, 2.1e9),
)
BARS = (
    point("copy", 80e-6, 2.1e8, None, share_of_sheet=0.78, share_of_measured=0.89),
    point("transpose", 150e-6, 2.1e8, None, share_of_sheet=0.42),
)


def event(name: str, kind: str, start: float, duration: float, track: str, **more: Any) -> DeviceEvent:
    return DeviceEvent(name=name, kind=kind, start_us=start, duration_us=duration, track=track, **more)


EVENTS = (
    event("aten::mm", "operator", 0.0, 22.0, "host"),
    event("cudaLaunchKernel", "launch", 8.0, 9.0, "host", correlation=1),
    event("cudaLaunchKernel", "launch", 40.0, 5.0, "host", correlation=2),
    event("cudaStreamSynchronize", "sync", 60.0, 60.0, "host"),
    event("void cutlass::gemm_kernel<128, 64>(Params)", "kernel", 20.0, 30.0, "stream 7", correlation=1),
    event("softmax_kernel", "kernel", 70.0, 20.0, "stream 7"),
    event("reduce_kernel", "kernel", 45.0, 15.0, "stream 13", correlation=2),
    event("Memcpy DtoH (Device -> Pinned)", "memcpy", 104.0, 16.0, "stream 7", bytes=4 << 20),
)


def timeline(events: tuple[DeviceEvent, ...] = EVENTS, **more: Any) -> Timeline:
    values: dict[str, Any] = {
        "runs": 5, "wall_us": 121.0, "busy_us": 76.0, "launches": 3, "gaps_us": 24.0, "synchronizations": 1,
        "host_copies": 1, "device_copies": 0, "copy_us": 16.0, "events": events,
    }  # fmt: skip
    return Timeline(**{**values, **more})


class Picture:
    """A picture that was parsed, which fails where it is no well-formed XML."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)
        self.parents = {child: parent for parent in self.root.iter() for child in parent}

    def each(self, tag: str, style: str = "") -> list[ElementTree.Element]:
        return [
            element
            for element in self.root.iter(f"{SVG}{tag}")
            if set(style.split()) <= set(element.get("class", "").split())
        ]

    def tooltip(self, element: ElementTree.Element) -> str:
        return element.findtext(f"{SVG}title") or ""

    def texts(self) -> list[str]:
        # A text's own words come after its tooltip, if it has one.
        return ["".join(text for text in (e.text, *(child.tail for child in e)) if text) for e in self.each("text")]

    def labelled(self, pattern: str) -> list[tuple[float, float, float]]:
        """Number that a tick stands for, and where it is."""
        found = []
        for element in self.each("text"):
            if element.text and (match := re.fullmatch(pattern, element.text)):
                found.append((float(match[1].replace(",", "")), number(element, "x"), number(element, "y")))
        return found


def number(element: ElementTree.Element, name: str) -> float:
    return float(element.get(name, "nan"))


def centre(group: ElementTree.Element) -> tuple[float, float]:
    shape = group.find(f"{SVG}rect")
    assert shape is not None
    return number(shape, "x") + number(shape, "width") / 2, number(shape, "y") + number(shape, "height") / 2


def contrast(first: str, second: str) -> float:
    """Contrast of two colours by WCAG 2.2, "contrast ratio"."""

    def luminance(colour: str) -> float:
        channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


# -- both -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [roofline_svg((*POINTS, *BARS)), timeline_svg(timeline()), roofline_svg(()), timeline_svg(timeline(()))],
    ids=["roofline", "timeline", "no roofline", "no timeline"],
)
def test_a_picture_stands_alone_and_says_what_it_is(text: str) -> None:
    picture = Picture(text)

    assert picture.root.tag == f"{SVG}svg"
    assert picture.root.get("role") == "img"
    assert picture.root.get("width") == str(WIDTH)
    assert picture.root.get("viewBox") == f"0 0 {WIDTH} {picture.root.get('height')}"
    assert [child.tag for child in picture.root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert all(child.text for child in list(picture.root)[:2])
    assert "prefers-color-scheme:dark" in text
    assert re.findall(r"(?:href|src|@import|url\((?!#))", text) == []


@pytest.mark.parametrize("text", [roofline_svg((*POINTS, *BARS)), timeline_svg(timeline())])
def test_every_class_that_is_used_has_a_rule(text: str) -> None:
    picture = Picture(text)
    (style,) = picture.each("style")
    rules = set(re.findall(r"\.([a-z-]+)", style.text or ""))

    used = {name for element in picture.root.iter() for name in element.get("class", "").split()}

    # These only name what something is.
    assert used - rules <= {"event", "gap", "bar", "point"}


@pytest.mark.parametrize(("light", "on_light", "dark", "on_dark"), [*KINDS.values(), *BOUNDS.values()])
def test_text_on_a_colour_can_be_read(light: str, on_light: str, dark: str, on_dark: str) -> None:
    assert contrast(light, on_light) >= 4.5
    assert contrast(dark, on_dark) >= 4.5


def test_names_are_text_and_nothing_else() -> None:
    roofline = Picture(roofline_svg((point(HOSTILE, 1e-3, 1e8, 1e9, kernel=HOSTILE), point(HOSTILE, 1e-3, 1e8, None))))
    lanes = Picture(timeline_svg(timeline((event(HOSTILE, "kernel", 0.0, 9.0, HOSTILE),))))

    for picture in (roofline, lanes):
        assert picture.each("script") == []
        shown = " ".join(picture.root.itertext())
        assert "</text><script>alert('x')</script>&\"⟨U+202E⟩evil⟨U+0000⟩⟨U+D800⟩" in shown


# -- the roofline ---------------------------------------------------------------------------------------------------


def scales(picture: Picture) -> tuple[Any, Any]:
    """Functions from a value to a coordinate, made of what the labels of the axes say."""
    powers = {"": 1.0, "G": 1e9, "T": 1e12, "P": 1e15}
    across, up = [], []
    for element in picture.each("text", "soft"):
        if match := re.fullmatch(r"([\d.,]+) ?([GTP]?)", element.text or ""):
            value = float(match[1].replace(",", "")) * powers[match[2]]
            if element.get("text-anchor") == "middle":
                across.append((value, number(element, "x")))
            elif element.get("text-anchor") == "end":
                up.append((value, number(element, "y") - 4))  # Half the height of its letters.

    def line(marks: list[tuple[float, float]]) -> Any:
        (first, at), (last, to) = marks[0], marks[-1]
        slope = (to - at) / math.log10(last / first)
        return lambda value: at + slope * math.log10(value / first)

    return line(across), line(up)


def test_points_lie_where_their_numbers_say() -> None:
    picture = Picture(roofline_svg(POINTS))
    x_of, y_of = scales(picture)
    markers = picture.each("g", "point")[: len(POINTS)]

    assert x_of(10) > x_of(1)
    assert y_of(1e13) < y_of(1e12)  # Up is less in SVG.
    for marker, expected in zip(markers, POINTS, strict=True):
        assert expected.flops is not None
        x, y = centre(marker)
        assert x == pytest.approx(x_of(expected.flops / expected.bytes), abs=0.5)
        assert y == pytest.approx(y_of(expected.flops / expected.time_s), abs=0.5)


def test_roofs_pass_through_their_ridges_and_measured_ones_are_dashed() -> None:
    picture = Picture(roofline_svg(POINTS))
    x_of, y_of = scales(picture)
    roofs = [line for line in picture.each("line", "roof") if number(line, "y1") < 440]  # Without the legend.
    solid = [line for line in roofs if "dashed" not in line.get("class", "")]
    dashed = [line for line in roofs if "dashed" in line.get("class", "")]

    for lines, width, rate in ((solid, SHEET_BANDWIDTH, SHEET_RATE), (dashed, DEVICE_BANDWIDTH, DEVICE_RATE)):
        diagonal, flat = lines
        ridge = x_of(rate.value / width.value), y_of(rate.value)
        assert (number(diagonal, "x2"), number(diagonal, "y2")) == pytest.approx(ridge, abs=0.5)
        assert (number(flat, "x1"), number(flat, "y1")) == pytest.approx(ridge, abs=0.5)
        assert number(flat, "y2") == number(flat, "y1")
    told = [picture.tooltip(circle) for circle in picture.each("circle", "roof")]
    assert told == [
        "ridge: 243 FLOP/B at 712 TFLOP/s, measured",
        "ridge: 295 FLOP/B at 989 TFLOP/s, spec sheet",
    ]


def test_the_list_has_every_point_and_every_roof_in_numbers() -> None:
    texts = Picture(roofline_svg(POINTS)).texts()

    row = texts.index("large", texts.index("limit"))
    assert texts[row : row + 6] == ["large", "548 T", "1,370", "56 %", "77 %", "compute"]
    assert "softmax_kernel (large)" in texts
    assert "device memory 2.93 TB/s" in texts
    assert "bfloat16 matrix products 989 TFLOP/s, ridge at 295 FLOP/B" in texts


def test_what_bounds_a_point_shows_without_colour() -> None:
    large, softmax = Picture(roofline_svg(POINTS)).each("g", "point")[:2]

    corners = [number(group.find(f"{SVG}rect"), "rx") for group in (large, softmax)]  # type: ignore[arg-type]

    assert corners == [3, 9]  # A square for arithmetic, a disc for memory.


def test_points_without_operations_are_bars_against_the_bandwidths() -> None:
    picture = Picture(roofline_svg(BARS))
    zero, one = picture.labelled(r"(0)")[0][1], picture.labelled(r"(1) TB/s")[0][1]

    bars = picture.each("rect", "bar")
    lines = picture.each("line", "roof")

    assert picture.each("g", "point") == []
    for bar, expected in zip(bars, BARS, strict=True):
        assert number(bar, "x") == pytest.approx(zero, abs=0.5)
        assert number(bar, "width") / (one - zero) == pytest.approx(expected.bytes / expected.time_s / 1e12, abs=0.01)
    assert [(number(line, "x1") - zero) / (one - zero) for line in lines] == pytest.approx([3.35, 2.93], abs=0.01)
    assert ["dashed" in line.get("class", "") for line in lines] == [False, True]
    assert {"copy", "2.62 TB/s", "78 %", "89 %", "transpose", "1.4 TB/s", "42 %", "–"} <= set(picture.texts())


def test_both_kinds_share_a_picture() -> None:
    picture = Picture(roofline_svg((*POINTS, *BARS)))

    assert len(picture.each("g", "point")) == 2 * len(POINTS)  # Under the roofs, and in the list.
    assert len(picture.each("rect", "bar")) == len(BARS)


@pytest.mark.parametrize(
    "points",
    [
        (),
        (point("no time", 0.0, 1e6, 1e6),),
        (point("no bytes", 1e-3, 0.0, None),),
        (point("endless", math.inf, 1e6, 1e6), point("no number", math.nan, 1e6, 1e6)),
    ],
)
def test_without_a_usable_point_the_roofline_says_so(points: tuple[RooflinePoint, ...]) -> None:
    assert Picture(roofline_svg(points)).texts() == [
        "Nothing to show: there is no case whose time and bytes are known."
    ]


def test_points_that_are_not_shown_are_counted() -> None:
    texts = Picture(roofline_svg((*POINTS, point("broken", 0.0, 1e6, 1e6)))).texts()

    assert "1 more without usable numbers, or beyond what fits here" in texts


def test_a_point_without_ceilings_is_still_shown() -> None:
    picture = Picture(roofline_svg((point("bare", 1e-3, 1e8, 1e9, ceilings=()),)))

    assert len(picture.each("g", "point")) == 2
    assert picture.each("line", "roof") == []
    assert "no ceilings known" in picture.texts()


def boxes_of_markers(picture: Picture, count: int) -> list[tuple[float, float]]:
    return [centre(group) for group in picture.each("g", "point")[:count]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-7, 1e-2), st.floats(1e3, 1e10), st.floats(1e3, 1e13)), min_size=1, max_size=20))
def test_markers_and_names_of_any_points_do_not_overlap(numbers: list[tuple[float, float, float]]) -> None:
    points = [point(f"case {index}", *entry) for index, entry in enumerate(numbers)]
    picture = Picture(roofline_svg(points))

    markers = boxes_of_markers(picture, len(points))

    for index, (x, y) in enumerate(markers):
        assert 0 < x < WIDTH
        assert 60 < y < 440
        assert all(max(abs(x - to), abs(y - down)) >= 17.9 for to, down in markers[:index])
    named = [element for element in picture.each("text", "over") if element.text and element.text.startswith("case")]
    spans = []
    for element in named:
        width = 6.5 * len(element.text or "")
        left = number(element, "x") - {"start": 0.0, "middle": width / 2, "end": width}[
            element.get("text-anchor", "start")
        ]  # fmt: skip
        spans.append((left, left + width, number(element, "y")))
    for index, (left, right, y) in enumerate(spans):
        assert all(right <= low or high <= left or abs(y - line) >= 13 for low, high, line in spans[:index])
        assert all(right <= x - 9 or x + 9 <= left or abs(y - 4 - down) >= 14 for x, down in markers)


# -- the timeline ---------------------------------------------------------------------------------------------------


def time_scale(picture: Picture) -> Any:
    ticks = [
        (float(element.text.replace(",", "")), number(element, "x"))
        for element in picture.each("text", "soft")
        if element.text and re.fullmatch(r"-?[\d.,]+", element.text)
    ]
    (first, at), (last, to) = ticks[0], ticks[-2]  # The very last may be moved into the picture.
    return lambda time_us: at + (to - at) * (time_us - first) / (last - first)


def drawn(picture: Picture, name: str) -> list[ElementTree.Element]:
    return [rect for rect in picture.each("rect", "event") if picture.tooltip(rect).startswith(name)]


def test_events_lie_where_their_times_say() -> None:
    picture = Picture(timeline_svg(timeline()))
    x_of = time_scale(picture)

    rects = picture.each("rect", "event")

    assert len(rects) == len(EVENTS)
    for expected in EVENTS:
        found = [rect for rect in drawn(picture, expected.name) if expected.kind in rect.get("class", "").split()]
        left, right = x_of(expected.start_us), x_of(expected.start_us + expected.duration_us)
        assert any(
            number(rect, "x") == pytest.approx(left, abs=0.1)
            and number(rect, "x") + number(rect, "width") == pytest.approx(right, abs=0.9)
            for rect in found
        ), expected.name


def test_tracks_are_rows_with_calls_below_their_callers() -> None:
    picture = Picture(timeline_svg(timeline()))
    order = [text for text in picture.texts() if text in ("host", "stream 7", "stream 13", "device idle")]

    def top(name: str) -> float:
        return max(number(rect, "y") for rect in drawn(picture, name))

    assert order == ["host", "stream 7", "stream 13", "device idle"]
    # The first launch lies inside the operator; the second is called by nothing, and lies as high as the operator.
    assert sorted(number(rect, "y") for rect in drawn(picture, "cudaLaunchKernel")) == [
        top("aten::mm"), top("aten::mm") + 24,
    ]  # fmt: skip
    assert top("cudaLaunchKernel") < top("void cutlass") == top("softmax_kernel") == top("Memcpy")
    assert top("Memcpy") < top("reduce_kernel")


def test_overlapping_kernels_of_one_stream_lie_below_each_other() -> None:
    overlapping = (event("a", "kernel", 0.0, 10.0, "stream 7"), event("b", "kernel", 5.0, 10.0, "stream 7"),
                   event("c", "kernel", 10.0, 10.0, "stream 7"))  # fmt: skip
    picture = Picture(timeline_svg(timeline(overlapping)))

    a, b, c = (number(drawn(picture, name)[0], "y") for name in "abc")

    assert a == c < b


def test_stretches_with_nothing_on_the_device_are_marked() -> None:
    picture = Picture(timeline_svg(timeline()))
    x_of = time_scale(picture)

    gaps = picture.each("rect", "gap")

    # Kernels on the other stream fill 45 to 60.
    assert [picture.tooltip(gap) for gap in gaps] == [
        "nothing runs on the device for 10.0 µs from 60.0 µs",
        "nothing runs on the device for 14.0 µs from 90.0 µs",
    ]
    assert number(gaps[0], "x") == pytest.approx(x_of(60.0), abs=0.1)
    assert number(gaps[0], "width") == pytest.approx(x_of(70.0) - x_of(60.0), abs=0.1)
    assert {"10.0 µs", "14.0 µs"} <= set(picture.texts())


def test_tooltips_say_name_kind_and_times() -> None:
    picture = Picture(timeline_svg(timeline()))

    (copy,) = drawn(picture, "Memcpy")

    assert picture.tooltip(copy) == "Memcpy DtoH (Device -> Pinned)\nmemcpy, 16.0 µs from 104.0 µs, 4.19 MB"
    assert "gemm_kernel" in picture.texts()  # Short on the bar, whole in the tooltip.


def test_the_legend_has_what_occurs() -> None:
    texts = Picture(timeline_svg(timeline())).texts()

    assert "kernel 3 · 65.0 µs" in texts
    assert "launch 2 · 14.0 µs" in texts
    assert "nothing on the device" in texts
    assert not any(text.startswith("memset") for text in texts)


def test_the_summary_has_the_medians_and_their_units() -> None:
    texts = Picture(timeline_svg(timeline())).texts()

    told = "121.0 µs on the host, device busy 76.0 µs (63 %), gaps 24.0 µs, 3 kernels, 1 wait, 1 copy"
    assert f"median of 5: {told}" in texts


def test_ten_thousand_events_are_a_small_picture_that_counts_them_all() -> None:
    events = tuple(
        entry
        for index in range(5000)
        for entry in (
            event("cudaLaunchKernel", "launch", index * 5.0, 3.5, "host"),
            event(f"kernel_{index % 7}", "kernel", index * 5.0 + 6, 40.0 if index % 50 == 0 else 2.0, "stream 7"),
        )
    )

    text = timeline_svg(timeline(events, dropped=1200))

    picture = Picture(text)
    rects = picture.each("rect", "event")
    counts = [int(match[1].replace(",", "")) if (match := re.match(r"([\d,]+) short events", picture.tooltip(rect)))
              else 1 for rect in rects]  # fmt: skip
    assert len(text) < 200_000
    assert len(rects) < 2000
    assert sum(counts) == len(events)
    assert "1,200 events are not drawn: not recorded, without times, or on further tracks" in picture.texts()


def test_one_short_event_is_still_seen_and_named() -> None:
    events = (event("long", "kernel", 0.0, 10_000.0, "stream 7"), event("blip", "memset", 5000.0, 0.01, "stream 13"))
    picture = Picture(timeline_svg(timeline(events)))

    (blip,) = drawn(picture, "blip")

    assert number(blip, "width") >= 0.75
    assert "memset" in blip.get("class", "").split()


def test_many_tracks_are_cut_and_counted() -> None:
    events = tuple(event(f"k{index}", "kernel", index, 1.0, f"stream {index}") for index in range(20))

    texts = Picture(timeline_svg(timeline(events))).texts()

    assert sum(text.startswith("stream") for text in texts) == 12
    assert "8 events are not drawn: not recorded, without times, or on further tracks" in texts


@pytest.mark.parametrize("events", [(), (event("k", "kernel", math.nan, 1.0, "stream 7"),)])
def test_without_events_the_timeline_says_so(events: tuple[DeviceEvent, ...]) -> None:
    assert Picture(timeline_svg(timeline(events))).texts() == ["Nothing to show: the timeline has no events."]


spans = st.tuples(
    st.floats(-10, 1e7), st.floats(0, 1e6), st.sampled_from([*KINDS, "odd"]), st.sampled_from(["host", "stream 7", "s"])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(spans, min_size=1, max_size=60))
def test_any_events_stay_inside_the_picture(entries: list[tuple[float, float, str, str]]) -> None:
    events = tuple(event(f"e{index}", kind, start, duration, track)
                   for index, (start, duration, kind, track) in enumerate(entries))  # fmt: skip
    picture = Picture(timeline_svg(timeline(events)))
    height = number(picture.root, "height")

    for rect in [*picture.each("rect", "event"), *picture.each("rect", "gap")]:
        assert number(rect, "x") >= 125
        assert number(rect, "width") > 0
        assert number(rect, "x") + number(rect, "width") <= WIDTH
        assert 60 < number(rect, "y") < height - 20
