"""Windows over upserts: the row before goes out of a window that is open, whatever the batches and behind any crash."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import MIN_WATERMARK
from anomaly_app.schema import CHANGE, INT, STRING, TIMESTAMP_3, Changelog, Column, Schema
from anomaly_app.testing.contract import arrive, check_arrivals, cut_into

COLUMNS = (Column("id", INT), Column("k", STRING), Column("v", INT), Column("ts", TIMESTAMP_3))
SCHEMA = Schema(COLUMNS, "ts", 20, changelog=Changelog.UPSERT, primary_key=("id",))
CALLS = "COUNT(*) AS n, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi, COUNT(DISTINCT v) AS d"
WINDOWS = {
    "tumble": ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '0.03' SECOND)", 30, 30),
    "hop": ("HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '0.02' SECOND, INTERVAL '0.06' SECOND)", 20, 60),
    "cumulate": ("CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '0.02' SECOND, INTERVAL '0.06' SECOND)", 20, 0),
}
SESSION = "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '0.03' SECOND)"
GAP = 30

Record = tuple[Any, ...]


def rows_of(seed: int, count: int = 40) -> list[Record]:
    """Upserts (2) and deletions (3): time, position, id, k, v, ts, kind."""
    draw, time, rows = random.Random(seed), 1_000, []
    for position in range(count):
        time += draw.choice((0, 0, 1, 3, 10, 25))
        own = time - draw.choice((0, 0, 5, 15, 40, 70))
        value = draw.choice((None, 0, 1, 2, 3))
        rows.append((own, position, draw.randrange(8), draw.choice("xyz"), value, own, draw.choice((2, 2, 2, 3))))
    return rows


def changes(rows: Iterable[Record]) -> Iterable[tuple[int, bool, Record]]:
    """Watermark in front of each change, whether the row comes, and the row: id, k, v, time."""
    last: dict[int, Record] = {}
    watermark = MIN_WATERMARK
    for time, _, id_, key, value, _, kind in rows:
        before, row = last.pop(id_, None), (id_, key, value, time)
        if kind == 2:
            last[id_] = row
        if before is not None and (kind == 3 or before != row):
            yield watermark, False, before
        if kind == 2 and before != row:
            yield watermark, True, row
        watermark = max(watermark, time - 20)


def ends(kind: str, step: int, size: int, time: int) -> list[tuple[int, int]]:
    if kind == "cumulate":
        start = time - time % 60
        return [(start, end) for end in range(start + step, start + 61, step) if end > time]
    first = time - time % step
    return [(start, start + size) for start in range(first - size + step, first + 1, step)]


def summed(key: str, start: int, end: int, rows: list[Record]) -> Record:
    values = [row[2] for row in rows if row[2] is not None]
    low, high = min(values, default=None), max(values, default=None)
    return (key, start, end, len(rows), sum(values) if values else None, low, high, len(set(values)))


def expected(kind: str, rows: list[Record]) -> list[Record]:
    _, step, size = WINDOWS[kind]
    groups: dict[tuple[int, int, str], list[Record]] = {}
    for watermark, comes, row in changes(rows):
        for start, end in ends(kind, step, size, row[3]):
            if end - 1 <= watermark:
                continue
            group = groups.setdefault((start, end, row[1]), [])
            (group.append if comes else group.remove)(row)
    return sorted((summed(key, *edges, own) for (*edges, key), own in groups.items() if own), key=repr)


def expected_sessions(rows: list[Record]) -> list[Record]:
    open_: list[tuple[str, list[int], list[Record]]] = []
    done: list[Record] = []

    def close(watermark: int) -> None:
        for one in [one for one in open_ if one[1][1] + GAP - 1 <= watermark]:
            open_.remove(one)
            if one[2]:
                done.append(summed(one[0], one[1][0], one[1][1] + GAP, one[2]))

    for watermark, comes, row in changes(rows):
        close(watermark)
        time = row[3]
        touched = [one for one in open_ if one[0] == row[1] and one[1][0] - GAP <= time <= one[1][1] + GAP]
        if not comes:
            for one in touched:
                if row in one[2]:
                    one[2].remove(row)
                    break
        elif touched or time + GAP - 1 > watermark:
            low, high = min([time, *(o[1][0] for o in touched)]), max([time, *(o[1][1] for o in touched)])
            whole = [row, *(held for one in touched for held in one[2])]
            for one in touched:
                open_.remove(one)
            open_.append((row[1], [low, high], whole))
    close(1 << 62)
    return sorted(done, key=repr)


def sql_of(source: str) -> str:
    return f"SELECT k, window_start, window_end, {CALLS} FROM {source} GROUP BY k, window_start, window_end"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", [*WINDOWS, "session"])
def test_windows_over_upserts(kind: str, seed: int) -> None:
    rows = rows_of(seed)
    sql = sql_of(SESSION if kind == "session" else WINDOWS[kind][0])
    bound = bind_text(sql, {"t": SCHEMA})
    assert [column.name for column in bound.layout.columns] == ["id", "k", "v", "ts", CHANGE]

    def create() -> Any:
        return bound.factory.create(bound.layout)

    found = arrive(create(), cut_into(rows, [], 20))
    values = sorted((one[3] for one in found if one[0] == "finding"), key=repr)
    assert values == (expected_sessions(rows) if kind == "session" else expected(kind, rows))
    check_arrivals(create, rows, delay_ms=20, seed=seed, per_row=100, ordered=False)
