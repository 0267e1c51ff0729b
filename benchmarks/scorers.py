"""What ``ANOMALY_SCORE`` costs: many series at once at some ages, one series alone, and the memory of a series.

::

    python -m benchmarks.scorers [--keys 10000] [--json FILE]

A call has a point of each series. *Together* is the bank as it is, *one by one* the same calls with a scorer for each
series. Noise, in us of the thread a point; rows are those of a series. *In any order*: the keys of each call are
shuffled, and one in ten is missing, so that series are of different ages and none lies next to another.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from anomaly_app.detectors import Detector, check_options
from anomaly_app.scoring import bank
from anomaly_app.scoring.functions import ANOMALY_SCORE

AGES = ((50, 300), (600, 1_000), (5_376, 5_888))
"""From which row to which: young, of some hundred rows, with the full history and two rebuilds of each."""
KEYS = (1, 5, 25)
"""By what the keys are divided at each age: old series are larger."""
MINUTE = 60_000


class Run:
    """A bank, and values for it.

    Args:
        keys: series.
        options: of ``ANOMALY_SCORE``.
        shuffled: whether they come in any order, and not all in each call.
    """

    def __init__(self, keys: int, options: Mapping[str, Any], shuffled: bool = False) -> None:
        self.detector: Detector = ANOMALY_SCORE.create(check_options(ANOMALY_SCORE, dict(options)), ["x"])
        self.detector.grow(keys)
        self.keys, self.shuffled, self.row = keys, shuffled, 0
        self.random = np.random.default_rng(1)

    def until(self, row: int) -> float:
        """Go on; seconds a point."""
        spent, points = 0.0, 0
        while self.row < row:
            series = np.arange(self.keys)
            if self.shuffled:
                series = self.random.permutation(self.keys)[: max(self.keys * 9 // 10, 1)]
            values = self.random.normal(size=(len(series), 1))
            times = np.full(len(series), self.row * MINUTE)
            start = time.thread_time()
            self.detector.update(series, times, values).values()
            spent += time.thread_time() - start
            points += len(series)
            self.row += 1
        return spent / max(points, 1)

    def alone(self, rows: int, calls: int) -> float:
        """Points of the first series only, in so many calls; seconds a point."""
        spent = 0.0
        for _ in range(calls):
            count = rows // calls
            values = self.random.normal(size=(count, 1))
            times = (self.row + np.arange(count)) * MINUTE
            start = time.thread_time()
            self.detector.update(np.zeros(count, dtype=np.int64), times, values).values()
            spent += time.thread_time() - start
            self.row += count
        return spent / (rows // calls * calls)


def resident() -> int:
    """Bytes of memory of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(keys: int, first: int, last: int, options: Mapping[str, Any]) -> dict[str, float]:
    """What a point of many series costs at some age."""
    before = resident()
    run = Run(keys, options)
    run.until(first)
    told = {"together": run.until(last) * 1e6, "kB": (resident() - before) / keys / 1e3}
    del run
    run = Run(keys, options, shuffled=True)
    run.until(first)
    told["in any order"] = run.until(last) * 1e6
    del run
    few = max(keys // 50, 10)
    with patch.object(bank, "FEW_SCORERS", 1 << 30):
        run = Run(few, options)
        run.until(first)
        told["one by one"] = run.until(last) * 1e6
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--history", type=int, default=5_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    options = {"history": given.history}
    results: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }
    print("| keys | rows | together, us | in any order | one by one | kB a series |\n|---|---|---|---|---|---|")
    for (first, last), part in zip(AGES, KEYS, strict=True):
        keys = max(given.keys // part, 30)
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:  # so that memory is that of this run
            cell = fresh.submit(measure, keys, first, last, options).result()
        results[f"{keys} keys, rows {first} to {last}"] = cell
        print(
            f"| {keys} | {first} to {last} | {cell['together']:.1f} | {cell['in any order']:.1f} "
            f"| {cell['one by one']:.1f} | {cell['kB']:.0f} |",
            flush=True,
        )
    print("\n| one key, us | rows | calls of 256 rows | a call a row |\n|---|---|---|---|")
    for first, _ in AGES:
        run = Run(1, options)
        run.alone(first, 1)
        many, single = (run.alone(512, calls) * 1e6 for calls in (2, 512))
        results[f"one key, rows from {first}"] = {"many": many, "single": single}
        print(f"| | from {first} | {many:.1f} | {single:.1f} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
