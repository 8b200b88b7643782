from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kernelevolve.search.prompt import CHARACTERS_PER_TOKEN, Draft, Prompt, PromptPart, fit, shorten, tokens_of

texts = st.text(max_size=3000) | st.integers(0, 20_000).map(lambda count: "0123456789" * (count // 10))
drafts = st.builds(
    Draft, name=st.text(st.characters(codec="ascii", categories=["L"]), max_size=30), text=texts,
    weight=st.sampled_from([0.5, 1.0, 1.5, 2.0, 4.0]), least=st.sampled_from([1, 50, 200]),
)  # fmt: skip
several = st.lists(drafts, max_size=8)
budgets = st.integers(20, 4000)


@given(several, budgets)
def test_a_prompt_is_never_over_its_budget(drafts: list[Draft], budget: int) -> None:
    assert fit(drafts, budget).tokens <= budget


@given(several)
def test_what_fits_is_left_whole_and_in_order(drafts: list[Draft]) -> None:
    prompt = fit(drafts, 100_000)

    assert prompt.parts == tuple(PromptPart(name=draft.name, text=draft.text) for draft in drafts if draft.text.strip())


@given(st.lists(texts, min_size=2, max_size=6), budgets)
def test_a_part_that_is_shorter_than_one_that_is_whole_is_whole_too(texts: list[str], budget: int) -> None:
    """With equal weights."""
    drafts = [Draft(str(number), text, least=0) for number, text in enumerate(texts)]
    parts = {part.name: part.text for part in fit(drafts, budget).parts}

    whole = [draft for draft in drafts if parts.get(draft.name) == draft.text]
    for draft in drafts:
        if draft.text.strip() and whole:
            assert draft in whole or len(draft.text) >= max(len(other.text) for other in whole)


def test_what_short_parts_leave_goes_to_the_long_ones_by_weight() -> None:
    short, light, heavy = Draft("short", "s" * 100), Draft("light", "l" * 9000), Draft("heavy", "h" * 9000, weight=3.0)

    parts = {part.name: len(part.text) for part in fit([short, light, heavy], 1000).parts}
    assert parts["short"] == 100
    assert 2.9 < parts["heavy"] / parts["light"] < 3.1
    assert sum(parts.values()) > 0.95 * 1000 * CHARACTERS_PER_TOKEN


def test_the_least_important_part_goes_first_and_leaves_its_room_to_the_next() -> None:
    parts = [Draft("job", "j" * 4000, 4.0), Draft("log", "l" * 4000, 1.0), Draft("task", "t" * 4000, 1.9)]

    # Task and log would both get less than the 200 characters that a part needs.
    assert [part.name for part in fit(parts, 200).parts] == ["job", "task"]


@given(st.text(max_size=500), st.integers(0, 600))
def test_a_shortened_text_is_within_its_limit(text: str, limit: int) -> None:
    shortened = shorten(text, limit)

    assert len(shortened) <= limit
    assert (shortened == text) == (len(text) <= limit)


@given(st.integers(201, 5000), st.integers(100, 200))
def test_a_cut_says_how_much_is_missing(length: int, limit: int) -> None:
    text = "x" * length

    shortened = shorten(text, limit)
    (said,) = re.findall(r"\[… (\d+) characters left out …\]", shortened)
    assert int(said) == length - shortened.count("x")


def test_a_cut_keeps_the_beginning_and_the_end() -> None:
    shortened = shorten("begin" + "." * 1000 + "end", 100)

    assert shortened.startswith("begin")
    assert shortened.endswith("end")


def test_tokens_are_rather_over_than_underestimated() -> None:
    assert (tokens_of(""), tokens_of("x"), tokens_of("x" * 35), tokens_of("x" * 36)) == (0, 1, 10, 11)


def test_parts_stand_under_their_headings() -> None:
    prompt = Prompt(parts=(PromptPart(name="Job", text="Do it."), PromptPart(name="Task", text="This.")))

    assert prompt.text == "## Job\nDo it.\n\n## Task\nThis."
