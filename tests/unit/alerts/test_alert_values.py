from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest

from anomaly_app.alerts.values import to_json, to_text
from anomaly_app.schema import BIGINT, DOUBLE, INT, STRING, DataType, Kind

ROW = DataType(Kind.ROW, fields=(("a", INT), ("when", DataType(Kind.DATE))))


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (STRING, "x", "x"),
        (BIGINT, 1 << 62, 1 << 62),
        (DataType(Kind.DECIMAL, 38, 2), Decimal("12345678901234567890.10"), "12345678901234567890.10"),
        (DataType(Kind.DECIMAL, 10, 8), Decimal("1E-8"), "0.00000001"),
        (DataType(Kind.TIMESTAMP, 3), -1, "1969-12-31T23:59:59.999"),
        (DataType(Kind.TIMESTAMP, 6), 1_000_001, "1970-01-01T00:00:01.000001"),
        (DataType(Kind.TIMESTAMP_LTZ, 3), 0, "1970-01-01T00:00:00.000Z"),
        (DataType(Kind.TIMESTAMP, 3), 1 << 62, str(1 << 62)),
        (DataType(Kind.DATE), 20_000, "2024-10-04"),
        (DataType(Kind.DATE), 1 << 40, str(1 << 40)),
        (DataType(Kind.TIME, 0), 3_661_000, "01:01:01.000"),
        (DataType(Kind.BYTES), b"\x00\xff", "AP8="),
        (DOUBLE, math.inf, "Infinity"),
        (DOUBLE, -math.inf, "-Infinity"),
        (DOUBLE, math.nan, "NaN"),
        (DOUBLE, 0.5, 0.5),
        (ROW, (1, None), {"a": 1, "when": None}),
        (DataType(Kind.ARRAY, element=ROW), [(1, 0), None], [{"a": 1, "when": "1970-01-01"}, None]),
        (DataType(Kind.MAP, key=INT, element=DOUBLE), {1: math.nan}, {"1": "NaN"}),
    ],
    ids=str,
)
def test_memory_form_to_json(type_: DataType, value: Any, expected: Any) -> None:
    convert = to_json(type_)
    result = value if convert is None else convert(value)
    assert result == expected
    assert json.loads(json.dumps(result, allow_nan=False)) == expected


def test_text_for_people_has_times_with_a_blank_and_no_control_characters() -> None:
    assert to_text(DataType(Kind.TIMESTAMP_LTZ, 3))(0) == "1970-01-01 00:00:00.000"
    assert to_text(STRING)("a\nb\u202ec\ud800") == "a\ufffdb\ufffdc\ufffd"
    assert len(to_text(STRING)("y" * 1_000)) == 80
    assert to_text(ROW)((1, 0)) == "{'a': 1, 'when': '1970-01-01'}"
