"""SQL types of values in files that do not tell them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,18})", re.ASCII)
_REAL = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?", re.ASCII)
_ZONED = re.compile(_TIME.pattern + r"(Z|[+-]\d\d:?\d\d)", re.ASCII)


def infer(values: Iterable[Any]) -> str:
    """The narrowest SQL type that holds all values, which are texts or what JSON has; NULLs say nothing.

    A number with zeros in front is a text: it is more likely a name than a count. Objects are a ROW of all their
    fields; what is of several kinds is a text, which objects and arrays become as JSON.

    Example:
        >>> infer(["1", "-2", None]), infer(["1", "2.5"]), infer(["007"]), infer(["2026-01-01 09:00:00.000"])
        ('BIGINT', 'DOUBLE', 'STRING', 'TIMESTAMP(3)')
        >>> infer([{"a": 1}, {"b": [0.5], "a": None}])
        'ROW<`a` BIGINT, `b` ARRAY<DOUBLE>>'
    """
    present = [value for value in values if value is not None]
    kinds = set(map(_kind, present))
    if kinds == {"ROW"}:
        names = list(dict.fromkeys(chain.from_iterable(present)))
        if not names or any("`" in name for name in names):
            return "STRING"
        return "ROW<" + ", ".join(f"`{name}` {infer(value.get(name) for value in present)}" for name in names) + ">"
    if kinds == {"ARRAY"}:
        return f"ARRAY<{infer(chain.from_iterable(present))}>"
    if len(kinds) == 1:
        return kinds.pop()
    return "DOUBLE" if kinds == {"BIGINT", "DOUBLE"} else "STRING"


def mostly_times(values: Iterable[Any]) -> str | None:
    """The timestamp type of more than half of some values; None if they are not mostly of one.

    Example:
        >>> mostly_times(["2026-01-01 09:00:00", None, "yesterday", "2026-01-01 09:00:01"]), mostly_times(["a"])
        ('TIMESTAMP(3)', None)
    """
    kinds = Counter(_kind(value) for value in values if value is not None)
    most = max(kinds, key=kinds.__getitem__, default="")
    return most if most.startswith("TIMESTAMP") and kinds[most] * 2 > kinds.total() else None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "BIGINT" if -(1 << 63) <= value < 1 << 63 else "STRING"
    if isinstance(value, float):
        return "DOUBLE"
    if isinstance(value, dict):
        return "ROW"
    if isinstance(value, list):
        return "ARRAY"
    if _WHOLE.fullmatch(value):
        return "BIGINT" if -(1 << 63) <= int(value) < 1 << 63 else "STRING"
    if _REAL.fullmatch(value) and not re.match(r"-?0\d", value):
        return "DOUBLE"
    return "TIMESTAMP(3)" if _TIME.fullmatch(value) else "TIMESTAMP_LTZ(3)" if _ZONED.fullmatch(value) else "STRING"
