"""The detectors of several fields keep the contract of all detectors."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_app.detectors import Detector, check_options
from anomaly_app.multivariate.functions import DETECT_OUTLIERS
from anomaly_app.testing.detectors import CHECKS, Check, Subject

VARIANTS: dict[str, dict[str, Any]] = {
    "mahalanobis": {},
    "everything": {"timeOfDay": True, "frequency": True, "categories": "b", "minTrainingSize": 100},
    "combined": {"method": "combined"},
    "combined of everything": {
        "method": "combined", "timeOfDay": True, "frequency": True, "categories": "b", "minTrainingSize": 100
    },
    "trees": {"method": "trees", "trees": 20, "maxTrainingSize": 128, "minTrainingSize": 60},
    "trees of everything": {
        "method": "trees", "trees": 15, "maxTrainingSize": 100, "timeOfDay": True, "frequency": True, "categories": "b"
    },
}  # fmt: skip


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Check, options: dict[str, Any]) -> None:
    def create() -> Detector:
        return DETECT_OUTLIERS.create(check_options(DETECT_OUTLIERS, options), ["a", "b", "c"])

    check(Subject(create))
