"""Numeric questions are answered from the spec sheets, exactly, however they are worded."""

from __future__ import annotations

import pytest

from kernelevolve.evaluation.platforms.spec_sheets import spec_sheets
from kernelevolve.knowledge.facts import known_sheets, sheet_text, spec_answers

KIB = 1024


@pytest.mark.parametrize(
    ("question", "chip", "field", "value"),
    [
        ("shared memory per block on H100", "h100_sxm5", "shared_memory_per_block", 227 * KIB),
        (
            "How much shared memory can a thread block use on an H100?",
            "h100_sxm5",
            "shared_memory_per_block",
            227 * KIB,
        ),
        ("h100 smem per sm", "h100_sxm5", "shared_memory_per_sm", 228 * KIB),
        ("How many warps can be resident per SM on Hopper?", "sm_90", "warps_per_sm", 64),
        ("registers per thread sm_90", "sm_90", "registers_per_thread", 255),
        ("bf16 tflops of H100", "h100_sxm5", "peak_flops.bfloat16", 989.4e12),
        ("What is the memory bandwidth of the MI300X?", "mi300x", "memory_bandwidth", 5.3e12),
        ("MI300X infinity cache size", "mi300x", "infinity_cache", 256 * KIB**2),
        ("LDS size gfx950", "gfx950", "lds_per_cu", 160 * KIB),
        ("B200 TMEM columns", "b200", "tensor_memory_columns", 512),
        ("how many tile registers does AMX have", "x86_amx", "amx_tiles", 8),
        ("MTIA 2i SRAM capacity", "mtia_2i", "on_chip_sram", 256e6),
    ],
)
def test_a_number_is_found(question: str, chip: str, field: str, value: float) -> None:
    found = {(answer.sheet.key, answer.field.name): answer.fact.value for answer in spec_answers(question)}

    assert found.get((chip, field)) == pytest.approx(value, rel=0.05), found


def test_two_chips_are_compared_in_the_order_of_the_question() -> None:
    found = spec_answers("l2 cache h200 vs h100")

    assert [answer.sheet.key for answer in found if answer.field.name == "l2_cache"] == ["h200_sxm", "h100_sxm5"]


def test_the_filter_names_the_chip_where_the_question_does_not() -> None:
    (answer,) = spec_answers("shared memory per block", platforms=("hopper",))

    assert (answer.sheet.key, answer.fact.text) == ("sm_90", "227 KiB")


@pytest.mark.parametrize(
    "question",
    [
        "how do I avoid shared memory bank conflicts on H100",
        "why does my kernel spill registers on MI300X",
        "shared memory per block",
        "tl.make_tensor_descriptor",
        "what is new in Hopper",
        "when should I use clusters on H100 instead of larger blocks",
    ],
)
def test_questions_for_advice_get_no_number(question: str) -> None:
    assert spec_answers(question) == []


def test_a_chip_that_has_no_such_number_gets_none_of_another() -> None:
    assert spec_answers("tensor memory size of H100") == []


@pytest.mark.parametrize("key", sorted(spec_sheets()))
def test_a_sheet_is_shown_with_all_its_sources(key: str) -> None:
    sheet = known_sheets()[key]

    text = sheet_text(sheet)

    for fact in sheet.facts.values():
        assert fact.text in text
        assert all(source in text for source in fact.sources)
