"""Records of the topic of the alerts, of which some are none."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from notifications import an_alert

from anomaly_app.alerts import encode
from anomaly_app.runtime.delivery_reader import read_alerts


class Stored(NamedTuple):
    """A record as aiokafka gives it."""

    value: bytes | None
    offset: int = 0
    partition: int = 0
    key: bytes | None = None
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


GOOD = encode(an_alert())


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"no JSON", b"\xff", b"{}", GOOD[:-1], GOOD.replace(b'"high"', b'"odd"'),
        GOOD.replace(b'"payload":{', b'"payload":{"a":' + b"[" * 99_999 + b"]" * 99_999 + b","),
    ],
    ids=["none", "empty", "text", "bytes", "another object", "cut", "severity", "deep"],
)  # fmt: skip
def test_what_is_no_alert_is_set_apart(value: bytes | None) -> None:
    records: list[Any] = [Stored(GOOD, 1, headers=(("tenant", b"eu"),)), Stored(value, 2), Stored(GOOD, 3)]
    alerts, others = read_alerts(records, "own")
    assert [(each.offset, each.tenant) for each in alerts] == [(1, "eu"), (3, "own")]
    ((record, reason),) = others
    assert record.offset == 2 and reason
