"""Documents say where they are from; mistakes in their heads are named."""

from __future__ import annotations

import pytest

from kernelevolve.knowledge.document import parse_document
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.versions import Requirement
from kernelevolve.knowledge.vocabulary import holds_for

HEAD = """---
title: Bulk copies on Hopper
kind: hardware
platforms: [hopper]
topics: [async_copy]
sources: [{title: PTX ISA, url: https://docs.nvidia.com, grade: primary}]
confidence: primary
checked: 2026-11-28
---
"""


def parse(head: str = HEAD, body: str = "Text.") -> object:
    return parse_document(head + body, "hardware/nvidia/hopper/tma")


def test_numbers_come_from_the_spec_sheet() -> None:
    document = parse_document(HEAD + "A block has {{sm_90.shared_memory_per_block}}.", "hardware/x")

    assert document.body == "A block has 227 KiB."


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("platforms: [hopper]", "platforms: [hoper]"), "Did you mean 'hopper'"),
        (("topics: [async_copy]", "topics: [async_copies]"), "Did you mean 'async_copy'"),
        (("kind: hardware", "kind: hardwear"), "kind"),
        (("confidence: primary", "confidence: sure"), "confidence"),
        (("checked: 2026-11-28", "checked: last week"), "last week"),
        (("sources: [{title: PTX ISA, url: https://docs.nvidia.com, grade: primary}]", "sources: []"), "sources"),
        (("kind: hardware", "kind: constraint"), "severity"),
        (("title: Bulk copies on Hopper", "title: TMA"), "title"),
        (("kind: hardware", "kind: hardware\nspeed: 3"), "speed"),
        (("kind: hardware", "kind: hardware\napplies_to: [triton 3.9]"), "triton 3.9"),
        (("kind: hardware", "kind: [hardware"), "YAML"),
    ],
)
def test_a_mistake_in_the_head_is_named(change: tuple[str, str], says: str) -> None:
    with pytest.raises(KnowledgeError, match="hardware/nvidia/hopper/tma") as caught:
        parse(HEAD.replace(*change))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("placeholder", "says"),
    [("{{h101.memory_bandwidth}}", "no spec sheet"), ("{{h100_sxm5.memory_bandwith}}", "Did you mean")],
)
def test_a_number_that_no_sheet_has_is_refused(placeholder: str, says: str) -> None:
    with pytest.raises(KnowledgeError, match=says):
        parse(body=placeholder)


def test_a_file_without_a_head_is_no_document() -> None:
    with pytest.raises(KnowledgeError, match="YAML head"):
        parse(head="")


@pytest.mark.parametrize(
    ("requirement", "version", "holds"),
    [
        ("triton>=3.9", "3.9.0", True),
        ("triton>=3.9", "3.8.1", False),
        ("triton<3.9", "3.9.0", False),
        ("triton>=3.6,<3.9", "3.8.0", True),
        ("triton>=3.9", "3.9.0+git1234", True),
        ("cuda>=13", "12.9", False),
    ],
)
def test_version_ranges(requirement: str, version: str, holds: bool) -> None:
    parsed = Requirement.parse(requirement)

    assert parsed.holds({parsed.name: version}) is holds


def test_a_fact_is_not_hidden_for_a_version_that_nobody_knows() -> None:
    assert Requirement.parse("rocm>=7").holds({"triton": "3.9.0"})


@pytest.mark.parametrize("text", ["triton", "triton 3.9", ">=3", "triton>=x y"])
def test_what_is_no_version_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="version"):
        Requirement.parse(text)


@pytest.mark.parametrize(
    ("platforms", "asked", "holds"),
    [
        (("hopper",), "hopper", True),
        (("nvidia",), "hopper", True),
        (("hopper",), "nvidia", True),
        (("*",), "cdna3", True),
        (("hopper",), "blackwell", False),
        (("amd",), "hopper", False),
        (("acme",), "acme", True),
        (("*",), "acme", True),
        (("nvidia",), "acme", False),
    ],
)
def test_wide_documents_hold_for_narrow_platforms(platforms: tuple[str, ...], asked: str, holds: bool) -> None:
    assert holds_for(platforms, asked) is holds
