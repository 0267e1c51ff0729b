"""Window operators keep the operator contract, and agree with a brute-force evaluation of the same windows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app import Rows, query
from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import MAX_WATERMARK
from anomaly_app.patterns.rule import Limits
from anomaly_app.schema import BIGINT, DOUBLE, INT, STRING, TIMESTAMP_3, Column, Schema
from anomaly_app.testing.contract import check_contract

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
def test_contract(name, rows, seed):
    for schema in (SCHEMA, BY_ARRIVAL):
        bound = bind_text(QUERIES[name], {"t": schema})
        check_contract(lambda bound=bound: bound.factory.create(bound.layout), made(rows, trailing=(2, 7)), seed=seed)


# --- brute force ------------------------------------------------------------------------------------


def aggregated(values: list[int | None]) -> tuple[Any, ...]:
    """What :data:`AGGREGATES` says of the values of a group in event-time order."""
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
        statistics.stdev(v) if len(v) > 1 else None,
        v[0],
        v[-1],
        len(set(v)),
        float(statistics.median(v)),
        values,
        sum(big) if big else None,
        sum(rest) / len(rest) if rest else None,
    )


def brute(rows: list[tuple[int, str, int | None]], windows: Callable[[int], list[tuple[int, int]]]):
    groups: dict[tuple[int, str, int], list[int | None]] = {}
    for time, key, value in rows:
        for start, end in windows(time):
            groups.setdefault((end, key, start), []).append(value)
    return {(key, start, end): aggregated(values) for (end, key, start), values in groups.items()}


def brute_sessions(rows: list[tuple[int, str, int | None]], gap: int):
    found = {}
    for key in {key for _, key, _ in rows}:
        runs: list[list[tuple[int, int | None]]] = []
        for time, of_key, value in rows:
            if of_key == key:
                if not runs or time - runs[-1][-1][0] > gap:
                    runs.append([])
                runs[-1].append((time, value))
        for run in runs:
            found[key, run[0][0], run[-1][0] + gap] = aggregated([value for _, value in run])
    return found


def near(a: Any, b: Any) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) if isinstance(a, float) and b is not None else a == b


def compare(rows, seed, table, expected_of):
    """Rows somewhat shuffled within the watermark's delay give the windows of the rows in order."""
    time, ordered = 10_000, []
    for gap, key, value in rows:
        time += gap
        ordered.append((time, key, value))
    shuffled = sorted(ordered, key=lambda row: (row[0] + hash((seed, row)) % 40, row[0]))
    # Rows of one time count in order of arrival.
    in_order = sorted(shuffled, key=lambda row: row[0])
    columns = [("k", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")]
    stream = [(key, value, f"1970-01-01 00:00:{time // 1000:02}.{time % 1000:03}") for time, key, value in shuffled]
    result = query(sql(table), {"t": Rows(columns, stream, rowtime="ts", watermark_delay_ms=40)})
    assert result.late == []
    found = {}
    ends = []
    for key, start, end, *values in result.rows:
        edges = [round((edge.timestamp() - start.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()) * 1000)
                 for edge in (start, end)]  # fmt: skip
        found[(key, *edges)] = tuple(values)
        ends.append(edges[1])
    assert ends == sorted(ends), "windows come in order of their ends"
    expected = expected_of(in_order)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert all(map(near, found[name], values)), (name, found[name], values)


@pytest.mark.parametrize("kind", GRIDS)
@settings(max_examples=40, deadline=None)
@given(rows=data, seed=st.integers(0, 9))
def test_windows_on_a_grid_are_those_of_brute_force(kind, rows, seed):
    compare(rows, seed, grid(kind), lambda ordered: brute(ordered, GRIDS[kind][1]))


@settings(max_examples=60, deadline=None)
@given(rows=data, seed=st.integers(0, 9))
def test_sessions_are_those_of_brute_force(rows, seed):
    compare(rows, seed, SESSION, lambda ordered: brute_sessions(ordered, 15))


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
