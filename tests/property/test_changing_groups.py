"""Groups that change against a naive interpreter: rows come, change and go; batches and crashes leave no trace."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK
from anomaly_app.room import Room
from anomaly_app.schema import DOUBLE, INT, STRING, TIMESTAMP_3, Changelog, Column, Schema
from anomaly_app.testing.contract import cut_into

COLUMNS = (Column("k", STRING), Column("v", INT), Column("d", DOUBLE), Column("s", STRING))
APPEND = Schema(COLUMNS)
CHANGING = replace(APPEND, changelog=Changelog.ALL)

Record = tuple[Any, ...]
"""k, v, d, s."""
Log = list[tuple[int, Record]]
"""What came and went so far."""
Evaluate = Callable[[list[Record], bool, Log], list[Record]]

ROWS = st.tuples(
    st.sampled_from([None, "a", "b", "c"]),
    st.sampled_from([None, -3, 0, 1, 2, 7]),
    st.sampled_from([None, 0.1, -2.5, 1e17, -1e17, 3.0]),
    st.sampled_from([None, "x", "y", "zz"]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), ROWS),
        st.tuples(st.just("update"), st.integers(0, 99), ROWS),
        st.tuples(st.just("delete"), st.integers(0, 99)),
    ),
    max_size=40,
)
CUTS = st.lists(st.sampled_from(["", "", "step", "flush", "crash"]), min_size=40, max_size=40)


def known(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def average(values: Sequence[int]) -> int | None:
    return math.trunc(Fraction(sum(values), len(values))) if values else None


def exact(values: Sequence[float]) -> float | None:
    return float(sum(map(Fraction, values))) if values else None


def variance(values: Sequence[float], less: int) -> float | None:
    if len(values) <= less:
        return None
    mean = sum(map(Fraction, values)) / len(values)
    return float(sum((Fraction(value) - mean) ** 2 for value in values) / (len(values) - less))


def median(values: Sequence[float]) -> float | None:
    ordered, middle = sorted(map(float, values)), len(values) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


AGGREGATES: dict[str, Callable[[list[Record]], Any]] = {
    "COUNT(*)": len,
    "COUNT(v)": lambda rows: len(known(r[1] for r in rows)),
    "COUNT(*) FILTER (WHERE v > 0)": lambda rows: sum(1 for r in rows if r[1] is not None and r[1] > 0),
    "SUM(v)": lambda rows: sum(known(r[1] for r in rows)) if known(r[1] for r in rows) else None,
    "AVG(v)": lambda rows: average(known(r[1] for r in rows)),
    "MIN(v)": lambda rows: min(known(r[1] for r in rows), default=None),
    "MAX(s)": lambda rows: max(known(r[3] for r in rows), default=None),
    "MAX(d) FILTER (WHERE s = 'x')": lambda rows: max(known(r[2] for r in rows if r[3] == "x"), default=None),
    "COUNT(DISTINCT v)": lambda rows: len(set(known(r[1] for r in rows))),
    "SUM(DISTINCT v)": lambda rows: sum(set(known(r[1] for r in rows))) if known(r[1] for r in rows) else None,
    "COUNT(DISTINCT s) FILTER (WHERE v < 2)": lambda rows: len(
        set(known(r[3] for r in rows if r[1] is not None and r[1] < 2))
    ),
    "MEDIAN(v)": lambda rows: median(known(r[1] for r in rows)),
}  # fmt: skip
BY_ARRIVAL: dict[str, tuple[int, bool, Callable[[list[Any]], Any]]] = {
    "FIRST_VALUE(v)": (1, False, lambda values: values[0] if values else None),
    "LAST_VALUE(s)": (3, False, lambda values: values[-1] if values else None),
    "LISTAGG(s, '|')": (3, False, lambda values: "|".join(values) or None),
    "ARRAY_AGG(v)": (1, True, lambda values: values),
}
"""The column, whether NULL counts, and what comes of the values. Of equal values the first to come goes first."""
EXACT: dict[str, Callable[[list[Record]], Any]] = {
    "SUM(d)": lambda rows: exact(known(r[2] for r in rows)),
    "SUM(DISTINCT d)": lambda rows: exact(list(set(known(r[2] for r in rows)))),
    "VAR_POP(d)": lambda rows: variance(known(r[2] for r in rows), 0),
    "VAR_SAMP(d)": lambda rows: variance(known(r[2] for r in rows), 1),
    "STDDEV_POP(v)": lambda rows: (
        None if (found := variance(known(r[1] for r in rows), 0)) is None else int(math.sqrt(found))
    ),
}
"""What is exact only because nothing is lost when values go: a sum of floats has an error of its own."""


def grouped(keys: Callable[[Record], Any], having: int = 0) -> Evaluate:
    def in_order(key: Any, column: int, nulls: bool, log: Log) -> list[Any]:
        values: list[Any] = []
        for kind, row in log:
            if keys(row) == key and (nulls or row[column] is not None):
                (values.remove if kind % 2 else values.append)(row[column])
        return values

    def evaluate(rows: list[Record], changing: bool, log: Log) -> list[Record]:
        groups: dict[Any, list[Record]] = {}
        for row in rows:
            groups.setdefault(keys(row), []).append(row)
        calls = [*AGGREGATES.values(), *(EXACT.values() if changing else ())]
        return [
            (
                *key,
                *(finish(in_order(key, column, nulls, log)) for column, nulls, finish in BY_ARRIVAL.values()),
                *(call(own) for call in calls),
            )
            for key, own in groups.items()
            if len(own) > having
        ]

    return evaluate


def sets(rows: list[Record], _: bool, __: Log) -> list[Record]:
    found = []
    for keys in ((0, 3), (0,), ()):
        groups: dict[Any, list[Record]] = {}
        for row in rows:
            groups.setdefault(tuple(row[n] if n in keys else None for n in (0, 3)), []).append(row)
        found += [
            (*key, 2 * (0 not in keys) + (3 not in keys), AGGREGATES["SUM(v)"](own)) for key, own in groups.items()
        ]
    return found


def nested(rows: list[Record], _: bool, __: Log) -> list[Record]:
    sizes = Counter(row[0] for row in rows)
    return [(size, count) for size, count in Counter(sizes.values()).items()]


def unique(rows: list[Record], _: bool, __: Log) -> list[Record]:
    return list({(row[0], row[3]) for row in rows})


def both(kind: str, every: bool) -> Evaluate:
    def evaluate(rows: list[Record], _: bool, __: Log) -> list[Record]:
        left = Counter((row[3],) for row in rows if row[1] is not None)
        right = Counter((row[3],) for row in rows if row[0] == "a")
        if not every:
            there = left.keys() & right.keys() if kind == "INTERSECT" else left.keys() - right.keys()
            return list(there)
        return list(((left & right) if kind == "INTERSECT" else (left - right)).elements())

    return evaluate


def query(keys: str, having: str = "", *, changing: bool) -> str:
    calls = ", ".join([*BY_ARRIVAL, *AGGREGATES, *(EXACT if changing else ())])
    by = f"GROUP BY {keys}" if keys else ""
    return f"SELECT {keys + ', ' if keys else ''}{calls} FROM t {by} {having}"


LEFT, RIGHT = "SELECT s FROM t WHERE v IS NOT NULL", "SELECT s FROM t WHERE k = 'a'"
QUERIES: dict[str, tuple[str | None, Evaluate]] = {
    "k": (None, grouped(lambda row: (row[0],))),
    "k, v": (None, grouped(lambda row: (row[0], row[1]))),
    "": (None, grouped(lambda row: ())),
    "k HAVING": (None, grouped(lambda row: (row[0],), 2)),
    "sets": ("SELECT k, s, GROUPING(k, s), SUM(v) FROM t GROUP BY ROLLUP (k, s)", sets),
    "nested": ("SELECT n, COUNT(*) FROM (SELECT COUNT(*) AS n FROM t GROUP BY k) GROUP BY n", nested),
    "distinct": ("SELECT DISTINCT k, s FROM t", unique),
    "union": ("SELECT k, s FROM t WHERE v > 0 UNION SELECT k, s FROM t", unique),
    **{
        f"{kind}{' ALL' * every}": (f"{LEFT} {kind}{' ALL' * every} {RIGHT}", both(kind, every))
        for kind in ("INTERSECT", "EXCEPT")
        for every in (False, True)
    },
}


class Disk:
    """State as a worker has it: entries under names, and those of stores to be asked one by one."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def take(self, operator: Any) -> None:
        for name, data in operator.changes():
            if data is None:
                self.entries.pop(name, None)
            else:
                self.entries[name] = data

    def restored(self, create: Callable[[], Any], backed: bool) -> Any:
        operator = create()
        if not backed:
            operator.restore(self.entries.items())
            return operator
        operator.restore([(k, v) for k, v in self.entries.items() if k[:1] != b"\x7f"])
        for prefix, store in operator.stores.items():
            store.attach(Part(self, prefix), Room(0))
        return operator


class Part:
    """The entries of one store."""

    def __init__(self, disk: Disk, prefix: bytes) -> None:
        self._disk, self._prefix = disk, prefix

    def get_many(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        return [self._disk.entries.get(self._prefix + name) for name in names]

    def scan(self, behind: bytes, most: int) -> Sequence[tuple[bytes, bytes]]:
        own = sorted(name for name in self._disk.entries if name.startswith(self._prefix))
        length = len(self._prefix)
        return [(name[length:], self._disk.entries[name]) for name in own if name[length:] > behind][:most]


def hashable(row: Record) -> Record:
    return tuple(tuple(value) if isinstance(value, list) else value for value in row)


def applied(left: Counter[Record], changes: Iterable[tuple[int, Record]]) -> None:
    """What changes make of a table; a row that is taken back must be there."""
    for kind, row in changes:
        key = hashable(row)
        if kind % 2 == 0:
            left[key] += 1
        else:
            assert left[key] > 0, f"{row} is taken back, and was not there"
            left[key] -= 1


def changes_of(steps: Sequence[Any], *, changing: bool) -> list[tuple[list[tuple[int, Record]], list[Record]]]:
    """For each step the rows as they come to the operator, and the rows that are there behind it."""
    there: list[Record] = []
    found = []
    for kind, *args in steps:
        given: list[tuple[int, Record]] = []
        if kind == "insert" or not there or not changing:
            row = args[-1] if kind != "delete" else ("a", 1, 0.1, "x")
            there.append(row)
            given.append((0, row))
        else:
            gone = there[args[0] % len(there)]
            there.remove(gone)  # of equal ones the first to come
            given.append((1 if kind == "update" else 3, gone))
            if kind == "update":
                there.append(args[1])
                given.append((2, args[1]))
        found.append((given, list(there)))
    return found


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("changing", [True, False], ids=["rows that go", "rows that stay"])
@given(steps=STEPS, cuts=CUTS, backed=st.booleans())
@settings(max_examples=20, deadline=None)
def test_groups_are_those_of_the_rows_that_are_there(
    name: str, changing: bool, steps: Any, cuts: Any, backed: bool
) -> None:
    sql, evaluate = QUERIES[name]
    if sql is None:
        keys, _, _ = name.partition(" HAVING")
        sql = query(keys, "HAVING COUNT(*) > 2" if "HAVING" in name else "", changing=changing)
    bound = bind_text(sql, {"t": CHANGING if changing else APPEND})
    columns = [column.name for column in bound.layout.columns]
    places = [["k", "v", "d", "s"].index(name) for name in columns if name in "kvds"]

    def create() -> Any:
        return bound.factory.create(bound.layout)

    disk = Disk()
    operator = disk.restored(create, backed)
    told: Counter[Record] = Counter()
    pending: list[tuple[Any, ...]] = []
    position = 0
    there: list[Record] = []
    log: Log = []

    def step() -> None:
        nonlocal pending
        found = operator.step([Flow(pending, MAX_WATERMARK - 1)])
        pending = []
        assert not operator.problems
        applied(told, [(one.change, one.values) for one in found])

    for (given_rows, there), cut in zip(changes_of(steps, changing=changing), cuts, strict=False):
        for kind, row in given_rows:
            values = [row[place] for place in places]
            log.append((kind, row))
            pending.append((0, position, *values, *([kind] if changing else [])))
            position += 1
        if cut:
            step()
            wanted = Counter(map(hashable, evaluate(there, changing, log)))
            assert +told == wanted
        if cut in ("flush", "crash"):
            disk.take(operator)
        if cut == "crash":
            operator = disk.restored(create, backed)
    step()
    assert +told == Counter(map(hashable, evaluate(there, changing, log)))


TIMED = Schema((Column("k", STRING), Column("v", INT), Column("ts", TIMESTAMP_3)), "ts", 5)
EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 12)), max_size=40)


@given(events=EVENTS, cuts=st.sets(st.integers(0, 40)), crashes=st.sets(st.integers(0, 40)), backed=st.booleans())
@settings(max_examples=200, deadline=None)
def test_groups_that_expire_do_so_between_the_same_rows_whatever_the_batches(
    events: list[tuple[str, int, int]], cuts: set[int], crashes: set[int], backed: bool
) -> None:
    sql = "SET 'table.exec.state.ttl' = '20 ms'; SELECT k, SUM(v) AS s, COUNT(DISTINCT v) AS d FROM t GROUP BY k"
    bound = bind_text(sql, {"t": TIMED})
    rows, time = [], 1_000
    for position, (key, value, step) in enumerate(events):
        time += step
        at = time - (7 if value > 7 else 0)  # some rows are late
        rows.append((at, position, *[{"k": key, "v": value, "ts": at}[c.name] for c in bound.layout.columns]))
    left: Counter[Record] = Counter()
    groups: dict[str, tuple[int, list[int]]] = {}
    watermark = MIN_WATERMARK
    for (key, value, _), row in zip(events, rows, strict=True):
        now = max(row[0], watermark)
        used, values = groups.get(key, (now, []))
        if now - used > 20:
            values = []
        if values:
            left[key, sum(values), len(set(values))] -= 1
        groups[key] = (max(used, now), [*values, value])
        left[key, sum(values) + value, len({*values, value})] += 1
        watermark = max(watermark, row[0] - 5)
    disk = Disk()

    def create() -> Any:
        return bound.factory.create(bound.layout)

    operator = disk.restored(create, backed)
    told: Counter[Record] = Counter()
    for batch in cut_into(rows, sorted(cut for cut in cuts if 0 < cut < len(rows)), 5) if rows else []:
        applied(told, [(one.change, one.values) for one in operator.process(batch.rows, batch.watermark, batch)])
        disk.take(operator)
        if batch.rows[-1][1] in crashes:
            operator = disk.restored(create, backed)
            operator.resume(batch.watermark)
    assert +told == +left
