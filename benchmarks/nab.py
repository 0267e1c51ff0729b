"""The Numenta Anomaly Benchmark: ``AnomalyScorer`` with its defaults, scored by the rules of ``nab_scoring.py``.

::

    python -m benchmarks.nab --data DIR --windows FILE [--cross-validate 200] [--json FILE]

``DIR`` holds files ``category/name.csv`` with the columns ``timestamp`` and ``value``; ``FILE`` is a JSON object of
``{"category/name.csv": [[first, last], …]}``, both timestamps inclusive, as NAB's ``combined_windows.json``. What one
of them has and the other has not is named and not scored.

``--cross-validate N`` takes the threshold from a random half of the files and scores the other half with it, N times,
and likewise for each category left out: what is to be expected where nothing is known but the scorer. *Speed* is beside
that of numpy's mean and standard deviation over the last 5,000 values.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from anomaly_app import AnomalyScorer
from benchmarks.nab_scoring import PROFILES, Scored, evaluate, optimise, outcome, scored

GOAL, GOAL_US = 70.0, 50.0
"""Standard profile; microseconds a point."""
RECOMMENDED = 0.5
"""Threshold that the documentation gives."""


class Series(NamedTuple):
    """A file: times in ms, values, and the first and last row of each window."""

    times: list[int]
    values: list[float]
    windows: list[tuple[int, int]]


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def read(data: Path, windows: Path) -> dict[str, Series]:
    """The files that have windows, or an empty list of them, by name."""
    labels, found = json.loads(windows.read_text()), {}
    there = {path.relative_to(data).as_posix() for path in data.glob("*/*.csv")}
    for missing, where in ((labels.keys() - there, data), (there - labels.keys(), windows)):
        if missing:
            print(f"not in {where}: {', '.join(sorted(missing))}")
    if not there & labels.keys():
        raise SystemExit(f"{windows} names no file of {data}")
    for name in sorted(there & labels.keys()):
        limits = labels[name]
        with (data / name).open(newline="") as lines:
            rows = [(milliseconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(lines)]
        times = [row[0] for row in rows]
        places = []
        for first, last in limits:
            start, stop = milliseconds(first), milliseconds(last)
            inside = [k for k, at in enumerate(times) if start <= at <= stop]
            if not inside:
                raise SystemExit(f"{name}: no row lies in the window from {first} to {last}")
            places.append((inside[0], inside[-1]))
        found[name] = Series(times, [row[1] for row in rows], places)
    return found


def score(series: Series, options: Mapping[str, Any]) -> list[float]:
    scorer = AnomalyScorer(**options)
    return [scorer.score(at, value) for at, value in zip(series.times, series.values, strict=True)]


def cross_validate(files: Mapping[str, Scored], repeats: int, seed: int = 1) -> dict[str, Any]:
    """Standard profile at thresholds from other files: by random halves, and by categories left out."""
    profile, names, choose = PROFILES["standard"], sorted(files), random.Random(seed)
    halves = []
    for _ in range(repeats):
        choose.shuffle(names)
        for half in (names[: len(names) // 2], names[len(names) // 2 :]):
            learnt = optimise([files[name] for name in names if name not in half], profile).threshold
            halves.append(evaluate([files[name] for name in half], profile, learnt).score)
    gained, windows = 0.0, 0
    for category in sorted({name.split("/")[0] for name in names}):
        others = [file for name, file in files.items() if not name.startswith(category + "/")]
        learnt = optimise(others, profile).threshold
        for name in names:
            if name.startswith(category + "/"):
                reached = outcome(files[name], profile, learnt)
                gained, windows = gained + reached.gained, windows + reached.windows
    return {
        "halves": {"mean": statistics.mean(halves), "deviation": statistics.pstdev(halves), "repeats": repeats},
        "category_left_out": 100 * gained / (2 * windows),
    }


def measure_speed(points: int = 6_000, history: int = 5_000) -> dict[str, float]:
    """Microseconds of CPU a point with a full history, and those of numpy's mean and deviation over as many values."""
    values = np.random.default_rng(1).normal(size=history + points + 600)
    scorer = AnomalyScorer()
    for at, value in enumerate(values[: history + 600].tolist()):
        scorer.score(at, value)
    best = reference = float("inf")
    for start in range(0, points, 1_000):
        part = values[history + 600 + start :][:1_000].tolist()
        begin = time.process_time()
        for at, value in enumerate(part):
            scorer.score(at, value)
        best = min(best, (time.process_time() - begin) / len(part))
        begin = time.process_time()
        for k in range(len(part)):
            window = values[k : k + history]
            window.mean()
            window.std()
        reference = min(reference, (time.process_time() - begin) / len(part))
    return {"us": best * 1e6, "reference_us": reference * 1e6, "ratio": best / reference}


def main() -> None:
    """Score the files, print a line for each and the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of category/name.csv")
    parser.add_argument("--windows", type=Path, required=True, help="combined_windows.json")
    parser.add_argument("--cross-validate", type=int, default=0, metavar="N", help="random halves to try")
    parser.add_argument("--options", type=json.loads, default={}, help="of the scorer, as a JSON object")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()

    series = read(arguments.data, arguments.windows)
    files = {name: scored(score(one, arguments.options), one.windows) for name, one in series.items()}
    results = {name: optimise(list(files.values()), profile) for name, profile in PROFILES.items()}
    standard = results["standard"]
    recommended = evaluate(list(files.values()), PROFILES["standard"], RECOMMENDED)
    print(f"{'file':52} {'found':>7} {'false':>5}  gained")
    for name, file in files.items():
        own = outcome(file, PROFILES["standard"], standard.threshold)
        print(f"{name:52} {own.found:3} / {own.windows} {own.false:5} {own.gained:7.2f}")
    report: dict[str, Any] = {
        "files": len(files),
        "rows": sum(len(one.values) for one in series.values()),
        "profiles": {name: asdict(result) for name, result in results.items()},
        "recommended": asdict(recommended),
        "speed": measure_speed(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "goal": {"standard": GOAL, "us": GOAL_US},
    }
    for name, result in results.items():
        print(
            f"{name:20} {result.score:6.2f} at threshold {result.threshold:.3f}: "
            f"{result.found} of {result.windows} windows, {result.false} false"
        )
    print(f"{'standard':20} {recommended.score:6.2f} at threshold {RECOMMENDED}, which is recommended")
    if arguments.cross_validate:
        report["cross_validated"] = checked = cross_validate(files, arguments.cross_validate)
        halves = checked["halves"]
        print(f"threshold from the other half: {halves['mean']:.2f} ± {halves['deviation']:.2f} (deviation of a half)")
        print(f"threshold from the other categories: {checked['category_left_out']:.2f}")
    speed = report["speed"]
    print(f"{speed['us']:.1f} us a point, {speed['ratio']:.2f} times numpy's mean and deviation over 5,000 values")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
