"""Detectors of several fields: speed, memory, ranking, share of points flagged; beside scikit-learn and river.

::

    python benchmarks/multivariate.py [--json FILE]

*Speed*: three fields; one key in batches of 5,000, and a point of each of many keys a batch. *Memory*: bytes of a key.
*Ranking*: area under the ROC curve of the points behind the first 256, on streams with 2 % outliers; an isolation
forest and a minimum covariance determinant are fitted to these first 256. *Flagged*: per cent of points, at 99.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
from river.anomaly import HalfSpaceTrees
from river.compose import Pipeline
from river.preprocessing import MinMaxScaler
from sklearn.covariance import MinCovDet
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from anomaly_app.detectors import Detector, check_options
from anomaly_app.multivariate.functions import DETECT_OUTLIERS

METHODS = ("mahalanobis", "trees", "combined")
WARM_UP = 256
ROWS = 4_000


def create(method: str, fields: int, series: int = 1) -> Detector:
    """A detector with room."""
    names = [f"f{number}" for number in range(fields)]
    detector = DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, {"method": method}), names)
    detector.grow(series)
    return detector


def speed(method: str, keys: int, batches: int) -> dict[str, float]:
    """Points a second and bytes a key, warmed up."""
    random = np.random.default_rng(1)
    rows = max(5_000 // keys, 1)
    series = np.tile(np.arange(keys), rows)
    tracemalloc.start()
    detector = create(method, 3, keys)
    for _ in range(WARM_UP // rows + 1):
        detector.update(series, np.zeros(len(series), dtype=np.int64), random.normal(size=(len(series), 3)))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    batch = [random.normal(size=(len(series), 3)) for _ in range(batches)]
    began = time.perf_counter()
    for points in batch:
        detector.update(series, np.zeros(len(series), dtype=np.int64), points)
    return {"points_per_s": batches * len(series) / (time.perf_counter() - began), "bytes_per_key": held / keys}


def river_speed() -> float:
    """Points a second of river's half-space trees."""
    peer = Pipeline(MinMaxScaler(), HalfSpaceTrees(n_trees=25, height=8, window_size=256, seed=1))
    points = [dict(enumerate(point)) for point in np.random.default_rng(1).normal(size=(1_000, 3)).tolist()]
    began = time.perf_counter()
    for point in points:
        peer.score_one(point)
        peer.learn_one(point)
    return len(points) / (time.perf_counter() - began)


def streams(fields: int) -> dict[str, tuple[Any, Any]]:
    """Points and which of them are outliers, by kind of stream."""
    random = np.random.default_rng(fields)
    outlier = random.random(ROWS) < 0.02
    few = (int(outlier.sum()), fields)
    covariance = np.full((fields, fields), 0.9) + 0.1 * np.eye(fields)
    correlated = random.multivariate_normal(np.zeros(fields), covariance, ROWS)
    correlated[outlier] = 1.5 * random.normal(size=few)
    centers = 6 * random.normal(size=(4, fields))
    clusters = centers[random.integers(0, 4, ROWS)] + random.normal(size=(ROWS, fields))
    clusters[outlier] = random.uniform(-12, 12, few)
    skewed = np.exp(random.normal(size=(ROWS, fields)))
    skewed[outlier, 0] += 15
    return {"correlated": (correlated, outlier), "clusters": (clusters, outlier), "skewed": (skewed, outlier)}


def ranking(points: Any, outlier: Any) -> dict[str, float]:
    """Areas under the ROC curve, and the per cent that ours flag."""
    first, rest = points[:WARM_UP], points[WARM_UP:]
    found = {
        "isolation forest": -IsolationForest(n_estimators=100, random_state=1).fit(first).score_samples(rest),
        "minimum covariance determinant": MinCovDet(random_state=1).fit(first).mahalanobis(rest),
    }
    flagged = {}
    for method in METHODS:
        told = create(method, points.shape[1]).update(
            np.zeros(ROWS, dtype=np.int64), np.arange(ROWS, dtype=np.int64), points
        )
        found[method] = np.array([value[1] for value in told.values()[WARM_UP:]])
        flagged[f"{method} flags %"] = 100 * sum(flag is True for flag in told.flags()) / (ROWS - 128)
    return {name: float(roc_auc_score(outlier[WARM_UP:], scores)) for name, scores in found.items()} | flagged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"speed": {}, "ranking": {}}
    for method, keys, batches in (
        ("mahalanobis", 1, 4),
        ("mahalanobis", 10_000, 32),
        ("combined", 1, 4),
        ("combined", 10_000, 40),
        ("trees", 1, 2),
        ("trees", 1_000, 10),
    ):
        measured = figures["speed"][f"{method}, {keys:,} keys"] = speed(method, keys, batches)
        rate, held = measured["points_per_s"], measured["bytes_per_key"]
        print(f"{method:12} {keys:6,} keys  {rate:12,.0f} points/s  {held:10,.0f} bytes a key")
    figures["speed"]["river"] = river_speed()
    print(f"river's half-space trees, one key: {figures['speed']['river']:,.0f} points/s")
    for fields in (2, 5):
        for kind, (points, outlier) in streams(fields).items():
            measured = figures["ranking"][f"{kind}, {fields} fields"] = ranking(points, outlier)
            print(f"{kind:10} {fields} fields  " + "  ".join(f"{name} {value:.3f}" for name, value in measured.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
