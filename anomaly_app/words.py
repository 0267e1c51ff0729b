"""Words for people: figures, lengths of time, read and written, and what somebody may have meant by a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_UNITS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond"))


def figure(value: float, digits: int) -> str:
    """A number with as many significant digits as matter; large ones up to 1e15 are written out.

    Example:
        >>> figure(20.0123, 5), figure(999_999.8, 6), figure(0.00001234, 2), figure(1e300, 3)
        ('20.012', '1000000', '1.2e-05', '1e+300')
    """
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e15 else text


def ratio(value: float) -> str:
    """How many times something is something else.

    Example:
        >>> ratio(1.04), ratio(14.26), ratio(1234.5)
        ('1.0', '14.3', '1234')
    """
    return f"{value:.1f}" if value < 100 else figure(value, 3)


def duration(milliseconds: int) -> str:
    """A length of time in words.

    Example:
        >>> duration(5_400_000), duration(10_000), duration(1_500)
        ('1 hour 30 minutes', '10 seconds', '1 second 500 milliseconds')
    """
    parts = []
    for size, unit in _UNITS:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count:,} {unit}{'s' * (count != 1)}")
    return " ".join(parts) or "0 seconds"


def parse_duration(text: str) -> int | None:
    """A duration as Flink writes it, in milliseconds; None if it is none.

    Example:
        >>> parse_duration("30 s"), parse_duration("7d"), parse_duration("500"), parse_duration("soon")
        (30000, 604800000, 500, None)
    """
    digits = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz").strip()
    factor = _UNITS_MS.get(text.strip()[len(digits) :].strip() or "ms")
    return int(digits) * factor if factor is not None and digits.isdigit() else None


_UNITS_MS = {
    "ms": 1,
    "milli": 1,
    "millis": 1,
    "s": 1_000,
    "sec": 1_000,
    "second": 1_000,
    "seconds": 1_000,
    "m": 60_000,
    "min": 60_000,
    "minute": 60_000,
    "minutes": 60_000,
    "h": 3_600_000,
    "hour": 3_600_000,
    "hours": 3_600_000,
    "d": 86_400_000,
    "day": 86_400_000,
    "days": 86_400_000,
}


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean …?`` if one is near, else what there is.

    Example:
        >>> nearest("amuont", ["user", "amount"]), nearest("x", ["user", "amount"])
        ('; did you mean amount?', '; known: user, amount')
    """
    known = list(names)
    near = difflib.get_close_matches(name.lower(), [other.lower() for other in known], 1)
    if near:
        return f"; did you mean {next(other for other in known if other.lower() == near[0])}?"
    return f"; known: {', '.join(known[:20])}" if known else ""
