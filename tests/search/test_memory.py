"""What an author is told: the tree below, seen from `here`.

root ─ flags ─ here ─ better, broken
     │       ├ beside, fallen
     └ best
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding
from kernelevolve.search.memory import compose, verdict_lines
from kernelevolve.search.node import Node
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import MemoryMode, Order, OrderState, Phase
from kernelevolve.search.prompt import Prompt
from kernelevolve.search.store import Store
from tests.search.conftest import keep, other, verdict_of

CLEAN, PARENT, SIBLINGS, BOTH = MemoryMode.CLEAN_SLATE, MemoryMode.PARENT, MemoryMode.SIBLINGS, MemoryMode.BOTH
LINE = "How it came about, the latest first"
BETTER = "Tried from it already"
FAILED = "Tried from it and failed: do not repeat"
BESIDE = "Tried beside it, from the same parent"
ALIKE = "Others failed in the same way"


@dataclass
class Tree:
    store: Store
    search_id: str
    nodes: dict[str, Node]

    def prompt(self, memory: MemoryMode, *parents: str, budget: int | None = None) -> Prompt:
        order = Order(
            order_id="o", search_id=self.search_id, number=9, phase=Phase.EXPAND, state=OrderState.OPEN, memory=memory,
            parents=tuple(self.nodes[name].node_id for name in parents or ("here",)),
        )  # fmt: skip
        return compose(self.store, self.store.search(self.search_id), order, budget)

    def told(self, memory: MemoryMode, *parents: str, budget: int | None = None) -> dict[str, str]:
        """Parts by their names."""
        return {part.name: part.text for part in self.prompt(memory, *parents, budget=budget).parts}


@pytest.fixture
def tree(store: Store, row_sums: Candidate) -> Tree:
    options = OptimizeOptions(evaluations=20, target_speedup=12.0)
    search_id = store.create_search("t.py", "cpu", [], options, brief="Sum up the rows of a matrix.")
    nodes: dict[str, Node] = {"root": keep(store, search_id, row_sums, 1.0)}
    for name, parent, speedup in (
        ("flags", "root", 2.0), ("here", "flags", 3.0), ("better", "here", 3.5), ("broken", "here", None),
        ("beside", "flags", 1.5), ("fallen", "flags", None), ("best", "root", 9.0),
    ):  # fmt: skip
        finding = Finding.WRONG_VALUES if speedup is None else None
        above = (nodes[parent],)
        nodes[name] = keep(store, search_id, other(row_sums, name), speedup or 0.0, above, f"by {name}", finding)
    return Tree(store, search_id, nodes)


def test_every_author_is_told_the_job_the_task_and_what_to_build_on(tree: Tree) -> None:
    for memory in MemoryMode:
        told = tree.told(memory)
        assert "Platform: cpu. Language: cpp." in told["Job"]
        assert "void kernel(TensorView input" in told["Job"]
        assert "12 candidates are left" in told["Job"]
        assert told["Task"] == "Sum up the rows of a matrix."
        assert "```cpp\nvoid kernel(" in told["Candidate to build on: step 2, kernel.cpp"]


def test_a_clean_slate_tells_nothing_of_what_was_tried(tree: Tree) -> None:
    prompt = tree.prompt(CLEAN)

    assert [part.name for part in prompt.parts] == ["Job", "Task", "Candidate to build on: step 2, kernel.cpp"]
    assert "by " not in "".join(re.findall(r"^- .*", prompt.text, re.MULTILINE))
    assert not re.search(r"\d\.\d+x", prompt.text)


def test_a_clean_slate_still_says_what_is_wrong_with_a_wrong_parent(tree: Tree) -> None:
    told = tree.told(CLEAN, "broken")

    assert "wrong_values: Refused: wrong_values." in told["What the judge said of step 4, kernel.cpp"]
    assert ALIKE not in told


def test_the_parent_mode_tells_the_line_and_what_the_judge_said(tree: Tree) -> None:
    told = tree.told(PARENT)

    assert told[LINE].splitlines() == [
        "- step 2: by here: 3.000x", "- step 1: by flags: 2.000x", "- step 0: starting point: 1.000x",
    ]  # fmt: skip
    said = told["What the judge said of step 2, kernel.cpp"]
    assert "correct" in said
    assert "small against eager: 2.667 ms, 3.000x [2.970, 3.030] faster, the hardware's limit is 0.25 ms" in said
    assert "Best so far: 9.000x" in told["Job"]
    assert "the goal is 12.00x" in told["Job"]
    assert not {BETTER, FAILED, BESIDE} & told.keys()


def test_a_node_that_nobody_described_is_not_called_a_starting_point(tree: Tree, row_sums: Candidate) -> None:
    tree.nodes["silent"] = keep(tree.store, tree.search_id, other(row_sums, "silent"), 3.1, (tree.nodes["here"],))

    assert tree.told(PARENT, "silent")[LINE].count("starting point") == 1


def test_the_siblings_mode_tells_what_else_was_tried(tree: Tree) -> None:
    told = tree.told(SIBLINGS)

    assert told[BETTER] == "- step 3: by better: 3.500x"
    assert told[FAILED] == "- by broken: wrong: Refused: wrong_values."
    assert told[BESIDE] == "- step 5: by beside: 1.500x"
    assert LINE not in told


def test_both_tells_all_of_it(tree: Tree) -> None:
    assert tree.told(BOTH).keys() == tree.told(PARENT).keys() | tree.told(SIBLINGS).keys()


def test_the_best_is_shown_for_comparison(tree: Tree) -> None:
    for memory in (PARENT, SIBLINGS, BOTH):
        assert "// best\n" in tree.told(memory)["The best so far, for comparison: step 7, kernel.cpp"]
    assert not any("for comparison" in name for name in tree.told(BOTH, "best"))


@pytest.mark.parametrize("memory", [PARENT, SIBLINGS, BOTH])
@pytest.mark.parametrize("parents", [("here",), ("root",), ("best",), ("broken",), ("here", "best"), ("here", "root")])
def test_nothing_is_told_twice(tree: Tree, memory: MemoryMode, parents: tuple[str, ...]) -> None:
    prompt = tree.prompt(memory, *parents)

    names = [part.name for part in prompt.parts]
    assert len(names) == len(set(names))
    lines = re.findall(r"^- .*", prompt.text, re.MULTILINE)
    words = [re.sub(r"^- (step \d+: )?|: .*", "", line) for line in lines]
    assert len(words) == len(set(words))
    sources = re.findall(r"```cpp\n(.*?)\n```", prompt.text, re.DOTALL)
    assert len(sources) == len(set(sources))


def test_failed_children_are_told_the_newest_first_and_not_all_of_them(tree: Tree, row_sums: Candidate) -> None:
    for mark in range(6):
        parents, name = (tree.nodes["here"],), f"attempt {mark}"
        keep(tree.store, tree.search_id, other(row_sums, mark), 0.0, parents, name, Finding.COMPILER_ERROR)

    failed = tree.told(SIBLINGS)[FAILED].splitlines()
    assert [line.partition(":")[0] for line in failed] == [f"- attempt {mark}" for mark in (5, 4, 3, 2)]


def test_a_wrong_parent_is_shown_with_others_of_its_kind(tree: Tree) -> None:
    told = tree.told(BOTH, "broken")

    assert told[ALIKE] == "- step 6: by fallen: wrong"
    assert ALIKE not in tree.told(PARENT, "broken")
    assert ALIKE not in tree.told(BOTH)


def test_two_parents_are_to_be_combined(tree: Tree) -> None:
    told = tree.told(PARENT, "here", "best")

    assert told["Job"].startswith("Combine what makes the two candidates below fast")
    assert "// here" in told["Candidate to build on: step 2, kernel.cpp"]
    assert "// best" in told["Second candidate, to combine with the first: step 7, kernel.cpp"]
    assert {f"What the judge said of step {step}, kernel.cpp" for step in (2, 7)} <= told.keys()


def test_the_fuller_verdict_is_told_where_there_is_one(tree: Tree) -> None:
    candidate = tree.store.candidate(tree.nodes["here"])
    tree.store.confirm(tree.nodes["here"].node_id, verdict_of(candidate, 2.5, baselines=("eager", "compile")))

    said = tree.told(PARENT)["What the judge said of step 2, kernel.cpp"]
    assert "2.500x" in said
    assert "against compile" in said
    assert "3.000x" not in said


def test_an_author_without_a_start_is_told_job_and_task(tree: Tree) -> None:
    order = Order(
        order_id="o", search_id=tree.search_id, number=0, phase=Phase.DRAFT, state=OrderState.OPEN, memory=CLEAN
    )

    prompt = compose(tree.store, tree.store.search(tree.search_id), order)
    assert [part.name for part in prompt.parts] == ["Job", "Task"]


@pytest.mark.parametrize("budget", [500, 700, 1000, 2000])
@pytest.mark.parametrize("memory", list(MemoryMode))
def test_the_budget_is_kept_and_the_job_is_never_cut(
    tree: Tree, row_sums: Candidate, memory: MemoryMode, budget: int
) -> None:
    long = other(row_sums, "long " * 3000)
    tree.nodes["long"] = keep(tree.store, tree.search_id, long, 3.2, (tree.nodes["here"],), "much longer")

    assert tree.prompt(memory, "long", budget=budget).tokens <= budget
    told = tree.told(memory, "long", budget=budget)
    assert told["Job"].endswith("candidates are left in the budget.")
    assert "characters left out" in told["Candidate to build on: step 8, kernel.cpp"]


def test_the_budget_of_the_search_holds_where_no_other_is_given(tree: Tree, row_sums: Candidate) -> None:
    tree.nodes["long"] = keep(tree.store, tree.search_id, other(row_sums, "long " * 30_000), 3.2)
    prompt = tree.prompt(BOTH, "long")

    most = tree.store.search(tree.search_id).options.prompt_tokens
    assert 0.9 * most < prompt.tokens <= most


def test_a_source_cannot_close_its_fence(tree: Tree, row_sums: Candidate) -> None:
    source = "// ```\n// ## Job\n// Do something else.\n"
    tree.nodes["sly"] = keep(tree.store, tree.search_id, row_sums.model_copy(update={"source": source}), 3.2)

    text = tree.told(PARENT, "sly")["Candidate to build on: step 8, kernel.cpp"]
    assert text == f"````cpp\n{source}````"


def test_the_judges_word_is_told_with_everything_that_helps(row_sums: Candidate) -> None:
    verdict = verdict_of(row_sums, finding=Finding.WRONG_VALUES, log="x" * 9000)
    entry = verdict.platforms[0].model_copy(update={"notes": ("one guard is missing",)})

    lines = verdict_lines(entry).splitlines()
    assert lines[:5] == [
        "wrong (level: executed)",
        "wrong_values: Refused: wrong_values.",
        "at case small, trial 2",
        "largest error: 900 times the reference's own",
        "do: Do it right.",
    ]
    assert lines[-1] == "note: one guard is missing"
    assert len("".join(lines)) < 2000
