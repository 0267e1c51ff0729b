"""A query with a detector in memory, against the same detector called by hand.

::

    python -m benchmarks.over [--rows 200000] [--keys 1 250 10000] [--json FILE]

The second query of the anomaly detection tutorial (prices by customer, ARIMA) over rows a millisecond apart, in batches
of 5,000. By hand means: keys to numbers and values to arrays, ``Detector.update``, and rows with a verdict; no SQL,
no filters, no alerts. Both must flag the same rows. ``stored`` also takes the changed state after every batch, as the
worker does with every flush.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import Row
from anomaly_app.plan.nodes import Detect, walk
from anomaly_app.schema import DOUBLE, INT, TIMESTAMP_3, Column, Schema
from anomaly_app.windows.over import DetectorCall

BATCH_ROWS = 5_000
GOAL = 0.3
"""Of the speed by hand, which makes neither bounds nor rows of what is judged."""
GC_THRESHOLDS = (100_000, 50, 100)
"""Those of the worker."""

SCHEMA = Schema((Column("customer_id", INT), Column("price", DOUBLE), Column("ts", TIMESTAMP_3)), rowtime="ts")
QUERY = """SELECT customer_id, ts, price, anomaly_results[6] AS is_anomaly FROM (
  SELECT customer_id, $rowtime as ts, price,
    ML_DETECT_ANOMALIES(price, $rowtime, JSON_OBJECT('horizon' VALUE 1, 'minTrainingSize' VALUE 16, 'confidencePercentage' VALUE 90.0))
      OVER (PARTITION BY customer_id ORDER BY $rowtime
            RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS anomaly_results
  FROM `examples`.`marketplace`.`orders`)
WHERE anomaly_results[6] IS NOT NULL"""  # noqa: E501


def orders(rows: int, keys: int, seed: int = 7) -> list[Row]:
    """Prices from 0 to 100."""
    choose = random.Random(seed)
    return [(number, number, choose.randrange(keys), round(choose.random() * 100, 2), number) for number in range(rows)]


def by_hand(call: DetectorCall, batches: list[list[Row]]) -> list[tuple[Any, ...]]:
    """The same results without SQL."""
    detector = call.create()
    numbers: dict[int, int] = {}
    found: list[tuple[Any, ...]] = []
    for batch in batches:
        series = np.array([numbers.setdefault(row[2], len(numbers)) for row in batch], dtype=np.int64)
        detector.grow(len(numbers))
        points = np.array([[row[3]] for row in batch])
        verdicts = detector.update(series, np.array([row[0] for row in batch], dtype=np.int64), points)
        for row, flag in zip(batch, verdicts.flags(), strict=True):
            if flag is not None:
                found.append((row[2], row[0], row[3], flag))
    return found


def measure(rows: list[Row], keys: int, repeats: int, stored: bool) -> dict[str, Any]:
    """Rows per second of both."""
    bound = bind_text(QUERY, {"examples.marketplace.orders": SCHEMA})
    factory = bound.factory
    (call,) = [call for node in walk(factory.node) if isinstance(node, Detect) for call in node.calls]
    batches = [rows[first : first + BATCH_ROWS] for first in range(0, len(rows), BATCH_ROWS)]
    hand_best = engine_best = float("inf")
    found: list[tuple[Any, ...]] = []
    for _ in range(repeats):
        gc.collect()
        begin = time.perf_counter()
        expected = by_hand(call, batches)
        hand_best = min(hand_best, time.perf_counter() - begin)
        operator = factory.create(bound.layout)
        findings = []
        gc.collect()
        begin = time.perf_counter()
        for batch in batches:
            findings += operator.process(batch, batch[-1][0])
            if stored:
                for _ in operator.changes():
                    pass
        engine_best = min(engine_best, time.perf_counter() - begin)
        found = [finding.values for finding in findings]
        if found != expected:
            raise SystemExit(f"the query gave {len(found)} rows, by hand it is {len(expected)}: not the same")
    flagged = sum(values[3] for values in found)
    result = {"keys": keys, "stored": stored, "rows": len(rows), "judged": len(found), "flagged": flagged}
    result |= {"engine_rows_per_s": round(len(rows) / engine_best), "hand_rows_per_s": round(len(rows) / hand_best)}
    return result | {"ratio": round(hand_best / engine_best, 3)} | ({} if stored else {"goal": GOAL})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--keys", type=int, nargs="+", default=[1, 250, 10_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the result; default: standard output")
    options = parser.parse_args()
    gc.set_threshold(*GC_THRESHOLDS)
    measured = []
    for keys in options.keys:
        rows = orders(options.rows, keys)
        measured += [measure(rows, keys, options.repeats, stored) for stored in (False, True)]
    result = {"benchmark": "over", "python": platform.python_version(), "measured": measured}
    text = json.dumps(result, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
