from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.resources import KernelResources
from kernelevolve.search.curve import _log_marks, linear_marks, search_curve
from kernelevolve.search.driver import optimize
from kernelevolve.search.errors import SearchError
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.report import render_report, write_report
from kernelevolve.search.store import Store

VOID = {"meta", "line", "circle", "path", "br", "text"}


class Outline(HTMLParser):
    """Collects elements and texts, and checks that elements close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(element == tag for element, _ in self.elements)


def outline(text: str) -> Outline:
    found = Outline()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


@pytest.fixture
def searched(row_sums: Candidate, make_verdict, make_judge, store: Store) -> str:
    """A search with a bit of everything in it."""

    def opinion(request):
        source = request.candidate.source
        if "-ffast-math" in source:
            return make_verdict(request.candidate, finding=Finding.WRONG_SPECIAL_VALUES)
        if "-funroll-loops" in source:
            return make_verdict(
                request.candidate, finding=Finding.COMPILER_ERROR, log="error: <script>alert(1)</script>"
            )
        gain = (1 + source.count("-O3")) * (1 + source.count("parallel for"))
        return make_verdict(request.candidate, float(gain), baselines=request.baselines)

    return optimize(
        "row_sums.py", "cpu", [row_sums], make_judge(opinion), store, OptimizeOptions(evaluations=14)
    ).search_id


def test_the_report_says_everything(searched: str, store: Store) -> None:
    resources = [KernelResources(kernel="row_sums", target="hip:gfx942", registers=40, spills=0, occupancy=0.75)]
    page = outline(render_report(store, searched, resources))
    text = " ".join(" ".join(page.texts).split())

    for part in (
        "row_sums", "on cpu", "An Imagined Processor", "Baseline eager", "Baseline compile", "8.000 ms", "4.00×",
        "2.00×", "against eager", "ended: evaluations", "starting point", "flags -O3 -march=native", "wrong",
        "compile error", "Refused: wrong_special_values.", "first index", "hip:gfx942", "75 %", "Receipt",
        "seed_commitment", "[ 1.5, 1.25, 1.75 ]", "#pragma omp parallel for schedule(static)", "+++ kernel-o2.cpp",
    ):  # fmt: skip
        assert part in text, part
    assert page.count("circle") + page.count("path") >= len(store.nodes(searched))
    assert page.count("svg") == 1


def test_the_report_asks_for_nothing_from_elsewhere(searched: str, store: Store) -> None:
    text = render_report(store, searched)
    page = outline(text)

    assert "default-src 'none'" in text
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"} & {
        tag for tag, _ in page.elements
    }
    assert not [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert "url(" not in text
    assert "http:" not in text
    assert "https:" not in text


def test_candidates_cannot_speak_html(make_verdict, make_judge, store: Store) -> None:
    evil = "</pre></svg><script>alert(1)</script><img src=x onerror=alert(1)> & \u202e reversed \x1b[31m"
    point = Candidate(language="cpp", source=f"// {evil}\nint x;\n", name=f"{evil}.cpp")
    judge = make_judge(
        lambda r: (
            make_verdict(r.candidate, baselines=r.baselines)
            if "-O3" not in r.candidate.source
            else make_verdict(r.candidate, finding=Finding.COMPILER_ERROR, log=evil)
        )
    )
    summary = optimize(f"{evil}.py", "cpu", [point], judge, store, OptimizeOptions(evaluations=3))

    text = render_report(store, summary.search_id)
    page = outline(text)
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert "<script" not in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "⟨U+202E⟩ reversed ⟨U+001B⟩[31m" in text


def test_a_search_without_a_correct_start_has_a_report_too(
    row_sums: Candidate, make_verdict, make_judge, store: Store
) -> None:
    judge = make_judge(lambda request: make_verdict(request.candidate, finding=Finding.WRONG_VALUES))
    summary = optimize("row_sums.py", "cpu", [row_sums], judge, store)

    text = " ".join(outline(render_report(store, summary.search_id)).texts)
    assert "no correct candidate" in text
    assert "Refused: wrong_values." in text


def test_a_search_that_has_not_begun_has_a_report_too(row_sums: Candidate, store: Store) -> None:
    search_id = store.create_search("row_sums.py", "cpu", [row_sums], OptimizeOptions())

    assert "not ended" in " ".join(outline(render_report(store, search_id)).texts)
    with pytest.raises(SearchError, match="no search"):
        render_report(store, "nothing")


def test_the_receipt_in_the_report_is_the_receipt(searched: str, store: Store) -> None:
    page = outline(render_report(store, searched))
    best = store.leader(searched)
    assert best is not None
    confirmation = store.confirmation(best)
    assert confirmation is not None

    (text,) = [text for text in page.texts if '"receipt_hash"' in text]
    assert json.loads(text) == confirmation.receipt.model_dump(mode="json")


def test_the_file_is_written_whole(searched: str, store: Store, tmp_path: Path) -> None:
    path = write_report(store, searched, tmp_path / "reports" / "search.html")

    assert path.read_text(encoding="utf-8") == render_report(store, searched)
    assert [entry.name for entry in path.parent.iterdir()] == ["search.html"]


def test_the_curve_shows_every_node_inside_its_frame(searched: str, store: Store) -> None:
    nodes = store.nodes(searched)
    curve = search_curve(nodes, 0.02, store.leader(searched))

    assert len(curve.dots) == len(nodes) + 1  # and the ring around the winner
    for dot in curve.dots:
        assert curve.left <= dot.x <= curve.right
        assert curve.top <= dot.y <= curve.bottom or dot.y == curve.rail
    assert [kind for kind, _ in curve.legend] == ["correct", "best", "wrong", "compile_error", "confirmed"]
    assert not curve.logarithmic
    heights = [float(value) for value in re.findall(r"V([\d.]+)", curve.best_line)]
    assert heights == sorted(heights, reverse=True)


def test_the_curve_turns_logarithmic_beyond_a_factor_of_twenty(
    row_sums: Candidate, make_verdict, make_judge, store: Store
) -> None:
    judge = make_judge(
        lambda r: make_verdict(r.candidate, 50.0 if "-O3" in r.candidate.source else 0.5, baselines=r.baselines)
    )
    summary = optimize("t.py", "cpu", [row_sums], judge, store, OptimizeOptions(evaluations=4))

    curve = search_curve(store.nodes(summary.search_id), 0.02, summary.winner)
    assert curve.logarithmic
    assert [tick.label for tick in curve.y_ticks] == ["0.2×", "0.5×", "1×", "2×", "5×", "10×", "20×", "50×", "100×"]


@given(st.lists(st.floats(1e-4, 1e5), min_size=1, max_size=5))
def test_axis_marks_span_the_values(values: list[float]) -> None:
    for marks in (linear_marks(values), _log_marks(values)):
        assert marks == sorted(set(marks))
        assert marks[0] <= min(values) * (1 + 1e-9)
        assert marks[-1] >= max(values) * (1 - 1e-9)
        assert 2 <= len(marks) <= 13
        assert all(math.isfinite(mark) for mark in marks)
