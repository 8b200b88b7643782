from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelevolve.search.synthesizers.cpp_code import NotUnderstoodError, read_source, tokenize
from kernelevolve.search.synthesizers.cpp_dependences import interchange_refusal, parallel_refusal, simd_reductions
from kernelevolve.search.synthesizers.cpp_edits import cpp_edits
from kernelevolve.search.synthesizers.cpp_loops import Loop, read_loops

RMSNORM = """\
#include <algorithm>
#include <cmath>

// Root-mean-square norm with a gate.
static inline float silu(float v) { return v / (1.0f + std::exp(-v)); }

void kernel(TensorView x, TensorView weight, TensorView gate, double eps, TensorView out) {
  const int64_t rows = x.size(0), cols = x.size(1);
  const float* xp = static_cast<const float*>(x.data_ptr());
  const float* wp = static_cast<const float*>(weight.data_ptr());
  const float* gp = static_cast<const float*>(gate.data_ptr());
  float* op = static_cast<float*>(out.data_ptr());
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0.0;
    for (int64_t c = 0; c < cols; ++c) sum += xp[r * cols + c] * xp[r * cols + c];
    const float scale = 1.0f / std::sqrt(sum / cols + static_cast<float>(eps));
    for (int64_t c = 0; c < cols; ++c) {
      op[r * cols + c] = xp[r * cols + c] * scale * wp[c] * silu(gp[r * cols + c]);
    }
  }
}
"""


def kernel(body: str, before: str = "") -> str:
    """A kernel with two inputs, one output and their pointers, around a body."""
    return f"""{textwrap.dedent(before)}
void kernel(TensorView x, TensorView y, double eps, TensorView out) {{
  const int64_t rows = x.size(0), cols = x.size(1);
  const float* xp = static_cast<const float*>(x.data_ptr());
  const float* yp = static_cast<const float*>(y.data_ptr());
  float* op = static_cast<float*>(out.data_ptr());
{textwrap.indent(textwrap.dedent(body), "  ")}}}
"""


def descriptions(source: str) -> list[str]:
    return [edit.description for edit in cpp_edits(source)]


def mutated(source: str, description: str) -> str:
    return next(edit for edit in cpp_edits(source) if edit.description == description).apply(source)


def loop(source: str, number: int = 1) -> Loop:
    return read_loops(read_source(source)).loops[number - 1]


# Flags


def test_flags_are_put_on_a_line_of_their_own_at_the_top() -> None:
    source = mutated(RMSNORM, "flags -O3 -march=native")

    assert source == "// kernelevolve: flags -O3 -march=native\n" + RMSNORM


def test_flags_join_those_that_are_there() -> None:
    source = "#include <cmath>\n// kernelevolve: flags -O2 -mprefer-vector-width=512\n" + RMSNORM

    joined = mutated(source, "flags -O3 -march=native")
    assert "// kernelevolve: flags -mprefer-vector-width=512 -O3 -march=native\n" in joined
    narrow = mutated(source, "flags -mprefer-vector-width=256")
    assert "// kernelevolve: flags -O2 -mprefer-vector-width=256\n" in narrow


def test_flags_that_are_there_are_not_proposed_again() -> None:
    source = "// kernelevolve: flags -O3 -march=native -ffast-math -fno-finite-math-only -funroll-loops\n" + RMSNORM

    found = [text for text in descriptions(source) if text.startswith("flags")]
    assert found == ["flags -mprefer-vector-width=512", "flags -mprefer-vector-width=256"]


def test_fast_math_never_comes_without_respect_for_infinities() -> None:
    plain = "// kernelevolve: flags -ffast-math\n" + RMSNORM
    backwards = "// kernelevolve: flags -fno-finite-math-only -O3\n" + RMSNORM

    for source in (RMSNORM, plain, backwards):
        line = mutated(source, "flags -ffast-math -fno-finite-math-only").splitlines()[0]
        assert line.endswith("-ffast-math -fno-finite-math-only")
        assert line.count("math-only") == 1


def test_two_lines_of_flags_are_left_alone() -> None:
    source = "// kernelevolve: flags -O3\n// kernelevolve: flags -O1\n" + RMSNORM

    assert not [text for text in descriptions(source) if text.startswith("flags")]


# Parallel loops


def test_rows_become_parallel() -> None:
    source = mutated(RMSNORM, "parallel for at loop 1 over r, schedule(static)")

    line = "  #pragma omp parallel for schedule(static)\n  for (int64_t r = 0; r < rows; ++r) {"
    assert line in source
    assert source.replace("  #pragma omp parallel for schedule(static)\n", "") == RMSNORM


@pytest.mark.parametrize(
    "body",
    [
        "for (int64_t i = 0; i < rows * cols; ++i) op[i] = xp[i] + yp[i];",
        "for (int i = 0; i < rows; i++) { op[i] = 0.0f; for (int j = 0; j < i; ++j) op[i] += xp[j]; }",
        "for (int64_t i = 0; i < rows; i += 4) { op[i] = 1; op[i + 1] = 2; op[i + 3] = op[i] + op[i + 1]; }",
        """for (int64_t b = 0; b < rows; b += 64)
             for (int64_t i = b; i < std::min(b + 64, rows); ++i) op[i] = std::exp(xp[i]);""",
        """for (int64_t r = 0; r < rows; ++r) {
             float* to = op + r * cols;
             const float* from = &xp[r * cols];
             float largest = -INFINITY;
             for (int64_t c = 0; c < cols; ++c) largest = std::max(largest, from[c]);
             for (int64_t c = 0; c < cols; ++c) { if (from[c] > 0.0f) to[c] = from[c] - largest; else to[c] = 0.0f; }
           }""",
        """for (int64_t r = 0; r < rows; ++r) {
             float held[16];
             std::vector<float> row(cols);
             for (int k = 0; k < 16; ++k) held[k] = xp[r * cols + k];
             for (int64_t c = 0; c < cols; ++c) { row[c] = held[c % 16]; op[r * cols + c] = row[cols - 1 - c]; }
           }""",
        """const int64_t n = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
           for (int64_t i = 0; i < n; ++i) for (int64_t j = 0; j < c; ++j)
             for (int64_t k = 0; k < h; ++k) for (int64_t l = 0; l < w; ++l)
               op[((i * c + j) * h + k) * w + l] = xp[i * c * h * w + j * h * w + k * w + l];""",
        """for (int64_t r = 0; r < rows; ++r) {
             int64_t low = 0, high = cols;
             while (low < high) {
               const int64_t mid = (low + high) / 2;
               if (yp[mid] < xp[r]) low = mid + 1; else high = mid;
             }
             op[r] = low;
           }""",
        "for (int64_t r = 0; r < rows; ++r) op[r] = std::lower_bound(yp, yp + cols, xp[r]) - yp;",
        """const int64_t taps = y.size(0), last = cols - taps + 1;
           for (int64_t r = 0; r < rows; ++r)
             for (int64_t p = 0; p < last; ++p) op[r * last + p] = xp[r * cols + p];""",
    ],
)
def test_loops_that_write_apart_may_run_in_parallel(body: str) -> None:
    assert parallel_refusal(loop(kernel(body))) is None
    assert "parallel for" in "".join(descriptions(kernel(body)))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("float s = 0; for (int64_t i = 0; i < rows; ++i) s += xp[i]; op[0] = s;", "`s`, which is declared outside"),
        ("for (int64_t i = 0; i < rows; ++i) op[0] = xp[i];", "same element of `out`"),
        ("for (int64_t i = 0; i < rows; ++i) op[i % 4] = xp[i];", "same element"),
        ("for (int64_t i = 0; i < rows; ++i) op[i / 2] = xp[i];", "same element"),
        ("for (int64_t i = 0; i < rows; ++i) op[i * i - 3 * i] = xp[i];", "same element"),
        ("for (int64_t i = 0; i < rows; ++i) op[static_cast<int64_t>(xp[i])] = 1;", "same element"),
        ("for (int64_t i = 1; i < rows; ++i) op[i] = op[i - 1] + xp[i];", "same element"),
        ("for (int64_t i = 0; i < rows; ++i) { op[i] = xp[i]; op[i + 1] = xp[i]; }", "same element"),
        ("for (int64_t i = 0; i < rows; i += 2) { op[i] = 1; op[i + 2] = 2; }", "same element"),
        ("for (int64_t i = 0; i < rows; ++i) for (int64_t j = 0; j < cols; ++j) op[i + j] += xp[i];", "same element"),
        ("for (int64_t i = 0; i < rows; ++i) for (int j = 0; j <= cols; ++j) op[i * cols + j] = 1;", "same element"),
        ("for (int64_t i = 0; i < rows; ++i) for (int64_t j = 0; j < cols; ++j) op[j * cols + i] = 1;", "same element"),
        ("for (int64_t i = 0; i < rows; ++i) op[i * cols] = 1;", "same element"),  # cols may be 0
        ("for (int64_t i = 0; i < rows; ++i) { const int64_t k = xp[i]; op[k] = 1; }", "same element"),
        ("for (int64_t i = 0; i < rows; ++i) { *op = xp[i]; }", "unary `*`|to an expression"),
        ("for (int64_t i = 0; i < rows; ++i) { *op++ = xp[i]; }", "expected"),
        ("for (int64_t i = 0; i < rows; ++i) { op[0] = xp[i]; op += 1; }", "subscript of `op`"),
        ("float* p = op; for (int64_t i = 0; i < rows; ++i) { p[0] = xp[i]; ++p; }", "subscript of `p`"),
        ("for (int64_t i = 0; i < rows; ++i) { if (xp[i] > 0) break; op[i] = 1; }", "break"),
        ("for (int64_t i = 0; i < rows; ++i) { if (xp[i] > 0) return; op[i] = 1; }", "return"),
        ("for (int64_t i = 0; i < rows; ++i) op[i] = std::rand();", "call of `std::rand`"),
        ("for (int64_t i = 0; i < rows; ++i) { op[i] = 1; std::printf(\"%d\", 1); }", "in an expression|printf"),
        ("for (int64_t i = 0; i < rows; ++i) op[i] = omp_get_thread_num();", "omp_get_thread_num"),
        ("for (int64_t i = 0; i < rows; ++i) { static float last = 0; last += xp[i]; op[i] = last; }", "static"),
        ("for (int64_t i = 0; i < rows; ++i) { float& o = op[0]; o = xp[i]; }", "reference"),
        ("for (int64_t i = 0; i < rows; ++i) { auto f = [&](int k) { op[k] = 1; }; f(0); }", "expression"),
        ("for (int64_t i = 0; i < rows; ++i) { op[i] = 1; ++i; }", "count up"),
        ("for (int64_t i = 0; i < rows; i *= 2) op[i] = 1;", "count up"),
        ("for (int64_t i = rows; i > 0; --i) op[i] = 1;", "count up"),
        ("for (int64_t i = 0; i != rows; ++i) op[i] = 1;", "count up"),
        ("int64_t n = 9; for (int64_t i = 0; i < n; ++i) { op[i] = 1; n -= 1; }", "count up"),
        ("int64_t o = 0; for (int64_t i = 0; i < rows; ++i) { op[i + o] = 1; o += 1; }", "`o`|same element"),
        ("for (int64_t i = 0; i < rows; ++i) { const uint8_t k = i; op[k] = 1; }", "same element"),
        ("float* q = op + 1; for (int64_t i = 0; i < rows; ++i) op[i] = q[i];", "same element"),
        ("char* b = reinterpret_cast<char*>(op); for (int64_t i = 0; i < rows; ++i) b[i] = 1;", "subscript of `b`"),
        ("std::vector<bool> v(rows); for (int64_t i = 0; i < rows; ++i) v[i] = xp[i] > 0;", "subscript of `v`"),
        ("std::vector<float> t(cols); for (int64_t i = 0; i < rows; ++i) { t[0] = xp[i]; op[i] = t[0]; }", "same"),
        ("for (int64_t i = 0; i < rows; ++i) op[i] = helper(xp[i]);", "call of `helper`"),
        ("for (int64_t i = 0; i < rows; ++i) op[SOMEWHERE(i)] = 1;", "SOMEWHERE"),
        ("goto done; for (int64_t i = 0; i < rows; ++i) { done: op[i] = 1; }", "expected"),
        ("for (int64_t i = 0; i < rows; ++i) { switch (i) { case 0: op[0] = 1; } }", "switch"),
    ],
)  # fmt: skip
def test_loops_that_might_change_their_meaning_are_not_made_parallel(body: str, why: str) -> None:
    before = """
    #define SOMEWHERE(i) 0
    float total = 0;
    float helper(float v) { total += v; return total; }
    """
    source = kernel(body, before)

    assert re.search(why, parallel_refusal(loop(source)) or "")
    assert not [text for text in descriptions(source) if text.startswith("parallel for")]


def test_a_helper_is_pure_only_if_it_computes_from_its_arguments() -> None:
    body = "for (int64_t i = 0; i < rows; ++i) op[i] = helper(xp[i]);"
    pure = "constexpr float HALF = 0.5f;\nfloat helper(float v) { if (v > 0) return v; float t = v * HALF; return t; }"
    pointed = "float helper(const float* v) { return v[0]; }"
    shared = "static float seen; float helper(float v) { seen = v; return v; }"
    generic = "template <class T> T helper(T v) { return v; }"
    endless = "float helper(float v) { return helper(v); }"

    assert parallel_refusal(loop(kernel(body, pure))) is None
    for impure in (pointed, shared, generic, endless):
        assert "helper" in (parallel_refusal(loop(kernel(body, impure))) or "")


def test_only_outermost_loops_of_the_entry_point_become_parallel() -> None:
    nested = kernel("for (int64_t r = 0; r < rows; ++r) for (int64_t c = 0; c < cols; ++c) op[r * cols + c] = 1;")
    other = nested.replace("void kernel(", "void elsewhere(")

    assert [text for text in descriptions(nested) if "parallel" in text] == [
        "parallel for at loop 1 over r, schedule(static)"
    ]
    assert not [text for text in descriptions(other) if "parallel" in text]


def test_inside_a_parallel_region_nothing_is_made_parallel() -> None:
    body = """
    #pragma omp parallel
    {
      for (int64_t i = 0; i < rows; ++i) op[i] = xp[i];
    }
    """

    assert not [text for text in descriptions(kernel(body)) if "parallel" in text]


def test_pointers_that_may_overlap_are_refused() -> None:
    source = """
    void kernel(const float* a, float* b, int64_t n) { for (int64_t i = 0; i < n; ++i) b[i] = a[i]; }
    """

    assert "may overlap" in (parallel_refusal(loop(source)) or "")
    assert parallel_refusal(loop(source.replace("float* b", "float* __restrict__ b"))) is None


def test_a_parallel_loop_gets_other_schedules_and_no_second_pragma() -> None:
    source = mutated(RMSNORM, "parallel for at loop 1 over r, schedule(static)")

    found = [text for text in descriptions(source) if "schedule" in text]
    assert found == [f"schedule(dynamic,{size}) at loop 1 over r" for size in (1, 8, 64)]
    assert "#pragma omp parallel for schedule(dynamic,8)\n" in mutated(source, found[1])


def test_a_schedule_that_the_result_depends_on_is_left_alone() -> None:
    body = "for (int64_t i = 0; i < rows; ++i) op[i] = {};"
    threads = kernel("#pragma omp parallel for\n" + body.format("omp_get_thread_num()"))
    ordered = kernel("#pragma omp parallel for ordered\n" + body.format("1"))

    assert not [text for text in descriptions(threads) + descriptions(ordered) if "schedule" in text]


# SIMD


def test_accumulations_become_reductions() -> None:
    source = mutated(RMSNORM, "omp simd reduction(+:sum) at loop 2 over c")

    assert "    #pragma omp simd reduction(+:sum)\n    for (int64_t c = 0; c < cols; ++c) sum +=" in source


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("acc += xp[i];", {"+": ["acc"]}),
        ("acc -= xp[i] * yp[i];", {"+": ["acc"]}),
        ("if (xp[i] > 0) acc += 1;", {"+": ["acc"]}),
        ("acc = std::max(acc, xp[i]);", {"max": ["acc"]}),
        ("acc = std::min(acc, xp[i]); two += xp[i];", {"min": ["acc"], "+": ["two"]}),
        ("op[i] = xp[i] > 0 ? xp[i] : 0;", {}),
        ("op[i] += xp[i]; acc += op[i];", {"+": ["acc"]}),
        ("acc = acc * 2 + xp[i];", "carried"),
        ("acc *= xp[i];", "carried"),
        ("acc = std::max(xp[i], acc);", "carried"),  # keeps another NaN
        ("acc = std::fmax(acc, xp[i]);", "carried"),  # forgets a NaN
        ("acc += xp[i]; op[i] = acc;", "reads `acc`"),
        ("acc += acc * xp[i];", "carried"),
        ("acc += xp[i]; acc = std::max(acc, 0.0f);", "carried"),
        ("if (xp[i] > acc) acc = xp[i];", "carried"),
        ("op[i + 1] = op[i];", "same element"),
        ("op[0] += xp[i];", "same element"),
        ("if (xp[i] > 0) break; op[i] = 1;", "break"),
        ("for (int k = 0; k < 4; ++k) acc += xp[i];", "innermost"),
        ("while (acc < 4) acc += 1;", "innermost"),
    ],
)
def test_which_loops_may_run_in_lanes(statement: str, expected: dict[str, list[str]] | str) -> None:
    source = kernel(
        f"float acc = 0, two = 0;\nfor (int64_t i = 0; i < rows; ++i) {{ {statement} }}\nop[0] = acc + two;\n"
    )

    found = simd_reductions(loop(source))
    if isinstance(expected, str):
        assert expected in str(found)
        assert not [text for text in descriptions(source) if "simd" in text and "loop 1 " in text]
    else:
        assert found == expected


def test_a_parallel_loop_over_elements_becomes_parallel_and_simd() -> None:
    source = kernel("#pragma omp parallel for schedule(static)\nfor (int64_t i = 0; i < rows; ++i) op[i] = xp[i];")

    assert "#pragma omp parallel for simd schedule(static)\n" in mutated(source, "omp simd at loop 1 over i")
    lanes = kernel("#pragma omp simd\nfor (int64_t i = 0; i < rows; ++i) op[i] = xp[i];")
    both = mutated(lanes, "parallel for at loop 1 over i, schedule(static)")
    assert "#pragma omp parallel for simd schedule(static)\n" in both


# Constants, types, fusion


def test_marked_and_named_constants_are_halved_and_doubled() -> None:
    source = kernel(
        """constexpr int64_t CHUNK = 48;  // tune
           for (int64_t b = 0; b < rows; b += BLOCK_ROWS)
             for (int64_t i = b; i < std::min(b + BLOCK_ROWS, rows); ++i) op[i] = CHUNK;""",
        "constexpr int BLOCK_ROWS = 64;",
    )

    found = [text for text in descriptions(source) if " = " in text]
    assert found == ["BLOCK_ROWS = 128", "BLOCK_ROWS = 32", "CHUNK = 96", "CHUNK = 24"]
    assert "constexpr int BLOCK_ROWS = 128;" in mutated(source, "BLOCK_ROWS = 128")


@pytest.mark.parametrize(
    ("before", "body"),
    [
        ("constexpr int BLOCK = 64;", "for (int64_t i = 0; i < rows; ++i) op[i] = xp[i] * BLOCK;"),
        ("constexpr int WIDTH = 64;", "for (int64_t i = 0; i < rows; i += WIDTH) op[i] = xp[i];"),
        ("constexpr float TILE = 64;", "for (int64_t i = 0; i < rows; ++i) op[i] = xp[i];"),
        ("constexpr int TILE = 32 + 32;", "for (int64_t i = 0; i < rows; i += TILE) op[i] = xp[i];"),
        ("const int UNROLL = 4;", "for (int64_t i = 0; i < rows; i += UNROLL) op[i] = xp[i];"),
        ("constexpr int UNROLL = 4;\n#define HOW UNROLL", "for (int64_t i = 0; i < rows; i += UNROLL) op[i] = xp[i];"),
    ],
)
def test_other_constants_keep_their_value(before: str, body: str) -> None:
    assert not [text for text in descriptions(kernel(body, before)) if re.match(r"[A-Z]+ =", text)]


def test_a_constant_that_a_parallel_loop_rests_on_is_kept() -> None:
    # With BLOCK = 64 iterations write apart; with 128 two threads would write the same elements.
    body = """
    #pragma omp parallel for
    for (int64_t b = 0; b < rows; b += 64)
      for (int64_t i = b; i < b + BLOCK; ++i) op[i] += xp[i];
    """

    assert [text for text in descriptions(kernel(body, "constexpr int BLOCK = 64;")) if "BLOCK" in text] == [
        "BLOCK = 32"
    ]


def test_accumulators_change_their_type() -> None:
    narrow = mutated(RMSNORM, "accumulate `sum` in float")

    assert "    float sum = 0.0;\n" in narrow
    assert mutated(narrow, "accumulate `sum` in double") == RMSNORM


@pytest.mark.parametrize(
    "body",
    [
        "float s = 0; for (int64_t i = 0; i < rows; ++i) s += xp[i]; op[0] = std::max(s, 1.0f);",
        "float s = 0; for (int64_t i = 0; i < rows; ++i) s = std::max(s, xp[i]); op[0] = s;",
        "float s = 0, t = 0; for (int64_t i = 0; i < rows; ++i) s += xp[i]; op[0] = s + t;",
        "double s = 0; for (int64_t i = 0; i < rows; ++i) s += xp[i]; double t{s}; op[0] = t;",
        "int64_t s = 0; for (int64_t i = 0; i < rows; ++i) s += 1; op[0] = s;",
        "float s[2] = {0}; for (int64_t i = 0; i < rows; ++i) s[0] += xp[i]; op[0] = s[0];",
    ],
)
def test_types_that_other_code_depends_on_are_kept(body: str) -> None:
    assert not [text for text in descriptions(kernel(body)) if text.startswith("accumulate")]


def test_neighbours_that_touch_the_same_rows_are_fused() -> None:
    source = kernel(
        """for (int64_t i = 0; i < rows; ++i) op[i] = xp[i];
           // then
           for (int64_t i = 0; i < rows; ++i) { op[i] *= yp[i]; }"""
    )

    fused = mutated(source, "fuse loop 1 over i and loop 2 over i")
    assert fused.count("for (") == 1
    assert len(read_loops(read_source(fused)).loops) == 1
    assert parallel_refusal(loop(fused)) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("op[i] = xp[i];", "op[i] += op[rows - 1 - i];"),
        ("op[i + 1] = xp[i];", "op[i] *= 2;"),
        ("s += xp[i];", "op[i] = xp[i] / s;"),
        ("s += xp[i];", "s -= yp[i];"),
        ("if (xp[i] > 0) continue; op[i] = 1;", "op[i] = 2;"),
        ("if (xp[i] > 0) break; op[i] = 1;", "op[i] = 2;"),
        ("op[0] = xp[i];", "op[i] = op[0];"),
    ],
)
def test_neighbours_that_depend_on_each_other_stay_apart(first: str, second: str) -> None:
    source = kernel(
        f"""float s = 0;
        for (int64_t i = 0; i < rows; ++i) {{ {first} }}
        for (int64_t i = 0; i < rows; ++i) {{ {second} }}
        op[0] = s;"""
    )

    assert not [text for text in descriptions(source) if text.startswith("fuse")]


def test_loops_with_other_headers_or_pragmas_are_not_fused() -> None:
    lanes = "#pragma omp simd\n"
    one, other = (f"for (int64_t i = 0; i < {end}; ++i) op[i] = 1;\n" for end in ("rows", "cols"))

    assert not [text for text in descriptions(kernel(one + other)) if text.startswith("fuse")]
    assert not [text for text in descriptions(kernel(one + lanes + one)) if text.startswith("fuse")]
    assert not [text for text in descriptions(kernel(one + "op[0] = 3;\n" + one)) if text.startswith("fuse")]


# Interchange


def nest(statement: str, first: str = "for (int64_t i = 0; i < rows; ++i)", second: str = "") -> str:
    """A kernel with two loops, one directly in the other, around a statement."""
    return kernel(f"{first} {second or 'for (int64_t j = 0; j < cols; ++j)'} {{ {statement} }}\n")


def interchange(source: str) -> str | None:
    """Why the first two loops of a source may not swap their places."""
    loops = read_loops(read_source(source)).loops
    assert loops[1].parent is loops[0]
    return interchange_refusal(loops[0], loops[1])


def test_nested_loops_swap_their_headers_and_nothing_else() -> None:
    source = kernel(
        """for (int64_t p = 0; p < rows; ++p) {  // depth
             for (int j = 2; j <= cols; j += 2) op[j] += xp[p * cols + j];
           }"""
    )

    swapped = mutated(source, "interchange loop 1 over p and loop 2 over j")
    assert swapped == kernel(
        """for (int j = 2; j <= cols; j += 2) {  // depth
             for (int64_t p = 0; p < rows; ++p) op[j] += xp[p * cols + j];
           }"""
    )
    assert mutated(swapped, "interchange loop 1 over j and loop 2 over p") == source


def test_an_interchange_that_makes_accesses_contiguous_comes_early() -> None:
    strided = nest("op[j * rows + i] = xp[j * rows + i];")

    early = next(edit for edit in cpp_edits(strided) if edit.description.startswith("interchange"))
    late = next(edit for edit in cpp_edits(early.apply(strided)) if edit.description.startswith("interchange"))
    assert (early.rank, late.rank) == (2, 7)


@pytest.mark.parametrize(
    "statement",
    [
        "op[i * cols + j] = xp[i * cols + j];",
        "op[j * rows + i] = xp[i * cols + j];",
        "op[i] += xp[i * cols + j];",  # meets itself in one row, column after column
        "op[j] += xp[i * cols + j];",
        "op[i * cols + j] = 0; for (int k = 0; k < 8; ++k) op[i * cols + j] += xp[i * 8 + k] * yp[k * cols + j];",
        "for (int k = 0; k < 8; ++k) op[i * 8 + k] += xp[j * 8 + k];",
        "for (int k = 0; k < 8; ++k) op[(j * rows + i) * 8 + k] += xp[j * 8 + k];",
        "float a[4]; for (int k = 0; k < 4; ++k) a[k] = xp[k]; op[i] += a[j % 4];",
        "if (xp[j] > 0) op[i * cols + j] = 1; else op[i * cols + j] = -1;",
        "for (int k = 0; k < 8; ++k) { if (xp[k] > 0) break; op[i * cols + j] += 1; }",
        "for (int k = 0; k < 8; ++k) { if (xp[k] > 0) continue; op[i * cols + j] += 1; }",
        "op[i * cols + j] = op[(i + 1) * cols + j] + op[(i + 2) * cols + j];",  # stencils: (<, =)
        "op[i * (cols + 2) + j] = op[(i + 1) * (cols + 2) + j + 1];",  # (<, <)
        "op[(i + 1) * (cols + 1) + j + 1] = op[i * (cols + 1) + j + 1] + op[(i + 1) * (cols + 1) + j];",
        "op[4 * cols * i + j] = op[4 * cols * (i + 1) + j];",
    ],
)
def test_nested_loops_whose_order_does_not_matter_are_interchanged(statement: str) -> None:
    source = nest(statement)

    assert interchange(source) is None
    assert "interchange loop 1 over i and loop 2 over j" in descriptions(source)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        # Dependences: an element is touched first in one, then in the other direction.
        ("op[i * (cols + 1) + j] = op[(i + 1) * (cols + 1) + j - 1];", "same element"),  # (<, >)
        ("op[(i + 1) * (cols + 1) + j] = op[i * (cols + 1) + j + 1];", "same element"),  # (<, >), read after write
        ("op[i * cols + j] = op[(i + 1) * cols + j + 1];", "same element"),  # the row ends: (<, <) or (<, >)
        ("op[i + j] = xp[i * cols + j];", "same element"),  # the last one stays
        ("op[i + j] += xp[i * cols + j];", "same element"),
        ("op[0] = xp[i * cols + j];", "same element"),
        ("op[0] += xp[i * cols + j];", "same element"),
        ("op[(i + j) % 4] = xp[i * cols + j];", "same element"),
        ("op[i * j] = xp[i * cols + j];", "same element"),
        ("op[static_cast<int64_t>(xp[i])] = j;", "same element"),
        ("op[i * 4 + j] += xp[j];", "same element"),  # rows of 4 overlap
        ("op[i * cols + j] = op[j * cols + i];", "same element"),
        ("op[j] = op[i];", "same element"),
        ("const int64_t k = j; op[i + k] = xp[i];", "same element"),
        ("const int64_t k = xp[i]; op[i * cols + j + k] = 1;", "same element"),
        ("for (int k = 0; k < xp[j]; ++k) op[i * cols + j + k] = 1;", "same element"),
        ("for (int k = 0; k < 9; ++k) op[i * 8 + k] += xp[j * 8 + k];", "same element"),
        ("float* q = op + i; q[j] = xp[i * cols + j];", "same element"),
        # Side exits
        ("if (xp[i] > 0) break; op[i * cols + j] = 1;", "break"),
        ("if (xp[i] > 0) continue; op[i * cols + j] = 1;", "continue"),
        ("if (xp[i] > 0) return; op[i * cols + j] = 1;", "return"),
        ("if (xp[i] > 0) goto done; op[i * cols + j] = 1; done:;", "goto"),
        # Calls
        ("op[i * cols + j] = std::rand();", "call of `std::rand`"),
        ("op[i * cols + j] = helper(xp[j]);", "call of `helper`"),
        ("op[i * cols + j] = fabsf(xp[j]);", "call of `fabsf`"),  # a macro here
        ('std::printf("%d", j);', "string|printf|expression"),
        # Scalars
        ("last = xp[i * cols + j];", "writes `last`"),
        ("last = last * 2 + xp[j];", "writes `last`"),
        ("last += xp[j]; op[i * cols + j] = last;", "reads `last`"),
        ("last += xp[j]; last = std::max(last, 0.0f);", "writes `last`"),
        ("count += xp[j];", "writes `count`"),  # each sum is cut off
        ("any += j - 1;", "writes `any`"),
        ("any = xp[j] > 0;", "writes `any`"),
    ],
)
def test_nested_loops_whose_order_matters_are_kept(statement: str, why: str) -> None:
    before = "#define fabsf helper\nfloat total = 0;\nfloat helper(float v) { total += v; return total; }"
    scalars = "float last = 0; int count = 0; bool any = false;"
    source = nest(statement).replace("  for (int64_t i", f"  {scalars}\n  for (int64_t i", 1)
    source = f"{before}\n{source}"

    assert re.search(why, interchange(source) or "")
    assert not [text for text in descriptions(source) if text.startswith("interchange loop 1")]


@pytest.mark.parametrize("statement", ["s += xp[i * cols + j];", "s = std::max(s, xp[j]);", "n += i * j;", "n -= 1;"])
def test_reductions_may_change_their_order_as_they_may_in_lanes(statement: str) -> None:
    source = nest(statement).replace("  for (int64_t i", "  float s = 0; int n = 0;\n  for (int64_t i", 1)

    assert interchange(source) is None


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ("", "for (int64_t j = 0; j < i; ++j)", "bounds of the inner depend on `i`"),  # triangular
        ("", "for (int64_t j = i; j < cols; ++j)", "bounds of the inner depend on `i`"),
        ("", "for (int64_t j = 0; j < std::min(i + 4, cols); ++j)", "bounds of the inner depend on `i`"),
        ("for (int64_t i = 0; i < j; ++i)", "", "count up"),  # another `j`, which the inner one would hide
        ("for (int64_t i = j; i < rows; ++i)", "", "arithmetic"),
        ("for (int64_t j = 0; j < rows; ++j)", "", "count up"),
        ("for (int64_t i = rows / 2; i < rows; ++i)", "for (int64_t j = 0; j <= cols; ++j)", "same element"),
        ("", "for (int64_t j = 0; j < rows / cols; ++j)", "arithmetic"),  # cols may be 0, where rows is
        ("for (int64_t i = xp[0]; i < rows; ++i)", "", "arithmetic"),
        ("", "for (int64_t j = 0; j < op[0]; ++j)", "count up"),
        ("", "for (int64_t j = 0; j < count(); ++j)", "count up|call"),
        ("", "for (int64_t j = 0; j != cols; ++j)", "count up"),
        ("for (int64_t i = rows; i > 0; --i)", "", "count up"),
        ("", "for (int64_t j = 0; j < cols; j += i)", "count up"),
        ("", "for (uint8_t j = 0; j < cols; ++j)", "count up"),
        ("", "for (int64_t j = 0, k = 0; j < cols; ++j)", "count up"),
        ("", "for (int64_t j = 0; j < LIMIT; ++j)", "LIMIT"),
        ("#pragma GCC unroll 4\nfor (int64_t i = 0; i < rows; ++i)", "", "#pragma"),
        ("", "\n#pragma omp simd\nfor (int64_t j = 0; j < cols; ++j)", "#pragma"),
        ("for (int64_t i = 0; i < rows; ++i) if (i != 3)", "", "not all"),
    ],
)
def test_loops_with_bounds_or_pragmas_of_their_own_are_kept(first: str, second: str, why: str) -> None:
    header = first or "for (int64_t i = 0; i < rows; ++i)"
    source = nest("op[i * cols + j] = 1;", header, second)
    source = source.replace("void kernel", "#define LIMIT 4\nconst int64_t i = 9, j = 9;\nvoid kernel")

    assert re.search(why, interchange(source) or "")
    assert not [text for text in descriptions(source) if text.startswith("interchange")]


@pytest.mark.parametrize(
    "body",
    [
        "for (int i = 0; i < rows; ++i) { const int64_t k = i; for (int j = 0; j < 4; ++j) op[4 * k + j] = 1; }",
        "for (int i = 0; i < rows; ++i) { for (int j = 0; j < 4; ++j) op[4 * i + j] = 1; op[4 * i] = 2; }",
        "for (int i = 0; i < rows; ++i) { op[4 * i] = 2; for (int j = 0; j < 4; ++j) op[4 * i + j] = 1; }",
        "for (int i = 0; i < rows; ++i) { for (int j = 0; j < 4; ++j) op[4 * i + j] = 1; int k = 0; }",
        """for (int i = 0; i < rows; ++i) { for (int j = 0; j < 4; ++j) op[8 * i + j] = 1;
                                            for (int j = 4; j < 8; ++j) op[8 * i + j] = 1; }""",
        "for (int i = 0; i < rows; ++i) while (s < 3) { for (int j = 0; j < 4; ++j) op[4 * i + j] = 1; }",
    ],
)
def test_what_stands_between_two_loops_keeps_them_in_place(body: str) -> None:
    source = kernel(f"float s = 0;\n{body}\n")

    assert not [text for text in descriptions(source) if text.startswith("interchange")]


def test_pragmas_further_out_that_count_loops_keep_them_in_place() -> None:
    body = """
    #pragma omp parallel for{}
    for (int t = 0; t < rows; ++t)
      for (int i = 0; i < 8; ++i)
        for (int j = 0; j < 8; ++j) op[t * 64 + i * 8 + j] = 1;
    """

    wanted = "interchange loop 2 over i and loop 3 over j"
    assert wanted in descriptions(kernel(body.format("")))
    assert wanted in descriptions(kernel(body.format(" schedule(static)")))
    assert wanted not in descriptions(kernel(body.format(" collapse(3)")))
    assert wanted not in descriptions(kernel(body.format(" ordered")))


def test_inside_a_parallel_region_nothing_is_interchanged() -> None:
    region = nest("op[i * cols + j] = 1;", "#pragma omp parallel\n{ for (int64_t i = 0; i < rows; ++i)")

    assert not [text for text in descriptions(region.replace("= 1; }", "= 1; } }")) if "interchange" in text]


def test_pointers_that_may_overlap_keep_the_order() -> None:
    source = """
    void kernel(const float* a, float* b, int64_t n) {
      for (int64_t i = 0; i < n; ++i) for (int64_t j = 0; j < n; ++j) b[i * n + j] = a[j * n + i];
    }
    """

    assert "may overlap" in (interchange(source) or "")
    assert interchange(source.replace("float* b", "float* __restrict__ b")) is None


# The reader


def test_what_looks_like_code_but_is_none_is_skipped() -> None:
    source = kernel(
        """// for (int64_t r = 0; r < rows; ++r) op[r] = 0; // kernelevolve: flags -O1
           const char* text = "for (;;) { // kernelevolve: flags -O0";
           const char* raw = R"x(for (int i)x";
           for (int64_t r = 0; r < rows; ++r) op[r] = 1'000.0f;"""
    )

    model = read_loops(read_source(source))
    assert [entry.label for entry in model.loops] == ["loop 1 over r"]
    assert mutated(source, "flags -funroll-loops").startswith("// kernelevolve: flags -funroll-loops\n")


@pytest.mark.parametrize("source", ["", "void kernel() {", 'const char* s = "open', "}", "void kernel() { for }", "@"])
def test_broken_sources_are_no_error(source: str) -> None:
    cpp_edits(source)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_sources_are_no_error(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(RMSNORM)))
    end = data.draw(st.integers(start, min(len(RMSNORM), start + 40)))
    text = data.draw(st.text(alphabet="(){}[];,<>=+-*/&#\"' \nabfor0", max_size=6))

    cpp_edits(RMSNORM[:start] + text + RMSNORM[end:])


def test_deep_nesting_is_no_error() -> None:
    for opener, closer in (("(", ")"), ("{", "}"), ("-", ""), ("[", "]")):
        cpp_edits(kernel(f"op[0] = {opener * 3000}1{closer * 3000};"))
    cpp_edits(kernel("if (1) " * 3000 + ";"))


@given(st.text(max_size=60))
def test_tokens_stand_where_they_say(text: str) -> None:
    try:
        tokens, comments = tokenize(text)
    except NotUnderstoodError:
        return
    for token in (*tokens, *comments):
        assert text[token.start : token.end] == token.text


# The proof itself


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_what_is_called_independent_never_collides(data: st.DataObject) -> None:
    """Random subscripts, some proved apart: then no two iterations may meet, for any sizes, by trying all of them."""
    number = st.integers(-2, 3)
    product = st.sampled_from(["r", "c", "r * cols", "c * rows", "cols", "r * 4", "c * 4", "rows", "1"])
    start = st.sampled_from(["", "", "r * cols + c + ", "4 * r + c + ", "r + c + ", "2 * r * cols + c + "])
    subscripts = [
        data.draw(start) + " + ".join(
            f"{data.draw(number)} * {data.draw(product)}" for _ in range(data.draw(st.integers(1, 3)))
        )
        for _ in range(data.draw(st.integers(1, 2)))
    ]  # fmt: skip
    step = data.draw(st.integers(1, 4))
    lower, upper = data.draw(
        st.sampled_from([("0", "cols"), ("0", "4"), ("r", "r + 4"), ("1", "cols - 1"), ("0", "r")])
    )
    statement = f"op[{subscripts[0]}] = " + (f"op[{subscripts[1]}];" if len(subscripts) > 1 else "1;")
    source = kernel(
        f"""for (int64_t r = 0; r < rows; r += {step})
              for (int64_t c = {lower}; c < {upper}; ++c) {{ {statement} }}"""
    )
    if parallel_refusal(loop(source)) is not None:
        return
    for rows, cols in itertools.product((1, 3, 6), (0, 1, 2, 5)):
        touched: dict[int, int] = {}
        for r in range(0, rows, step):
            names = {"r": r, "rows": rows, "cols": cols}
            for c in range(eval(lower, names), eval(upper, names)):
                for subscript in subscripts:
                    where = eval(subscript, {**names, "c": c})
                    assert touched.setdefault(where, r) == r, (statement, rows, cols)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_what_is_interchanged_computes_the_same_bit_for_bit(data: st.DataObject) -> None:
    """Random nests, some proved to be free of (<, >): run both orders of them, for several sizes, and compare."""
    row = data.draw(st.sampled_from(["cols", "cols", "(cols + 1)", "4", "rows", "1"]))
    column = data.draw(st.sampled_from(["j", "j", "j * rows", "2 * j", "-1 * j"]))
    shift = st.integers(-1, 2)

    def subscript() -> str:
        kind = data.draw(st.integers(0, 5))
        if kind < 4:
            return f"(i + {data.draw(shift)}) * {row} + {column} + {data.draw(shift)}"
        return f"i * {row}" if kind == 4 else column

    target, sources = subscript(), [subscript() for _ in range(data.draw(st.integers(0, 2)))]
    inner = data.draw(st.sampled_from(["", "", "for (int64_t k = 0; k < 3; ++k)"]))
    extra = data.draw(st.sampled_from([" + k", " + 3 * i * k", " * 3 + k"])) if inner else ""
    if extra.startswith(" *"):
        target = f"({target})"
    first = (data.draw(st.sampled_from(["0", "1", "cols - 1"])), data.draw(st.sampled_from(["rows", "4"])))
    second = (data.draw(st.sampled_from(["0", "1"])), data.draw(st.sampled_from(["cols", "cols - 1", "4", "rows"])))
    step = data.draw(st.integers(1, 3))
    read = " + ".join(f"0.5f * op[{index}]" for index in sources) or "0"
    statement = f"op[{target}{extra}] = op[{target}{extra}] * 0.75f + {read} + i * 16 + j;"
    source = nest(
        f"{inner} {statement}",
        f"for (int64_t i = {first[0]}; i < {first[1]}; i += {step})",
        f"for (int64_t j = {second[0]}; j < {second[1]}; ++j)",
    )
    if interchange(source) is not None:
        return

    def results(outer_first: bool, rows: int, cols: int) -> dict[int, float]:
        names = {"rows": rows, "cols": cols}
        outer = range(eval(first[0], names), eval(first[1], names), step)
        columns = range(eval(second[0], names), eval(second[1], names))
        pairs = itertools.product(outer, columns) if outer_first else (
            (i, j) for j, i in itertools.product(columns, outer)
        )  # fmt: skip
        memory: dict[int, float] = {}
        for i, j in pairs:
            for k in range(3 if inner else 1):
                here = {**names, "i": i, "j": j, "k": k}
                where = eval(target + extra, here)
                value = memory.get(where, 1.0) * 0.75 + i * 16 + j
                memory[where] = value + sum(0.5 * memory.get(eval(index, here), 1.0) for index in sources)
        return memory

    for rows, cols in itertools.product((1, 3, 5), (1, 2, 4)):
        assert results(True, rows, cols) == results(False, rows, cols), (source, rows, cols)


@pytest.mark.parametrize(
    ("step", "upper", "subscript"),
    [
        (1, "cols", "r * cols + c"),
        (1, "4", "4 * r + c"),
        (4, "4", "r + c"),
        (1, "cols", "r * cols + c + 2 * rows"),
        (2, "cols", "r * cols + c"),
    ],
)
def test_what_the_proof_must_be_able_to_do(step: int, upper: str, subscript: str) -> None:
    source = kernel(
        f"""for (int64_t r = 0; r < rows; r += {step})
              for (int64_t c = 0; c < {upper}; ++c) op[{subscript}] = op[{subscript}] + 1;"""
    )

    assert parallel_refusal(loop(source)) is None


# Real compilers

HARNESS = """
#include <cstdint>
#include <cstdio>
#include <vector>
struct TensorView {
  float* data; int64_t rows, cols;
  int64_t size(int d) const { return d == 0 ? rows : cols; }
  void* data_ptr() const { return data; }
};
#include KERNEL
int main() {
  const int64_t rows = 37, cols = 53;
  std::vector<float> x(rows * cols), w(cols), g(rows * cols), out(rows * cols, -7.0f);
  uint32_t state = 1;
  auto next = [&] { state = state * 1664525u + 1013904223u; return (state >> 8) / 8388608.0f - 1.0f; };
  for (auto* v : {&x, &w, &g}) for (auto& e : *v) e = next();
  kernel({x.data(), rows, cols}, {w.data(), cols, 1}, {g.data(), rows, cols}, 1e-5, {out.data(), rows, cols});
  for (float e : out) std::printf("%.9g\\n", e);
}
"""


def run(source: str, folder: Path) -> list[float]:
    folder.mkdir()
    (folder / "kernel.cpp").write_text(source)
    (folder / "main.cpp").write_text(HARNESS)
    line = re.search(r"// kernelevolve: flags (.*)", source)
    flags = ["-O2", "-fopenmp", "-std=c++17", *(line[1].split() if line else [])]
    subprocess.run(
        ["g++", *flags, f'-DKERNEL="{folder}/kernel.cpp"', "-o", folder / "main", folder / "main.cpp"], check=True
    )
    done = subprocess.run([folder / "main"], check=True, capture_output=True, text=True)
    return [float(line) for line in done.stdout.split()]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")
def test_mutated_kernels_compile_and_compute_the_same(tmp_path: Path) -> None:
    expected = run(RMSNORM, tmp_path / "start")
    assert len(expected) == 37 * 53
    assert -7.0 not in expected
    sources = {
        "parallel": mutated(RMSNORM, "parallel for at loop 1 over r, schedule(static)"),
        "reorder": next(edit for edit in cpp_edits(RMSNORM) if "-fassociative-math" in edit.description).apply(RMSNORM),
    }
    everything = RMSNORM
    for description in (
        "flags -O3 -march=native",
        "flags -mprefer-vector-width=512",
        "flags -funroll-loops",
        "flags -ffast-math -fno-finite-math-only",
        "parallel for at loop 1 over r, schedule(static)",
        "accumulate `sum` in float",
        "omp simd reduction(+:sum) at loop 2 over c",
        "omp simd at loop 3 over c",
        "schedule(dynamic,8) at loop 1 over r",
    ):
        everything = mutated(everything, description)
    sources["everything"] = everything

    for name, source in sources.items():
        assert run(source, tmp_path / name) == pytest.approx(expected, rel=2e-5, abs=1e-6), name


NESTS = """\
#include <cmath>

void kernel(TensorView x, TensorView weight, TensorView gate, double eps, TensorView out) {
  const int64_t rows = x.size(0), cols = x.size(1);
  const float* xp = static_cast<const float*>(x.data_ptr());
  const float* wp = static_cast<const float*>(weight.data_ptr());
  const float* gp = static_cast<const float*>(gate.data_ptr());
  float* op = static_cast<float*>(out.data_ptr());
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j)
      for (int64_t p = 0; p < rows; ++p) op[i * cols + j] += xp[i * cols + p] * gp[p * cols + j];
  for (int64_t r = 0; r < rows - 1; ++r)
    for (int64_t c = 1; c < cols - 1; ++c) {
      op[(r + 1) * cols + c] += 0.5f * op[r * cols + c] * wp[c] + 0.25f * op[(r + 1) * cols + c - 1];
    }
  float sum = 0.0f;
  for (int64_t a = 0; a < rows; ++a)
    for (int64_t b = 0; b < cols; ++b) sum += std::fabs(op[a * cols + b]);
  op[0] = sum;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")
def test_interchanged_loops_compile_and_compute_the_same(tmp_path: Path) -> None:
    expected = run(NESTS, tmp_path / "start")
    orders = [NESTS]
    for description in (
        "interchange loop 2 over j and loop 3 over p",
        "interchange loop 1 over i and loop 2 over p",
        "interchange loop 2 over i and loop 3 over j",
        "interchange loop 4 over r and loop 5 over c",
    ):
        orders.append(mutated(orders[-1], description))
    orders.append(mutated(orders[-1], "interchange loop 6 over a and loop 7 over b"))

    assert len(set(orders)) == 6
    for number, source in enumerate(orders[1:]):
        found = run(source, tmp_path / f"order{number}")
        assert found[1:] == expected[1:]
        # The last interchange alone adds up in another order.
        assert found[0] == (expected[0] if number < 4 else pytest.approx(expected[0], rel=1e-5))
