"""Rows for a table with another key than the query has: what is left of each is what the last of its rows says."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from stepwise import Disk

from anomaly_app.changes import CHANGE_COLUMN
from anomaly_app.graph.materialize import LastOfKey, MaterializePlan
from anomaly_app.graph.normalize import LastRow, NormalizePlan
from anomaly_app.graph.vertices import Flow, Vertex
from anomaly_app.jobs.binder import bind_job
from anomaly_app.keyed import Room
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.plan.nodes import Materialize
from anomaly_app.schema import INT, STRING, Column

KEY, VALUE = Column("k", STRING), Column("v", INT)
LAYOUT = Layout((KEY, VALUE, CHANGE_COLUMN))


READS = frozenset({"k", "v", "$change"})


def vertex() -> LastOfKey:
    return LastOfKey(MaterializePlan(LAYOUT, READS, lambda row: row[COLUMNS], (KEY,)))


def given(*changes: tuple[str, int, int], first: int = 0) -> list[Row]:
    return [(1_000 + n, n, *change) for n, change in enumerate(changes, first)]


def told(one: Vertex, *changes: tuple[str, int, int], first: int = 0) -> list[tuple[str, int, int]]:
    return [row[COLUMNS : COLUMNS + 3] for row in one.run([Flow(given(*changes, first=first), 0)]).rows]


def test_the_row_before_stands_again_when_the_last_one_goes() -> None:
    one = vertex()
    assert told(one, ("a", 1, 0), ("a", 2, 0)) == [("a", 1, 2), ("a", 2, 2)]
    assert told(one, ("a", 2, 3)) == [("a", 1, 2)]
    assert told(one, ("a", 1, 1)) == [("a", 1, 3)]


def test_a_row_that_goes_from_behind_another_changes_nothing() -> None:
    one = vertex()
    told(one, ("a", 1, 0), ("a", 2, 0))
    assert told(one, ("a", 1, 1)) == []
    assert told(one, ("a", 2, 1)) == [("a", 2, 3)]


def test_of_rows_that_are_the_same_one_goes() -> None:
    one = vertex()
    told(one, ("a", 1, 0), ("a", 1, 0))
    assert told(one, ("a", 1, 3)) == [("a", 1, 2)]
    assert told(one, ("a", 1, 3)) == [("a", 1, 3)]


def test_a_row_that_was_not_there_is_counted() -> None:
    one = vertex()
    told(one, ("a", 1, 0))
    assert told(one, ("a", 7, 3), ("b", 1, 1)) == []
    assert one.counters.counts == {"rows taken back that were not there": 2}


def flushed(one: Vertex, entries: dict[bytes, bytes]) -> None:
    for key, value in one.stores[0].changes():
        entries.pop(key, None) if value is None else entries.__setitem__(key, value)


def test_without_room_in_memory_the_same_comes_out() -> None:
    draw = random.Random(2)
    changes = [(draw.choice("abcdefgh"), draw.randrange(3), draw.choice([0, 2, 2, 3])) for _ in range(400)]
    makers: list[Callable[[], Vertex]] = [
        vertex,
        lambda: LastRow(NormalizePlan(LAYOUT, READS, lambda row: row[COLUMNS], (KEY,))),
    ]
    for make in makers:
        whole = told(make(), *changes)
        small, entries, pieces = make(), {}, []  # type: ignore[var-annotated]
        small.stores[0].attach(Disk(entries, b""), Room(0))
        for number in range(0, 400, 7):
            pieces += told(small, *changes[number : number + 7], first=number)
            flushed(small, entries)
        assert pieces == whole and small.stores[0].counts["read"] > 50


def test_a_key_that_was_silent_for_too_long_is_forgotten() -> None:
    last = LastRow(NormalizePlan(LAYOUT, READS, lambda row: row[COLUMNS], (KEY,), ttl_ms=500))
    many = LastOfKey(MaterializePlan(LAYOUT, READS, lambda row: row[COLUMNS], (KEY,), ttl_ms=500))
    for one, kinds in ((last, [0, 0]), (many, [2, 2])):
        rows = [(1_000, 0, "a", 1, 2), (2_000, 1, "a", 2, 2), (2_600, 2, "a", 2, 3)]
        found = one.run([Flow(rows, 1_000)]).rows
        assert [row[COLUMNS + 2] for row in found] == kinds


def test_a_restart_anywhere_goes_on() -> None:
    draw = random.Random(1)
    rows: list[tuple[str, int]] = []
    changes: list[tuple[str, int, int]] = []
    for _ in range(300):
        if rows and draw.random() < 0.45:
            changes.append((*rows.pop(draw.randrange(len(rows))), draw.choice([1, 3])))
        else:
            rows.append((draw.choice("abc"), draw.randrange(3)))
            changes.append((*rows[-1], draw.choice([0, 2])))
    whole = told(vertex(), *changes)
    pieces: list[tuple[str, int, int]] = []
    one, entries = vertex(), {}  # type: ignore[var-annotated]
    for number in range(0, 300, 7):
        pieces += told(one, *changes[number : number + 7])
        flushed(one, entries)
        one = vertex()
        one.stores[0].restore(entries.items())
    assert pieces == whole


UPSERT = "'connector' = 'upsert-kafka', 'key.format' = 'json', 'value.format' = 'json'"
TABLES = f"""
CREATE TABLE s (k INT, v INT, PRIMARY KEY (k) NOT ENFORCED) WITH ({UPSERT}, 'topic' = 's');
CREATE TABLE d (k INT, v INT, PRIMARY KEY (k) NOT ENFORCED) WITH (
    'connector' = 'kafka', 'topic' = 'd', 'format' = 'debezium-json');
CREATE TABLE e (k INT, v INT) WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'debezium-json');
CREATE TABLE p (k INT, v INT) WITH ('connector' = 'kafka', 'topic' = 'p', 'format' = 'json');
CREATE TABLE o (k INT, v INT, PRIMARY KEY (k) NOT ENFORCED) WITH ({UPSERT}, 'topic' = 'o');
CREATE TABLE w (k INT, v INT, PRIMARY KEY (k, v) NOT ENFORCED) WITH ({UPSERT}, 'topic' = 'w');
"""


@pytest.mark.parametrize(
    ("sql", "keys"),
    [
        ("INSERT INTO o SELECT k, v FROM s", None),
        ("INSERT INTO o SELECT k, v FROM d WHERE v > 3", None),
        ("INSERT INTO o SELECT k AS x, v + 1 FROM (SELECT v, k FROM s)", None),
        ("INSERT INTO w SELECT k, v FROM s", None),
        ("INSERT INTO o SELECT k, v FROM p", None),
        ("INSERT INTO o SELECT k, v FROM e", ("k",)),
        ("INSERT INTO o SELECT v, k FROM s", ("v",)),
        ("INSERT INTO o (v, k) SELECT k, v FROM s", ("v",)),
        ("INSERT INTO o SELECT k + 1 AS x, v FROM s", ("x",)),
        ("INSERT INTO o SELECT k, v FROM s UNION ALL SELECT k, v FROM s", ("k",)),
    ],
)
def test_it_is_there_where_two_rows_may_have_the_key_of_the_table(sql: str, keys: tuple[str, ...] | None) -> None:
    (plan,) = bind_job(TABLES + sql, name="job").plans
    node = plan.queries[0].factory.node
    assert (node.keys if isinstance(node, Materialize) else None) == keys


def test_rows_of_one_key_of_the_table_meet() -> None:
    (plan,) = bind_job(TABLES + "INSERT INTO o SELECT k, v FROM e", name="job").plans
    assert plan.partition_by == ("k",) and plan.routing.value == "repartition"
    (plan,) = bind_job(TABLES + "INSERT INTO o SELECT v, k FROM s", name="job").plans
    assert plan.partition_by == () and plan.routing.value == "single"


def test_what_is_stored_is_of_the_key_of_the_table() -> None:
    prints = []
    for keys in ("(k)", "(k, v)"):
        text = TABLES.replace(
            "CREATE TABLE o (k INT, v INT, PRIMARY KEY (k)", f"CREATE TABLE o (k INT, v INT, PRIMARY KEY {keys}"
        )
        (plan,) = bind_job(text + "INSERT INTO o SELECT k, v FROM e", name="job").plans
        prints.append(plan.queries[0].fingerprint)
    assert prints[0] != prints[1]
