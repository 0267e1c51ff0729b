"""Precision and recall of alerts, where it is known what was wrong."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_app.alerts.record import Alert, AlertSource
from anomaly_app.alerts.truth import Incident, judge, kind_of, milliseconds, read_truth
from anomaly_app.errors import DataError


def alert(at: str, query: str = "q", **payload: Any) -> Alert:
    return Alert(
        id=f"{at}-{payload}", job="j", version="1", query=query, key={}, type="pattern", severity="high", score=None,
        event_time=at, detected_at=at, explanation="", rows=[], rows_total=0, payload=payload,
        source=AlertSource(topic="t", partition=0, offset=0),
    )  # fmt: skip


def test_an_incident_is_told_within_its_time_with_its_fields_and_words() -> None:
    incident = Incident(
        begin="2026-01-01T09:00:00Z", end=1_767_258_060_000, type="REFUND", fields={"store": "s1"}, about="tx-1"
    )  # fmt: skip
    right = {"type": "REFUND", "store": "s1", "message": "no sale: tx-1"}
    at = "2026-01-01T09:00:30.000Z"
    told = alert(at, **right)
    assert incident.tells(told, milliseconds(at))
    assert incident.tells(told, milliseconds("2026-01-01T09:00:00Z"))
    assert incident.tells(told, milliseconds("2026-01-01T09:01:00Z"))
    assert not incident.tells(told, milliseconds("2026-01-01T09:01:00.001Z"))
    for wrong in ({"type": "GATE"}, {"store": "s2"}, {"message": "no sale: tx-2"}):
        assert not incident.tells(alert(at, **right | wrong), milliseconds(at))


def test_precision_and_recall_by_type() -> None:
    at = [f"2026-01-01T09:00:{second:02}.000Z" for second in range(10)]
    alerts = [alert(at[0], type="A"), alert(at[1], type="A"), alert(at[1], type="B"), alert(at[9], type="A")]
    incidents = [
        Incident(begin=at[0], end=at[1], type="A"), Incident(begin=at[2], end=at[3], type="A"),
        Incident(begin=at[1], end=at[1], type="C"),
    ]  # fmt: skip
    scores = judge(alerts, incidents)
    assert {kind: (one.precision, one.recall) for kind, one in scores.items()} == {
        "A": (pytest.approx(2 / 3), 0.5), "B": (0.0, None), "C": (None, 0.0)
    }  # fmt: skip
    assert scores["A"].missed == [incidents[1]]
    assert scores["A"].wrong == [alerts[3]]
    assert scores["B"].wrong == [alerts[2]]


def test_an_incident_without_type_is_told_by_any_alert_and_a_query_names_a_rule_too() -> None:
    told = alert("2026-01-01T09:00:00.000Z", query="spikes")
    assert kind_of(told) == "spikes"
    scores = judge([told], [Incident(begin=0, end=1 << 60)])
    assert scores["spikes"].precision == 1.0
    assert scores[""].recall == 1.0


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b'{"from": 1}', b'{"from": "soon", "to": 2}', b'{"from": 1, "to": 2, "fields": []}'],
)
def test_what_is_no_incident_is_told_with_its_line(line: bytes) -> None:
    with pytest.raises(DataError, match=r"truth\.jsonl, line 3"):
        read_truth([b'{"from": 1, "to": 2}', b"", line], "truth.jsonl")
