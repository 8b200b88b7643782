from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import Finding
from kernelevolve.search.errors import SearchError
from kernelevolve.search.node import SearchState, StopReason
from kernelevolve.search.objects import ObjectStore
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Store


def begin(store: Store, point: Candidate, **options: object) -> str:
    return store.create_search("tasks/row_sums.py", "cpu", [point], OptimizeOptions.model_validate(options))


def other(candidate: Candidate, mark: object) -> Candidate:
    return Candidate(language="cpp", source=f"{candidate.source}// {mark}\n", name=candidate.name)


def test_a_search_comes_back_as_it_was_created(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums, evaluations=7)

    search = store.search(search_id)
    assert (search.task, search.platform, search.options.evaluations) == ("tasks/row_sums.py", "cpu", 7)
    assert search.state is SearchState.RUNNING
    assert store.starting_points(search_id) == (row_sums,)
    assert store.searches() == (search,)


def test_handles_are_long_and_differ(store: Store, row_sums: Candidate) -> None:
    handles = {begin(store, row_sums) for _ in range(50)}

    assert len(handles) == 50
    assert {len(handle) for handle in handles} == {12}


def test_a_node_comes_back_with_its_edge_source_and_verdict(store: Store, row_sums: Candidate, make_verdict) -> None:
    search_id = begin(store, row_sums)
    root_verdict = make_verdict(row_sums, 1.0)
    root = store.add_node(search_id, row_sums, root_verdict, None, "", 0.5)
    child_verdict = make_verdict(other(row_sums, 1), finding=Finding.WRONG_VALUES, log="line\n")
    child = store.add_node(search_id, other(row_sums, 1), child_verdict, root.node_id, "flags -O3", 0.25)

    assert store.nodes(search_id) == (root, child)
    assert (child.step, child.parents, child.mutation) == (1, (root.node_id,), "flags -O3")
    assert store.candidate(child) == other(row_sums, 1)
    assert store.verdict(root) == root_verdict
    # NaN differs from itself, so the refused verdict is compared as text.
    assert store.verdict(child).model_dump_json() == child_verdict.model_dump_json()
    assert store.best(search_id) == root
    assert [event.kind for event in store.events(search_id)] == ["created", "node", "node"]
    assert [event.step for event in store.events(search_id)] == [-1, 0, 1]


def test_the_same_source_is_refused_within_one_search_only(store: Store, row_sums: Candidate, make_verdict) -> None:
    first, second = begin(store, row_sums), begin(store, row_sums)
    store.add_node(first, row_sums, make_verdict(row_sums), None, "", 0.1)

    assert store.has_source(first, row_sums.source_hash)
    assert not store.has_source(second, row_sums.source_hash)
    with pytest.raises(SearchError, match="already"):
        store.add_node(first, row_sums, make_verdict(row_sums), None, "", 0.1)
    assert len(store.nodes(first)) == 1
    store.add_node(second, row_sums, make_verdict(row_sums), None, "", 0.1)


def test_confirmation_replaces_the_fitness_or_refutes(store: Store, row_sums: Candidate, make_verdict) -> None:
    search_id = begin(store, row_sums)
    root = store.add_node(search_id, row_sums, make_verdict(row_sums, 3.0), None, "", 0.1)

    confirmed = store.confirm(root.node_id, make_verdict(row_sums, 2.0))
    assert confirmed.fitness.speedup == pytest.approx(3.0)
    assert confirmed.score.speedup == pytest.approx(2.0)
    assert store.confirmation(confirmed) == make_verdict(row_sums, 2.0)

    refuted = store.confirm(root.node_id, make_verdict(row_sums, finding=Finding.WRONG_AFTER_TIMING))
    assert refuted.refuted
    assert not refuted.viable
    assert store.nodes(search_id) == (refuted,)
    assert store.best(search_id) is None
    assert [event.kind for event in store.events(search_id)][-2:] == ["confirmed", "refuted"]


def test_finish_and_reopen(store: Store, row_sums: Candidate) -> None:
    search_id = begin(store, row_sums, evaluations=5)

    assert store.finish(search_id, StopReason.STALL).reason is StopReason.STALL
    assert store.search(search_id).state is SearchState.FINISHED
    reopened = store.reopen(search_id, OptimizeOptions(evaluations=9))
    assert (reopened.state, reopened.reason, reopened.options.evaluations) == (SearchState.RUNNING, None, 9)


def test_a_changed_task_is_noticed(store: Store, row_sums: Candidate, make_verdict) -> None:
    search_id = begin(store, row_sums)
    store.add_node(search_id, row_sums, make_verdict(row_sums), None, "", 0.1)
    changed = make_verdict(other(row_sums, 1), task_hash="e" * 64)

    with pytest.raises(SearchError, match="changed"):
        store.add_node(search_id, other(row_sums, 1), changed, None, "", 0.1)
    # A candidate that was refused before the task was read proves nothing about the task.
    refused = make_verdict(other(row_sums, 2), finding=Finding.COMPILER_ERROR, task_hash="e" * 64)
    store.add_node(search_id, other(row_sums, 2), refused, None, "", 0.1)


def test_unknown_handles_are_said_to_be_unknown(store: Store) -> None:
    for ask in (store.search, store.nodes, store.best, store.reopen):
        with pytest.raises(SearchError, match="no search 'nothing'"):
            ask("nothing")


def test_a_node_outlives_a_process_that_is_killed(tmp_path: Path, row_sums: Candidate) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from conftest import ROW_SUMS, verdict_of
from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Store
point = Candidate(language="cpp", source=ROW_SUMS, name="kernel.cpp")
store = Store(Path({str(tmp_path)!r}) / "searches.sqlite")
search_id = store.create_search("t", "cpu", [point], OptimizeOptions())
store.add_node(search_id, point, verdict_of(point, 2.0), None, "", 0.1)
print(search_id, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == -9, done.stderr
    with Store(tmp_path / "searches.sqlite") as store:
        (node,) = store.nodes(done.stdout.strip())
        assert store.candidate(node).source == row_sums.source


def test_several_writers_share_one_database(tmp_path: Path, row_sums: Candidate, make_verdict) -> None:
    path = tmp_path / "searches.sqlite"
    with Store(path) as store:
        search_id = begin(store, row_sums)

    def add(mark: int) -> int:
        with Store(path) as own:
            candidate = other(row_sums, mark)
            return own.add_node(search_id, candidate, make_verdict(candidate), None, "", 0.1).step

    with ThreadPoolExecutor(4) as pool:
        steps = list(pool.map(add, range(16)))
    assert sorted(steps) == list(range(16))


def test_the_database_is_in_wal_mode_and_closes_cleanly(tmp_path: Path, row_sums: Candidate) -> None:
    path = tmp_path / "searches.sqlite"
    with Store(path) as store:
        begin(store, row_sums)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert not path.with_name("searches.sqlite-wal").exists()


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "searches.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(SearchError, match="schema 99"):
        Store(tmp_path / "searches.sqlite")


@given(st.text())
def test_objects_come_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    objects = ObjectStore(tmp_path_factory.getbasetemp() / "objects")
    try:
        key = objects.put(text)
    except UnicodeEncodeError:
        return  # lone surrogates are no text
    assert objects.get(key) == text
    assert objects.put(text) == key


def test_objects_that_are_missing_or_changed_are_refused(tmp_path: Path) -> None:
    objects = ObjectStore(tmp_path)
    key = objects.put("text")
    (tmp_path / key[:2] / key).write_text("tekst")

    with pytest.raises(SearchError, match="changed on disk"):
        objects.get(key)
    with pytest.raises(SearchError, match="missing"):
        objects.get("0" * 64)
    with pytest.raises(SearchError, match="no object name"):
        objects.get("../../etc/passwd")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [key]
