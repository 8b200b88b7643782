"""Documents are cut at their headings; nothing is lost, nothing is torn."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from kernelevolve.knowledge.document import Document
from kernelevolve.knowledge.passages import CHUNK_TOKENS, chunks_of, passages_of
from kernelevolve.knowledge.store import tokens

Write = Callable[..., Document]


def test_sections_carry_the_titles_above_them(write: Write) -> None:
    document = write("a", "Intro.\n\n## Memory\n\nFirst.\n\n### Banks\n\nSecond.\n\n## Speed\n\nThird.")

    found = [(passage.id, passage.heading, passage.text) for passage in passages_of(document)]

    assert found == [
        ("user/a#top", "Document a", "Intro."),
        ("user/a#memory", "Document a › Memory", "First."),
        ("user/a#banks", "Document a › Memory › Banks", "Second."),
        ("user/a#speed", "Document a › Speed", "Third."),
    ]


def test_a_hash_in_code_is_no_heading(write: Write) -> None:
    document = write("a", "## Code\n\n```\n# not a heading\n## nor this\n```\n\nAfter.")

    (passage,) = passages_of(document)

    assert "# not a heading" in passage.text
    assert passage.text.endswith("After.")


def test_sections_of_the_same_name_have_different_ids(write: Write) -> None:
    document = write("a", "## Notes\n\nOne.\n\n## Notes\n\nTwo.")

    assert [passage.id for passage in passages_of(document)] == ["user/a#notes", "user/a#notes-2"]


def test_a_long_section_becomes_several_passages_that_hold_all_of_it(write: Write) -> None:
    paragraphs = [f"Paragraph {number} " + "word " * 60 for number in range(30)]
    document = write("a", "## Long\n\n" + "\n\n".join(paragraphs))

    found = passages_of(document)

    assert len(found) > 3
    joined = "\n\n".join(passage.text for passage in found)
    assert all(paragraph.strip() in joined for paragraph in paragraphs)


def test_chunks_fit_the_embedder_and_say_what_they_are_about(write: Write) -> None:
    document = write("a", "## Long\n\n" + " ".join(f"Sentence number {number} ends here." for number in range(200)))

    chunks = [chunk for passage in passages_of(document) for chunk in chunks_of(passage, tokens)]

    assert len(chunks) > 5
    for chunk in chunks:
        assert chunk.text.startswith("Document a › Long\n")
        assert tokens(chunk.text) <= CHUNK_TOKENS + 4


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab #`-|.\n", max_size=600))
def test_any_text_is_cut_without_losing_a_letter(body: str) -> None:
    if not body.strip():
        return
    document = Document(
        id="user/x", title="Document x", kind="hardware", platforms=("*",), body=body, origin="user:test"
    )  # fmt: skip

    passages = passages_of(document)
    chunks = [chunk for passage in passages for chunk in chunks_of(passage, tokens)]

    letters = sum(map("".join(passage.text for passage in passages).count, "ab"))
    in_headings = sum(map(body.count, "ab")) - letters
    assert in_headings >= 0
    assert len({passage.id for passage in passages}) == len(passages)
    heading = {passage.id: passage.heading for passage in passages}
    in_chunks = "".join(chunk.text.removeprefix(heading[chunk.passage_id]) for chunk in chunks)
    assert sum(map(in_chunks.count, "ab")) == letters
