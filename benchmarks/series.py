"""Labelled series of any kind: what ``AnomalyScorer`` finds of their anomalies, beside what simple baselines find.

::

    python -m benchmarks.series --points DIR --nab DIR --made 2 [--quiet 2] [--seed 0] [--fold 0/2] [--baselines]

``--points DIR`` holds files ``name.csv`` or ``name.csv.gz`` with the columns ``timestamp`` (in s, or text), ``value``
and ``label`` (0 or 1); ``--nab DIR`` what ``nab.py`` reads; ``--made N`` makes N series of each simulated family, see
``series_made.py``, ``--quiet N`` N series of each without anomalies. Several may be given, each is a corpus with its
own lines. How alerts are counted is told in ``series_measures.py``. Scores are kept in ``--cache`` (by what made them)
so that only what has changed is computed.

A split is one by series, always the same: a series belongs to fold ``crc32(name) % n``. ``--fold 0/2`` takes those of
the first half.
"""

from __future__ import annotations

import argparse
import csv
import functools
import gzip
import hashlib
import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import anomaly_app
from anomaly_app import AnomalyScorer
from benchmarks import nab, series_baselines, series_made
from benchmarks.nab_scoring import PROFILES, evaluate, optimise, scored
from benchmarks.series_baselines import BASELINES
from benchmarks.series_measures import BUDGETS, Floats, Prepared, Series, at_budget, events_of, prepare, reach

THRESHOLD = 0.5
"""The default one of the scorer."""
Detector = Callable[[Series], Floats]


def points(folder: Path) -> list[Series]:
    """Series whose rows have a label."""
    found = []
    for path in sorted(folder.glob("*.csv*")):
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            rows = [(row["timestamp"], float(row["value"]), float(row["label"])) for row in csv.DictReader(lines)]
        times = np.array([_milliseconds(row[0]) for row in rows], dtype=np.int64)
        values, labels = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
        found.append(Series(f"{folder.parent.name}/{path.name.split('.')[0]}", times, values, events_of(labels)))
    if not found:
        raise SystemExit(f"{folder} has no file name.csv or name.csv.gz")
    return found


def _milliseconds(text: str) -> int:
    try:
        return round(float(text) * 1000)
    except ValueError:
        return nab.milliseconds(text)


def nab_files(folder: Path) -> list[Series]:
    """Files of the Numenta Anomaly Benchmark with their windows."""
    found = []
    for name, one in nab.read(folder, folder / "combined_windows.json").items():
        times = np.array(one.times, dtype=np.int64)
        step = float(np.median(np.diff(times)))
        day = max(round(86_400_000 / step), 24) if step > 0 else 1440
        events = [(first, last, "") for first, last in one.windows]
        found.append(Series(f"nab/{name}", times, np.array(one.values), events, day, one.windows))
    return found


def made(count: int, first: int = 0) -> list[Series]:
    """Some series of each simulated family, with anomalies."""
    found = []
    for family in series_made.FAMILIES:
        for seed in range(first, first + count):
            one = series_made.make(family, seed)
            found.append(Series(f"made/{family}-{seed}", one.times, one.values, one.events))
    return found


def quiet(count: int, first: int = 0) -> list[Series]:
    """Some series of each simulated family, without any; each family is a corpus, so that its rate is told."""
    found = []
    for family in series_made.FAMILIES:
        for seed in range(first, first + count):
            one = series_made.plain(family, seed)
            found.append(Series(f"quiet {family}/{seed}", one.times, one.values, one.events))
    return found


def beginning(series: Series, rows: int) -> Series:
    """The first rows of a series, and the events that begin in them."""
    parts = {
        name: [(first, min(last, rows - 1), *rest) for first, last, *rest in getattr(series, name) if first < rows]
        for name in ("events", "windows")
    }
    return replace(series, times=series.times[:rows], values=series.values[:rows], **parts)


def fold(series: Iterable[Series], number: int, folds: int) -> list[Series]:
    """Those of one part of a split by series.

    Example:
        >>> some = [Series(f"made/noise-{k}", np.zeros(0), np.zeros(0), []) for k in range(10)]
        >>> [len(fold(some, k, 2)) for k in range(2)]
        [4, 6]
    """
    return [one for one in series if zlib.crc32(one.name.encode()) % folds == number]


def by_scorer(options: Mapping[str, Any]) -> Detector:
    """``AnomalyScorer`` with some options."""

    def score(series: Series) -> Floats:
        scorer = AnomalyScorer(**options)
        points = zip(series.times.tolist(), series.values.tolist(), strict=True)
        return np.array([scorer.score(at, value) for at, value in points])

    return score


@functools.cache
def _source(name: str) -> bytes:
    """The code that the scores of a detector depend on."""
    if name in BASELINES:
        return Path(str(series_baselines.__file__)).read_bytes()
    package = Path(str(anomaly_app.__file__)).parent
    files = [path for part in ("scoring", "forecasting") for path in sorted((package / part).glob("*.py"))]
    return b"".join(path.read_bytes() for path in files)


def scores_of(
    name: str, detector: Detector, series: Sequence[Series], cache: Path | None
) -> tuple[list[Floats], float]:
    """Scores of each series, and microseconds a point (0 if all of them were kept)."""
    found, rows, spent = [], 0, 0.0
    for one in series:
        made_by = hashlib.sha256(name.encode() + _source(name) + one.name.encode() + one.values.tobytes()).hexdigest()[
            :24
        ]
        path = cache / f"{made_by}.npy" if cache else None
        if path and path.exists():
            found.append(np.load(path))
            continue
        begin = time.process_time()
        found.append(detector(one))
        spent, rows = spent + time.process_time() - begin, rows + len(one.values)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, found[-1])
    return found, spent / rows * 1e6 if rows else 0.0


def nab_score(series: Sequence[Series], scores: Sequence[Floats], threshold: float | None) -> float:
    """NAB's standard profile at a threshold, or at the best one."""
    files = [scored(each, one.windows) for one, each in zip(series, scores, strict=True)]
    profile = PROFILES["standard"]
    return (optimise(files, profile) if threshold is None else evaluate(files, profile, threshold)).score


def report(series: Sequence[Series], scores: Sequence[Floats], threshold: float | None) -> dict[str, Any]:
    """All measures of one detector on one corpus."""
    prepared: list[Prepared] = [prepare(one, each) for one, each in zip(series, scores, strict=True)]
    result: dict[str, Any] = {"budgets": {str(b): asdict(at_budget(prepared, b)) for b in BUDGETS}}
    if threshold is not None:
        result["default"] = asdict(reach(prepared, threshold))
    if all(one.name.startswith("nab/") for one in series):
        result["nab"] = {"best": nab_score(series, scores, None)}
        if threshold is not None:
            result["nab"]["default"] = nab_score(series, scores, threshold)
    return result


def line(name: str, result: Mapping[str, Any], microseconds: float) -> str:
    """One line of the table."""
    budgets = [result["budgets"][str(budget)] for budget in BUDGETS]
    text = f"{name:24} " + " / ".join(f"{one['found']:3}" for one in budgets) + f" of {budgets[0]['events']:3}"
    default = result.get("default")
    text += (
        f"  at {THRESHOLD}: {default['found']:3} at {default['false']:5.2f} a day (worst {default['worst']:5.2f})"
        if default
        else " " * 41
    )
    if "nab" in result:
        text += "  NAB " + " / ".join(f"{key} {value:5.1f}" for key, value in result["nab"].items())
    return text + (f"  {microseconds:6.1f} us" if microseconds else "")


def table(
    series: Sequence[Series], detectors: Mapping[str, tuple[Detector, float | None]], cache: Path | None
) -> dict[str, Any]:
    """Print a line for each detector on each corpus, and give what was printed."""
    results: dict[str, Any] = {}
    for corpus in dict.fromkeys(one.name.split("/")[0] for one in series):
        own = [one for one in series if one.name.startswith(corpus + "/")]
        days = sum(one.days for one in own)
        print(f"{corpus}: {len(own)} series, {days:.0f} days; found at <= {' / '.join(map(str, BUDGETS))} false a day")
        results[corpus] = {}
        for name, (detector, threshold) in detectors.items():
            scores, spent = scores_of(name, detector, own, cache)
            results[corpus][name] = result = report(own, scores, threshold)
            print("  " + line(name, result, spent), flush=True)
            kinds = (result.get("default") or result["budgets"]["1.0"])["kinds"]
            if len(kinds) > 1:
                parts = [f"{kind} {hit}/{all_}" for kind, (hit, all_) in sorted(kinds.items())]
                print(" " * 27 + ", ".join(parts) + ("" if threshold else " (at <= 1 a day)"))
    return results


def main() -> None:
    """Read or make the series, score them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, help="folder of files with a label for each row")
    parser.add_argument("--nab", type=Path, help="folder of category/name.csv and combined_windows.json")
    parser.add_argument("--made", type=int, default=0, metavar="N", help="series of each simulated family")
    parser.add_argument("--quiet", type=int, default=0, metavar="N", help="the same without anomalies, for the rate")
    parser.add_argument("--seed", type=int, default=0, help="of the first simulated series of each family")
    parser.add_argument("--fold", help="such as 0/2: only the series of one part of a fixed split")
    parser.add_argument("--first", type=int, metavar="ROWS", help="only so many rows of each: how it is at the start")
    parser.add_argument("--baselines", action="store_true", help="score with the baselines, too")
    parser.add_argument("--options", type=json.loads, default={}, help="of the scorer, as a JSON object")
    parser.add_argument("--cache", type=Path, help="folder in which scores are kept")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()

    series: list[Series] = []
    if arguments.points:
        series += points(arguments.points)
    if arguments.nab:
        series += nab_files(arguments.nab)
    series += made(arguments.made, arguments.seed) + quiet(arguments.quiet, arguments.seed)
    if arguments.fold:
        number, folds = map(int, arguments.fold.split("/"))
        series = fold(series, number, folds)
    if arguments.first:
        series = [beginning(each, arguments.first) for each in series]
    if not series:
        parser.error("no series: give --points, --nab, --made or --quiet")
    name = f"AnomalyScorer{arguments.options or ''}"
    detectors: dict[str, tuple[Detector, float | None]] = {name: (by_scorer(arguments.options), THRESHOLD)}
    if arguments.baselines:
        for each, baseline in BASELINES.items():
            detectors[each] = (_by_baseline(baseline), None)
    results = table(series, detectors, arguments.cache)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def _by_baseline(baseline: Callable[[Floats, int], NDArray[np.float64]]) -> Detector:
    return lambda series: baseline(series.values, series.day)


if __name__ == "__main__":
    main()
