"""query() over several tables, and what joins rows of one window."""

from __future__ import annotations

import pytest

from anomaly_app import Rows, SqlValidationError, query
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.model import Routing

COLUMNS = [("id", "INT"), ("k", "STRING"), ("ts", "TIMESTAMP(3)")]
WINDOWS = "(SELECT * FROM TABLE(TUMBLE(TABLE {}, DESCRIPTOR(ts), INTERVAL '10' SECOND)))"
SAME = "a.window_start = b.window_start AND a.window_end = b.window_end"


def table(*rows: tuple[int, str | None, float], delay_ms: int = 0) -> Rows:
    told = [(id_, key, f"2026-01-01 00:00:{second:06.3f}") for id_, key, second in rows]
    return Rows(columns=COLUMNS, rows=told, rowtime="ts", watermark_delay_ms=delay_ms)


LEFT = table((1, "a", 1), (2, "b", 2), (3, None, 12), (4, "a", 25))
RIGHT = table((11, "a", 3), (12, "a", 4), (13, None, 13), (14, "b", 24))


def ids(sql: str, left: Rows = LEFT, right: Rows = RIGHT) -> list[tuple[int | None, ...]]:
    return query(sql, {"l": left, "r": right}).rows


def test_rows_of_several_tables_come_in_order_of_event_time() -> None:
    sql = "SELECT id FROM l UNION ALL SELECT id FROM r"
    assert [row[0] for row in ids(sql)] == [1, 2, 11, 12, 3, 13, 14, 4]


def test_rows_of_one_time_come_in_order_of_the_tables() -> None:
    tables = {"r": table((2, "a", 1)), "l": table((1, "a", 1))}
    assert query("SELECT id FROM l UNION ALL SELECT id FROM r", tables).rows == [(2,), (1,)]


def test_a_table_keeps_its_own_order_and_its_own_watermark() -> None:
    left, right = table((1, "a", 9), (2, "a", 1), delay_ms=10_000), table((3, "a", 2), (4, "a", 1))
    sql = "SELECT id, k, ts FROM l UNION ALL SELECT id, k, ts FROM r"
    assert [row[0] for row in ids(sql, left, right)] == [3, 4, 1, 2]
    counts = f"SELECT COUNT(*) AS n FROM TABLE(TUMBLE(TABLE ({sql}), DESCRIPTOR(ts), INTERVAL '1' SECOND)) " \
             "GROUP BY window_start, window_end"  # fmt: skip
    assert ids(counts, left, right) == [(2,), (1,), (1,)]  # the lesser watermark is that of l: nothing is late


def test_late_rows_say_of_which_table_they_are() -> None:
    counts = " UNION ALL ".join(
        f"SELECT COUNT(*) AS n FROM {WINDOWS.format(name)} GROUP BY window_start, window_end" for name in ("l", "r")
    )
    result = query(counts, {"l": table((1, "a", 1)), "r": table((2, "b", 30), (3, "b", 1))})
    assert sorted(result.rows) == [(1,), (1,)]
    assert [name for name, _ in result.late_columns] == ["table", "l.id", "l.k", "l.ts", "r.id", "r.k", "r.ts"]
    ((name, *cells),) = result.late
    assert (name, cells[:3], cells[3:5]) == ("r", [None] * 3, [3, "b"])


def test_no_table_at_all() -> None:
    assert query("SELECT 1 AS a UNION ALL VALUES (2), (3)").rows == [(1,), (2,), (3,)]


CREATES = ";".join(
    f"CREATE TABLE {name} (id INT, k STRING, `proc` AS PROCTIME()) WITH ('connector' = 'kafka', 'topic' = '{name}', "
    "'format' = 'json')"
    for name in ("l", "r")
)


def test_queries_of_a_job_over_the_same_tables_and_keys_are_one_plan() -> None:
    over = "COUNT(*) OVER (PARTITION BY {0} ORDER BY `proc`) FROM (SELECT * FROM {1} UNION ALL SELECT * FROM {2})"
    queries = [over.format("k", "l", "r"), over.format("k", "r", "l"), over.format("id", "l", "r")]
    job = bind_job(
        f"{CREATES}; SELECT {'; SELECT '.join(queries)}; SELECT id FROM l UNION ALL SELECT id FROM r", name="j"
    )
    found = [(plan.name, [one.partition_by for one in plan.inputs], len(plan.queries)) for plan in job.plans]
    assert found == [
        ("l-r-k", [("k",), ("k",)], 2),
        ("l-r-id", [("id",), ("id",)], 1),
        ("l-r", [None, None], 1),
    ]
    assert all(plan.joint and plan.routing is Routing.REPARTITION for plan in job.plans)


def test_a_job_has_no_query_without_a_table() -> None:
    with pytest.raises(SqlValidationError, match="this one reads none, and would give its rows at each start"):
        bind_job(f"{CREATES}; SELECT 1 AS a", name="j")


def test_the_watermark_in_front_of_a_row_is_that_of_its_table() -> None:
    tables = {"l": table((1, "a", 1), (2, "a", 5)), "r": table((3, "b", 2), (4, "b", 40))}
    sql = "SELECT id, CURRENT_WATERMARK(ts) AS w FROM l UNION ALL SELECT id, CURRENT_WATERMARK(ts) FROM r"
    found = dict(query(sql, tables).rows)
    assert (found[1], found[3]) == (None, None)
    assert found[2] < found[4]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("INNER JOIN", [(1, 11), (1, 12)]),
        ("LEFT JOIN", [(1, 11), (1, 12), (2, None), (3, None), (4, None)]),
        ("RIGHT JOIN", [(1, 11), (1, 12), (None, 13), (None, 14)]),
        ("FULL JOIN", [(1, 11), (1, 12), (2, None), (3, None), (4, None), (None, 13), (None, 14)]),
    ],
)
def test_window_join(kind: str, expected: list[tuple[int | None, int | None]]) -> None:
    sql = f"SELECT a.id, b.id AS d FROM {WINDOWS.format('l')} a {kind} {WINDOWS.format('r')} b ON a.k = b.k AND {SAME}"
    assert sorted(ids(sql), key=str) == sorted(expected, key=str)


def test_a_window_join_goes_by_the_lesser_watermark() -> None:
    left, right = table((1, "a", 1), (2, "a", 30), (3, "a", 2)), table((11, "a", 3), (12, "a", 40))
    sql = f"SELECT a.id, b.id AS d FROM {WINDOWS.format('l')} a JOIN {WINDOWS.format('r')} b ON a.k = b.k AND {SAME}"
    # 3 is behind the watermark of its own table, but 12 is not there yet.
    assert sorted(ids(sql, left, right)) == [(1, 11), (3, 11)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (f"a.k IN (SELECT k FROM {WINDOWS.format('r')} b WHERE {SAME})", [1]),
        (f"EXISTS (SELECT 1 FROM {WINDOWS.format('r')} b WHERE {SAME} AND b.id > a.id + 10)", [1]),
        (f"NOT EXISTS (SELECT 1 FROM {WINDOWS.format('r')} b WHERE {SAME} AND a.k = b.k)", [2, 3, 4]),
        (f"a.k NOT IN (SELECT k FROM {WINDOWS.format('r')} b WHERE {SAME})", [2, 4]),
    ],
)
def test_queries_about_the_same_window_in_where(condition: str, expected: list[int]) -> None:
    rows = ids(f"SELECT id FROM {WINDOWS.format('l')} a WHERE {condition}")
    assert sorted(row[0] for row in rows) == expected  # type: ignore[type-var]


def test_a_join_of_other_windows_is_a_regular_join() -> None:
    other = WINDOWS.format("r").replace("'10'", "'20'")
    left, right = table((1, "a", 1), (2, "a", 12)), table((3, "a", 3), (4, "a", 23))
    sql = f"SELECT a.id, b.id AS d FROM {WINDOWS.format('l')} a JOIN {other} b ON a.window_start = b.window_start"
    assert sorted(ids(sql, left, right)) == [(1, 3)]


def test_sessions_without_groups() -> None:
    sessions = "TABLE(SESSION(TABLE l PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND))"
    sql = f"SELECT id, window_start < ts AS later FROM {sessions}"
    rows = query(sql, {"l": table((1, "a", 1), (2, "a", 4), (3, "b", 2), (4, "a", 30), (5, "a", 3))}).rows
    assert sorted(rows) == [(1, False), (2, True), (3, False), (4, False)]  # 5: its session has ended


def test_rows_are_ordered_by_columns_that_are_not_selected() -> None:
    left = table((1, "b", 2), (2, "a", 1), (3, "c", 1), delay_ms=5_000)
    result = query("SELECT k FROM l ORDER BY ts, id DESC", {"l": left})
    assert (result.columns, result.rows) == ([("k", "STRING")], [("c",), ("a",), ("b",)])


def test_a_pattern_by_a_nested_field() -> None:
    rows = Rows(
        columns=[("at", "TIMESTAMP(3)"), ("meta", "ROW<site STRING, temp DOUBLE>")],
        rows=[(f"2026-01-01 00:00:0{n}", (site, temp)) for n, (site, temp) in
              enumerate([("north", 1.0), ("south", 9.0), ("north", 3.0), ("south", 2.0)])],
        rowtime="at",
    )  # fmt: skip
    sql = "SELECT * FROM n MATCH_RECOGNIZE (PARTITION BY meta.site ORDER BY at MEASURES B.meta.temp AS t " \
          "PATTERN (A B) DEFINE B AS B.meta.temp > A.meta.temp)"  # fmt: skip
    result = query(sql, {"n": rows})
    assert (result.columns, result.rows) == ([("site", "STRING"), ("t", "DOUBLE")], [("north", 3.0)])


@pytest.mark.parametrize("literal", ["'100' SECOND", "'1000' DAY(3)", "'100 00' DAY TO HOUR"])
def test_intervals_have_as_many_digits_as_their_unit_says(literal: str) -> None:
    with pytest.raises(SqlValidationError, match="digits at most: write"):
        query(f"SELECT ts + INTERVAL {literal} AS x FROM l", {"l": LEFT})


def test_intervals_with_more_digits() -> None:
    assert len(query("SELECT ts + INTERVAL '100' SECOND(3) AS x FROM l", {"l": LEFT}).rows) == 4
