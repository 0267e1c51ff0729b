"""Values of a result as JSON has them, for people and programs that read what a command prints."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from typing import Any


def plain(value: Any, type_: str) -> Any:
    """A value of a result as JSON has it; timestamps and decimals as text.

    Args:
        value: as :func:`anomaly_app.query` returns it.
        type_: its SQL type.

    Example:
        >>> plain(datetime.datetime(2026, 1, 2, 3, 4, 5, 678_000), "TIMESTAMP(3)")
        '2026-01-02 03:04:05.678'
    """
    if isinstance(value, datetime.datetime):
        digits = re.search(r"\((\d)\)", type_)
        text = value.strftime("%Y-%m-%d %H:%M:%S.%f")
        precision = min(int(digits[1]), 6) if digits else 6
        text = text[: 20 + precision].removesuffix(".")
        return text if value.tzinfo is None else text + "Z"
    if isinstance(value, (Decimal, datetime.date, datetime.time)):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [plain(part, "") for part in value]
    if isinstance(value, dict):
        return {str(key): plain(part, "") for key, part in value.items()}
    return value
