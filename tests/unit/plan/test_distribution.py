"""By which columns the rows of several tables meet."""

from __future__ import annotations

import pytest

from anomaly_app.jobs.binder import bind_text
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_type

COLUMNS = {
    "a": [("k", "STRING"), ("n", "INT"), ("m", "INT"), ("price", "DECIMAL(8, 2)")],
    "b": [("id", "CHAR(3)"), ("n", "BIGINT"), ("m", "STRING"), ("price", "DECIMAL(8, 3)")],
    "c": [("k", "STRING"), ("n", "INT")],
}
TABLES = {
    name: Schema(tuple(Column(c, parse_type(t)) for c, t in [*columns, ("ts", "TIMESTAMP(3)")]), "ts", 1_000)
    for name, columns in COLUMNS.items()
}


def counts(table: str, key: str) -> str:
    windows = f"TABLE(TUMBLE(TABLE {table}, DESCRIPTOR(ts), INTERVAL '1' SECOND))"
    edges = "window_start, window_end, window_time"
    return f"(SELECT {key}, {edges}, COUNT(*) AS c FROM {windows} GROUP BY {key}, {edges})"


def joined(kind: str, left: str, right: str, columns: str = "x.c AS c") -> str:
    on = f"x.{left} = y.{right} AND x.window_start = y.window_start AND x.window_end = y.window_end"
    return f"SELECT {columns} FROM {counts('a', left)} x {kind} JOIN {counts('b', right)} y ON {on}"


PRICES = "SELECT price, ts FROM a UNION ALL SELECT price, ts FROM b"
UPPER = "SELECT UPPER(k) AS k, n, ts FROM a UNION ALL SELECT id, n, ts FROM b"
UNKEYED = "MATCH_RECOGNIZE (ORDER BY ts MEASURES A.n AS v PATTERN (A B) DEFINE A AS TRUE)"
BOTH = "(SELECT k, n, ts FROM a UNION ALL SELECT id, n, ts FROM b)"
MATCH = "MATCH_RECOGNIZE (PARTITION BY {} ORDER BY ts MEASURES A.n AS v PATTERN (A B) DEFINE B AS B.n > A.n)"


@pytest.mark.parametrize(
    ("sql", "spread"),
    [
        ("SELECT k FROM a UNION ALL SELECT id FROM b", (None, None)),
        (f"SELECT * FROM {BOTH} {MATCH.format('k')}", (("k",), ("id",))),
        (f"SELECT * FROM {BOTH} {MATCH.format('k, n')}", (("k", "n"), ("id", "n"))),
        (f"SELECT * FROM {BOTH} {UNKEYED}", ((), ())),
        (joined("INNER", "k", "id"), (("k",), ("id",))),
        (joined("INNER", "n", "n"), (("n",), ("n",))),
        (joined("FULL", "k", "id"), (("k",), ("id",))),
        # Another column than that of the join, or one that is not the same in both tables.
        (joined("INNER", "n", "n").replace("x.n = y.n", "x.c = y.c"), ((), ())),
        (f"SELECT COUNT(*) OVER (PARTITION BY price ORDER BY ts) FROM ({PRICES})", ((), ())),
        (f"SELECT * FROM ({UPPER}) {MATCH.format('k')}", ((), ())),
        # A table that nothing keyed reads may lie anywhere.
        (f"SELECT v FROM a {MATCH.format('k')} UNION ALL SELECT n FROM c", (("k",), None)),
        # Two that never meet have keys of their own.
        (f"SELECT v FROM a {MATCH.format('k')} UNION ALL SELECT v FROM c {MATCH.format('n')}", (("k",), ("n",))),
    ],
)  # fmt: skip
def test_rows_of_several_tables_meet(sql: str, spread: tuple[tuple[str, ...] | None, ...]) -> None:
    factory = bind_text(sql, TABLES).factory
    given = dict(zip((scan.table for scan in factory.scans), factory.spread, strict=True))
    assert tuple(given[name] for name in sorted(given)) == spread


@pytest.mark.parametrize(
    ("kind", "key", "meets"),
    [
        ("INNER", "k", True),
        ("INNER", "id", True),
        ("LEFT", "k", True),
        ("LEFT", "id", False),
        ("RIGHT", "k", False),
        ("RIGHT", "id", True),
        ("FULL", "k", False),
    ],
)
def test_rows_without_a_partner_lie_where_their_own_key_says(kind: str, key: str, meets: bool) -> None:
    """All rows whose key is NULL are one group: those of a side that may be missing lie in many places."""
    join = joined(kind, "k", "id", "x.k, y.id, x.window_time AS t, x.c")
    if kind == "RIGHT":
        join = join.replace("x.window_time", "y.window_time")
    sql = f"SELECT {key}, COUNT(*) OVER (PARTITION BY {key} ORDER BY t) FROM ({join})"
    assert bind_text(sql, TABLES).factory.spread == ((("k",), ("id",)) if meets else ((), ()))


def test_many_keys_are_found_at_once() -> None:
    columns = [f"c{number}" for number in range(40)]
    wide = Schema((*(Column(name, parse_type("INT")) for name in columns), *TABLES["a"].columns[-1:]), "ts", 0)
    keys = ", ".join(columns)
    branches = " UNION ALL ".join(
        f"SELECT c0 FROM (SELECT c0, COUNT(*) OVER (PARTITION BY {keys} ORDER BY ts) AS n FROM t{number}) WHERE n > 0"
        for number in range(5)
    )
    spread = bind_text(branches, {f"t{number}": wide for number in range(5)}).factory.spread
    assert all(spread) and len({len(keys or ()) for keys in spread}) == 1


def test_rows_that_are_written_out_come_once() -> None:
    sql = "SELECT n FROM a UNION ALL SELECT * FROM (VALUES (1))"
    assert bind_text(sql, TABLES).factory.spread == ((),)
