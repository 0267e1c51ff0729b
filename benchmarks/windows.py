"""Windowed aggregation in memory: the rule of the card tutorial against a hand-written loop.

::

    python -m benchmarks.windows [--rows 400000] [--keys 100 10000] [--json FILE]

Rows a millisecond apart in tumbling windows of 100 seconds (mean, sample deviation, maximum, count; HAVING), in batches
of 5,000 with the watermark at the last row of each. The loop computes the same in the same run, and both must find the
same. ``hop`` and ``session`` have no loop; they show what other windows cost. ``stored`` also takes the changed state
after every batch, as the worker does with every flush.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import MAX_WATERMARK, Row
from anomaly_app.schema import DOUBLE, STRING, TIMESTAMP_3, Column, Schema

SIZE_MS, BATCH_ROWS = 100_000, 5_000
GOAL = 0.5
"""Of the loop's speed."""

SCHEMA = Schema((Column("userId", STRING), Column("amount", DOUBLE), Column("ts", TIMESTAMP_3)), rowtime="ts")
SELECT = """SELECT userId, window_start, AVG(amount) AS a, STDDEV_SAMP(amount) AS s, MAX(amount) AS m, COUNT(*) AS c
FROM TABLE({windows}) GROUP BY userId, window_start, window_end
HAVING MAX(amount) > AVG(amount) + 2.5 * STDDEV_SAMP(amount) AND COUNT(*) >= 3"""
WINDOWS = {
    "tumble": "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '100' SECOND(3))",
    "hop": "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '20' SECOND, INTERVAL '100' SECOND(3))",
    "session": "SESSION(TABLE t PARTITION BY userId, DESCRIPTOR(ts), INTERVAL '5' SECOND)",
}


def transactions(rows: int, keys: int, seed: int = 7) -> list[Row]:
    """Amounts from 10 to 500, two of a hundred from 5,000 to 50,000."""
    choose = random.Random(seed)
    made = []
    for number in range(rows):
        low, high = (5_000, 50_000) if choose.random() < 0.02 else (10, 500)
        made.append((number, number, f"user{choose.randrange(keys)}", round(choose.uniform(low, high), 2), number))
    return made


def by_hand(windows: dict[int, dict[str, list[Any]]], batch: list[Row], found: list[tuple[Any, ...]]) -> None:
    """The same query as a loop (mean and deviation by Welford's recursion)."""
    for at, _, user, amount, _ in batch:
        start = at - at % SIZE_MS
        groups = windows.get(start)
        if groups is None:
            groups = windows[start] = {}
        group = groups.get(user)
        if group is None:
            groups[user] = [1, amount, amount, 0.0, amount]
            continue
        group[0] = count = group[0] + 1
        group[1] += amount
        delta = amount - group[2]
        group[2] = mean = group[2] + delta / count
        group[3] += delta * (amount - mean)
        if amount > group[4]:
            group[4] = amount
    give_out(windows, batch[-1][0], found)


def give_out(windows: dict[int, dict[str, list[Any]]], watermark: int, found: list[tuple[Any, ...]]) -> None:
    """Windows that the watermark has passed."""
    for start in [start for start in windows if start + SIZE_MS - 1 <= watermark]:
        for user, (count, total, _, squares, highest) in windows.pop(start).items():
            if count >= 3:
                average, deviation = total / count, math.sqrt(squares / (count - 1))
                if highest > average + 2.5 * deviation:
                    found.append((user, start, average, deviation, highest, count))


def measure(name: str, rows: list[Row], keys: int, repeats: int, stored: bool = False) -> dict[str, Any]:
    """Rows per second of the operator and, for tumbling windows, of the loop."""
    bound = bind_text(SELECT.format(windows=WINDOWS[name]), {"t": SCHEMA})
    batches = [rows[first : first + BATCH_ROWS] for first in range(0, len(rows), BATCH_ROWS)]
    loop_best = engine_best = float("inf")
    found: list[tuple[Any, ...]] = []
    for _ in range(repeats):
        if name == "tumble":
            windows: dict[int, dict[str, list[Any]]] = {}
            expected: list[tuple[Any, ...]] = []
            gc.collect()
            begin = time.perf_counter()
            for batch in batches:
                by_hand(windows, batch, expected)
            give_out(windows, MAX_WATERMARK, expected)
            loop_best = min(loop_best, time.perf_counter() - begin)
        operator = bound.factory.create(bound.layout)
        findings = []
        gc.collect()
        begin = time.perf_counter()
        for batch in batches:
            findings += operator.process(batch, batch[-1][0])
            if stored:
                for _ in operator.changes():
                    pass
        findings += operator.advance(MAX_WATERMARK)
        engine_best = min(engine_best, time.perf_counter() - begin)
        found = [finding.values for finding in findings]
        if name == "tumble" and sorted(found) != sorted(expected):
            raise SystemExit(f"the operator found {len(found)} windows, the loop {len(expected)}: not the same")
    result = {"windows": name, "keys": keys, "stored": stored, "rows": len(rows), "found": len(found)}
    result["engine_rows_per_s"] = round(len(rows) / engine_best)
    if name == "tumble":
        result |= {"loop_rows_per_s": round(len(rows) / loop_best), "ratio": round(loop_best / engine_best, 3)}
        if not stored:
            result["goal"] = GOAL
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--keys", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the result; default: standard output")
    options = parser.parse_args()
    measured = []
    for keys in options.keys:
        rows = transactions(options.rows, keys)
        measured += [measure(name, rows, keys, options.repeats) for name in WINDOWS]
        measured.append(measure("tumble", rows, keys, options.repeats, stored=True))
    result = {"benchmark": "windows", "python": platform.python_version(), "measured": measured}
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
