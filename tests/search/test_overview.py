from __future__ import annotations

from pathlib import Path

import pytest

from kernelevolve.search.comparison import best_so_far
from kernelevolve.search.errors import SearchError
from kernelevolve.search.node import StopReason
from kernelevolve.search.store import Overview, Store
from tests.server.dashboard_searches import advance, begun, grow, made


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]
    with Store(tmp_path / "searches.sqlite") as found:
        yield found


def test_an_outline_says_of_nodes_what_the_nodes_say(store: Store) -> None:
    search_id = made(store, 60)
    nodes = store.nodes(search_id)
    outline = Overview(store).outline(search_id)

    assert [row.step for row in outline] == [node.step for node in nodes]
    assert [row.parent for row in outline] == [
        int(node.parents[0].rpartition(".")[2]) if node.parents else -1 for node in nodes
    ]
    assert [row.speedup for row in outline] == [node.score.speedup if node.viable else 0.0 for node in nodes]
    (confirmed,) = (row.step for row in outline if row.kind == "confirmed")
    leader = store.leader(search_id)
    assert leader is not None
    assert confirmed == leader.step


def test_parts_of_an_outline(store: Store) -> None:
    search_id = made(store, 20)
    grow(store, search_id, 1200)
    overview = Overview(store)
    whole = overview.outline(search_id)

    assert overview.outline(search_id, after=1100) == whole[1101:]
    assert overview.outline(search_id, steps=[3, 1, 5000]) == [whole[1], whole[3]]
    # More than fit into one statement.
    assert overview.outline(search_id, steps=range(1200)) == whole
    assert [node.step for node in overview.nodes_at(search_id, [900, 2])] == [2, 900]
    with pytest.raises(SearchError):
        overview.outline("none")


@pytest.mark.parametrize("policy", ["greedy", "evolutionary"])
def test_who_led_is_who_the_curve_says(store: Store, policy: str) -> None:
    search_id = made(store, 80, policy)
    margin = store.search(search_id).options.margin
    curve = best_so_far(store.nodes(search_id), margin, 80)
    changes = [(step, value) for step, value in enumerate(curve) if value != ([0.0, *curve])[step]]

    assert Overview(store).leads(search_id) == changes
    assert len(changes) > 2


def test_texts_with_signs_of_patterns_are_found_as_they_are(store: Store) -> None:
    search_id = made(store, 20)
    overview = Overview(store)

    assert overview.find(search_id, "knob", 100)
    assert overview.find(search_id, "kno_", 100) == []
    assert overview.find(search_id, "%", 100) == []
    assert len(overview.find(search_id, "KNOB", 3)) == 3


def test_orders_of_searches_that_ended_are_not_under_way(store: Store) -> None:
    engine = begun(store, 2)
    order = engine.next_order()
    assert order is not None
    other = begun(store, 1).search_id
    overview = Overview(store)

    assert [entry.order.order_id for entry in overview.open_orders()] == [order.order_id]
    assert overview.open_orders(other) == []
    store.reserve(order.order_id, engine.search_id, "0" * 64, 60.0)
    assert [entry.judging for entry in overview.open_orders(engine.search_id)] == [True]
    store.finish(engine.search_id, StopReason.STOPPED)
    assert overview.open_orders() == []


def test_an_overdue_order_is_not_under_way(tmp_path: Path) -> None:
    now = [1000.0]
    with Store(tmp_path / "searches.sqlite", clock=lambda: now[0]) as store:
        engine = begun(store, 2)
        assert engine.next_order() is not None
        assert len(Overview(store).open_orders()) == 1
        now[0] += 1e6
        assert Overview(store).open_orders() == []


def test_the_log_of_all_searches_is_read_on_from_an_event(store: Store) -> None:
    first, second = begun(store, 2), begun(store, 2)
    overview = Overview(store)
    whole = overview.events_after(0)

    assert {entry.search_id for entry in whole} == {first.search_id, second.search_id}
    assert [entry.event.number for entry in whole] == sorted(entry.event.number for entry in whole)
    assert overview.last_event() == whole[-1].event.number
    assert overview.events_after(whole[3].event.number) == whole[4:]
    assert [entry.event for entry in overview.events_after(0, first.search_id)] == list(store.events(first.search_id))
    assert overview.events_after(0, limit=2) == whole[:2]
    advance(first, 1)
    assert [entry.event.kind for entry in overview.events_after(whole[-1].event.number)] == ["order", "node"]
    assert overview.newest_events(first.search_id, 2)[0].kind == "node"


def test_nodes_with_a_source_are_found_in_every_search(store: Store) -> None:
    one, two = made(store, 5), made(store, 5)
    start = store.node(f"{one}.0")
    found = Overview(store).nodes_of_sources([start.source_hash])

    assert {node.node_id for node in found} == {f"{one}.0", f"{two}.0"}
    assert Overview(store).nodes_of_sources([]) == []
