"""Groups without a window: how they are told, what expires, and where they may stand."""

from __future__ import annotations

import pytest

from anomaly_app import Rows, SqlValidationError, query
from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.plan.explain import explain_plan
from anomaly_app.schema import INT, STRING, Column, Schema

COLUMNS = [("k", "STRING"), ("v", "INT")]
EVENTS = [*COLUMNS, ("ts", "TIMESTAMP(3)")]


def changes(sql: str, *rows: tuple[object, ...]) -> list[tuple[str, tuple[object, ...]]]:
    """Changes of a query, each row a step."""
    bound = bind_text(sql, {"t": Schema((Column("k", STRING), Column("v", INT)))})
    operator = bound.factory.create(bound.layout)
    places = [["k", "v"].index(column.name) for column in bound.layout.columns]
    found = []
    for position, row in enumerate(rows):
        found += operator.step([Flow([(0, position, *(row[place] for place in places))], 0)])
    assert not operator.problems
    return [("+I -U +U -D".split()[one.change], one.values) for one in found]


def test_an_update_takes_the_row_before_back() -> None:
    told = changes("SELECT k, SUM(v) AS s FROM t GROUP BY k", ("a", 1), ("b", 5), ("a", 2))
    assert told == [("+I", ("a", 1)), ("+I", ("b", 5)), ("-U", ("a", 1)), ("+U", ("a", 3))]


def test_one_update_for_each_key_and_step() -> None:
    rows = Rows(COLUMNS, [("a", 1), ("b", 1), ("a", 2), ("a", 3)])
    result = query("SELECT k, SUM(v) AS s FROM t GROUP BY k", {"t": rows})
    assert result.changes == [("+I", ("a", 6)), ("+I", ("b", 1))]


def test_what_changes_nothing_that_is_seen_is_not_told() -> None:
    assert changes("SELECT MAX(v) AS m FROM t", ("a", 5), ("a", 3)) == [("+I", (5,))]
    assert changes("SELECT k FROM t GROUP BY k HAVING SUM(v) > 3", ("a", 5), ("a", 3)) == [("+I", ("a",))]


def test_a_group_that_passes_no_more_goes_and_may_come_again() -> None:
    told = changes("SELECT k, SUM(v) AS s FROM t GROUP BY k HAVING SUM(v) > 3", ("a", 5), ("a", -3), ("a", 1), ("a", 4))
    assert told == [("+I", ("a", 5)), ("-D", ("a", 5)), ("+I", ("a", 7))]


def test_all_rows_as_one_group_give_nothing_before_the_first() -> None:
    assert query("SELECT COUNT(*) AS n FROM t", {"t": Rows(COLUMNS, [])}).changes == []
    upserts = Rows(COLUMNS, [("a", 1), ("a", None)], changelog="upsert", kinds=["+U", "-D"])
    result = query(
        "CREATE TABLE t (k STRING PRIMARY KEY NOT ENFORCED, v INT); SELECT COUNT(*) AS n FROM t", {"t": upserts}
    )
    assert result.rows == []


def test_distinct_rows_are_never_taken_back() -> None:
    sql = "SELECT DISTINCT k FROM t"
    assert changes(sql, ("a", 1), ("a", 2), ("b", 1)) == [("+I", ("a",)), ("+I", ("b",))]
    assert not bind_text(sql, {"t": Schema((Column("k", STRING),))}).factory.node.updating


def test_an_expression_that_fails_takes_the_row_back_and_is_told() -> None:
    sql = "SELECT k, CAST(LAST_VALUE(k) AS INT) AS n FROM t GROUP BY v"
    bound = bind_text(sql.replace("k, CAST", "v, CAST"), {"t": Schema((Column("k", STRING), Column("v", INT)))})
    operator = bound.factory.create(bound.layout)
    found = operator.step([Flow([(0, 0, "7", 1)], 0)])
    found += operator.step([Flow([(0, 1, "x", 1)], 0)])
    assert [(one.change, one.values) for one in found] == [(0, (1, 7)), (3, (1, 7))]
    assert len(operator.problems) == 1
    assert [one.change for one in operator.step([Flow([(0, 2, "8", 1)], 0)])] == [0]


@pytest.mark.parametrize("batched", [True, False])
def test_a_group_that_was_silent_for_too_long_begins_again(batched: bool) -> None:
    rows = [("a", 1, f"2026-01-01 09:{minute:02d}:00") for minute in (0, 10, 20, 45, 50)]
    rows.insert(3, ("b", 1, "2026-01-01 09:30:00"))
    sql = "SET 'table.exec.state.ttl' = '15 min'; SELECT k, SUM(v) AS s FROM t GROUP BY k"
    if batched:
        result = query(sql, {"t": Rows(EVENTS, rows, rowtime="ts")})
        assert sorted(result.rows) == [("a", 2), ("a", 3), ("b", 1)]
        return
    bound = bind_text(sql, {"t": Schema((Column("k", STRING), Column("v", INT)))})
    operator = bound.factory.create(bound.layout)
    left = []
    for position, (key, value, time) in enumerate(rows):
        at = int(time[14:16]) * 60_000
        for one in operator.step([Flow([(at, position, key, value)], at)]):
            left.append(one.values) if one.change % 2 == 0 else left.remove(one.values)
    assert sorted(left) == [("a", 2), ("a", 3), ("b", 1)]


def test_groups_that_expired_are_dropped() -> None:
    bound = bind_text(
        "SET 'table.exec.state.ttl' = '1 s'; SELECT k, COUNT(*) AS n FROM t GROUP BY k",
        {"t": Schema((Column("k", STRING), Column("v", INT)))},
    )
    operator = bound.factory.create(bound.layout)
    (store,) = operator.stores.values()
    for second in range(100):
        time = second * 1_000
        operator.step([Flow([(time, second, f"k{second}")], time)])
    assert len(store) < 4
    names = [name for name, data in operator.changes() if data is not None]
    assert len(names) == len(store)


def test_by_the_start_of_a_window_late_rows_count() -> None:
    rows = [("a", 1, "2026-01-01 09:00:00"), ("a", 1, "2026-01-01 10:00:00"), ("a", 1, "2026-01-01 09:01:00")]
    sql = """SELECT CAST(window_start AS STRING) AS w, COUNT(*) AS n
        FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY window_start"""
    result = query(sql, {"t": Rows(EVENTS, rows, rowtime="ts")})
    assert sorted(row[1] for row in result.rows) == [1, 2] and not result.late


def test_sessions_by_another_key_than_that_of_the_groups() -> None:
    rows = [("a", 1, "2026-01-01 09:00:00"), ("a", 2, "2026-01-01 09:00:30"), ("b", 1, "2026-01-01 10:00:00")]
    sql = """SELECT v, COUNT(*) AS n FROM SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' MINUTE)
        GROUP BY v, window_start, window_end"""
    result = query(sql, {"t": Rows(EVENTS, rows, rowtime="ts")})
    assert sorted(result.rows) == [(1, 1), (1, 1), (2, 1)]


def test_nan_is_one_key() -> None:
    rows = Rows([("d", "DOUBLE")], [(float("nan"),), (float("nan"),), (1.0,)])
    assert [count for _, count in query("SELECT d, COUNT(*) AS n FROM t GROUP BY d", {"t": rows}).rows] == [2, 1]
    assert len(query("SELECT DISTINCT d FROM t", {"t": rows}).rows) == 2


@pytest.mark.parametrize("sql", ["SELECT DISTINCT m FROM t", "SELECT m FROM t UNION SELECT m FROM t"])
def test_maps_are_no_keys(sql: str) -> None:
    with pytest.raises(SqlValidationError, match="a key cannot be MAP<STRING, INT>"):
        query(sql, {"t": Rows([("m", "MAP<STRING, INT>")], [])})


JOB = """CREATE TABLE t (k STRING, v INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json');
CREATE TABLE o (k STRING, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'upsert-kafka', 'topic' = 'o',
  'key.format' = 'json', 'value.format' = 'json');
{}INSERT INTO o SELECT k, COUNT(*) FROM t GROUP BY k"""


def test_a_job_whose_state_nothing_bounds_is_warned_and_told_the_setting() -> None:
    job = bind_job(JOB.format(""), name="job")
    what = "drops what has had no row for that long"
    assert job.warnings == (f"line 4: groups by k are kept for ever: SET 'table.exec.state.ttl' = '7 d' {what}",)
    assert not bind_job(JOB.format("SET 'table.exec.state.ttl' = '7 d';"), name="job").warnings


def test_what_a_job_with_groups_does_is_told() -> None:
    (plan,) = bind_job(JOB.format("SET 'table.exec.state.ttl' = '7 d';"), name="job").plans
    (query,) = plan.queries
    assert plan.partition_by == ("k",)
    assert query.factory.description == "groups by k"
    assert query.factory.words[-1] == "gives one row for each k, and what becomes of it as rows come"
    assert query.factory.state == (
        "numbers for each group, grows with the keys; a group is dropped 7 days after its last row"
    )


@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("SELECT COUNT(*) AS n FROM t", ("numbers for each group", "does not grow")),
        (
            "SELECT COUNT(DISTINCT k) AS n FROM t",
            ("numbers for each group, and the values of COUNT", "grows with the values"),
        ),
        (
            "SELECT DISTINCT k FROM t",
            ("which rows there are", "grows with the keys, for ever: SET 'table.exec.state.ttl' bounds it"),
        ),
    ],
)
def test_what_is_kept_is_told(sql: str, kept: tuple[str, str]) -> None:
    plan = explain_plan(bind_text(sql, {"t": Schema((Column("k", STRING),))}).factory)
    (node,) = [node for node in plan["nodes"] if node["node"] == "Aggregate"]
    assert (node["state"], node["growth"]) == kept
