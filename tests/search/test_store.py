from __future__ import annotations

import errno
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding
from kernelevolve.search.errors import DuplicateError, SearchError
from kernelevolve.search.fitness import Fitness, improves
from kernelevolve.search.node import Node, SearchState, StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Store
from kernelevolve.search.store.database import Database
from kernelevolve.search.store.objects import ObjectStore
from tests.search.conftest import OpenStore, begin, keep, other, verdict_of

LARGE = random.Random(0).randbytes(500_000).hex()
"""A megabyte that hardly compresses."""
FULL = r"Nothing more can be written.*Free some space"


@pytest.fixture
def open_store(open_either: OpenStore) -> OpenStore:
    return open_either


# -- searches ---------------------------------------------------------------------------------------------------------


def test_a_search_comes_back_as_it_was_created(store: Store, row_sums: Candidate, clock) -> None:
    options = OptimizeOptions(evaluations=7, policy_parameters={"width": 2})
    search_id = store.create_search("tasks/row_sums.py", "cpu", [row_sums], options, "beam", "assistant", "Add up.")

    search = store.search(search_id)
    assert (search.task, search.platform, search.options) == ("tasks/row_sums.py", "cpu", options)
    assert (search.policy, search.synthesizer, store.brief(search)) == ("beam", "assistant", "Add up.")
    assert (search.state, search.resumed_at, search.step, search.leader_id) == (
        SearchState.RUNNING, clock.now, -1, None,
    )  # fmt: skip
    assert store.searches() == (search,)


def test_handles_are_long_and_differ(store: Store, row_sums: Candidate) -> None:
    handles = {begin(store, row_sums) for _ in range(50)}

    assert len(handles) == 50
    assert {len(handle) for handle in handles} == {12}


def test_finish_and_reopen(store: Store, row_sums: Candidate, clock) -> None:
    search_id = begin(store, row_sums, evaluations=5)

    assert store.finish(search_id, StopReason.STALL).reason is StopReason.STALL
    assert store.finish(search_id, StopReason.TARGET).reason is StopReason.STALL  # the first one counts
    assert store.search(search_id).state is SearchState.FINISHED
    clock.now += 3600
    reopened = store.reopen(search_id, OptimizeOptions(evaluations=9))
    assert (reopened.state, reopened.reason, reopened.options.evaluations) == (SearchState.RUNNING, None, 9)
    assert reopened.resumed_at == clock.now


def test_unknown_handles_are_said_to_be_unknown(store: Store) -> None:
    for ask in (store.search, store.nodes, store.leader, store.reopen, store.orders, store.under_way):
        with pytest.raises(SearchError, match="no search 'nothing'"):
            ask("nothing")
    with pytest.raises(SearchError, match="no node 'nothing'"):
        store.node("nothing")
    with pytest.raises(SearchError, match="no order 'nothing'"):
        store.order("nothing")


# -- nodes ------------------------------------------------------------------------------------------------------------


def test_a_node_comes_back_with_its_edges_source_and_verdict(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root_verdict = verdict_of(row_sums, 1.0)
    root = store.add_node(search_id, row_sums, root_verdict).node
    child_verdict = verdict_of(other(row_sums, 1), finding=Finding.WRONG_VALUES, log="line\n")
    child = store.add_node(search_id, other(row_sums, 1), child_verdict, (root.node_id,), "flags -O3", 0.25).node
    mixed = keep(store, search_id, other(row_sums, 2), 2.0, (root, child), "both")

    assert store.nodes(search_id) == (store.node(root.node_id), child, mixed)
    assert (child.step, child.parents, child.mutation, child.judged_s) == (1, (root.node_id,), "flags -O3", 0.25)
    assert (mixed.parents, mixed.depth) == ((root.node_id, child.node_id), 1)
    assert store.candidate(child) == other(row_sums, 1)
    assert store.parent(child.node_id) == (child, other(row_sums, 1))
    assert store.verdict(root) == root_verdict
    # NaN differs from itself, so the refused verdict is compared as text.
    assert store.verdict(child).model_dump_json() == child_verdict.model_dump_json()


@given(description=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=500))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_words_of_an_author_come_back(store: Store, row_sums: Candidate, description: str) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums)
    child = keep(store, search_id, other(row_sums, 1), 0.5, (root,), description)

    assert store.node(child.node_id).mutation == description
    assert store.setbacks(search_id, [description]) == {description: 1}


def test_a_nul_in_an_authors_words_loses_no_node(store: Store, row_sums: Candidate) -> None:
    """PostgreSQL refuses it in a text."""
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums)
    child = keep(store, search_id, other(row_sums, 1), 0.5, (root,), "tiles\0 of 32")

    assert "of 32" in store.node(child.node_id).mutation


def test_the_same_source_is_refused_within_one_search_only(store: Store, row_sums: Candidate) -> None:
    first, second = begin(store, row_sums), begin(store, row_sums)
    root = keep(store, first, row_sums)

    assert store.has_source(first, row_sums.source_hash)
    assert not store.has_source(second, row_sums.source_hash)
    with pytest.raises(DuplicateError, match="already, as node") as caught:
        keep(store, first, row_sums)
    assert caught.value.node_id == root.node_id
    assert len(store.nodes(first)) == 1
    keep(store, second, row_sums)


def test_a_changed_task_is_noticed(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    keep(store, search_id, row_sums)

    with pytest.raises(SearchError, match="changed"):
        store.add_node(search_id, other(row_sums, 1), verdict_of(other(row_sums, 1), task_hash="e" * 64))
    assert store.search(search_id).step == 0
    # A candidate that was refused before the task was read proves nothing about the task.
    refused = verdict_of(other(row_sums, 2), finding=Finding.COMPILER_ERROR, task_hash="e" * 64)
    assert store.add_node(search_id, other(row_sums, 2), refused).node.step == 1


def test_several_writers_share_one_database(open_store: OpenStore, row_sums: Candidate) -> None:
    with open_store() as store:
        search_id = begin(store, row_sums)

    def add(mark: int) -> int:
        with open_store() as own:
            return keep(own, search_id, other(row_sums, mark)).step

    with ThreadPoolExecutor(4) as pool:
        steps = list(pool.map(add, range(16)))
    assert sorted(steps) == list(range(16))


def test_a_snapshot_shows_one_state(open_store: OpenStore, store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    with open_store() as elsewhere, store.snapshot():
        before = store.search(search_id)
        keep(elsewhere, search_id, row_sums)
        assert store.search(search_id) == before
        assert store.nodes(search_id) == ()
    assert len(store.nodes(search_id)) == 1


# -- the lead ---------------------------------------------------------------------------------------------------------


def test_of_equals_the_earliest_leads(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums, 1.0)
    first, second = (keep(store, search_id, other(row_sums, mark), 2.0, (root,)) for mark in (1, 2))

    assert store.leader(search_id) == first
    assert store.ranked(search_id, 2) == (first, second)


def test_only_correct_timed_and_unrefuted_nodes_lead(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    keep(store, search_id, row_sums, 9.0, finding=Finding.WRONG_VALUES)
    store.add_node(search_id, other(row_sums, 1), verdict_of(other(row_sums, 1), 9.0, timed=False))
    refuted = keep(store, search_id, other(row_sums, 2), 8.0)
    assert store.leader(search_id) == refuted
    slow = keep(store, search_id, other(row_sums, 3), 0.5)

    store.confirm(refuted.node_id, verdict_of(other(row_sums, 2), finding=Finding.WRONG_AFTER_TIMING))
    assert store.leader(search_id) == slow


def test_confirmation_replaces_the_fitness_or_refutes(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums, 3.0)

    confirmed = store.confirm(root.node_id, verdict_of(row_sums, 2.0))
    assert confirmed.fitness.speedup == pytest.approx(3.0)
    assert confirmed.score.speedup == pytest.approx(2.0)
    assert confirmed.latency_ms == pytest.approx(4.0)
    assert store.confirmation(confirmed) == verdict_of(row_sums, 2.0)

    refuted = store.confirm(root.node_id, verdict_of(row_sums, finding=Finding.WRONG_AFTER_TIMING))
    assert refuted.refuted
    assert not refuted.viable
    assert store.nodes(search_id) == (refuted,)
    assert store.leader(search_id) is None
    assert [entry.kind for entry in store.events(search_id)][-2:] == ["confirmed", "refuted"]


def test_the_confirmed_fitness_counts(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums, 3.0)
    lucky = keep(store, search_id, other(row_sums, 1), 5.0, (root,))

    store.confirm(lucky.node_id, verdict_of(other(row_sums, 1), 2.0))
    leader = store.leader(search_id)
    assert leader is not None
    assert leader.node_id == root.node_id
    assert store.search(search_id).leader_score == pytest.approx(3.0)


def test_a_winner_leads_until_the_search_goes_on(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    steady = keep(store, search_id, row_sums, 2.0)
    lucky = keep(store, search_id, other(row_sums, 1), 9.0)

    store.finish(search_id, StopReason.EVALUATIONS, steady)
    assert store.leader(search_id) == steady
    store.reopen(search_id)
    assert store.leader(search_id) == lucky


def test_what_brought_nothing_is_counted(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums, 1.0)
    keep(store, search_id, other(row_sums, 1), 2.0, (root,), "a")
    keep(store, search_id, other(row_sums, 2), 1.5, (root,), "b")
    keep(store, search_id, other(row_sums, 3), parents=(root,), mutation="c", finding=Finding.WRONG_VALUES)
    keep(store, search_id, other(row_sums, 4), 2.001, (root,), "b", spread=0.1)

    assert store.search(search_id).stalled == 3
    assert store.setbacks(search_id, ["a", "b", "c", "d"]) == {"b": 2, "c": 2}
    assert store.setbacks(search_id, ["c"]) == {"c": 2}


def test_failures_of_the_judge_are_counted_in_a_row(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    seen = []
    for mark, finding in enumerate(
        (None, Finding.INTERNAL, Finding.DEVICE_BUSY, Finding.WRONG_VALUES, Finding.INTERNAL)
    ):
        keep(store, search_id, other(row_sums, mark), finding=finding)
        seen.append(store.search(search_id).harness_errors)

    assert seen == [0, 1, 2, 0, 1]


speedups = st.lists(st.one_of(st.none(), st.sampled_from([0.5, 1.0, 1.01, 1.5, 2.0])), min_size=1, max_size=8)


@given(speedups=speedups, margin=st.sampled_from([0.0, 0.02, 0.6]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_row_that_sums_up_a_search_says_what_its_nodes_say(
    store: Store, row_sums: Candidate, speedups: list[float | None], margin: float
) -> None:
    search_id = begin(store, row_sums, margin=margin)
    for mark, speedup in enumerate(speedups):
        finding = Finding.WRONG_VALUES if speedup is None else None
        keep(store, search_id, other(row_sums, mark), speedup or 0.0, store.nodes(search_id)[:1], finding=finding)

    best, stalled = None, 0
    for node in store.nodes(search_id):
        leads = node.viable and improves(node.fitness, best.fitness if best else Fitness(), margin)
        best, stalled = (node, 0) if leads else (best, stalled + bool(node.parents))
    search = store.search(search_id)
    assert (search.step, search.stalled) == (len(speedups) - 1, stalled)
    assert store.leader(search_id) == best
    assert search.leader_score == (best.score.speedup if best else 0.0)


# -- the tree and the log ---------------------------------------------------------------------------------------------


@pytest.fixture
def tree(store: Store, row_sums: Candidate) -> dict[str, Node]:
    """root ─ left ─ leaf, root ─ right ─ broken, root ─ wrong; and another wrong one, from nothing."""
    search_id = begin(store, row_sums)
    nodes = {"root": keep(store, search_id, row_sums, 1.0)}
    for mark, parent, speedup in (("left", "root", 2.0), ("right", "root", 3.0), ("leaf", "left", 2.5)):
        nodes[mark] = keep(store, search_id, other(row_sums, mark), speedup, (nodes[parent],), mark)
    for mark, parents, finding in (
        ("wrong", (nodes["root"],), Finding.WRONG_VALUES),
        ("stray", (), Finding.WRONG_VALUES),
        ("broken", (nodes["right"],), Finding.COMPILER_ERROR),
    ):
        nodes[mark] = keep(store, search_id, other(row_sums, mark), parents=parents, mutation=mark, finding=finding)
    return {name: store.node(node.node_id) for name, node in nodes.items()}


def names(tree: dict[str, Node], nodes: tuple[Node, ...]) -> list[str]:
    known = {node.node_id: name for name, node in tree.items()}
    return [known[node.node_id] for node in nodes]


def test_the_tree_can_be_walked(store: Store, tree: dict[str, Node]) -> None:
    def of(name: str) -> str:
        return tree[name].node_id

    search_id = tree["root"].search_id
    assert names(tree, store.ancestors(of("leaf"))) == ["left", "root"]
    assert names(tree, store.ancestors(of("leaf"), 1)) == ["left"]
    assert store.ancestors(of("root")) == ()
    assert names(tree, store.children(of("root"))) == ["wrong", "right", "left"]  # the newest first
    assert names(tree, store.children(of("root"), 1)) == ["wrong"]
    assert names(tree, store.siblings(of("left"))) == ["wrong", "right"]
    assert store.siblings(of("root")) == ()
    assert names(tree, store.best_children(of("root"))) == ["right", "left"]
    assert names(tree, store.failed_children(of("root"))) == ["wrong"]
    assert names(tree, store.frontier(search_id)) == ["leaf"]
    assert names(tree, store.ranked(search_id)) == ["right", "leaf", "left", "root"]
    assert names(tree, store.newest(search_id, 2)) == ["broken", "stray"]
    assert [node.children for node in store.nodes(search_id)[:4]] == [3, 1, 1, 0]


def test_failures_of_one_kind_are_found_by_their_signature(store: Store, tree: dict[str, Node]) -> None:
    signature = store.signature(tree["wrong"].node_id)

    assert signature is not None
    assert signature.startswith("wrong_values:")
    assert names(tree, store.failures(tree["root"].search_id, signature)) == ["stray", "wrong"]
    assert names(tree, store.failures(tree["root"].search_id, signature, 1)) == ["stray"]
    assert store.signature(tree["broken"].node_id) != signature
    assert store.signature(tree["leaf"].node_id) is None


def test_the_signature_leaves_out_numbers_and_names(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    signatures = []
    for mark, summary in enumerate(("`x` differs by 0.5 at 3.", "`total` differs by 17 at 41.", "`x` has no 3 rows.")):
        verdict = verdict_of(other(row_sums, mark), finding=Finding.WRONG_VALUES)
        entry = verdict.platforms[0]
        assert entry.diagnosis is not None
        entry = entry.model_copy(update={"diagnosis": entry.diagnosis.model_copy(update={"summary": summary})})
        node = store.add_node(search_id, other(row_sums, mark), verdict.model_copy(update={"platforms": (entry,)})).node
        signatures.append(store.signature(node.node_id))

    assert signatures[0] == signatures[1] != signatures[2]


def test_the_log_tells_every_change_in_order(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums)
    best = keep(store, search_id, other(row_sums, 1), 2.0, (root,))
    store.exhaust(root.node_id)
    store.confirm(best.node_id, verdict_of(other(row_sums, 1), 2.0))
    store.finish(search_id, StopReason.STALL)
    store.reopen(search_id)
    begin(store, row_sums)  # another search has its own log

    log = store.events(search_id)
    assert [entry.kind for entry in log] == [
        "created", "node", "node", "exhausted", "confirmed", "finished", "resumed",
    ]  # fmt: skip
    assert [entry.number for entry in log] == sorted({entry.number for entry in log})
    assert log[1].detail == {"node": root.node_id, "status": "correct"}
    assert store.events(search_id, after=log[2].number, limit=2) == log[3:5]
    assert store.last_event(search_id) == log[-1].number
    assert store.is_quiet(search_id, log[-1].number)
    assert not store.is_quiet(search_id, log[-2].number)


def test_an_entry_of_the_log_says_how_far_the_search_was(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums)
    keep(store, search_id, other(row_sums, 1), 2.0, (root,))
    store.exhaust(root.node_id)

    assert [entry.step for entry in store.events(search_id)] == [-1, 0, 1, 1]


def test_nodes_as_of_an_event_are_as_they_were_then(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums)
    seen: list[tuple[int, tuple[Node, ...]]] = []

    def look() -> None:
        # Counts of children are documented to be those of today.
        nodes = tuple(node.model_copy(update={"children": 0}) for node in store.nodes(search_id))
        seen.append((store.last_event(search_id), nodes))

    look()
    root = keep(store, search_id, row_sums)
    look()
    best, second = (keep(store, search_id, other(row_sums, mark), 2.0 + mark, (root,)) for mark in (2, 1))
    look()
    store.confirm(best.node_id, verdict_of(other(row_sums, 2), 3.5))
    look()
    store.confirm(second.node_id, verdict_of(other(row_sums, 1), finding=Finding.WRONG_AFTER_TIMING))
    look()

    assert [len(nodes) for _number, nodes in seen] == [0, 1, 3, 3, 3]
    for number, nodes in seen:
        then = store.nodes(search_id, as_of=number)
        assert tuple(node.model_copy(update={"children": 0}) for node in then) == nodes
    assert store.nodes(search_id, as_of=0) == ()


# -- objects ----------------------------------------------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_small_objects_lie_in_the_database_and_large_ones_in_files(
    store: Store, row_sums: Candidate, tmp_path: Path
) -> None:
    search_id = begin(store, row_sums)
    keep(store, search_id, row_sums)
    assert files(tmp_path / "state" / "objects") == []

    large = other(row_sums, LARGE)
    node = keep(store, search_id, large)
    assert [path.name for path in files(tmp_path / "state" / "objects")] == [node.source_object]
    assert store.candidate(node) == large


def test_objects_may_lie_in_any_file_system(tmp_path: Path, row_sums: Candidate) -> None:
    where = f"memory://{tmp_path.name}"
    with Store(tmp_path / "searches.sqlite", where) as store:
        search_id = begin(store, other(row_sums, LARGE))
        node = keep(store, search_id, other(row_sums, LARGE))
    with Store(tmp_path / "searches.sqlite", where) as store:
        assert store.candidate(node) == other(row_sums, LARGE)
    moved = Store(tmp_path / "searches.sqlite", f"{where}/elsewhere")
    with moved, pytest.raises(SearchError, match="is missing from"):
        moved.candidate(node)
    assert [path.name.split(".")[0] for path in files(tmp_path)] == ["searches"]


def test_a_place_for_objects_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="can't be kept at nowhere://x"):
        Store(tmp_path / "searches.sqlite", "nowhere://x")
    with pytest.raises(SearchError, match="needs a place for objects"):
        Store("postgresql+psycopg://nobody@/nothing")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, ObjectStore]:
    folder = tmp_path_factory.mktemp("objects")
    return Database(folder / "database.sqlite"), ObjectStore(folder / "objects")


def put(objects: tuple[Database, ObjectStore], text: str) -> str:
    database, store = objects
    packed = store.pack(text)
    with database.writing() as connection:
        return packed.write(connection)


def get(objects: tuple[Database, ObjectStore], key: str) -> str:
    database, store = objects
    with database.reading() as connection:
        return store.read(connection, key)


@given(text=st.one_of(st.text(), st.just(LARGE), st.text().map(lambda text: LARGE + text)))
@settings(max_examples=50, deadline=None)
def test_objects_come_back(objects: tuple[Database, ObjectStore], text: str) -> None:
    key = put(objects, text)

    assert get(objects, key) == text
    assert put(objects, text) == key


def test_objects_that_are_missing_or_changed_are_refused(tmp_path: Path) -> None:
    objects = Database(tmp_path / "database.sqlite"), ObjectStore(tmp_path / "objects")
    key = put(objects, LARGE)
    (path,) = files(tmp_path / "objects")
    path.write_text("tekst")

    with pytest.raises(SearchError, match="changed on disk"):
        get(objects, key)
    with pytest.raises(SearchError, match="missing"):
        get(objects, "0" * 64)
    with pytest.raises(SearchError, match="no object name"):
        get(objects, "../../etc/passwd")


@pytest.mark.parametrize("content", [zlib.compress(b"tekst"), b"tekst", b""])
def test_an_object_that_was_changed_in_the_database_is_refused(tmp_path: Path, content: bytes) -> None:
    objects = Database(tmp_path / "database.sqlite"), ObjectStore(tmp_path / "objects")
    key = put(objects, "text")
    with sqlite3.connect(tmp_path / "database.sqlite") as connection:
        connection.execute("UPDATE objects SET content = ?", (content,))
    connection.close()

    with pytest.raises(SearchError, match="was changed"):
        get(objects, key)


# -- a disk that is full, a process that is killed --------------------------------------------------------------------


@pytest.mark.parametrize("place", [(os, "fsync"), (tempfile, "mkstemp")], ids=["syncing", "opening"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_for_a_large_object_is_said_to_be_full(
    store: Store, row_sums: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, code: int
) -> None:
    search_id = begin(store, row_sums)
    root = keep(store, search_id, row_sums)

    def refuse(*arguments: object, **more: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(*place, refuse)
        with pytest.raises(SearchError, match=FULL):
            keep(store, search_id, other(row_sums, LARGE))
    assert files(tmp_path / "state" / "objects") == []
    assert store.nodes(search_id) == (root,)
    assert keep(store, search_id, other(row_sums, LARGE)).step == 1


def test_a_folder_that_cannot_be_written_is_named(store: Store, row_sums: Candidate, tmp_path: Path) -> None:
    search_id = begin(store, row_sums)
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "objects").write_text("a file where a folder should be")

    with pytest.raises(SearchError, match=r"can't be written to .*objects"):
        keep(store, search_id, other(row_sums, LARGE))


def test_a_full_database_loses_nothing_that_was_acknowledged(tmp_path: Path, row_sums: Candidate) -> None:
    most = {"pages": 1_000_000}
    with Store(tmp_path / "searches.sqlite") as store:
        engine = store._database.engine
        event.listen(engine, "checkout", lambda raw, *_: raw.execute(f"PRAGMA max_page_count = {most['pages']}"))
        search_id = begin(store, row_sums)
        with store._database.reading() as connection:
            most["pages"] = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 10
        kept: list[Node] = []

        def fill() -> None:
            while len(kept) < 1000:
                kept.append(keep(store, search_id, other(row_sums, len(kept))))

        with pytest.raises(SearchError, match=FULL):
            fill()
        assert 0 < len(kept) < 1000
        assert store.nodes(search_id) == tuple(kept)
        most["pages"] = 1_000_000
        assert keep(store, search_id, other(row_sums, len(kept))).step == len(kept)
        for mark, node in enumerate(kept):
            assert store.candidate(node) == other(row_sums, mark)


def test_a_node_outlives_a_process_that_is_killed(tmp_path: Path, row_sums: Candidate) -> None:
    code = f"""
import os
from pathlib import Path
from tests.search.conftest import ROW_SUMS, begin, keep
from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.store import Store
point = Candidate(language="cpp", source=ROW_SUMS, name="kernel.cpp")
store = Store(Path({str(tmp_path)!r}) / "searches.sqlite")
search_id = begin(store, point)
keep(store, search_id, point, 2.0)
print(search_id, flush=True)
os.kill(os.getpid(), 9)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)

    assert done.returncode == -9, done.stderr
    with Store(tmp_path / "searches.sqlite") as store:
        (node,) = store.nodes(done.stdout.strip())
        assert store.candidate(node).source == row_sums.source


def test_the_database_is_in_wal_mode_and_closes_cleanly(tmp_path: Path, row_sums: Candidate) -> None:
    path = tmp_path / "searches.sqlite"
    with Store(path) as store:
        begin(store, row_sums)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert not path.with_name("searches.sqlite-wal").exists()
