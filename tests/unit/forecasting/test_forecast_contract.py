"""Every detector of the package passes the suite of all detectors."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_app.detectors import check_options
from anomaly_app.forecasting import FUNCTIONS
from anomaly_app.testing.detectors import CHECKS, Check, Subject

BY_NAME = {function.name: function for function in FUNCTIONS}
SHORT = {"minTrainingSize": 40}
CASES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "automatic": ("ML_DETECT_ANOMALIES", {}, ["x"]),
    "tutorial": ("ML_DETECT_ANOMALIES", {"horizon": 1, "minTrainingSize": 16, "confidencePercentage": 90.0}, ["x"]),
    "arima(2,1,1), 3 ahead": (
        "ML_DETECT_ANOMALIES",
        {**SHORT, "p": 2, "d": 1, "q": 1, "horizon": 3, "updateInterval": 4},
        ["x"],
    ),
    "arima(1,2,0), t": ("ML_DETECT_ANOMALIES", {**SHORT, "p": 1, "d": 2, "q": 0, "interval": "t"}, ["x"]),
    "seasonal arima": (
        "ML_DETECT_ANOMALIES",
        {**SHORT, "minTrainingSize": 48, "p": 1, "d": 0, "q": 0, "enableStl": True, "m": 24, "seasonMs": 86_400_000},
        ["x"],
    ),
    "season found": ("ML_DETECT_ANOMALIES", {"enableStl": True, "p": 1, "q": 0, "minTrainingSize": 50}, ["x"]),
    "ewma": ("ML_DETECT_ANOMALIES", {"model": "ewma", "minTrainingSize": 20, "interval": "t"}, ["x"]),
    "holt-winters": (
        "ML_DETECT_ANOMALIES",
        {"minTrainingSize": 48, "model": "holt-winters", "m": 24, "evalWindowSize": 12},
        ["x"],
    ),
    "season later than the training": (
        "ML_DETECT_ANOMALIES",
        {"minTrainingSize": 16, "enableStl": True, "m": 24, "seasonMs": 86_400_000, "interval": "t"},
        ["x"],
    ),
    "holt-winters, season later": (
        "ML_DETECT_ANOMALIES",
        {"minTrainingSize": 20, "model": "holt-winters", "m": 24, "seasonMs": 86_400_000},
        ["x"],
    ),
    "dense points, season later": (
        "ML_DETECT_ANOMALIES",
        {"minTrainingSize": 10, "model": "ewma", "enableStl": True, "m": 12, "seasonMs": 86_400_000},
        ["x"],
    ),
    "forecast, season later": (
        "ML_FORECAST",
        {"minTrainingSize": 20, "horizon": 2, "enableStl": True, "m": 12, "p": 1, "d": 0, "q": 0},
        ["x"],
    ),
    "forecast": ("ML_FORECAST", {**SHORT, "horizon": 3, "p": 1, "d": 1, "q": 1}, ["x"]),
    "seasonal forecast": ("ML_FORECAST", {**SHORT, "horizon": 2, "model": "holt-winters", "m": 12}, ["x"]),
    "robust": ("ML_DETECT_ANOMALIES_ROBUST", {"window": 50}, ["x"]),
    "robust, imputing": ("ML_DETECT_ANOMALIES_ROBUST", {"imputeOutliers": True}, ["x", "y"]),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", CASES)
def test_contract(case: str, check: Check) -> None:
    name, options, values = CASES[case]
    function = BY_NAME[name]
    check(Subject(lambda: function.create(check_options(function, options), values)))
