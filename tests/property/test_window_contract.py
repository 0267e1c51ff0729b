"""Window operators keep the operator contract, and agree with a brute-force evaluation of the same windows."""

from __future__ import annotations

import datetime
import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app import Rows, query
from anomaly_app.jobs.binder import bind_text
from anomaly_app.limits import Limits
from anomaly_app.operators import MAX_WATERMARK
from anomaly_app.schema import BIGINT, DOUBLE, INT, STRING, TIMESTAMP_3, Column, Schema
from anomaly_app.testing.contract import check_arrivals, check_contract

COLUMNS = (("k", STRING), ("v", INT), ("x", DOUBLE), ("n", BIGINT), ("ts", TIMESTAMP_3))
SCHEMA = Schema(tuple(Column(name, type_) for name, type_ in COLUMNS), rowtime="ts")
BY_ARRIVAL = Schema(SCHEMA.columns, proctime="ts")

AGGREGATES = (
    "COUNT(*) AS c, COUNT(v) AS cv, SUM(v) AS s, AVG(v) AS a, MIN(v) AS lo, MAX(v) AS hi, STDDEV_SAMP(v) AS sd, "
    "FIRST_VALUE(v) AS f, LAST_VALUE(v) AS l, COUNT(DISTINCT v) AS d, MEDIAN(v) AS m, ARRAY_AGG(v) AS e, "
    "SUM(v) FILTER (WHERE v > 4) AS big, AVG_WITHOUT_MAX(v) AS rest"
)
GRIDS = {
    "TUMBLE": ("INTERVAL '0.020' SECOND", lambda t: [(t // 20 * 20, t // 20 * 20 + 20)]),
    "HOP": (
        "INTERVAL '0.010' SECOND, INTERVAL '0.030' SECOND",
        lambda t: [(s, s + 30) for s in (t // 10 * 10 - 20, t // 10 * 10 - 10, t // 10 * 10)],
    ),
    "CUMULATE": (
        "INTERVAL '0.010' SECOND, INTERVAL '0.030' SECOND",
        lambda t: [(t // 30 * 30, e) for e in range(t // 10 * 10 + 10, t // 30 * 30 + 31, 10)],
    ),
}
SESSION = "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '0.015' SECOND)"


def sql(table: str, having: str = "", aggregates: str = AGGREGATES) -> str:
    condition = f" HAVING {having}" if having else ""
    return (
        f"SELECT k, window_start, window_end, {aggregates} FROM {table} GROUP BY k, window_start, window_end{condition}"
    )


def grid(kind: str) -> str:
    return f"TABLE({kind}(TABLE t, DESCRIPTOR(ts), {GRIDS[kind][0]}))"


QUERIES = {
    "tumble": sql(grid("TUMBLE")),
    "tumble, filtered": sql(grid("TUMBLE"), "MAX(v) > 5", "COUNT(*) AS c").replace(" GROUP", " WHERE v <> 3 GROUP"),
    "tumble, all": "SELECT window_start, SUM(v), LISTAGG(k) FROM "
    + grid("TUMBLE")
    + " GROUP BY window_start, window_end",
    "hop": sql(grid("HOP")),
    "hop, numbers only": sql(
        grid("HOP"), "", "COUNT(*) AS c, VAR_POP(x) AS p, STDDEV_WITHOUT_MAX(x) AS w, MAX(x) AS m"
    ),
    "cumulate": sql(grid("CUMULATE")),
    "hop, other types": sql(
        grid("HOP"),
        "",
        "SUM(CAST(v AS DECIMAL(10, 2))) AS s, AVG(CAST(v AS DECIMAL(10, 2))) AS a, MIN(ts) AS t, MAX(k) AS m, "
        "LISTAGG(DISTINCT k, '/') AS l, COUNT(DISTINCT v) FILTER (WHERE v > 2) AS d, STDDEV_POP(n) AS p, MAD(x) AS o",
    ),
    "session": sql(SESSION),
    "session, all": "SELECT window_start, COUNT(*) FILTER (WHERE v > 4) AS big, FIRST_VALUE(k) AS f FROM "
    + SESSION.replace(" PARTITION BY k", "")
    + " GROUP BY window_start, window_end",
    "session, numbers only": sql(SESSION, "COUNT(*) > 1", "COUNT(*) AS c, AVG(x) AS p, MIN(x) AS m"),
}

data = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from("xy"), st.one_of(st.none(), st.integers(0, 9))), max_size=25
)


def made(rows, *, trailing: tuple[Any, ...] = ()):
    """(gap in ms, key, value) to rows in event-time order; what trails a row must survive."""
    time, out = 1_000, []
    for position, (gap, key, value) in enumerate(rows):
        time += gap
        x = None if value is None else value / 7
        out.append((time, position, key, value, x, position, time, *trailing))
    return out


@pytest.mark.parametrize("name", QUERIES)
@settings(max_examples=25, deadline=None)
@given(rows=data, seed=st.integers(0, 99))
def test_contract_by_arrival(name, rows, seed):
    bound = bind_text(QUERIES[name], {"t": BY_ARRIVAL})
    check_contract(lambda: bound.factory.create(bound.layout), made(rows, trailing=(2, 7)), seed=seed)


delays = st.sampled_from([0, 1, 2, 7, 40])
disorder = st.lists(st.sampled_from([0, 0, 0, 0, 1, 5, 20, 60]), min_size=25, max_size=25)


def in_disorder(rows, back, *, trailing: tuple[Any, ...] = ()):
    """Rows of which some have the time of long ago."""
    return [
        (row[0] - ago, *row[1:6], row[0] - ago, *trailing) for row, ago in zip(made(rows), back, strict=False)
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("name", QUERIES)
@settings(max_examples=40, deadline=None)
@given(rows=data, back=disorder, delay_ms=delays, seed=st.integers(0, 99))
def test_contract_of_rows_as_they_come(name, limit, rows, back, delay_ms, seed):
    limits = None if limit is None else Limits(groups=limit)
    bound = bind_text(QUERIES[name], {"t": SCHEMA}, limits=limits)
    assert not bound.factory.needs_order
    check_arrivals(
        lambda: bound.factory.create(bound.layout),
        in_disorder(rows, back, trailing=(2, 7)),
        delay_ms=delay_ms,
        seed=seed,
    )


# --- row by row, as Flink -----------------------------------------------------------------------------


def aggregated(values: list[int | None]) -> tuple[Any, ...]:
    """What :data:`AGGREGATES` says of the values of a group in order of arrival."""
    v = [value for value in values if value is not None]
    if not v:
        return (len(values), 0, None, None, None, None, None, None, None, 0, None, values, None, None)
    rest = sorted(v)[:-1]
    big = [value for value in v if value > 4]
    return (
        len(values),
        len(v),
        sum(v),
        sum(v) // len(v),
        min(v),
        max(v),
        int(statistics.stdev(v)) if len(v) > 1 else None,  # whole, as AVG of whole numbers is
        v[0],
        v[-1],
        len(set(v)),
        float(statistics.median(v)),
        values,
        sum(big) if big else None,
        sum(rest) / len(rest) if rest else None,
    )


class ByHand:
    """Windows, one row after the other: taken, then the watermark moves, then what is complete comes out."""

    def __init__(self, delay_ms: int) -> None:
        self.delay_ms, self.watermark = delay_ms, -(10**9)
        self.open: dict[tuple[str, int, int], list[tuple[int, int | None]]] = {}
        self.found: dict[tuple[str, int, int], tuple[Any, ...]] = {}
        self.late: list[int] = []

    def take(self, position: int, time: int, key: str, value: int | None) -> None:
        if not self.put(position, time, key, value):
            self.late.append(position)
        self.move(max(self.watermark, time - self.delay_ms))

    def put(self, position: int, time: int, key: str, value: int | None) -> bool:
        raise NotImplementedError

    def move(self, watermark: int) -> None:
        self.watermark = watermark
        for name in [name for name in self.open if name[2] - 1 <= watermark]:
            values = [value for _, value in sorted(self.open.pop(name))]
            assert name not in self.found, "a window comes out once"
            self.found[name] = aggregated(values)


class GridByHand(ByHand):
    def __init__(self, delay_ms: int, windows: Callable[[int], list[tuple[int, int]]]) -> None:
        super().__init__(delay_ms)
        self.windows = windows

    def put(self, position: int, time: int, key: str, value: int | None) -> bool:
        names = [(key, *window) for window in self.windows(time) if window[1] - 1 > self.watermark]
        for name in names:
            self.open.setdefault(name, []).append((position, value))
        return bool(names)


class SessionsByHand(ByHand):
    gap = 15

    def put(self, position: int, time: int, key: str, value: int | None) -> bool:
        start, end = time, time + self.gap
        touched = [name for name in self.open if name[0] == key and name[1] <= end and name[2] >= start]
        low, high = min([start, *(n[1] for n in touched)]), max([end, *(n[2] for n in touched)])
        if high - 1 <= self.watermark:
            return False
        values = [(position, value)]
        for name in touched:
            values += self.open.pop(name)
        self.open[key, low, high] = values
        return True


def near(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):  # ARRAY_AGG of windows that became one: in no order worth a promise
        return sorted(map(str, a)) == sorted(map(str, b))
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) if isinstance(a, float) and b is not None else a == b


def compare(rows, back, by_hand: ByHand, table: str) -> None:
    """Rows that come in disorder, some of them late."""
    stream = []
    for time, position, key, value, *_ in in_disorder(rows, back):
        time += 10_000
        by_hand.take(position, time, key, value)
        stream.append((key, value, f"1970-01-01 00:00:{time // 1000:02}.{time % 1000:03}"))
    by_hand.move(10**9)
    columns = [("k", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")]
    table_rows = Rows(columns, stream, rowtime="ts", watermark_delay_ms=by_hand.delay_ms)
    result = query(sql(table), {"t": table_rows})
    assert len(result.late) == len(by_hand.late)
    found = {}
    ends = []
    midnight = datetime.datetime(1970, 1, 1)
    for key, start, end, *values in result.rows:
        edges = [round((edge - midnight).total_seconds() * 1000) for edge in (start, end)]
        found[(key, *edges)] = tuple(tuple(v) if isinstance(v, (list, tuple)) else v for v in values)
        ends.append(edges[1])
    assert ends == sorted(ends), "windows come in order of their ends"
    assert found.keys() == by_hand.found.keys()
    for name, values in by_hand.found.items():
        assert all(map(near, found[name], values)), (name, found[name], values)


@pytest.mark.parametrize("kind", GRIDS)
@settings(max_examples=60, deadline=None)
@given(rows=data, back=disorder, delay_ms=delays)
def test_windows_on_a_grid_are_those_of_row_by_row(kind, rows, back, delay_ms):
    compare(rows, back, GridByHand(delay_ms, GRIDS[kind][1]), grid(kind))


@settings(max_examples=100, deadline=None)
@given(rows=data, back=disorder, delay_ms=delays)
def test_sessions_are_those_of_row_by_row(rows, back, delay_ms):
    compare(rows, back, SessionsByHand(delay_ms), SESSION)


# --- the bound --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tumble", "session"])
def test_rows_beyond_the_bound_on_groups_are_reported_and_counted(name):
    bound = bind_text(QUERIES[name], {"t": SCHEMA}, limits=Limits(groups=2))
    operator = bound.factory.create(bound.layout)
    rows = [(1_000, number, key, 1, 1.0, number, 1_000) for number, key in enumerate("abcab")]
    assert operator.process(rows, 1_000) == []
    assert operator.counters.counts == {"window_group_limit": 1}
    (problem,) = operator.problems
    assert problem.rows == [rows[2]] and "2 groups" in str(problem.error)
    found = operator.process([(1_100, 9, "c", 1, 1.0, 9, 1_100)], 1_100)
    assert [(finding.key, finding.values[3]) for finding in found] == [(("a",), 2), (("b",), 2)]
    assert [finding.key for finding in operator.advance(MAX_WATERMARK)] == [("c",)]
