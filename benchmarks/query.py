"""The library's ``query()`` against a hand-written loop over the same tuples, and over frames of the same rows.

::

    python benchmarks/query.py [--rows 200000] [--windows 5 20 100] [--pairs 9] [--json FILE]

The query is the job of ``anomaly_app/jobs/unusual_sales.sql`` with quantities that are numbers, the loop the one of
``benchmarks/patterns.py``, both from tuples in memory to all results. Loop and query run by turns, ``pairs`` times, in
CPU time of the process, so that others on the machine count less; the ratio is that of the medians. Event times are
``datetime`` objects, which the loop compares as they are.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anomaly_app
from anomaly_app import Rows, query
from benchmarks.patterns import BATCH_ROWS, SALES_GOAL, WITHIN_MS, by_hand, sales

EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 (TIMESTAMP has no zone)
COLUMNS = ["purchase_time", "user_id", "quantity", "invoice_id"]
TYPES = ["TIMESTAMP(3)", "STRING", "INT", "STRING"]
KINDS = ["tuples", "pyarrow", "polars", "pandas"]
WITHIN = datetime.timedelta(milliseconds=WITHIN_MS)


def loop(rows: list) -> list:
    """What the loop finds."""
    state: dict = {}
    found: list = []
    for start in range(0, len(rows), BATCH_ROWS):
        by_hand(state, rows[start : start + BATCH_ROWS], found, WITHIN)
    return found


def select() -> str:
    """The SELECT of the packaged job."""
    text = (Path(anomaly_app.__file__).parent / "jobs" / "unusual_sales.sql").read_text()
    return text[text.index("SELECT *") :]


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of CPU and the result."""
    gc.collect()
    begin = time.process_time()
    result = run()
    return time.process_time() - begin, result


def measure(kind: str, per_window: int, count: int, users: int, pairs: int) -> dict[str, Any]:
    """Rows per second of both by turns, and the ratio."""
    rows = [
        (EPOCH + datetime.timedelta(milliseconds=at), user, int(quantity), invoice)
        for at, user, quantity, invoice in sales(count, per_window, users)
    ]
    columns, given = list(zip(COLUMNS, TYPES, strict=True)), rows if kind == "tuples" else frame_of(kind, rows)
    table = Rows(columns, given, rowtime="purchase_time", watermark_delay_ms=1_000)
    hand, library = partial(loop, rows), partial(query, select(), {"SalesRecordTable": table})
    loops, queries = [], []
    for _ in range(pairs):
        seconds, expected = timed(hand)
        loops.append(seconds)
        seconds, result = timed(library)
        queries.append(seconds)
    # The loop restarts a timed-out user when its next row comes, the query when time has passed.
    ours, theirs = {row[1] for row in result.rows}, {found[1] for found in expected}
    if not theirs <= ours or len(ours) - len(theirs) > users:
        raise SystemExit(f"the query found {len(ours)} matches, the loop {len(theirs)}: not the same")
    ratios = [one / other for one, other in zip(loops, queries, strict=True)]
    return {
        "rows_as": kind,
        "rows_per_window": per_window,
        "users": users,
        "rows": count,
        "matches": len(ours),
        "loop_rows_per_s": round(count / statistics.median(loops)),
        "query_rows_per_s": round(count / statistics.median(queries)),
        "ratio": round(statistics.median(loops) / statistics.median(queries), 3),
        "ratio_from_to": [round(min(ratios), 3), round(max(ratios), 3)],
        "goal": SALES_GOAL,
    }


def frame_of(kind: str, rows: list) -> Any:
    """The rows as a frame of a library."""
    columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    if kind == "pyarrow":
        import pyarrow

        return pyarrow.table(columns)
    if kind == "polars":
        import polars

        return polars.DataFrame(columns)
    import pandas

    return pandas.DataFrame(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--windows", type=int, nargs="+", default=[5, 20, 100])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--as", dest="kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path, help="file for the result; default: standard output")
    options = parser.parse_args()
    measured = [
        measure(kind, per_window, options.rows, options.users, options.pairs)
        for per_window in options.windows
        for kind in options.kinds
    ]
    result = {"benchmark": "query", "python": platform.python_version(), "measured": measured}
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
