"""How many points of series without anomalies are flagged at 99 %, by detector and kind of series; the target is 1 %.

::

    python -m benchmarks.calibration [--series 200] [--rows 4000] [--only "arima(1,1,1)"] [--json FILE]

Each cell is the share of flagged points, in percent, of ``series`` series of ``rows`` points, those before the first
verdict not counted. *Short history*: the share flagged at the very first verdict, after so many points of normal noise.
The goals are those of the project; a cell that has one and misses it is marked with ``!``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anomaly_app.detectors import Detector, Floats, check_options
from anomaly_app.forecasting import FUNCTIONS

SEASON, STEP_MS = 48, 1_800_000
"""Points of a season: half hours of a day."""

Family = Callable[[np.random.Generator, int, int], Floats]


def _ar1(random: np.random.Generator, rows: int, series: int) -> Floats:
    noise = random.normal(size=(rows, series))
    noise[0] /= (1 - 0.8**2) ** 0.5
    for row in range(1, rows):
        noise[row] += 0.8 * noise[row - 1]
    return noise


def _seasonal(random: np.random.Generator, rows: int, series: int) -> Floats:
    wave: Floats = 5 * np.sin(np.arange(rows) * 2 * np.pi / SEASON)
    return wave[:, None] + random.normal(size=(rows, series))


def _spiked(random: np.random.Generator, rows: int, series: int) -> Floats:
    values = random.normal(size=(rows, series))
    spikes = random.random((rows, series)) < 0.01
    values[spikes] += random.choice([-10.0, 10.0], int(spikes.sum()))
    return values


def _mostly_one(random: np.random.Generator, rows: int, series: int) -> Floats:
    dips = np.round(100 - random.exponential(size=(rows, series)), 2)
    return np.where(random.random((rows, series)) < 0.9, 100.0, dips)


FAMILIES: dict[str, Family] = {
    "gauss": lambda random, rows, series: random.normal(size=(rows, series)),
    "AR(1) .8": _ar1,
    "random walk": lambda random, rows, series: np.cumsum(random.normal(size=(rows, series)), axis=0),
    "seasonal": _seasonal,
    "t3": lambda random, rows, series: random.standard_t(3, (rows, series)),
    "lognormal": lambda random, rows, series: random.lognormal(size=(rows, series)),
    "gauss + 1 % outliers": _spiked,
    "counts": lambda random, rows, series: random.poisson(2.0, (rows, series)).astype(np.float64),
    "mostly one value": _mostly_one,
    "rounded prices": lambda random, rows, series: np.round(
        100 + np.cumsum(random.normal(scale=0.01, size=(rows, series)), axis=0), 2
    ),
}
"""Makers of values of shape (rows, series)."""

DETECTORS: dict[str, tuple[str, dict[str, Any]]] = {
    "ewma, t": ("ML_DETECT_ANOMALIES", {"model": "ewma", "interval": "t"}),
    "MAD, window 512, threshold 2.576": ("ML_DETECT_ANOMALIES_ROBUST", {"window": 512, "threshold": 2.576}),
    "arima(1,1,1), t": ("ML_DETECT_ANOMALIES", {"p": 1, "d": 1, "q": 1, "interval": "t"}),
    "arima chosen, t": ("ML_DETECT_ANOMALIES", {"interval": "t"}),
    "holt-winters, t": ("ML_DETECT_ANOMALIES", {"model": "holt-winters", "m": SEASON, "interval": "t"}),
    "arima chosen + STL, t": ("ML_DETECT_ANOMALIES", {"enableStl": True, "m": SEASON, "interval": "t"}),
    "ewma, conformal": ("ML_DETECT_ANOMALIES", {"model": "ewma"}),
    "arima(1,1,1), conformal": ("ML_DETECT_ANOMALIES", {"p": 1, "d": 1, "q": 1}),
    "arima chosen, conformal (default)": ("ML_DETECT_ANOMALIES", {}),
    "holt-winters, conformal": ("ML_DETECT_ANOMALIES", {"model": "holt-winters", "m": SEASON}),
}

NORMAL_GOAL, CONFORMAL_GOAL, SHORT_GOAL = (0.85, 1.20), (0.90, 1.15), (0.9, 1.1)
DISCRETE_GOAL = (0.2, 1.15)
"""A bound at a value that many rows have excludes what is beyond it, which may be less than the tail."""
SHORT = (8, 16, 32, 64, 128)
"""Points before the first verdict."""


def goal(detector: str, family: str) -> tuple[float, float] | None:
    """Bounds that a cell should keep, in percent."""
    if "conformal" in detector and detector.startswith("arima"):
        if family in {"counts", "mostly one value"}:
            return DISCRETE_GOAL
        return CONFORMAL_GOAL
    plain = family in {"gauss", "AR(1) .8", "seasonal"} or (family == "random walk" and not detector.startswith("holt"))
    return NORMAL_GOAL if plain and detector.startswith(("arima", "holt")) and "conformal" not in detector else None


def create(name: str, options: dict[str, Any]) -> Detector:
    """A detector of a SQL function."""
    function = next(function for function in FUNCTIONS if function.name == name)
    return function.create(check_options(function, options), ["x"])


def flagged(detector: Detector, values: Floats) -> float:
    """Percent of the judged points that are flagged."""
    rows, series = values.shape
    detector.grow(series)
    numbers, flags, judged = np.arange(series), 0, 0
    for row in range(rows):
        verdicts = detector.update(numbers, np.full(series, row * STEP_MS), values[row][:, None])
        for flag in verdicts.flags():
            judged += flag is not None
            flags += flag is True
    return 100 * flags / judged


def short_history(size: int, series: int, interval: str, random: np.random.Generator) -> float:
    """Percent flagged by EWMA at the first verdict, after ``size`` points."""
    options = {"model": "ewma", "interval": interval, "minTrainingSize": size}
    return flagged(create("ML_DETECT_ANOMALIES", options), random.normal(size=(size + 1, series)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--short", type=int, default=100_000, help="series of the short histories")
    parser.add_argument("--only", help="detectors whose name contains this")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cells: dict[str, dict[str, float]] = {}
    print(f"| % flagged at 99 %, target 1 | {' | '.join(FAMILIES)} |\n|---|{'---|' * len(FAMILIES)}")
    for name, (function, options) in DETECTORS.items():
        if given.only and given.only not in name:
            continue
        cells[name] = {}
        texts = []
        for number, (family, make) in enumerate(FAMILIES.items()):
            values = make(np.random.default_rng(number), given.rows, given.series)
            rate = cells[name][family] = flagged(create(function, options), values)
            bounds = goal(name, family)
            texts.append(f"{rate:.2f}" + ("" if bounds is None or bounds[0] <= rate <= bounds[1] else " !"))
        print(f"| {name} | {' | '.join(texts)} |", flush=True)
    if not given.only:
        print(f"\n| EWMA, first verdict after | {' | '.join(map(str, SHORT))} |\n|---|{'---|' * len(SHORT)}")
        for interval in ("t", "normal"):
            started = time.perf_counter()
            rates = [short_history(size, given.short, interval, np.random.default_rng(size)) for size in SHORT]
            cells[f"first verdict, {interval}"] = {str(size): rate for size, rate in zip(SHORT, rates, strict=True)}
            low, high = SHORT_GOAL
            marks = ["" if interval != "t" or low <= rate <= high else " !" for rate in rates]
            print(
                f"| {interval} | {' | '.join(f'{r:.2f}{m}' for r, m in zip(rates, marks, strict=True))} |", flush=True
            )
            print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    if given.json:
        given.json.write_text(json.dumps(cells, indent=2))


if __name__ == "__main__":
    main()
