"""Identifiers are found whole, in parts, and however they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelevolve.knowledge.identifiers import (
    enrich_query,
    enrich_text,
    names_in,
    resemblance,
    squashed,
)

NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), min_size=2, max_size=5)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("use tl.make_block_ptr here", ["tl.make_block_ptr"]),
        ("`cp.async.bulk.tensor` and v_mfma_f32_32x32x16_bf16", ["cp.async.bulk.tensor", "v_mfma_f32_32x32x16_bf16"]),
        ("cuda::barrier, x->y", ["cuda::barrier", "x->y"]),
        ("plain words. And a sentence", []),
        ("BLOCK_M twice: BLOCK_M", ["BLOCK_M"]),
    ],
)
def test_dotted_and_underscored_names_are_seen(text: str, names: list[str]) -> None:
    assert names_in(text) == names


def test_every_run_of_parts_is_one_word() -> None:
    assert squashed("tl.dot_scaled") == ["xtldotscaled", "xtldot", "xdotscaled"]


@given(NAMES)
def test_a_name_and_the_same_name_written_apart_share_a_word(parts: list[str]) -> None:
    indexed = set(enrich_text(".".join(parts)).split())
    asked = set(enrich_query(" ".join(parts)).split())

    assert "x" + "".join(parts) in indexed & asked


@given(st.text(max_size=300))
def test_nothing_of_a_text_is_lost(text: str) -> None:
    assert enrich_text(text).startswith(text)
    assert enrich_query(text).startswith(text)


def test_a_sentence_is_not_taken_for_a_name() -> None:
    query = "how do i keep shared memory from having conflicts"

    assert enrich_query(query) == query


def test_camel_case_is_found_by_its_parts() -> None:
    assert {"tensor", "map", "xcutensormapencodetiled"} <= set(enrich_text("cuTensorMapEncodeTiled").split())


@pytest.mark.parametrize(
    "query", ["tl.make_tensor_descriptor", "make tensor descriptor", "make_tensor_desciptor", "tensor descriptor make"]
)
def test_a_name_is_like_itself_however_it_is_written(query: str) -> None:
    heading = "Triton on Hopper › How tl.make_tensor_descriptor is used"

    assert resemblance(query, heading) > 0.4
    assert resemblance(query, heading) > resemblance(query, "Triton on Hopper › How tl.dot_scaled is used")


@pytest.mark.parametrize("query", ["", "softmax", "why is it slow", "…", "日本語"])
def test_other_words_are_like_no_name(query: str) -> None:
    assert resemblance(query, "Triton on Hopper › How tl.make_tensor_descriptor is used") < 0.4
