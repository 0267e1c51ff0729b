"""How often the sigma rule and its variants are wrong: simulated windows of one key each, as the engine judges them.

::

    python -m benchmarks.sigma_rule [--windows 1000] [--json FILE]

Three kinds of amounts (normal, uniform as in the card tutorial, lognormal with sigma 0.7) and windows of several sizes;
in a part of them one amount, or two equal ones, are ten times the median. Printed are alerts in a hundred windows:
without an outlier (false), with one, with two.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np

from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import MAX_WATERMARK
from anomaly_app.schema import DOUBLE, INT, TIMESTAMP_3, Column, Schema
from anomaly_app.windows import SigmaRule
from anomaly_app.windows.sigma import Variant

SIZES = (5, 8, 9, 20, 100, 600)
FACTOR = 10
SCHEMA = Schema((Column("k", INT), Column("v", DOUBLE), Column("ts", TIMESTAMP_3)), rowtime="ts")


def amounts(kind: str, windows: int, size: int, outliers: int, random: np.random.Generator) -> np.ndarray:
    """Windows of amounts, shape (windows, size)."""
    shape = (windows, size)
    if kind == "normal":
        drawn = random.normal(250, 50, shape)
    elif kind == "uniform":
        drawn = random.uniform(10, 500, shape)
    else:
        drawn = np.exp(random.normal(5, 0.7, shape))
    drawn[:, :outliers] = FACTOR * np.median(drawn)
    return drawn


def alerts(variant: Variant, drawn: np.ndarray) -> float:
    """Alerts in a hundred windows."""
    bound = bind_text(SigmaRule("v", by="k", time="ts", variant=variant).sql("t"), {"t": SCHEMA})
    operator = bound.factory.create(bound.layout)
    flat = [(key, value) for key, window in enumerate(drawn.tolist()) for value in window]
    operator.process([(0, number, key, value, 0) for number, (key, value) in enumerate(flat)], 0)
    return round(100 * len(operator.advance(MAX_WATERMARK)) / len(drawn), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=1_000)
    parser.add_argument("--json", type=Path, help="file for the result; default: a table")
    options = parser.parse_args()
    measured: list[dict[str, Any]] = []
    for kind in ("normal", "uniform", "lognormal"):
        for size in SIZES:
            random = np.random.default_rng(size)
            for outliers in (0, 1, 2):
                drawn = amounts(kind, options.windows, size, outliers, random)
                found = {variant: alerts(variant, drawn) for variant in get_args(Variant)}
                measured.append({"amounts": kind, "rows": size, "outliers": outliers, "alerts_percent": found})
    if options.json:
        options.json.write_text(json.dumps({"benchmark": "sigma_rule", "measured": measured}, indent=2) + "\n")
        return
    lines = [f"| amounts | rows | {' | '.join(get_args(Variant))} |", "|---|--:|" + "--:|" * len(get_args(Variant))]
    for first in range(0, len(measured), 3):
        three = measured[first : first + 3]
        cells = [" / ".join(f"{one['alerts_percent'][variant]:g}" for one in three) for variant in get_args(Variant)]
        lines.append(f"| {three[0]['amounts']} | {three[0]['rows']} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
