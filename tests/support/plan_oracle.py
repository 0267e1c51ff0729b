"""Random plans over one table, as SQL and as a naive interpreter that takes one row after the other.

Every node has the columns ``id INT, k STRING, v INT, ts TIMESTAMP(3)`` (a time attribute). What a node gives is a list
of steps, one for each row of the table and one for the end: the rows that come out in it, and the watermark behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

MIN, MAX = -(1 << 63), (1 << 63) - 1

Record = tuple[int | None, str | None, int | None, int]
Steps = list[tuple[list[Record], int]]


def source(rows: Sequence[Record], delay: int) -> Steps:
    """The table itself."""
    steps: Steps = []
    watermark = MIN
    for row in rows:
        watermark = max(watermark, row[3] - delay)
        steps.append(([row], watermark))
    return [*steps, ([], MAX)]


@dataclass(frozen=True)
class Plan:
    """A tree: what it is, its parameters, its inputs."""

    kind: str
    args: tuple[Any, ...] = ()
    inputs: tuple[Plan, ...] = ()

    def sql(self) -> str:
        """As a query."""
        return _SQL[self.kind](self)

    def run(self, table: Steps) -> Steps:
        """As the naive interpreter sees it."""
        if self.kind == "table":
            return table
        return _RUN[self.kind](self, *(below.run(table) for below in self.inputs))

    @property
    def size(self) -> int:
        """Number of nodes."""
        return 1 + sum(below.size for below in self.inputs)


def _step_by_step(
    steps: Steps, late: Callable[[Record, int], bool], take: Callable[[Record], None],
    release: Callable[[int, int], Iterable[Record]],
) -> Steps:  # fmt: skip
    """Each row is dropped or taken, then the watermark moves (from, to)."""
    found: Steps = []
    reached = MIN
    for rows, watermark in steps:
        for row in rows:
            if not late(row, reached):
                take(row)
        found.append((list(release(reached, watermark)), watermark))
        reached = watermark
    return found


# --- row by row -----------------------------------------------------------------------------------------

_CONDITIONS: dict[str, Callable[[Record], bool]] = {
    "v > 2": lambda row: row[2] is not None and row[2] > 2,
    "k = 'a'": lambda row: row[1] == "a",
    "v IS NULL OR v < 5": lambda row: row[2] is None or row[2] < 5,
    "id > 3": lambda row: row[0] is not None and row[0] > 3,
}
CONDITIONS = tuple(_CONDITIONS)


def _filter(plan: Plan, steps: Steps) -> Steps:
    holds = _CONDITIONS[plan.args[0]]
    return [([row for row in rows if holds(row)], watermark) for rows, watermark in steps]


def _project(plan: Plan, steps: Steps) -> Steps:
    def change(row: Record) -> Record:
        return row[0], row[1], None if row[2] is None else row[2] * 2 - 3, row[3]

    return [([change(row) for row in rows], watermark) for rows, watermark in steps]


def _union(plan: Plan, left: Steps, right: Steps) -> Steps:
    return [([*a, *b], min(w, x)) for (a, w), (b, x) in zip(left, right, strict=True)]


# --- windows --------------------------------------------------------------------------------------------


def _total(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _greatest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _windows(kind: str, size: int, step: int, time: int) -> list[tuple[int, int]]:
    if kind == "CUMULATE":
        start = time - time % size
        return [(start, end) for end in range(start + step, start + size + 1, step) if end > time]
    first = time - time % step
    return [(start, start + size) for start in range(first - size + step, first + 1, step)]


def _aggregate(plan: Plan, steps: Steps) -> Steps:
    kind, size, step = plan.args
    groups: dict[tuple[int, int, str | None], list[Record]] = {}
    reached_now = MIN

    def late(row: Record, reached: int) -> bool:
        nonlocal reached_now
        reached_now = reached
        return False

    def take(row: Record) -> None:
        for start, end in _windows(kind, size, step, row[3]):
            if end - 1 > reached_now:
                groups.setdefault((end, start, row[1]), []).append(row)

    def release(_: int, watermark: int) -> Iterable[Record]:
        for group in sorted((g for g in groups if g[0] - 1 <= watermark), key=lambda g: g[0]):
            rows = groups.pop(group)
            yield _greatest(r[0] for r in rows), group[2], _total(r[2] for r in rows), group[0] - 1

    return _step_by_step(steps, late, take, release)


def _sessions(plan: Plan, steps: Steps) -> Steps:
    (gap,) = plan.args
    open_: list[tuple[str | None, list[Record]]] = []

    def touched(row: Record) -> list[tuple[str | None, list[Record]]]:
        return [
            (key, rows) for key, rows in open_
            if key == row[1] and min(r[3] for r in rows) - gap <= row[3] <= max(r[3] for r in rows) + gap
        ]  # fmt: skip

    def late(row: Record, reached: int) -> bool:
        return not touched(row) and row[3] + gap - 1 <= reached

    def take(row: Record) -> None:
        whole = [row]
        for session in touched(row):
            whole += session[1]
            open_.remove(session)
        open_.append((row[1], whole))

    def release(_: int, watermark: int) -> Iterable[Record]:
        over = [session for session in open_ if max(r[3] for r in session[1]) + gap - 1 <= watermark]
        for session in sorted(over, key=lambda one: max(r[3] for r in one[1])):
            open_.remove(session)
            key, rows = session
            yield _greatest(r[0] for r in rows), key, _total(r[2] for r in rows), max(r[3] for r in rows) + gap - 1

    return _step_by_step(steps, late, take, release)


def _window_join(plan: Plan, left: Steps, right: Steps) -> Steps:
    (size,) = plan.args
    held: tuple[list[Record], list[Record]] = ([], [])
    found: Steps = []
    reached = MIN
    for (a, w), (b, x) in zip(left, right, strict=True):
        for side, rows in zip(held, (a, b), strict=True):
            side += [row for row in rows if row[3] - row[3] % size + size - 1 > reached]
        watermark = min(w, x)
        out: list[Record] = []
        ends = sorted({row[3] - row[3] % size + size for side in held for row in side})
        for end in [end for end in ends if end - 1 <= watermark]:
            mine, theirs = ([row for row in side if row[3] - row[3] % size + size == end] for side in held)
            out += [(r[0], r[1], s[2], end - 1) for r in mine for s in theirs if r[1] is not None and r[1] == s[1]]
            for side in held:
                side[:] = [row for row in side if row[3] - row[3] % size + size != end]
        found.append((out, watermark))
        reached = watermark
    return found


def _near(plan: Plan, left: Steps, right: Steps) -> Steps:
    """An interval join: each row meets those that are held, and is held while others may come that it would meet."""
    kind, low, high = plan.args
    reach = (high, -low)
    outer = (kind in ("LEFT", "FULL"), kind in ("RIGHT", "FULL"))
    hold = max(0, high + outer[0], -low + outer[1])
    held: tuple[list[list[Any]], list[list[Any]]] = ([], [])
    found: Steps = []
    reached = MIN

    def given(a: Record | None, b: Record | None) -> list[Record]:
        first, second = (b, a) if kind == "RIGHT" else (a, b)
        return [] if first is None else [(first[0], first[1], None if second is None else second[2], first[3])]

    for (a, w), (b, x) in zip(left, right, strict=True):
        out: list[Record] = []
        for place, rows in enumerate((a, b)):
            for row in rows:
                entry = [row, False]
                for other in sorted(held[1 - place], key=lambda one: one[0][3]):
                    pair = (row, other[0]) if place == 0 else (other[0], row)
                    if row[1] is not None and row[1] == other[0][1] and low <= pair[1][3] - pair[0][3] <= high:
                        entry[1] = other[1] = True
                        out += given(*pair)
                if reached < row[3] + reach[place]:
                    held[place].append(entry)
                elif not entry[1] and outer[place]:
                    out += given(row, None) if place == 0 else given(None, row)
        watermark = min(w, x)
        for place in (0, 1):
            for entry in [entry for entry in held[place] if watermark > entry[0][3] + reach[place]]:
                held[place].remove(entry)
                if not entry[1] and outer[place]:
                    out += given(entry[0], None) if place == 0 else given(None, entry[0])
        found.append((out, watermark if watermark in (MIN, MAX) else watermark - hold))
        reached = watermark
    return found


def _as_of(plan: Plan, left: Steps, right: Steps) -> Steps:
    """A temporal join with the last row of each key: a row of the left waits until the watermark has passed it."""
    (kind,) = plan.args
    waiting: list[Record] = []
    versions: dict[str | None, dict[int, Record]] = {}
    found: Steps = []
    reached = MIN
    for (a, w), (b, x) in zip(left, right, strict=True):
        for row in b:
            versions.setdefault(row[1], {})[row[3]] = row
        waiting += a
        watermark = min(w, x)
        out: list[Record] = []
        if watermark > reached:
            for row in sorted((row for row in waiting if row[3] <= watermark), key=lambda row: row[3]):
                own = versions.get(row[1], {}) if row[1] is not None else {}
                left_over = max((time for time in own if time <= reached), default=MIN)
                seen = [time for time in own if left_over <= time <= row[3]]
                if seen:
                    out.append((row[0], row[1], own[max(seen)][2], row[3]))
                elif kind == "LEFT":
                    out.append((row[0], row[1], None, row[3]))
            waiting = [row for row in waiting if row[3] > watermark]
            reached = watermark
        found.append((out, watermark))
    return found


# --- order of time --------------------------------------------------------------------------------------


def _over(plan: Plan, steps: Steps) -> Steps:
    unit, preceding = plan.args
    waiting: list[Record] = []
    given: dict[str | None, list[Record]] = {}

    def late(row: Record, reached: int) -> bool:
        if preceding is None:
            return row[3] <= reached
        rows = given.get(row[1])
        return bool(rows) and row[3] <= rows[-1][3] and row[3] <= reached

    def release(reached: int, watermark: int) -> Iterable[Record]:
        if watermark == reached:
            return
        ready = sorted((row for row in waiting if row[3] <= watermark), key=lambda row: row[3])
        waiting[:] = [row for row in waiting if row[3] > watermark]
        for number, row in enumerate(ready):
            given.setdefault(row[1], []).append(row)
            frame = given[row[1]]
            if unit == "RANGE":
                frame = [*frame, *(r for r in ready[number + 1 :] if r[1] == row[1] and r[3] == row[3])]
            if preceding is not None and unit == "ROWS":
                frame = frame[-preceding - 1 :]
            elif preceding is not None:
                frame = [r for r in frame if r[3] >= row[3] - preceding]
            yield row[0], row[1], _total(r[2] for r in frame), row[3]

    return _step_by_step(steps, late, waiting.append, release)


def _keep_first(plan: Plan, steps: Steps) -> Steps:
    seen: set[str | None] = set()
    waiting: list[Record] = []

    def release(_: int, watermark: int) -> Iterable[Record]:
        ready = sorted((row for row in waiting if row[3] <= watermark), key=lambda row: row[3])
        waiting[:] = [row for row in waiting if row[3] > watermark]
        for row in ready:
            if row[1] not in seen:
                seen.add(row[1])
                yield row

    return _step_by_step(steps, lambda row, reached: row[3] < reached, waiting.append, release)


def _match(plan: Plan, steps: Steps) -> Steps:
    before: dict[str | None, Record] = {}
    waiting: list[Record] = []

    def release(_: int, watermark: int) -> Iterable[Record]:
        ready = sorted((row for row in waiting if row[3] <= watermark), key=lambda row: row[3])
        waiting[:] = [row for row in waiting if row[3] > watermark]
        for row in ready:
            first = before.pop(row[1], None)
            if first is not None and first[2] is not None and row[2] is not None and row[2] > first[2]:
                yield first[0], row[1], row[2], row[3]
            else:
                before[row[1]] = row

    return _step_by_step(steps, lambda row, reached: row[3] <= reached, waiting.append, release)


# --- SQL ------------------------------------------------------------------------------------------------


def _seconds(millis: int) -> str:
    return f"INTERVAL '{millis / 1000}' SECOND"


def _window_sql(plan: Plan) -> str:
    kind, size, step = plan.args
    lengths = _seconds(size) if kind == "TUMBLE" else f"{_seconds(step)}, {_seconds(size)}"
    below = f"(SELECT * FROM ({plan.inputs[0].sql()}))"
    return (
        "SELECT MAX(id) AS id, k, SUM(v) AS v, window_time AS ts FROM "
        f"TABLE({kind}(TABLE {below}, DESCRIPTOR(ts), {lengths})) GROUP BY k, window_start, window_end, window_time"
    )


def _session_sql(plan: Plan) -> str:
    return (
        "SELECT MAX(id) AS id, k, SUM(v) AS v, window_time AS ts FROM "
        f"TABLE(SESSION(TABLE ({plan.inputs[0].sql()}) PARTITION BY k, DESCRIPTOR(ts), {_seconds(plan.args[0])})) "
        "GROUP BY k, window_start, window_end, window_time"
    )


def _over_sql(plan: Plan) -> str:
    unit, preceding = plan.args
    begin = "UNBOUNDED" if preceding is None else str(preceding) if unit == "ROWS" else _seconds(preceding)
    frame = f"{unit} BETWEEN {begin} PRECEDING AND CURRENT ROW"
    return f"SELECT id, k, SUM(v) OVER (PARTITION BY k ORDER BY ts {frame}) AS v, ts FROM ({plan.inputs[0].sql()})"


def _join_sql(plan: Plan) -> str:
    sides = [
        f"(SELECT * FROM TABLE(TUMBLE(TABLE ({below.sql()}), DESCRIPTOR(ts), {_seconds(plan.args[0])})))"
        for below in plan.inputs
    ]
    return (
        f"SELECT a.id, a.k, b.v, a.window_time AS ts FROM {sides[0]} a JOIN {sides[1]} b ON a.k = b.k AND "
        "a.window_start = b.window_start AND a.window_end = b.window_end"
    )


def _near_sql(plan: Plan) -> str:
    kind, low, high = plan.args
    one, other = ("b", "a") if kind == "RIGHT" else ("a", "b")
    where = f" WHERE {one}.ts IS NOT NULL" if kind == "FULL" else ""
    bounds = [f"a.ts {'+' if by >= 0 else '-'} {_seconds(abs(by))}" for by in (low, high)]
    return (
        f"SELECT {one}.id, {one}.k, {other}.v, {one}.ts FROM ({plan.inputs[0].sql()}) a {kind} JOIN "
        f"({plan.inputs[1].sql()}) b ON a.k = b.k AND b.ts BETWEEN {bounds[0]} AND {bounds[1]}{where}"
    )


def _as_of_sql(plan: Plan) -> str:
    last = f"ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS rn FROM ({plan.inputs[1].sql()})"
    return (
        f"SELECT * FROM (WITH last AS (SELECT id, k, v, ts FROM (SELECT *, {last}) WHERE rn = 1) "
        f"SELECT a.id, a.k, b.v, a.ts FROM ({plan.inputs[0].sql()}) a {plan.args[0]} JOIN last "
        "FOR SYSTEM_TIME AS OF a.ts AS b ON a.k = b.k)"
    )


_SQL: dict[str, Callable[[Plan], str]] = {
    "table": lambda plan: "SELECT id, k, v, ts FROM t",
    "filter": lambda plan: f"SELECT * FROM ({plan.inputs[0].sql()}) WHERE {plan.args[0]}",
    "project": lambda plan: f"SELECT id, k, v * 2 - 3 AS v, ts FROM ({plan.inputs[0].sql()})",
    "union": lambda plan: reduce("{} UNION ALL {}".format, [below.sql() for below in plan.inputs]),
    "aggregate": _window_sql,
    "sessions": _session_sql,
    "over": _over_sql,
    "join": _join_sql,
    "near": _near_sql,
    "as of": _as_of_sql,
    "first": lambda plan: (
        "SELECT id, k, v, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) AS rn "
        f"FROM ({plan.inputs[0].sql()})) WHERE rn = 1"
    ),
    "match": lambda plan: (
        f"SELECT id, k, v, ts FROM ({plan.inputs[0].sql()}) MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES "
        "A.id AS id, B.v AS v, MATCH_ROWTIME() AS ts AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) "
        "DEFINE B AS B.v > A.v)"
    ),
}
_RUN: dict[str, Callable[..., Steps]] = {
    "filter": _filter, "project": _project, "union": _union, "aggregate": _aggregate, "sessions": _sessions,
    "over": _over, "join": _window_join, "near": _near, "as of": _as_of, "first": _keep_first, "match": _match,
}  # fmt: skip
