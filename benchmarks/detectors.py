"""How fast the forecasting models are: many series at once, and one series alone.

::

    python -m benchmarks.detectors [--keys 10000] [--json FILE]

*Bank*: the recursion with its bounds over the state of ``keys`` series, a point of each. *Update*: the same through the
detector, which finds the series and makes the verdicts; *shuffled* with the series in any order. *One key*: a point of
one series after another. Times are of the thread, the best of some runs. The references, measured in the same run: an
EWMA of seven numpy operations without bounds, and a loop over floats that does the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anomaly_app.detectors import Floats, check_options
from anomaly_app.forecasting import FUNCTIONS
from anomaly_app.forecasting.detector import OWN, ForecastDetector
from anomaly_app.forecasting.kernel import Kernel, Number, Symbol
from anomaly_app.forecasting.step import Plan, conformal

MODELS: dict[str, tuple[dict[str, Any], float | None, float | None]] = {
    "ewma, t": ({"model": "ewma", "interval": "t"}, 30, None),
    "ewma, conformal": ({"model": "ewma"}, None, None),
    "holt-winters m=48, t": ({"model": "holt-winters", "m": 48, "interval": "t"}, 25, None),
    "arima(1,1,1), t": ({"p": 1, "d": 1, "q": 1, "interval": "t"}, 8, 3),
    "arima(1,1,1), conformal": ({"p": 1, "d": 1, "q": 1}, 8, 3),
    "arima chosen, conformal": ({}, None, None),
}
"""Options, the goal of the bank in million points a second, and that of one key in us a point."""
CONFORMAL_GOAL = 60
TRAINING, ROBUST_ROWS = 128, 3_000


def best(call: Callable[[], object], calls: int = 10, repeats: int = 9) -> float:
    """Seconds of the thread for one call."""
    return min(timeit.repeat(call, number=calls, repeat=repeats, timer=time.thread_time)) / calls


def reference_bank(keys: int) -> float:
    """Seconds of a bare EWMA in numpy."""
    x = np.random.default_rng(0).normal(size=keys)
    mean, variance, error, square = (np.zeros(keys) for _ in range(4))

    def step() -> None:
        np.subtract(x, mean, out=error)
        np.multiply(error, error, out=square)
        np.multiply(error, 0.01, out=error)
        np.add(mean, error, out=mean)
        np.subtract(square, variance, out=square)
        np.multiply(square, 0.01, out=square)
        np.add(variance, square, out=variance)

    return best(step, 50)


def reference_loop(rows: int) -> float:
    """Seconds of the same over floats, one point."""
    values = np.random.default_rng(0).normal(size=rows).tolist()

    def loop() -> list[float]:
        mean = variance = 0.0
        out = []
        for x in values:
            error = x - mean
            mean += 0.01 * error
            variance += 0.01 * (error * error - variance)
            out.append(mean)
        return out

    return best(loop, 1) / rows


def trained(options: dict[str, Any], keys: int) -> tuple[ForecastDetector, Floats]:
    """A detector whose series have seen their training, and points for later."""
    detector = FUNCTIONS[0].create(check_options(FUNCTIONS[0], options), ["x"])
    assert isinstance(detector, ForecastDetector)
    detector.grow(keys)
    values = np.random.default_rng(1).normal(size=(TRAINING + 1, keys))
    for row in range(TRAINING):
        detector.update(np.arange(keys), np.full(keys, row * 1_000), values[row][:, None])
    return detector, values[-1]


def measure(options: dict[str, Any], keys: int) -> dict[str, float]:
    """Million points a second of bank and updates, and us a point of one key."""
    detector, x = trained(options, keys)
    candidate = detector.candidates[int(detector.storage.state[0, 0]) - 1]
    state = np.ascontiguousarray(detector.storage.state[OWN : OWN + len(candidate.fields), :keys])
    inputs = np.stack([x, np.zeros(keys)])[: len(candidate.observe.inputs)]
    numbers, times = np.arange(keys), np.full(keys, TRAINING * 1_000)
    shuffled = np.random.default_rng(2).permutation(keys)
    result = {
        "bank": keys / best(lambda: candidate.observe.many_series(state, inputs)) / 1e6,
        "update": keys / best(lambda: detector.update(numbers, times, x[:, None])) / 1e6,
        "shuffled": keys / best(lambda: detector.update(shuffled, times, x[:, None])) / 1e6,
    }
    single, _ = trained(options, 1)
    rows = 10_000
    series = np.zeros(rows, dtype=np.int64)
    clock = 1_000 * np.arange(TRAINING, TRAINING + rows)
    values = np.random.default_rng(3).normal(size=(rows, 1))
    result["one key"] = best(lambda: single.update(series, clock, values), 1) / rows * 1e6
    verdicts = single.update(series, clock, values)
    result["values"] = best(verdicts.values, 1, 5) / rows * 1e6
    return result


def measure_conformal(keys: int) -> float:
    """Million points a second of the correction of two bounds alone."""
    plan = Plan(0.005, 0.005, "conformal", 512, 0.003, 1, 1, 1, 0.0)

    def step(given: Mapping[str, Symbol]) -> dict[str, Number]:
        passed = given["x"] < given["low"], given["x"] > given["high"]
        held = given["x"] > given["n"], given["x"] > given["n"]  # never: no usual value holds a bound out
        return conformal(plan, given, passed, held)

    kernel = Kernel(step, ["low", "high", "n"], ["x"], [])
    state, x = np.zeros((3, keys)), np.random.default_rng(1).normal(size=(1, keys))
    state[0], state[1], state[2] = -2.6, 2.6, 512.0
    return keys / best(lambda: kernel.many_series(state, x), 50) / 1e6


def measure_robust(window: int) -> float:
    """Microseconds a point of one key, exact median and deviation."""
    detector = FUNCTIONS[2].create(check_options(FUNCTIONS[2], {"window": window}), ["x"])
    detector.grow(1)
    series, values = np.zeros(ROBUST_ROWS, dtype=np.int64), np.random.default_rng(3).normal(size=(ROBUST_ROWS, 1))
    detector.update(series, series, values)
    return best(lambda: detector.update(series, series, values), 1, 5) / ROBUST_ROWS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    bank, loop = reference_bank(given.keys), reference_loop(10_000)
    results: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "reference": {"bank": given.keys / bank / 1e6, "one key": loop * 1e6},
    }
    print(f"reference: {given.keys / bank / 1e6:.0f} M points/s over arrays, {loop * 1e6:.2f} us a point over floats\n")
    print(f"| {given.keys} keys, M/s | bank | goal | of reference | update | shuffled | one key, us | rows, us |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (options, goal, _) in MODELS.items():
        cell = results[name] = measure(options, given.keys)
        ratio = cell["bank"] * 1e6 * bank / given.keys
        mark = "" if goal is None or cell["bank"] >= goal else " !"
        print(
            f"| {name} | {cell['bank']:.1f}{mark} | {goal or ''} | {ratio:.2f} | {cell['update']:.1f} "
            f"| {cell['shuffled']:.1f} | {cell['one key']:.2f} | {cell['values']:.2f} |",
            flush=True,
        )
    speed = results["conformal alone"] = measure_conformal(given.keys)
    print(f"| conformal alone | {speed:.1f}{'' if speed >= CONFORMAL_GOAL else ' !'} | {CONFORMAL_GOAL} | "
          f"{speed * 1e6 * bank / given.keys:.2f} | | | | |")  # fmt: skip
    for window in (128, 1_000):
        cost = results[f"MAD, window {window}"] = measure_robust(window)
        print(f"| MAD, window {window} | | | | | | {cost:.2f} | |")
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
