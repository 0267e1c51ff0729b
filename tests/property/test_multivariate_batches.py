"""Detectors of several fields: how points are cut into batches, and where they are stored, makes no difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from outlier_streams import Array

from anomaly_app.detectors import Detector, check_options
from anomaly_app.multivariate.functions import DETECT_OUTLIERS
from anomaly_app.testing.detectors import Subject, check_batches, check_restore, noisy_values

OPTIONS = {"minTrainingSize": 40, "timeOfDay": True, "frequency": True, "categories": "shop"}
METHODS: list[dict[str, Any]] = [{}, {"method": "trees", "trees": 5, "depth": 6, "maxTrainingSize": 48}]
CUTS = st.lists(st.integers(1, 599), min_size=1, max_size=6, unique=True).map(sorted)


def subject(method: dict[str, Any]) -> Subject:
    def create() -> Detector:
        return DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, OPTIONS | method), ["amount", "items", "shop"])

    def values(random: np.random.Generator, rows: int, width: int) -> Array:
        """The last field has a few values that are frequent, and ever new ones."""
        points = noisy_values(random, rows, width)
        points[:, 2] = np.where(random.random(rows) < 0.9, random.integers(0, 5, rows), random.integers(5, 300, rows))
        return points

    return Subject(create, values=values)


@pytest.mark.parametrize("method", METHODS, ids=["mahalanobis", "trees"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1_000), cuts=CUTS)
def test_any_batches(method: dict[str, Any], seed: int, cuts: list[int]) -> None:
    check_batches(subject(method), seed, cuts)


@pytest.mark.parametrize("method", METHODS, ids=["mahalanobis", "trees"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1_000), cuts=CUTS)
def test_restored_anywhere(method: dict[str, Any], seed: int, cuts: list[int]) -> None:
    check_restore(subject(method), seed, cuts)
