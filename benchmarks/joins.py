"""Joins by time in memory, against loops written by hand.

::

    python -m benchmarks.joins [--rows 400000] [--keys 10000] [--repeats 3] [--json FILE]

``interval``: two tables whose rows of a key lie at most 60 s apart, one match a row, in order of event time but for
2 s. ``temporal``: rows of one table with the version that the key had at their time. Rows of both tables are counted.
By hand means the same pairs from dictionaries and lists: no SQL, no NULL, no disorder beyond what the loop needs, no
state that could be stored, no ids of alerts. Both must give the same pairs, and processor time is measured.
``bytes_per_row`` is what a row costs that is held.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import sys
import time
import tracemalloc
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anomaly_app.jobs.binder import BoundQuery, bind_text
from anomaly_app.jobs.joint_task import JointSlot, JointTask
from anomaly_app.operators import Row
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, Schema

BATCH_ROWS = 5_000
GC_THRESHOLDS = (100_000, 50, 100)
"""Those of the worker."""
DELAY_MS = 2_000
REACH_MS = 60_000

COLUMNS = (Column("id", INT), Column("k", STRING), Column("v", INT), Column("ts", TIMESTAMP_3))
TABLES = {name: Schema(COLUMNS, rowtime="ts", watermark_delay_ms=DELAY_MS) for name in ("a", "b")}
INTERVAL = """SELECT a.k, a.id, b.id AS other, a.v, b.v AS w, a.ts FROM a JOIN b ON a.k = b.k
    AND b.ts BETWEEN a.ts - INTERVAL '60' SECOND AND a.ts + INTERVAL '60' SECOND"""

TEMPORAL = """SELECT a.k, a.id, b.id AS other, a.v, b.v AS w, a.ts
    FROM a JOIN last FOR SYSTEM_TIME AS OF a.ts AS b ON a.k = b.k"""
LAST = """CREATE VIEW last AS SELECT id, k, v, ts FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS rn FROM b) WHERE rn = 1;"""
SHARE = 10
"""One row in so many is a version."""

Numbered = tuple[int, Row]
Pairs = list[tuple[int, int]]


def near_rows(count: int, keys: int, seed: int = 7) -> list[Numbered]:
    """Rows of both tables by arrival: a key has a row of each within 50 s, and the next ones 150 s later."""
    choose, order = random.Random(seed), list(range(keys))
    choose.shuffle(order)
    apart = 150_000 / keys
    rows: list[tuple[float, int, int, str, int]] = []
    for number in range(count // 2):
        at, key = int(number * apart), f"key-{order[number % keys]}"
        for table in (0, 1):
            moved = at + choose.randrange(25_000) + 100_000
            rows.append((moved + choose.randrange(DELAY_MS), table, number, key, moved))
    return _positioned(rows)


def as_of_rows(count: int, keys: int, seed: int = 7) -> list[Numbered]:
    """Rows of the first table, and versions of each key from time to time, by arrival; first all keys have one."""
    choose = random.Random(seed)
    rows = [(0.0, 1, number, f"key-{number}", 0) for number in range(keys)]
    for number in range(count - keys):
        moved = 100_000 + number
        table = int(number % SHARE == 0)
        key = f"key-{choose.randrange(keys)}"
        rows.append((moved + choose.randrange(DELAY_MS), table, keys + number, key, moved))
    return _positioned(rows)


def _positioned(rows: list[tuple[float, int, int, str, int]]) -> list[Numbered]:
    rows.sort()
    return [
        (table, (at, place, number, key, number % 100, at)) for place, (_, table, number, key, at) in enumerate(rows)
    ]


def interval_by_hand(batches: list[list[Numbered]]) -> Pairs:
    """The same pairs, from dictionaries."""
    held: tuple[dict[str, list[Row]], dict[str, list[Row]]] = ({}, {})
    queues: tuple[deque[Row], deque[Row]] = (deque(), deque())
    highest = [0, 0]
    found: list[tuple[Any, ...]] = []
    for batch in batches:
        for table, row in batch:
            at, key = row[0], row[3]
            others = held[1 - table].get(key)
            if others:
                for other in others:
                    if -REACH_MS <= other[0] - at <= REACH_MS:
                        a, b = (row, other) if table == 0 else (other, row)
                        found.append((a[3], a[2], b[2], a[4], b[4], a[5]))
            held[table].setdefault(key, []).append(row)
            queues[table].append(row)
            if at > highest[table]:
                highest[table] = at
        over = min(highest) - DELAY_MS - REACH_MS
        for mine, queue in zip(held, queues, strict=True):
            while queue and queue[0][0] < over - DELAY_MS:  # they are out of order by so much
                row = queue.popleft()
                rows = mine[row[3]]
                rows.remove(row)
                if not rows:
                    del mine[row[3]]
    return [row[1:3] for row in found]


def temporal_by_hand(batches: list[list[Numbered]]) -> Pairs:
    """The same pairs, from sorted lists."""
    versions: dict[str, list[Row]] = {}
    waiting: list[Row] = []
    highest = [0, 0]
    found: list[tuple[Any, ...]] = []
    for batch in batches:
        for table, row in batch:
            if table:
                held = versions.setdefault(row[3], [])
                held.append(row)
                if len(held) > 1 and held[-2][0] > row[0]:
                    held.sort()
            else:
                waiting.append(row)
            if row[0] > highest[table]:
                highest[table] = row[0]
        over = min(highest) - DELAY_MS
        waiting.sort()
        ready = bisect_left(waiting, (over + 1,))
        for row in waiting[:ready]:
            held = versions.get(row[3], [])
            place = bisect_left(held, (row[0] + 1,))
            if place:
                other = held[place - 1]
                found.append((row[3], row[2], other[2], row[4], other[4], row[5]))
        del waiting[:ready]
        for key in {row[3] for table, row in batch if table}:
            held = versions[key]
            place = bisect_left(held, (over + 1,)) - 1
            if place > 0:
                del held[:place]
    return [row[1:3] for row in found]


def run(bound: BoundQuery, batches: list[list[Numbered]]) -> tuple[JointTask, list[Any]]:
    """The engine, without the end of the input."""
    operator, _ = bound.factory.create_over({table.name: table.layout for table in bound.tables})
    task = JointTask([JointSlot("query", operator, (0, 1))], [table.schema for table in bound.tables])
    found: list[Any] = []
    for batch in batches:
        task.process(batch)
        found += task.take().findings
    return task, found


def measure(name: str, sql: str, rows: list[Numbered], hand: Callable[..., Pairs], repeats: int) -> dict[str, Any]:
    """Rows per second of both."""
    bound = bind_text(sql, TABLES)
    batches = [rows[first : first + BATCH_ROWS] for first in range(0, len(rows), BATCH_ROWS)]
    hand_best = engine_best = float("inf")
    for _ in range(repeats):
        gc.collect()
        begin = time.process_time()
        expected = hand(batches)
        hand_best = min(hand_best, time.process_time() - begin)
        gc.collect()
        begin = time.process_time()
        _, findings = run(bound, batches)
        engine_best = min(engine_best, time.process_time() - begin)
        found = [finding.values[1:3] for _, finding in findings]
        if Counter(found) != Counter(expected):
            raise SystemExit(f"{name} gave {len(found)} rows, by hand it is {len(expected)}: not the same")
    result = {"work": name, "rows": len(rows), "pairs": len(found), "bytes_per_row": held_bytes(bound, batches)}
    result |= {"engine_rows_per_s": round(len(rows) / engine_best), "hand_rows_per_s": round(len(rows) / hand_best)}
    return result | {"ratio": round(hand_best / engine_best, 3)}


def held_bytes(bound: BoundQuery, batches: list[list[Numbered]]) -> int:
    """What a row costs that the join holds, with the row and state that is to be written; all have one time."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    operator, _ = bound.factory.create_over({table.name: table.layout for table in bound.tables})
    task = JointTask([JointSlot("query", operator, (0, 1))], [table.schema for table in bound.tables])
    for batch in batches:
        task.process([(table, (0, row[1] + 1, row[2] + 1, row[3], row[4], 0)) for table, row in batch])
        task.take()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round((after - before) / sum(map(len, batches)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the result; default: standard output")
    options = parser.parse_args()
    gc.set_threshold(*GC_THRESHOLDS)
    measured = [
        measure("interval", INTERVAL, near_rows(options.rows, options.keys), interval_by_hand, options.repeats),
        measure("temporal", LAST + TEMPORAL, as_of_rows(options.rows, options.keys), temporal_by_hand, options.repeats),
    ]
    result = {"benchmark": "joins", "python": platform.python_version(), "measured": measured}
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
