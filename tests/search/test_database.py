"""The connection and its schema, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text, update
from sqlalchemy.exc import DBAPIError

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.search.driver import optimize
from kernelevolve.search.engine import Engine, start
from kernelevolve.search.errors import SearchError
from kernelevolve.search.landscape import Landscape
from kernelevolve.search.node import StopReason
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.order import Order, OrderState
from kernelevolve.search.policies import policies
from kernelevolve.search.store import Store
from kernelevolve.search.store.database import Database
from kernelevolve.search.store.records import read_search
from kernelevolve.search.store.schema import HEAD, metadata, orders
from tests.search.conftest import FakeJudge, PostgreSQL, begin, keep


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a database can be made."""
    if request.param == "sqlite":
        return tmp_path / "searches.sqlite"
    return str(request.getfixturevalue("postgresql").new_database())


# -- the schema -------------------------------------------------------------------------------------------------------


def test_the_migrations_make_what_the_models_say(place: Path | str) -> None:
    database = Database(place)
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD
    database.close()


def test_the_newest_migration_is_the_head() -> None:
    import kernelevolve.search.store.migrations.versions as versions

    folder = Path(next(iter(versions.__path__))).parent
    assert ScriptDirectory(str(folder)).get_current_head() == HEAD


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path, place: Path | str, row_sums: Candidate) -> None:
    with Store(place, tmp_path / "objects") as store:
        keep(store, begin(store, row_sums), row_sums)
    run(place, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(SearchError, match=f"has schema 9999, and this version knows none newer than {HEAD}") as caught:
        Store(place, tmp_path / "objects")
    assert caught.value.advice == "Update KernelEvolve; nothing was changed."
    assert run(place, "SELECT version_num FROM alembic_version") == [("9999",)]
    assert run(place, "SELECT count(*) FROM nodes") == [(1,)]


def test_a_database_from_before_the_first_release_is_refused_and_left_alone(tmp_path: Path, place: Path | str) -> None:
    run(place, "CREATE TABLE searches (search_id TEXT PRIMARY KEY)")
    run(place, "INSERT INTO searches VALUES ('kept')")

    with pytest.raises(SearchError, match=r"before the first release.*Move it away"):
        Store(place, tmp_path / "objects")
    assert run(place, "SELECT * FROM searches") == [("kept",)]
    with pytest.raises(DBAPIError):
        run(place, "SELECT * FROM nodes")


def test_searches_from_before_belong_to_whoever_runs_the_server(
    tmp_path: Path, place: Path | str, row_sums: Candidate
) -> None:
    with Store(place, tmp_path / "objects") as store:
        search_id = begin(store, row_sums)
        keep(store, search_id, row_sums)
    # As the first release left it.
    for column in ("owner", "shared"):
        run(place, f"ALTER TABLE searches DROP COLUMN {column}")
    run(place, "UPDATE alembic_version SET version_num = '0001'")

    with Store(place, tmp_path / "objects") as store:
        search = store.search(search_id)
        assert (search.owner, search.shared, search.step) == ("", False, 0)
    assert run(place, "SELECT version_num FROM alembic_version") == [(HEAD,)]


def run(place: Path | str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement past the store; its rows."""
    engine = create_engine(place if isinstance(place, str) else f"sqlite:///{place}")
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


def open_and_write(place: Path | str, objects: Path, barrier: Any) -> None:
    barrier.wait()
    with Store(place, objects) as store:
        begin(store, Candidate(language="cpp", source="int x;"))


@pytest.mark.parametrize("attempt", range(3))
def test_processes_may_open_a_new_database_at_once(tmp_path: Path, place: Path | str, attempt: int) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    processes = [context.Process(target=open_and_write, args=(place, tmp_path / "objects", barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 4
    with Store(place, tmp_path / "objects") as store:
        assert len(store.searches()) == 4


# -- what is no database ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("searches.sqlite", r"'searches\.sqlite' is no database.*Give a path, or a URL such as postgresql\+psycopg"),
        ("", "is no database"),
        ("oracle+nothing://host/name", r"no driver for oracle\+nothing://host/name here.*pip install"),
        ("postgresql+pg8000://host/name", r"no driver for .*pg8000.*postgresql\+psycopg://"),
    ],
)
def test_what_is_no_database_is_told_what_would_be_one(tmp_path: Path, where: str, complaint: str) -> None:
    with pytest.raises(SearchError, match=complaint):
        Store(where, tmp_path)


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="cannot be used") as caught:
        Store(f"postgresql+psycopg://me:secret@/name?host={tmp_path}", tmp_path)
    assert "postgresql+psycopg://me:***@/name" in caught.value.summary
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Remember the milk. " * 100)

    with pytest.raises(SearchError, match=r"notes\.txt"):
        Store(path)
    assert path.read_text() == "Remember the milk. " * 100


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SearchError, match="file"):
        Store(tmp_path / "file" / "searches.sqlite")


# -- transactions -----------------------------------------------------------------------------------------------------


def test_what_fails_half_way_changes_nothing(tmp_path: Path, place: Path | str, row_sums: Candidate) -> None:
    with Store(place, tmp_path / "objects") as store:
        search_id = begin(store, row_sums)
        with pytest.raises(ZeroDivisionError):
            keep(store, search_id, row_sums, place=lambda entry: str(1 / 0))

        assert store.nodes(search_id) == ()
        assert store.search(search_id).step == -1
        assert [event.kind for event in store.events(search_id)] == ["created"]


def test_a_database_that_stays_locked_is_said_to_be_locked(
    tmp_path: Path, row_sums: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernelevolve.search.store.database._BUSY_MS", 10)
    with Store(tmp_path / "searches.sqlite") as store:
        other_process = sqlite3.connect(tmp_path / "searches.sqlite", isolation_level=None)
        other_process.execute("BEGIN IMMEDIATE")
        with pytest.raises(SearchError, match=r"locked by another process.*Try again"):
            begin(store, row_sums)
        other_process.close()
        begin(store, row_sums)


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", sorted(policies()))
def test_a_search_goes_the_same_way_on_both_databases(postgresql: PostgreSQL, tmp_path: Path, policy: str) -> None:
    landscape = Landscape(seed=2)

    def searched(store: Store) -> list[tuple[object, ...]]:
        options = OptimizeOptions(evaluations=30, stall=None)
        summary = optimize(
            "landscape", "cpu", [landscape.start], landscape, store, options, policy=policy,
            synthesizer=landscape.author(),
        )  # fmt: skip
        assert (summary.reason, summary.confirmed) == (StopReason.EVALUATIONS, True)
        return [
            (node.step, [parent.rpartition(".")[2] for parent in node.parents], node.source_hash, node.score)
            for node in store.nodes(summary.search_id)
        ]

    with Store(postgresql.new_database(), tmp_path / "objects") as there, Store(tmp_path / "here.sqlite") as here:
        assert searched(there) == searched(here)


def waits_for_a_lock(store: Store) -> bool:
    with store._database.reading() as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(connection.execute(text(query)).scalar_one())


@pytest.mark.parametrize("late", ["fail", "give_back", "heartbeat"])
def test_an_order_that_is_done_meanwhile_stays_done(
    postgresql: PostgreSQL, tmp_path: Path, row_sums: Candidate, trusting: FakeJudge, late: str
) -> None:
    """One process closes an order in a transaction that began before another one looks at it."""
    with Store(postgresql.new_database(), tmp_path / "objects") as store, ThreadPoolExecutor(1) as pool:
        engine = Engine(store, start(store, "task.py", "cpu", [row_sums]), trusting)
        engine.judge_starting_points()
        order = engine.next_order()
        assert order is not None
        calls: dict[str, Callable[[], Order | None]] = {
            "fail": lambda: store.fail(order.order_id, "no idea"),
            "give_back": lambda: store.give_back(order.order_id),
            "heartbeat": lambda: store.heartbeat(order.order_id, 60.0),
        }
        with store._database.writing() as connection:
            read_search(connection, engine.search_id, lock=True)
            done = update(orders).where(orders.c.id == order.order_id).values(state=OrderState.DONE)
            connection.execute(done)
            outcome = pool.submit(calls[late])
            while not outcome.done() and not waits_for_a_lock(store):
                time.sleep(0.01)
        error = outcome.exception()

        assert error is None or (late == "heartbeat" and isinstance(error, SearchError))
        assert store.order(order.order_id).state is OrderState.DONE
        assert store.search(engine.search_id).author_failures == 0


def test_a_connection_that_was_lost_is_made_anew(postgresql: PostgreSQL, tmp_path: Path, row_sums: Candidate) -> None:
    url = postgresql.new_database()
    with Store(url, tmp_path / "objects") as store, Store(url, tmp_path / "objects") as administrator:
        search_id = begin(store, row_sums)
        with administrator._database.writing() as connection:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            connection.execute(text(f"{query} AND datname = current_database()"))

        assert keep(store, search_id, row_sums).step == 0
