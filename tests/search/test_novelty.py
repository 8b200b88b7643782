from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelevolve.search.novelty import embedding, nearest

KERNEL = """\
for (int64_t i = 0; i < rows; ++i) {
  // adds up a row
  out[i] = 2.0f * in[i] + 1.0f;
}
"""


def of(source: str, language: str = "cpp") -> bytes:
    return embedding(source, language)


def distance(one: str, other: str, language: str = "cpp") -> float:
    found = nearest(of(one, language), [("other", of(other, language))])
    assert found is not None
    return found[1]


@given(st.text(max_size=300))
def test_an_embedding_is_a_unit_vector_and_nearest_to_itself(source: str) -> None:
    vector = np.frombuffer(of(source), np.float32)

    assert vector.shape == (256,)
    assert np.linalg.norm(vector) == pytest.approx(1.0) or not vector.any()
    assert distance(source, source) == pytest.approx(0.0, abs=1e-6) or not vector.any()


@pytest.mark.parametrize(
    "same",
    [
        KERNEL.replace("adds up a row", "something else"),
        KERNEL.replace("// adds up a row", "/* over\n two lines */"),
        KERNEL.replace("  ", "\t\t").replace("\n", "\n\n"),
    ],
    ids=["comment", "block comment", "white space"],
)
def test_comments_and_white_space_do_not_count(same: str) -> None:
    assert of(same) == of(KERNEL)


def test_comments_of_python_do_not_count_and_directives_do() -> None:
    assert of("x = 1  # one", "triton") == of("x = 1", "triton")
    assert distance("#pragma unroll 4\nf();", "#pragma unroll 8\nf();") > 0.01
    assert distance("#include <cmath>\nf();", "f();") > 0.01


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("BLOCK = 64", "BLOCK = 128"),
        ("y = 2.0f * x", "y = 2.5f * x"),
        ("a = b + c", "c = b + a"),
    ],
    ids=["block size", "constant", "order"],
)
def test_what_runs_counts(one: str, other: str) -> None:
    assert distance(one, other) > 0.001


def test_what_python_divides_by_is_no_comment() -> None:
    assert distance("row = pid // 4", "row = pid // 8", "triton") > 0.001


def test_more_changes_lie_further_away() -> None:
    one = KERNEL.replace("2.0f", "3.0f")
    two = one.replace("1.0f", "in[i] * in[i]").replace("++i", "i += 4")

    assert 0 < distance(KERNEL, one) < distance(KERNEL, two) < distance(KERNEL, "import triton")


def test_the_nearest_of_several_is_named() -> None:
    others = [("far", of("import triton")), ("near", of(KERNEL.replace("2.0f", "3.0f")))]

    found = nearest(of(KERNEL), others)
    assert found is not None
    assert (found[0], found[1]) == ("near", pytest.approx(distance(KERNEL, KERNEL.replace("2.0f", "3.0f")), abs=1e-6))
    assert nearest(of(KERNEL), []) is None
