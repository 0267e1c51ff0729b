"""Temporal joins: which version a row finds, what has versions, what is forgotten."""

from __future__ import annotations

import pytest

from anomaly_app import Rows, SqlError, query
from anomaly_app.graph.operator import GraphOperator
from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.binder import bind_text
from anomaly_app.plan.physical.layouts import table_layout
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Changelog, Column, Schema

ORDERS = "CREATE TABLE o (id INT, cur STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts);"
RATES = "CREATE TABLE r (cur STRING NOT NULL, rate INT, rt TIMESTAMP(3), WATERMARK FOR rt AS rt{});"
KEYED = RATES.format(", PRIMARY KEY (cur) NOT ENFORCED")
PLAIN = RATES.format("")
LAST = "CREATE VIEW last AS SELECT cur, rate, rt FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY cur ORDER BY rt " \
       "DESC) AS rn FROM r) WHERE rn = 1;"  # fmt: skip


def at(second: float) -> str:
    return f"2026-01-01 00:00:{second:06.3f}"


def orders(*rows: tuple[int, str | None, float]) -> Rows:
    return Rows(columns=[("id", "INT"), ("cur", "STRING"), ("ts", "TIMESTAMP(3)")],
                rows=[(id_, cur, at(second)) for id_, cur, second in rows])  # fmt: skip


def rates(*rows: tuple[str, int | None, float], kinds: str = "", changelog: str = "") -> Rows:
    return Rows(
        columns=[("cur", "STRING"), ("rate", "INT"), ("rt", "TIMESTAMP(3)")],
        rows=[(cur, rate, at(second)) for cur, rate, second in rows],
        changelog=changelog or ("upsert" if kinds else "append"), kinds=kinds.split(),
    )  # fmt: skip


def joined(sql: str, given: Rows, versions: Rows) -> list[tuple[int | None, ...]]:
    return sorted(query(sql, {"o": given, "r": versions}).rows, key=str)


def operator(sql: str, changelog: Changelog = Changelog.UPSERT) -> GraphOperator:
    tables = {
        "o": Schema((Column("id", INT), Column("cur", STRING), Column("ts", TIMESTAMP_3)), "ts"),
        "r": Schema(
            (Column("cur", STRING), Column("rate", INT), Column("rt", TIMESTAMP_3)), "rt", primary_key=("cur",),
            changelog=changelog,
        ),
    }  # fmt: skip
    layouts = {name: table_layout(schema, schema.columns[:2]) for name, schema in tables.items()}
    made, _ = bind_text(sql, tables).factory.create_over(layouts)
    return made


AS_OF = "SELECT o.id, r.rate FROM o {} JOIN {} FOR SYSTEM_TIME AS OF o.ts AS r ON o.cur = r.cur"
GIVEN = orders((1, "eur", 1), (2, "eur", 5), (3, None, 6), (4, "eur", 7), (5, "usd", 8), (6, "eur", 9))


@pytest.mark.parametrize("table", ["r", "last"])
def test_the_last_version_at_or_before_the_time_of_a_row(table: str) -> None:
    versions = rates(("eur", 10, 2), ("eur", 11, 5), ("usd", 20, 9), kinds="" if table == "last" else "+U +U +U")
    ddl = ORDERS + (PLAIN + LAST if table == "last" else KEYED)
    assert joined(ddl + AS_OF.format("", table), GIVEN, versions) == [(2, 11), (4, 11), (6, 11)]
    left = joined(ddl + AS_OF.format("LEFT", table), GIVEN, versions)
    assert left == [(1, None), (2, 11), (3, None), (4, 11), (5, None), (6, 11)]


def test_deletions_equal_times_and_versions_out_of_order() -> None:
    versions = rates(("eur", 10, 2), ("eur", 12, 7), ("eur", 11, 5), ("eur", 13, 7), ("eur", None, 8.5),
                     kinds="+U +U +U +U -D")  # fmt: skip
    ddl = ORDERS + KEYED.replace("AS rt,", "AS rt - INTERVAL '5' SECOND,")
    assert joined(ddl + AS_OF.format("", "r"), GIVEN, versions) == [(2, 11), (4, 13)]


def test_all_changes_of_a_table() -> None:
    join = operator(AS_OF.format("", "r"), Changelog.ALL)
    changes = [(1_000, 0, "eur", 1, 0), (1_000, 1, "eur", 1, 1), (3_000, 2, "eur", 2, 2), (5_000, 3, "eur", 2, 3)]
    probes = [(1_000 * n, 10 + n, n, "eur") for n in range(1, 7)]
    found = join.step([Flow(probes, 6_000), Flow(changes, 6_000)])
    assert [finding.values for finding in found] == [(1, 1), (2, 1), (3, 2), (4, 2)]


def test_a_further_condition_is_tested_on_that_version_only() -> None:
    versions = rates(("eur", 10, 2), ("eur", 1, 5), ("usd", 20, 1), kinds="+U +U +U")
    sql = ORDERS + KEYED + AS_OF.format("LEFT", "r") + " AND r.rate > 5"
    assert joined(sql, GIVEN, versions) == [(1, None), (2, None), (3, None), (4, None), (5, 20), (6, None)]


def test_a_view_over_versions_filters_and_computes() -> None:
    """A version that the filter leaves out is none, and hides the one before it; NULLs of a missing one stay NULL."""
    view = "CREATE VIEW high AS SELECT COALESCE(rate * 2, 0) AS twice, cur AS c FROM r WHERE rate > 5 OR rate IS NULL;"
    versions = rates(("usd", None, 1), ("eur", 10, 2), ("eur", 1, 5), ("eur", 30, 9), kinds="+U +U +U +U")
    sql = (
        ORDERS
        + KEYED
        + view
        + "SELECT o.id, h.twice FROM o LEFT JOIN high FOR SYSTEM_TIME AS OF o.ts AS h ON h.c = o.cur"
    )
    given = orders((1, "eur", 3), (2, "eur", 6), (3, "eur", 9), (4, "usd", 8), (5, "gbp", 8))
    assert joined(sql, given, versions) == [(1, 20), (2, None), (3, 60), (4, 0), (5, None)]


def test_other_tables_with_versions() -> None:
    versions = rates(("eur", 10, 2), ("eur", 11, 5), ("usd", 20, 9))
    assert joined(ORDERS + KEYED + AS_OF.format("", "r"), GIVEN, versions) == [(2, 11), (4, 11), (6, 11)]
    first = ORDERS + PLAIN + LAST.replace(" DESC", "") + AS_OF.format("", "last")
    assert joined(first, GIVEN, versions) == [(2, 10), (4, 10), (6, 10)]


def test_the_time_of_a_row_feeds_windows_and_patterns() -> None:
    ddl = ORDERS + KEYED + "CREATE VIEW j AS SELECT o.id, o.ts, r.rate FROM o JOIN r FOR SYSTEM_TIME AS OF o.ts " \
          "ON o.cur = r.cur;"  # fmt: skip
    versions = rates(("eur", 10, 2), ("eur", 11, 6), kinds="+U +U")
    windows = "SELECT SUM(rate) AS s FROM TABLE(TUMBLE(TABLE j, DESCRIPTOR(ts), INTERVAL '5' SECOND)) " \
              "GROUP BY window_start, window_end"  # fmt: skip
    assert joined(ddl + windows, GIVEN, versions) == [(32,)]
    pattern = "SELECT * FROM j MATCH_RECOGNIZE (ORDER BY ts MEASURES A.id AS a, B.id AS b PATTERN (A B) " \
              "DEFINE B AS B.rate > A.rate)"  # fmt: skip
    assert joined(ddl + pattern, GIVEN, versions) == [(2, 4)]


# --- what is forgotten ------------------------------------------------------------------------------------


KEPT = AS_OF.format("LEFT", "r")
TTL = f"SET 'table.exec.state.ttl' = '10 s'; {KEPT}"


def step(join: GraphOperator, watermark: int, *rows: tuple[int, int, str, int | None]) -> list[tuple[object, ...]]:
    """Versions (rate) and rows of the left (None): time, position, currency."""
    left = [(time, position, position, cur) for time, position, cur, rate in rows if rate is None]
    right = [
        (time, position, cur, rate, 3 if rate == 0 else 2) for time, position, cur, rate in rows if rate is not None
    ]
    return [finding.values for finding in join.step([Flow(left, watermark), Flow(right, watermark)])]


def held(join: GraphOperator, entries: dict[bytes, bytes]) -> int:
    for name, value in join.changes():
        if value is None:
            del entries[name]
        else:
            entries[name] = value
    return len(entries)


def test_old_versions_and_deleted_keys_are_forgotten() -> None:
    join, entries = operator(KEPT), dict[bytes, bytes]()
    step(join, 0, (1_000, 0, "eur", 1), (2_000, 1, "eur", 2), (3_000, 2, "eur", 3), (2_000, 3, "usd", 7))
    assert held(join, entries) == 4
    step(join, 2_000)
    assert held(join, entries) == 3  # of eur those of 2 s and 3 s, and usd
    step(join, 5_000, (4_000, 4, "usd", 0))
    assert held(join, entries) == 1  # usd is deleted, and nothing is left of it
    assert step(join, 6_000, (6_000, 5, "eur", None), (6_000, 6, "usd", None)) == [(5, 3), (6, None)]
    assert held(join, entries) == 1


def test_a_late_row_sees_what_is_left() -> None:
    join = operator(KEPT)
    step(join, 5_000, (1_000, 0, "eur", 1), (4_000, 1, "eur", 2))
    assert step(join, 6_000, (2_000, 2, "eur", None), (4_500, 3, "eur", None)) == [(2, None), (3, 2)]


def test_keys_without_rows_are_dropped_after_the_ttl() -> None:
    join, entries = operator(TTL), dict[bytes, bytes]()
    step(join, 0, (1_000, 0, "eur", 1), (1_000, 1, "usd", 2))
    assert step(join, 9_000, (9_000, 2, "eur", None)) == [(2, 1)]
    assert step(join, 18_000, (18_000, 3, "eur", None), (18_000, 4, "usd", None)) == [(3, 1), (4, None)]
    assert held(join, entries) == 2  # eur and when it was asked for
    restored = operator(TTL)
    restored.restore(list(entries.items()))
    restored.resume_inputs([18_000, 18_000])
    assert step(restored, 28_000, (28_000, 5, "eur", None)) == [(5, 1)]
    assert step(restored, 50_000, (39_000, 6, "eur", None)) == [(6, None)]
    assert held(restored, entries) == 0


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        (PLAIN + AS_OF.format("", "r"), "r has no versions .*: it has no PRIMARY KEY. What has versions is"),
        (KEYED.replace(", WATERMARK FOR rt AS rt", "") + AS_OF.format("", "r"), "it has no event time"),
        (KEYED + AS_OF.format("", "r").replace("o.cur = r.cur", "o.id = r.rate"), "its key is cur, and cur must equal"),
        (KEYED + AS_OF.format("", "r").replace("o.cur = r.cur", "UPPER(r.cur) = o.cur"), "cur must equal something"),
        (KEYED + AS_OF.format("RIGHT", "r"), "INNER or LEFT, and not RIGHT"),
        (KEYED + "SELECT o.id FROM o JOIN r FOR SYSTEM_TIME AS OF o.ts USING (cur)", "USING with FOR SYSTEM_TIME"),
        (KEYED + AS_OF.format("", "r").replace("OF o.ts", "OF o.ts - INTERVAL '1' SECOND"), "needs a time attribute"),
        (PLAIN + "CREATE VIEW n AS SELECT cur, COUNT(*) AS rate FROM r GROUP BY cur;" + AS_OF.format("", "n"),
         "n has no versions .*: it is a query"),
        (PLAIN + LAST.replace("PARTITION BY cur ", "") + AS_OF.format("", "last"), "last keeps one row of all"),
    ],
)  # fmt: skip
def test_what_is_refused(sql: str, problem: str) -> None:
    with pytest.raises(SqlError, match=problem):
        query(ORDERS + sql, {"o": orders(), "r": rates()})
