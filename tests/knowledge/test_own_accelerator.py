"""The whole way of the owner of a new accelerator: add its manual in any format, ask, change it, take it away again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kernelevolve.knowledge.answer import KnowledgeAnswer, PassageFound
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.ingestion.files import IngestionReport, add_files
from tests.knowledge.manual.formats import write_html, write_markdown, write_pdf

PLATFORM = "tarn_tx1"
FORMATS: dict[str, Callable[[Path], None]] = {"markdown": write_markdown, "html": write_html, "pdf": write_pdf}
QUESTIONS = {
    "How much scratchpad may a kernel use on one core?": "a kernel may use 376 KiB",
    "At which address must a DMA descriptor lie?": "its address must be a multiple of 64",
    "alignment of the source and destination of a DMA transfer": "must be multiples of 32 bytes",
    "Which instruction waits until a DMA queue is empty?": "dma.wait_queue q, n",
    "How many cycles does a load from device memory take?": "620 cycles",
    "How many accumulators keep the matrix engine busy?": "Alternate between at least two accumulators",
    "What happens if a value is too large for fp8 e4m3?": "e4m3 saturates",
    "Does the matrix engine handle denormal bf16 inputs?": "takes subnormal bf16 inputs as zero",
    "How big should a DMA transfer be to reach the full bandwidth?": "8 KiB or more reach 90 %",
    "Which error refuses a kernel that does not fit into the instruction memory?": "TX_E_CODE_SIZE",
    "Which fence lets the DMA engine read what the vector engine wrote?": "sync.fence_scratch before dma.start",
    "shape of the tiles that the fp8 matrix instruction multiplies": "16 x 64",
    "What does error code 0x31 mean?": "0x31",
    "How many cores does the chip have?": "has 72 cores",
    "How much memory is left for data with error correction?": "leaves 45 GiB for data",
    "Which counter shows that a core waits for transfers?": "the core stands in dma.wait_queue",
    "How wide is the link to the host?": "PCIe 5.0 link of eight lanes",
    "How is a tile of B stored for the matrix engine?": "A tile of B is stored column by column",
    "How many descriptors may a queue hold?": "up to 16 descriptors",
    "How many lanes does the exp2 unit have?": "eight lanes wide",
}
"""Question → words that only the right passage has."""
IDENTIFIERS = """
    vec.fma_f32 vec.exp2_f32 vec.dot4_s8 vec.shuffle vec.reduce_add vec.gather vec.load_u vec.permute_bytes vec.cmp
    vec.max_nan_f32 mx.load_a mx.mma_bf16 mx.mma_f8 mx.drain mx.zero dma.start dma.wait_queue dma.poll dma.gather
    dma.cancel dma.prefetch sync.flag_set sync.flag_wait sync.flag_clear sync.pool_barrier sync.fence_scratch res.flush
    res.atomic_add_f32 cfg.write cfg.round_mode ctl.trap TX_E_WATCHDOG PMC_BANK_STALL __tile_kernel__
""".split()


@dataclass(frozen=True)
class Manual:
    """The manual as it was added in one format."""

    base: KnowledgeBase
    format: str
    folder: Path
    report: IngestionReport

    def ask(self, question: str, limit: int = 3) -> KnowledgeAnswer:
        return self.base.ask(question, platforms=[PLATFORM], limit=limit)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    """A knowledge base to write into."""
    made = KnowledgeBase(tmp_path_factory.mktemp("own"))
    made.open()
    return made


@pytest.fixture(scope="module", params=FORMATS)
def manual(
    own: KnowledgeBase, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Manual]:
    """The made-up manual in each format, and nothing else of its platform."""
    folder = tmp_path_factory.mktemp(request.param) / "tx1"
    folder.mkdir()
    FORMATS[request.param](folder)
    report = add_files(own, [folder], [PLATFORM])
    yield Manual(own, request.param, folder, report)
    own.remove([*report.added, *report.unchanged])


@pytest.fixture
def notes(own: KnowledgeBase, tmp_path: Path) -> Iterator[Path]:
    """A folder of two short files, added under a platform of its own."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "clocks.md").write_text("# Clocks of the Brook\n\nThe Brook runs at 730 MHz.\n")
    (folder / "ports.md").write_text("# Ports of the Brook\n\nThe Brook has 19 ports.\n")
    add_files(own, [folder], ["brook_one"])
    yield folder
    own.remove([name for name in own.store.content_hashes() if name.startswith("user/notes")])


def words(passage: PassageFound) -> str:
    """What a passage says, on one line, without marks of code and of pages."""
    return " ".join(re.sub(r"`|\(page \d+\)", "", passage.text).split())


def names(passage: PassageFound) -> set[str]:
    """Whole identifiers in a passage and its title."""
    return {name.strip(".") for name in re.findall(r"[\w.]+", f"{passage.title} {passage.text}")}


def test_the_whole_manual_is_read(manual: Manual) -> None:
    assert manual.report.added
    assert manual.report.skipped == ()
    assert manual.report.notes == ()
    assert manual.report.platforms == (PLATFORM,)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_finds_the_right_passage_among_the_first_three(manual: Manual, question: str) -> None:
    answer = manual.ask(question)

    assert any(QUESTIONS[question] in words(passage) for passage in answer.passages), [
        passage.uri for passage in answer.passages
    ]


@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_an_identifier_is_found_first(manual: Manual, identifier: str) -> None:
    (first,) = manual.ask(identifier, limit=1).passages

    assert identifier in names(first), first.uri


def test_a_passage_names_the_file_that_it_is_from(manual: Manual) -> None:
    (first,) = manual.ask("dma.prefetch", limit=1).passages

    assert Path(first.origin.removeprefix("user:")).parent == manual.folder
    assert first.sources == (Path(first.origin).name,)
    assert first.confidence == "user"


def test_a_document_can_be_read_whole_and_by_section(manual: Manual) -> None:
    (first,) = manual.ask("dma.prefetch", limit=1).passages

    whole = manual.base.read(first.uri.partition("#")[0])
    section = manual.base.read(first.uri)

    assert "dma.prefetch q, r" in section.replace("`", "")
    assert "vec.permute_bytes d, a, table" not in section.replace("`", "")
    assert all(text in whole.replace("`", "") for text in ("vec.permute_bytes d, a, table", "ctl.trap n"))


@pytest.mark.parametrize(
    "question", ["shared memory bank conflicts", "tensor core instructions", "matrix product", "barrier", "dma.start"]
)
def test_only_its_own_documents_and_those_for_all_stand_under_its_filter(manual: Manual, question: str) -> None:
    answer = manual.ask(question, limit=30)

    assert answer.passages
    for passage in (*answer.passages, *answer.rules):
        assert set(passage.platforms) & {PLATFORM, "*"}, passage.uri


def test_its_documents_do_not_stand_under_another_platforms_filter(manual: Manual) -> None:
    answer = manual.base.ask("dma.wait_queue scratchpad reservoir", platforms=["hopper"], limit=30)

    assert all(PLATFORM not in passage.platforms for passage in answer.passages)


@pytest.mark.parametrize("name", ["tarn_tx2", "TARN-TX2", "tran_tx1"])
def test_a_misspelled_platform_is_answered_with_the_nearest(manual: Manual, name: str) -> None:
    with pytest.raises(KnowledgeError, match="Did you mean 'tarn_tx1'"):
        manual.base.ask("scratchpad", platforms=[name])


@pytest.mark.parametrize("name", ["tarn_tx1", "Tarn TX1", "TARN-TX1"])
def test_its_name_may_be_written_as_people_do(manual: Manual, name: str) -> None:
    answer = manual.base.ask("scratchpad", platforms=[name], limit=1)

    assert answer.platforms == (PLATFORM,)


def test_adding_again_changes_nothing(manual: Manual) -> None:
    before = manual.base.store.content_hashes()

    again = add_files(manual.base, [manual.folder], [PLATFORM])

    assert again.added == ()
    assert set(again.unchanged) == set(manual.report.added)
    assert manual.base.store.content_hashes() == before


def test_a_changed_file_is_replaced_and_the_others_stay(own: KnowledgeBase, notes: Path) -> None:
    (notes / "clocks.md").write_text("# Clocks of the Brook\n\nThe Brook runs at 815 MHz.\n")

    report = add_files(own, [notes], ["brook_one"])

    text = own.read("user/notes/clocks")
    assert (report.added, report.unchanged) == (("user/notes/clocks",), ("user/notes/ports",))
    assert "815 MHz" in text
    assert "730 MHz" not in text


def test_a_deleted_file_is_told_and_kept_until_it_is_pruned(own: KnowledgeBase, notes: Path) -> None:
    (notes / "ports.md").unlink()

    told = add_files(own, [notes], ["brook_one"])
    kept = own.read("user/notes/ports")
    pruned = add_files(own, [notes], ["brook_one"], prune=True)

    assert (told.gone, told.removed) == (("user/notes/ports",), ())
    assert "19 ports" in kept
    assert (pruned.gone, pruned.removed) == ((), ("user/notes/ports",))
    with pytest.raises(KnowledgeError, match="no document"):
        own.read("user/notes/ports")


def test_pruning_leaves_other_folders_alone(own: KnowledgeBase, notes: Path, tmp_path: Path) -> None:
    (notes / "ports.md").unlink()
    other = tmp_path / "elsewhere"
    other.mkdir()

    report = add_files(own, [other], ["brook_one"], prune=True)

    assert report.removed == ()
    assert "19 ports" in own.read("user/notes/ports")


def test_a_folder_of_the_same_name_does_not_take_another_ones_place(
    own: KnowledgeBase, notes: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second" / "notes"
    second.mkdir(parents=True)
    (second / "clocks.md").write_text("# Clocks of the Rill\n\nThe Rill runs at 90 MHz.\n")

    report = add_files(own, [second], ["rill_one"])

    (skipped,) = report.skipped
    assert str(notes / "clocks.md") in skipped.reason
    assert "730 MHz" in own.read("user/notes/clocks")


def test_a_folder_that_moved_takes_its_documents_along(own: KnowledgeBase, notes: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved" / "notes"
    moved.parent.mkdir()
    notes.rename(moved)

    report = add_files(own, [moved], ["brook_one"])

    assert set(report.added) == {"user/notes/clocks", "user/notes/ports"}
    assert str(moved / "clocks.md") in own.read("user/notes/clocks")


def test_a_folder_inside_one_that_is_there_makes_no_second_copies(own: KnowledgeBase, tmp_path: Path) -> None:
    inner = tmp_path / "notes_of_all" / "inner"
    inner.mkdir(parents=True)
    (inner / "pads.md").write_text("# Pads of the Brook\n\nThe Brook has 61 pads.\n")
    whole = add_files(own, [tmp_path / "notes_of_all"], ["brook_one"])

    part = add_files(own, [inner], ["brook_one"])

    assert (part.added, part.unchanged) == ((), whole.added)
    own.remove(whole.added)


def test_what_was_added_can_be_removed_and_what_is_shipped_can_not(own: KnowledgeBase, notes: Path) -> None:
    own.remove(["user/notes/clocks"])

    assert "user/notes/clocks" not in own.store.content_hashes()
    with pytest.raises(KnowledgeError, match="comes with the package"):
        own.remove(["guidance/softmax"])
    assert "guidance/softmax" in own.store.content_hashes()


@pytest.mark.parametrize(("names", "says"), [([], "--platform"), (["!!!"], "no name for a platform")])
def test_a_platform_must_be_named(own: KnowledgeBase, notes: Path, names: list[str], says: str) -> None:
    with pytest.raises(KnowledgeError, match=says):
        add_files(own, [notes], names)


def test_a_path_that_does_not_exist_is_refused_before_anything_is_read(own: KnowledgeBase, tmp_path: Path) -> None:
    good = tmp_path / "good.md"
    good.write_text("# A good file\n\nIts text.\n")

    with pytest.raises(KnowledgeError, match="does not exist"):
        add_files(own, [good, tmp_path / "missing"], ["brook_one"])

    assert not any("good" in name for name in own.store.content_hashes())


def test_the_command_line_adds_and_tells_in_json(own: KnowledgeBase, tmp_path: Path) -> None:
    state = Path(own.store.location).parent.parent
    folder = tmp_path / "by_command"
    folder.mkdir()
    write_markdown(folder)
    (folder / "block_diagram.png").write_bytes(b"\x89PNG")
    line = [sys.executable, "-m", "kernelevolve.server", "knowledge", "add", str(folder), "--json"]

    done = subprocess.run(
        [*line, "--platform", "brook_two", "--state", str(state)], capture_output=True, text=True, check=False
    )

    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(report["added"]) == 11
    assert report["platforms"] == ["brook_two"]
    assert [Path(entry["path"]).name for entry in report["skipped"]] == ["block_diagram.png"]
    assert "376 KiB" in KnowledgeBase(state).read("user/by_command/02_memory_hierarchy")
    own.remove(report["added"])
