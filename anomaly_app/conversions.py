"""Values of SQL types from text and to text, as CAST has it; shared by the formats and the expressions.

Each function takes a value that is not NULL and raises :class:`EvaluationError` where CAST would fail.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
from decimal import Decimal

from anomaly_app.errors import EvaluationError
from anomaly_app.floats import float_to_text
from anomaly_app.schema import Kind
from anomaly_app.times.calendar import DAY_MS as DAY_MS, EPOCH_DAY as EPOCH_DAY
from anomaly_app.times.texts import (
    date_to_text as date_to_text,
    from_fields as from_fields,
    time_to_text as time_to_text,
    timestamp_to_text as timestamp_to_text,
)

DECIMALS = decimal.Context(prec=80, rounding=decimal.ROUND_HALF_UP, Emin=-999_999, Emax=999_999)
"""Room for every intermediate result; results are brought to their type's scale by :func:`rescale`."""

_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 (SQL's TIMESTAMP has no zone)

RANGES = {
    Kind.TINYINT: (-(1 << 7), (1 << 7) - 1),
    Kind.SMALLINT: (-(1 << 15), (1 << 15) - 1),
    Kind.INT: (-(1 << 31), (1 << 31) - 1),
    Kind.BIGINT: (-(1 << 63), (1 << 63) - 1),
}

_STEPS = [Decimal(1).scaleb(-scale) for scale in range(39)]
_ZEROS = [Decimal(0).scaleb(-scale) for scale in range(39)]


def rescale(value: Decimal, scale: int, precision: int) -> Decimal | None:
    """A decimal with exactly ``scale`` digits behind the point, rounded half up; None (NULL) if it has too many digits.

    Example:
        >>> rescale(Decimal("2.345"), 2, 10), rescale(Decimal("123.4"), 1, 3)
        (Decimal('2.35'), None)
    """
    try:
        result = DECIMALS.quantize(value, _STEPS[scale])
    except decimal.InvalidOperation:
        return None
    if not result:
        return _ZEROS[scale]  # which has no sign
    return result if result.adjusted() + 1 + scale <= precision else None


BLANKS = "".join(map(chr, range(33)))
"""What Java trims."""

_WHOLE = re.compile(r" *([+-]?)(\d*)(?:\.(\d*))? *\Z", re.ASCII)


def text_to_whole(value: str, kind: Kind) -> int:
    """A text as a whole number: blanks, a sign and a fraction (cut off) are allowed.

    Example:
        >>> text_to_whole(" -7.9 ", Kind.INT)
        -7
    """
    found = _WHOLE.match(value)
    if found is None or not (found[2] or found[3]):
        raise EvaluationError(f"CAST: {value!r} is not a whole number")
    number = int(found[2] or "0")
    return whole_in_range(-number if found[1] == "-" else number, kind)


def text_to_int(value: str) -> int:
    """A text as an INT; the common case, written as it usually is, is quick."""
    if value.isdigit() and value.isascii() and len(value) < 10:
        return int(value)
    return text_to_whole(value, Kind.INT)


def whole_in_range(value: int, kind: Kind) -> int:
    """The value if it fits the type."""
    low, high = RANGES[kind]
    if low <= value <= high:
        return value
    raise EvaluationError(f"CAST: {value} does not fit {kind.value}")


def text_to_float(value: str) -> float:
    """A text as a double."""
    text = value.strip(BLANKS)
    if text in ("Infinity", "+Infinity", "-Infinity", "NaN"):
        return float(text)
    if not text or not (text[-1].isdigit() or text[-1] == ".") or "_" in text or not text.isascii():
        raise EvaluationError(f"CAST: {value!r} is not a number")
    try:
        return float(text)
    except ValueError:
        raise EvaluationError(f"CAST: {value!r} is not a number") from None


def text_to_decimal(value: str, precision: int, scale: int) -> Decimal | None:
    """A text as a decimal; None (NULL) if it has too many digits.

    Example:
        >>> text_to_decimal(" 1e2 ", 5, 1), text_to_decimal("1e400", 38, 10)
        (Decimal('100.0'), None)
    """
    try:
        number = Decimal(value.strip(BLANKS))
    except decimal.InvalidOperation:
        raise EvaluationError(f"CAST: {value!r} is not a number") from None
    if not number.is_finite() or "_" in value:
        raise EvaluationError(f"CAST: {value!r} is not a number")
    return rescale(number, scale, precision)


def float_to_decimal(value: float, precision: int, scale: int) -> Decimal | None:
    """A double as a decimal, by the digits that it prints as."""
    if not math.isfinite(value):
        raise EvaluationError(f"CAST: {value} is not a DECIMAL")
    return rescale(Decimal(float_to_text(value)), scale, precision)


_BOOLEANS = {"true": True, "t": True, "yes": True, "y": True, "1": True}
_BOOLEANS |= {"false": False, "f": False, "no": False, "n": False, "0": False}


def text_to_boolean(value: str) -> bool:
    """A text as a boolean."""
    try:
        return _BOOLEANS[value.strip().lower()]
    except KeyError:
        raise EvaluationError(f"CAST: {value!r} is not a BOOLEAN") from None


def boolean_to_text(value: bool) -> str:
    """``TRUE`` or ``FALSE``."""
    return "TRUE" if value else "FALSE"


def decimal_to_text(value: Decimal) -> str:
    """Plain digits."""
    return format(value, "f")


def storable(value: int) -> int:
    """A timestamp that comes in, if stored state can hold it: 64 bits of nanoseconds end in the year 2262."""
    if -(1 << 63) <= value < 1 << 63:
        return value
    raise EvaluationError("a TIMESTAMP(7) to (9) holds the years 1678 to 2261; use TIMESTAMP(6)")


_TIMESTAMP = re.compile(
    r"\s*(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,9}))?)?)?(Z|[+-]\d\d:?\d\d)?\s*\Z",
    re.ASCII,
)
_MILLISECOND = datetime.timedelta(milliseconds=1)


def text_to_timestamp(value: str, precision: int) -> int:
    """A text in a record as a timestamp since 1970, in the unit of its precision; digits beyond that are cut off.

    More is allowed than by CAST: a ``T``, a zone (the time is then that of UTC), blanks around, no seconds.

    Example:
        >>> text_to_timestamp("1970-01-02 00:00:01.5", 3)
        86401500
    """
    if precision == 3 and len(value) == 23 and value[4] == value[7] == "-" and value[10] in " T" and value[19] == ".":
        # As timestamps are usually written: the reader in C is quick.
        try:
            return (datetime.datetime.fromisoformat(value) - _EPOCH) // _MILLISECOND
        except (TypeError, ValueError):
            pass
    found = _TIMESTAMP.match(value)
    if found is None:
        raise EvaluationError(f"CAST: {value!r} is not a TIMESTAMP")
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        when = datetime.datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001 (no zone)
    except ValueError:
        raise EvaluationError(f"CAST: {value!r} is not a TIMESTAMP") from None
    seconds = int((when - _EPOCH).total_seconds())
    if zone and zone != "Z":
        sign = -1 if zone[0] == "-" else 1
        seconds -= sign * (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60)
    nanos = int((fraction or "").ljust(9, "0"))
    return storable(from_fields(0, seconds * 1_000_000_000 + nanos, precision))


def text_to_date(value: str) -> int:
    """A text in a record as days since 1970."""
    return text_to_timestamp(value, 3) // DAY_MS


_TIME = re.compile(r"\s*(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,9}))?)?\s*\Z", re.ASCII)


def text_to_time(value: str) -> int:
    """A text in a record as milliseconds since midnight."""
    found = _TIME.match(value)
    if found is None or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3] or 0) > 59:
        raise EvaluationError(f"CAST: {value!r} is not a TIME")
    millis = int((found[4] or "").ljust(3, "0")[:3])
    return ((int(found[1]) * 60 + int(found[2])) * 60 + int(found[3] or 0)) * 1000 + millis
