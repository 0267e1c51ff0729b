"""Amounts of alerts in the metrics of delivery."""

from __future__ import annotations

from typing import Any

import pytest
from notifications import an_alert, incoming

from anomaly_app.runtime.delivery_metrics import DeliveryMetrics


@pytest.mark.parametrize(
    ("payload", "amount"),
    [
        ({"amount": 12.5}, 12.5),
        ({"max_amount": 7, "avg_amount": 2}, 7),
        ({"amount": 5, "max_amount": 7}, 5),
        ({"amount": "12.50"}, 12.5),
        ({"amount": "much"}, None),
        ({"amount": True}, None),
        ({"amount": "NaN"}, None),
        ({"avg_amount": 2}, None),
    ],
)
def test_the_amount_of_an_alert_is_measured_by_its_severity(payload: dict[str, Any], amount: float | None) -> None:
    metrics = DeliveryMetrics()
    (one,) = incoming(an_alert(severity="critical", payload=payload, job="transactions"), tenant="eu")
    metrics.alert(one)
    labels = {"severity": "critical"}
    sampled = metrics.registry.get_sample_value
    assert sampled("anomaly_amount_sum", labels) == amount
    assert sampled("anomaly_amount_count", labels) == (None if amount is None else 1)
    assert sampled("anomaly_count_total", {**labels, "tenant": "eu", "job": "transactions"}) == 1
