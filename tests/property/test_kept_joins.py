"""Joins that keep their rows, and Top-N, against loops over what the tables hold in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from stepwise import Arrival, Stepwise

from anomaly_app.schema import Changelog

TABLES = "CREATE TABLE a (id INT, k STRING, v INT); CREATE TABLE b (id INT, k STRING, v INT);"

Values = tuple[Any, ...]
Naive = Callable[[list[Values], list[Values]], Iterable[Values]]


def equal(x: Any, y: Any) -> bool | None:
    return None if x is None or y is None else x == y


def greater(x: Any, y: Any) -> bool | None:
    return None if x is None or y is None else x > y


def joined(kind: str, holds: Callable[[Values, Values], Any], made: Callable[[Values, Values], Values]) -> Naive:
    """A join of some kind, by nested loops."""
    nothing = (None, None, None)

    def rows(a: list[Values], b: list[Values]) -> Iterable[Values]:
        pairs = [(x, y) for x in a for y in b if holds(x, y)]
        yield from (made(x, y) for x, y in pairs)
        if kind in ("LEFT", "FULL"):
            yield from (made(x, nothing) for x in a if not any(holds(x, y) for y in b))
        if kind in ("RIGHT", "FULL"):
            yield from (made(nothing, y) for y in b if not any(holds(x, y) for x in a))

    return rows


def ids(x: Values, y: Values) -> Values:
    return x[0], y[0]


def member(x: Any, values: Iterable[Any]) -> bool | None:
    """What IN says."""
    found: bool | None = False
    for value in values:
        is_equal = equal(x, value)
        if is_equal:
            return True
        if is_equal is None:
            found = None
    return found


def negation(x: bool | None) -> bool | None:
    return None if x is None else not x


def order(value: Any, falls: bool = False) -> tuple[bool, int]:
    """NULL first where values rise, last where they fall."""
    if value is None:
        return falls, 0
    return not falls, -value if falls else value


def top(first: int, last: int, by: Callable[[Values], Any], key: Callable[[Values], Any]) -> Naive:
    def rows(a: list[Values], b: list[Values]) -> Iterable[Values]:
        groups: dict[Any, list[Values]] = {}
        for row in a:
            groups.setdefault(key(row), []).append(row)
        for group in groups.values():
            for number, row in enumerate(sorted(group, key=by), 1):
                if first <= number <= last:
                    yield (*row, number)

    return rows


def columns(naive: Naive, *places: int) -> Naive:
    return lambda a, b: [tuple(row[place] for place in places) for row in naive(a, b)]


KEYS = lambda x, y: equal(x[1], y[1])  # noqa: E731 -- a name for a lambda reads best in the table below
AND_GREATER = lambda x, y: equal(x[1], y[1]) and greater(x[2], y[2])  # noqa: E731 -- as above

QUERIES: dict[str, Naive] = {
    f"SELECT a.id, b.id AS d FROM a {kind} JOIN b ON a.k = b.k": joined(kind, KEYS, ids)
    for kind in ("INNER", "LEFT", "RIGHT", "FULL")
}
QUERIES |= {
    f"SELECT a.id, b.id AS d FROM a {kind} JOIN b ON a.k = b.k AND a.v > b.v": joined(kind, AND_GREATER, ids)
    for kind in ("INNER", "LEFT", "RIGHT", "FULL")
}
QUERIES |= {
    "SELECT a.id, b.id AS d FROM a, b WHERE a.k = b.k AND b.v > 0": joined(
        "INNER", lambda x, y: KEYS(x, y) and greater(y[2], 0), ids
    ),
    "SELECT a.id, b.id AS d FROM a LEFT JOIN b ON a.k = b.k AND a.v > 0 AND b.v > 0": joined(
        "LEFT", lambda x, y: KEYS(x, y) and greater(x[2], 0) and greater(y[2], 0), ids
    ),
    "SELECT a.id, b.id AS d FROM a FULL JOIN b ON a.k IS NOT DISTINCT FROM b.k": joined(
        "FULL", lambda x, y: x[1] == y[1], ids
    ),
    "SELECT a.id, b.id AS d FROM a FULL JOIN b ON a.k = b.k AND a.v IS NOT DISTINCT FROM b.v": joined(
        "FULL", lambda x, y: KEYS(x, y) and x[2] == y[2], ids
    ),
    "SELECT a.id, b.id AS d FROM a LEFT JOIN b ON a.v + 1 = b.v": joined(
        "LEFT", lambda x, y: x[2] is not None and equal(x[2] + 1, y[2]), ids
    ),
    "SELECT * FROM a FULL JOIN b USING (k)": joined(
        "FULL", KEYS, lambda x, y: (x[1] if x[1] is not None else y[1], x[0], x[2], y[0], y[2])
    ),
    "SELECT x.id, y.id AS d FROM a x LEFT JOIN a y ON x.k = y.k AND x.id < y.id": lambda a, b: joined(
        "LEFT", lambda x, y: KEYS(x, y) and x[0] < y[0], ids
    )(a, a),
    "SELECT a.id, b.id AS d FROM a LEFT JOIN b ON a.k = b.k WHERE b.v > 0": joined(
        "INNER", lambda x, y: KEYS(x, y) and greater(y[2], 0), ids
    ),
    "SELECT a.id, b.id AS d FROM a FULL JOIN b ON a.k = b.k WHERE a.v + 1 > 0": lambda a, b: joined("LEFT", KEYS, ids)(
        [x for x in a if x[2] is not None], b
    ),
    "SELECT id FROM a WHERE (k, v) IN (SELECT k, v FROM b)": lambda a, b: [
        (x[0],) for x in a if any(KEYS(x, y) and equal(x[2], y[2]) for y in b)
    ],
    "SELECT v FROM a WHERE k IN (SELECT k FROM b)": lambda a, b: [
        (x[2],) for x in a if member(x[1], [y[1] for y in b])
    ],
    "SELECT id FROM a WHERE k NOT IN (SELECT k FROM b)": lambda a, b: [
        (x[0],) for x in a if negation(member(x[1], [y[1] for y in b]))
    ],
    "SELECT id FROM a WHERE v NOT IN (SELECT v FROM b WHERE b.k = a.k AND b.id <> a.id)": lambda a, b: [
        (x[0],) for x in a if negation(member(x[2], [y[2] for y in b if KEYS(x, y) and x[0] != y[0]]))
    ],
    "SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.v < a.v)": lambda a, b: [
        (x[0],) for x in a if any(AND_GREATER(x, y) for y in b)
    ],
    "SELECT id FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k)": lambda a, b: [
        (x[0],) for x in a if not any(KEYS(x, y) for y in b)
    ],
    "SELECT id FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.v < a.v)": lambda a, b: [
        (x[0],) for x in a if not any(AND_GREATER(x, y) for y in b)
    ],
    "SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE v > 1) OR v = 1": lambda a, b: [
        (x[0],) for x in a if any(greater(y[2], 1) for y in b) or x[2] == 1
    ],
    "SELECT id, k IN (SELECT k FROM b) AS m, v NOT IN (SELECT v FROM b WHERE b.k = a.k) AS n FROM a": lambda a, b: [
        (x[0], member(x[1], [y[1] for y in b]), negation(member(x[2], [y[2] for y in b if KEYS(x, y)]))) for x in a
    ],
    "SELECT id, k, v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC, id) AS n FROM a) WHERE n <= 2":
        columns(top(1, 2, lambda x: (order(x[2], True), x[0]), lambda x: x[1]), 0, 1, 2),
    "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v, id) AS n FROM a) WHERE n BETWEEN 2 AND 3":
        top(2, 3, lambda x: (order(x[2]), x[0]), lambda x: x[1]),
    "SELECT *, ROW_NUMBER() OVER (ORDER BY id DESC) AS n FROM a": top(1, 99, lambda x: -x[0], lambda x: ()),
    "SELECT id FROM a ORDER BY v, id DESC LIMIT 2 OFFSET 1":
        columns(top(2, 3, lambda x: (order(x[2]), -x[0]), lambda x: ()), 0),
    "SELECT a.id, t.v FROM a CROSS JOIN (SELECT v FROM b ORDER BY v DESC, id LIMIT 1) t": lambda a, b: [
        (x[0], y[2]) for y in sorted(b, key=lambda y: (order(y[2], True), y[0]))[:1] for x in a
    ],
    "SELECT id, (SELECT v FROM b ORDER BY v DESC, id LIMIT 1) AS t FROM a": lambda a, b: [
        (x[0], ([y[2] for y in sorted(b, key=lambda y: (order(y[2], True), y[0]))] or [None])[0]) for x in a
    ],
}  # fmt: skip


@st.composite
def histories(draw: st.DrawFn, changes: bool) -> list[list[Arrival]]:
    """Rows of two tables that come, and perhaps change and go, cut into steps."""
    live: dict[str, list[Values]] = {"a": [], "b": []}
    steps: list[list[Arrival]] = [[]]
    number = 0
    values = st.tuples(st.sampled_from([None, "x", "y"]), st.sampled_from([None, 0, 1, 2]))
    for _ in range(draw(st.integers(0, 14))):
        if steps[-1] and draw(st.booleans()):
            steps.append([])
        name, rows = draw(st.sampled_from(list(live.items())))
        what = draw(st.sampled_from(["+", "+", "-", "u"])) if changes and rows else "+"
        if what == "+":
            number += 1
            # A second row of the same values is another row; of a changelog both are one twice.
            row = (number if draw(st.integers(0, 9)) else max(1, number - 1), *draw(values))
            rows.append(row)
            steps[-1].append((name, 0, row))
            continue
        old = rows.pop(draw(st.integers(0, len(rows) - 1)))
        steps[-1].append((name, 1 if what == "u" else 3, old))
        if what == "u":
            rows.append((old[0], *draw(values)))
            steps[-1].append((name, 2, rows[-1]))
    return steps


def left(steps: list[list[Arrival]], name: str) -> list[Values]:
    rows: list[Values] = []
    for table, kind, row in (one for step in steps for one in step):
        if table == name and kind % 2:
            rows.remove(row)
        elif table == name:
            rows.append(row)
    return rows


@pytest.mark.parametrize("mode", ["kept", "crash", "small"])
@pytest.mark.parametrize("changes", [False, True], ids=["insert-only", "changing"])
@pytest.mark.parametrize("sql", QUERIES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_left_is_what_loops_over_tables_give(sql: str, changes: bool, mode: str, data: st.DataObject) -> None:
    steps = data.draw(histories(changes))
    changelog = Changelog.ALL if changes else Changelog.APPEND
    run = Stepwise(
        TABLES + sql, {"a": changelog, "b": changelog}, mode, is_compact=" OR " not in sql and not sql.endswith(" > 0")
    )
    for step in steps:
        run.step(step)
    expected = QUERIES[sql](left(steps, "a"), left(steps, "b"))
    assert Counter(run.finish()) == Counter(map(tuple, expected))
