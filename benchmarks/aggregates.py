"""GROUP BY without a window in memory, against a loop written by hand; and more groups than there is memory for.

::

    python -m benchmarks.aggregates [--rows 1000000] [--keys 100000] [--flush 200000] [--groups 2000000] [--json FILE]

``groups``: COUNT and AVG by key, one update for each key and flush: the row before goes, the new one comes. By hand
means the same changes from a dictionary of lists: no SQL, no NULL, no state that could be stored, no origin of a row.
Both must give the same changes, and processor time is measured. ``taken back``: the same over a table whose rows
change: each row takes one back; no loop stands beside it. ``bytes_per_group`` is what a group takes in memory, with its
key.

``many``: more groups than ``--state-mb`` has room for, as a worker holds them: those that are not in use stand in
RocksDB. First each group comes once, then rows of any of them; what has changed is written every 20,000 rows.
``resident_mb`` is the process after each tenth: it must not grow once there is no room any more.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rocksdict import Options, Rdict, WriteBatch

from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import Row
from anomaly_app.room import Room
from anomaly_app.schema import INT, STRING, Changelog, Column, Schema
from anomaly_app.tables.state import WRITE_BUFFER

FLUSH_ROWS, BATCH_ROWS = 20_000, 5_000
GC_THRESHOLDS = (100_000, 50, 100)
"""Those of the worker."""
APPENDED = Schema((Column("k", STRING), Column("v", INT)))
CHANGED = Schema(APPENDED.columns, changelog=Changelog.ALL)
SQL = "SELECT k, COUNT(*) AS n, AVG(v) AS a FROM t GROUP BY k"


def rows_of(count: int, keys: int, seed: int = 7) -> list[Row]:
    """Rows of keys in any order."""
    choose = random.Random(seed)
    names = [f"user{number}" for number in range(keys)]
    return [(0, number, names[choose.randrange(keys)], choose.randrange(1_000)) for number in range(count)]


def by_hand(groups: dict[str, list[int]], rows: Sequence[Row], found: list[tuple[Any, ...]]) -> None:
    """The same changes from a dictionary."""
    touched: dict[str, tuple[str, int, int] | None] = {}
    for _, _, key, value in rows:
        group = groups.get(key)
        if group is None:
            groups[key] = [1, value]
            touched[key] = None
            continue
        if key not in touched:
            touched[key] = (key, group[0], group[1] // group[0])
        group[0] += 1
        group[1] += value
    for key, before in touched.items():
        count, total = groups[key]
        if before is None:
            found.append((0, (key, count, total // count)))
        else:
            found += ((1, before), (2, (key, count, total // count)))


def measure(rows: list[Row], flush: int, repeats: int) -> dict[str, Any]:
    """Rows per second of both."""
    bound = bind_text(SQL, {"t": APPENDED})
    batches = [rows[first : first + flush] for first in range(0, len(rows), flush)]
    hand = engine = float("inf")
    for _ in range(repeats):
        expected: list[tuple[Any, ...]] = []
        groups: dict[str, list[int]] = {}
        gc.collect()
        begin = time.process_time()
        for batch in batches:
            by_hand(groups, batch, expected)
        hand = min(hand, time.process_time() - begin)
        operator = bound.factory.create(bound.layout)
        operator.keep_nothing()
        found: list[Any] = []
        gc.collect()
        begin = time.process_time()
        for batch in batches:
            found += operator.step([Flow(batch, 0)])
        engine = min(engine, time.process_time() - begin)
        if [(one.change, one.values) for one in found] != expected:
            raise SystemExit(f"groups gave {len(found)} changes, by hand it is {len(expected)}: not the same")
    result = {"work": "groups", "rows": len(rows), "flush": flush, "changes": len(expected)}
    result |= {"engine_rows_per_s": round(len(rows) / engine), "hand_rows_per_s": round(len(rows) / hand)}
    return result | {"ratio": round(hand / engine, 3), "bytes_per_group": bytes_per_group(len(groups))}


def taken_back(rows: list[Row], flush: int) -> dict[str, Any]:
    """Rows per second where each row takes another one back."""
    bound = bind_text(SQL.replace("AVG(v) AS a", "AVG(v) AS a, MAX(v) AS m"), {"t": CHANGED})
    changes: list[Row] = []
    for number, (at, _, key, value) in enumerate(rows):
        if number >= 1_000:
            _, _, old_key, old = rows[number - 1_000]
            changes.append((at, number, old_key, old, 1))
        changes.append((at, number, key, value, 2))
    operator = bound.factory.create(bound.layout)
    operator.keep_nothing()
    gc.collect()
    begin = time.process_time()
    for first in range(0, len(changes), flush):
        operator.step([Flow(changes[first : first + flush], 0)])
    passed = time.process_time() - begin
    return {"work": "taken back", "rows": len(changes), "engine_rows_per_s": round(len(changes) / passed)}


def bytes_per_group(count: int) -> int:
    """What a group takes in memory, with its key."""
    bound = bind_text(SQL, {"t": APPENDED})
    operator = bound.factory.create(bound.layout)
    operator.keep_nothing()
    gc.collect()
    tracemalloc.start()
    for first in range(0, count, BATCH_ROWS):
        numbers = range(first, min(first + BATCH_ROWS, count))
        operator.step([Flow([(0, number, f"user{number}", 1_000 + number % 1_000) for number in numbers], 0)])
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round(held / count)


class Disk:
    """A database as the worker has it."""

    def __init__(self, path: Path) -> None:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(WRITE_BUFFER)
        self.database = Rdict(str(path), options)

    def get_many(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        """What stands under each name."""
        found: Sequence[bytes | None] = self.database.get(list(names))
        return found

    def scan(self, behind: bytes, most: int) -> Sequence[tuple[bytes, bytes]]:
        """Nothing expires here."""
        return ()

    def write(self, entries: Iterator[tuple[bytes, bytes | None]], length: int) -> None:
        """A flush; the names of the entries are shorter by so much."""
        batch = WriteBatch(raw_mode=True)
        for name, data in entries:
            if data is None:
                batch.delete(name[length:])
            else:
                batch.put(name[length:], data)
        self.database.write(batch)


def resident_mb() -> int:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 >> 20


def many(groups: int, state_mb: int, folder: Path) -> dict[str, Any]:
    """More groups than there is room for."""
    bound = bind_text(SQL, {"t": APPENDED})
    operator, disk = bound.factory.create(bound.layout), Disk(folder / "db")
    ((prefix, store),) = operator.stores.items()
    store.attach(disk, Room(state_mb << 20))
    choose, total = random.Random(3), 2 * groups
    resident: list[int] = []
    begin, wall = time.process_time(), time.perf_counter()
    for first in range(0, total, BATCH_ROWS):
        numbers = range(first, first + BATCH_ROWS)
        keys = (number if number < groups else choose.randrange(groups) for number in numbers)
        rows = [(0, number, f"user{key}", number % 1_000) for number, key in zip(numbers, keys, strict=True)]
        operator.step([Flow(rows, 0)])
        if not (first + BATCH_ROWS) % FLUSH_ROWS:
            disk.write(iter(operator.changes()), len(prefix))
        if (first + BATCH_ROWS) % (total // 10) < BATCH_ROWS:
            resident.append(resident_mb())
    passed, wall = time.process_time() - begin, time.perf_counter() - wall
    disk.database.close()
    result = {"work": "many", "groups": groups, "state_mb": state_mb, "rows": total, "in_memory": len(store)}
    result |= {"engine_rows_per_s": round(total / passed), "rows_per_s_by_the_clock": round(total / wall)}
    return result | {"counts": store.counts, "resident_mb": resident}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--flush", type=int, default=200_000, help="rows between two updates of a key")
    parser.add_argument("--groups", type=int, default=2_000_000, help="0 to leave out what does not fit into memory")
    parser.add_argument("--state-mb", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the result; default: standard output")
    options = parser.parse_args()
    gc.set_threshold(*GC_THRESHOLDS)
    measured = []
    if options.groups:
        with tempfile.TemporaryDirectory() as folder:
            measured.append(many(options.groups, options.state_mb, Path(folder)))
    rows = rows_of(options.rows, options.keys)
    measured += [measure(rows, options.flush, options.repeats), taken_back(rows, options.flush)]
    result = {"benchmark": "aggregates", "python": platform.python_version(), "measured": measured}
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
