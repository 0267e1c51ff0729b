"""Lookup joins against nested loops, tables against dictionaries, and crashes while the table changes."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app import Rows, query
from anomaly_app.changes import Change
from anomaly_app.graph.lookup import LookupTable
from anomaly_app.jobs.binder import bind_text
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.jobs.task import PartitionTask, QuerySlot
from anomaly_app.operators import COLUMNS, Row
from anomaly_app.schema import BIGINT, INT, STRING, TIMESTAMP_3, Changelog, Column, Schema

KEYS = st.sampled_from(["a", "b", "c", None])
NUMBERS = st.one_of(st.none(), st.integers(-2, 4))

# --- tables ---------------------------------------------------------------------------------------------

UPSERTS = Schema(
    (Column("id", INT), Column("k", STRING), Column("v", INT)), primary_key=("id",), changelog=Changelog.UPSERT
)


@given(
    st.lists(st.tuples(st.integers(0, 4), KEYS, NUMBERS, st.sampled_from([Change.AFTER, Change.DELETE])), max_size=40),
    st.integers(0, 40),
    st.one_of(st.none(), st.integers(1, 3)),
)
def test_an_index_holds_the_last_row_of_each_key(
    changes: list[tuple[int, str | None, int | None, Change]], first: int, most: int | None
) -> None:
    table = LookupTable("t", UPSERTS)
    by_k, by_both = table.index("k", itemgetter(3)), table.index("both", itemgetter(3, 4))
    rows = [(0, position, *values, change.value) for position, (*values, change) in enumerate(changes)]
    held: dict[int, Row] = {}
    refused = 0
    table.most = most if first == 0 else None
    table.swap(table.load(rows[:first]))
    table.take(rows[first:])
    for row in rows:
        if row[-1] == Change.DELETE:
            held.pop(row[2], None)
        elif row[2] in held or table.most is None or len(held) < table.most:
            held[row[2]] = row
        else:
            refused += 1
    assert (len(table), table.refused) == (len(held), refused)
    for index, key_of in ((by_k, itemgetter(3)), (by_both, itemgetter(3, 4))):
        expected: dict[Any, set[Row]] = {}
        for row in held.values():
            key = key_of(row)
            if key is not None and not (isinstance(key, tuple) and None in key):
                expected.setdefault(key, set()).add(row)
        assert {key: set(rows) for key, rows in index.rows.items()} == expected
        assert all(len(rows) == len(set(rows)) for rows in index.rows.values())


# --- joins ----------------------------------------------------------------------------------------------

ON = {
    "o.k = t.k": lambda o, t: o[1] is not None and o[1] == t[0],
    "t.k = o.k AND o.v = t.v": lambda o, t: o[1] is not None and o[1] == t[0] and o[2] is not None and o[2] == t[1],
    "o.k = t.k AND o.v > t.v": lambda o, t: None not in (o[1], o[2], t[1]) and o[1] == t[0] and o[2] > t[1],
    "o.k = t.k AND t.v = 1": lambda o, t: o[1] is not None and o[1] == t[0] and t[1] == 1,
    "o.v + 1 = t.v": lambda o, t: None not in (o[2], t[1]) and o[2] + 1 == t[1],
    "UPPER(t.k) = UPPER(o.k) AND (t.v IS NULL OR o.v = 2)": lambda o, t: None not in (o[1], t[0])
    and o[1] == t[0]
    and (t[1] is None or o[2] == 2),
    "CAST(o.v AS DOUBLE) = t.v AND NOT t.k = 'a'": lambda o, t: None not in (o[2], t[1])
    and o[2] == t[1]
    and t[0] is not None
    and t[0] != "a",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["INNER", "LEFT"])
@pytest.mark.parametrize("condition", ON)
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(KEYS, NUMBERS), max_size=12),
    st.lists(st.tuples(KEYS, NUMBERS), max_size=8),
)
def test_joins_are_nested_loops(
    kind: str, condition: str, probes: list[tuple[Any, Any]], rows: list[tuple[Any, Any]]
) -> None:
    given_rows = [(number, *probe) for number, probe in enumerate(probes)]
    tables = {
        "o": Rows([("id", "INT"), ("k", "STRING"), ("v", "INT")], given_rows),
        "t": Rows([("k", "STRING"), ("v", "INT")], rows),
    }
    sql = f"SELECT id, t.k, t.v FROM o {kind} JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON {condition}"
    expected: list[tuple[Any, ...]] = []
    for probe in given_rows:
        found = [(probe[0], *row) for row in rows if ON[condition](probe, row)]
        expected += found or ([(probe[0], None, None)] if kind == "LEFT" else [])
    assert query(sql, tables).rows == expected


# --- crashes --------------------------------------------------------------------------------------------

ROWS = Schema((Column("k", STRING), Column("n", BIGINT), Column("ts", TIMESTAMP_3)), "ts", 20)
LIMITS = Schema((Column("k", STRING), Column("most", INT)))
JOINED = "SELECT o.k, n, ts, most FROM o LEFT JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON o.k = t.k"
ABOVE = {
    "plain": JOINED,
    "pattern": f"SELECT * FROM ({JOINED}) MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.n AS a, "
    "A.most AS low, B.n AS b, B.most AS high PATTERN (A B) WITHIN INTERVAL '0.04' SECOND DEFINE B AS B.most <> A.most)",
    "windows": f"SELECT k, window_end, SUM(most) AS s FROM TUMBLE(TABLE ({JOINED}), DESCRIPTOR(ts), "
    "INTERVAL '0.03' SECOND) GROUP BY k, window_start, window_end",
    "over": f"SELECT k, n, SUM(most) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s "
    f"FROM ({JOINED})",
}  # fmt: skip


class Run:
    """A task with a lookup, whose table has another content in each period between two checkpoints."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.stored, self.entries = Checkpoint(), dict[bytes, bytes]()
        self.written: list[tuple[Any, ...]] = []
        self.begin(0)

    def begin(self, version: int) -> None:
        bound = bind_text(self.sql, {"o": ROWS, "t": LIMITS})
        factory = bound.factory
        operator = factory.create(bound.layout)
        self.task = PartitionTask(
            [QuerySlot("q", operator, needs_order=factory.needs_order)], delay_ms=20, mode=bound.tables[0].mode
        )
        ((self.table, _),) = bound.lookups
        self.turn(version)

    def turn(self, version: int) -> None:
        self.table.swap(self.table.load([(0, 0, "a", version % 3), (0, 1, "b", version % 2)]))

    def flush(self, version: int) -> None:
        output = self.task.take()
        assert not output.problems
        self.written += [finding.values for _, finding in output.findings]
        self.stored, changes = self.task.checkpoint()
        for key, value in changes:
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value
        self.turn(version)

    def crash(self, version: int) -> int:
        self.begin(version)
        return self.task.restore(Checkpoint.decode(self.stored.encode()), dict(self.entries))


def run(sql: str, rows: list[Row], sizes: list[int], crashes: set[int]) -> list[tuple[Any, ...]]:
    one, version, number, step = Run(sql), 0, 0, 0
    ends = [0]
    while ends[-1] < len(rows):
        ends.append(min(len(rows), ends[-1] + sizes[len(ends) % len(sizes)]))
    while number + 1 < len(ends):
        one.task.process(rows[ends[number] : ends[number + 1]], end=ends[number + 1])
        if step in crashes:  # everything since the last checkpoint is lost
            crashes = crashes - {step}
            position = one.crash(version)
            number = max(place for place, end in enumerate(ends) if end <= position)
            step += 1
            # Rows before the checkpoint may be fed again; those behind it come in the same period as before.
            continue
        number, step = number + 1, step + 1
        if one.task.replay_end <= ends[number]:
            version += 1
            one.flush(version)
    one.task.finish()
    one.flush(version)
    return sorted(one.written, key=repr)


@pytest.mark.parametrize("above", ABOVE)
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), min_size=1, max_size=40),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.sets(st.integers(0, 20), max_size=5),
)
def test_rows_that_state_holds_keep_what_they_were_given(
    above: str, data: list[tuple[str, int]], sizes: list[int], crashes: set[int]
) -> None:
    rows: list[Row] = []
    for position, (key, offset) in enumerate(data):
        time = 7 * position + offset
        rows.append((time, position, key, position, time))
    assert COLUMNS == 2
    assert run(ABOVE[above], rows, sizes, crashes) == run(ABOVE[above], rows, sizes, set())
