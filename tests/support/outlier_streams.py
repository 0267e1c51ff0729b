"""Streams of several fields with known outliers, and detectors run over them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Verdicts, check_options
from anomaly_app.multivariate.functions import DETECT_OUTLIERS

Array = NDArray[Any]
MINUTE_MS = 60_000


def detect(points: Array, times: Array | None = None, names: list[str] | None = None, **options: Any) -> Verdicts:
    """Verdicts on one series, a point a minute if no times are given."""
    names = names or [f"f{number}" for number in range(points.shape[1])]
    detector = DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, options), names)
    detector.grow(1)
    rows = len(points)
    times = MINUTE_MS * np.arange(rows) if times is None else times
    return detector.update(np.zeros(rows, dtype=np.int64), times.astype(np.int64), points)


def scores(verdicts: Verdicts) -> Array:
    """Raw scores, NaN without verdict."""
    return np.array([np.nan if value[1] is None else value[1] for value in verdicts.values()])


def rate(verdicts: Verdicts) -> float:
    """Share of the judged points that were flagged."""
    judged = [flag for flag in verdicts.flags() if flag is not None]
    return sum(judged) / len(judged)


def correlated(random: np.random.Generator, rows: int, fields: int) -> tuple[Array, Array]:
    """A Gaussian cloud with correlations of .9 and 2 % of points that break them; and which these are."""
    covariance = np.full((fields, fields), 0.9) + 0.1 * np.eye(fields)
    points = random.multivariate_normal(np.zeros(fields), covariance, rows)
    outlier = random.random(rows) < 0.02
    points[outlier] = 1.5 * random.normal(size=(outlier.sum(), fields))
    return points, outlier


def clusters(random: np.random.Generator, rows: int, fields: int) -> tuple[Array, Array]:
    """Four clouds, and 2 % of points anywhere."""
    centers = 6 * random.normal(size=(4, fields))
    points = centers[random.integers(0, 4, rows)] + random.normal(size=(rows, fields))
    outlier = random.random(rows) < 0.02
    points[outlier] = random.uniform(-12, 12, (outlier.sum(), fields))
    return points, outlier


def skewed(random: np.random.Generator, rows: int, fields: int) -> tuple[Array, Array]:
    """Lognormal fields, and 2 % of points with one that is far out."""
    points = np.exp(random.normal(size=(rows, fields)))
    outlier = random.random(rows) < 0.02
    points[outlier, 0] += 15
    return points, outlier
