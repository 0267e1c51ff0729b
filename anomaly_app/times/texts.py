"""Dates and times from text and to text, as CAST has it."""

from __future__ import annotations

import datetime
import re

from anomaly_app.errors import EvaluationError
from anomaly_app.times import calendar as c

_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 (SQL's TIMESTAMP has no zone)
_MICROSECOND = datetime.timedelta(microseconds=1)
_STEPS: tuple[int, ...] = tuple(10**digits for digits in range(10))


def nanos_per_unit(precision: int) -> int:
    """Nanoseconds of the unit in which a TIMESTAMP of some precision is held."""
    return 1_000_000 if precision <= 3 else 1_000 if precision <= 6 else 1


def from_fields(days: int, nanos: int, precision: int) -> int:
    """The memory form of a timestamp, digits beyond its precision cut off.

    Args:
        days: since 1970.
        nanos: of the day; may be a day and more.
        precision: of the type.
    """
    nanos -= nanos % _STEPS[9 - precision]
    return (days * c.DAY_NANOS + nanos) // nanos_per_unit(precision)


# --- from text ----------------------------------------------------------------------------------------

_TIMESTAMP = re.compile(
    r"(\d{4}|\+\d{5,9})-(\d\d|\d)-(\d\d|\d)?(?: (\d\d|\d):(\d\d|\d):(\d\d|\d)(?:\.(\d{0,9}))?)?", re.ASCII
)


def text_to_timestamp(text: str, precision: int) -> int:
    """A text as CAST takes it: a date, or a date and a time with its seconds, without a zone or blanks around.

    As in Flink, a 30th of February is the last day of that month, and 24:00:00 the midnight after.

    Raises:
        EvaluationError: the text is something else.

    Example:
        >>> text_to_timestamp("1970-01-02 0:0:1.5", 3)
        86401500
    """
    if text[10:11] == " " and text[4:5] == text[7:8] == "-" and text[13:14] == text[16:17] == ":":
        length = len(text)
        if length == 19 or (length in (23, 26) and text[19] == "."):
            # As timestamps are usually written: the reader in C is quick.
            try:
                micros = (datetime.datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
            except (TypeError, ValueError):
                pass
            else:
                return micros // 1_000 if precision == 3 else _cut_micros(micros, precision)
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        raise _no(text, "TIMESTAMP")
    year, month, day = int(found[1]), int(found[2]), int(found[3] or 1)
    hour, minute, second = int(found[4] or 0), int(found[5] or 0), int(found[6] or 0)
    fraction = int((found[7] or "").ljust(9, "0"))
    midnight = hour == 24 and minute == second == fraction == 0
    if not (year and 1 <= month <= 12 and 1 <= day <= 31 and minute < 60 and second < 60 and (hour < 24 or midnight)):
        raise _no(text, "TIMESTAMP")
    days = c.days_of(year, month, min(day, c.last_day(year, month)))
    return from_fields(days, ((hour * 60 + minute) * 60 + second) * 1_000_000_000 + fraction, precision)


def _cut_micros(micros: int, precision: int) -> int:
    if precision >= 6:
        return micros if precision == 6 else micros * 1_000
    micros -= micros % _STEPS[6 - precision]
    return micros // 1_000 if precision < 3 else micros


_WHOLE = re.compile(r"\d+", re.ASCII)


def text_to_date(text: str) -> int:
    """A text as days since 1970, as CAST takes it; what follows a blank is ignored, month and day may be missing.

    Raises:
        EvaluationError: the text is something else.

    Example:
        >>> text_to_date("1970-1-2 03:04") == text_to_date("1970-01-02"), text_to_date("1971")
        (True, 365)
    """
    if text[4:5] == text[7:8] == "-" and text[10:11] in ("", " "):
        # As dates are usually written: the reader in C is quick.
        try:
            return datetime.date.fromisoformat(text[:10]).toordinal() - c.EPOCH_DAY
        except ValueError:
            pass
    blank = text.find(" ")
    parts = (text[:blank] if blank > 0 else text).split("-", 2)
    numbers = [int(part) for part in map(str.strip, parts) if _WHOLE.fullmatch(part)]
    year, month, day = [*numbers, 1, 1, 1][:3]
    try:
        if len(numbers) == len(parts) and 0 <= year <= 9999:
            return c.days_of(year, month, day)
    except (OverflowError, ValueError):
        pass
    raise _no(text, "DATE")


_TIME = re.compile(r"(\d{1,9})(?::(\d{1,9})(?::(\d{1,9})(?:\.(\d{1,9}))?)?)?", re.ASCII)


def text_to_time(text: str, precision: int = 3) -> int:
    """A text as milliseconds since midnight, as CAST takes it; minutes and seconds may be missing.

    Raises:
        EvaluationError: the text is something else.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None or int(found[1]) > 23 or int(found[2] or 0) > 59 or int(found[3] or 0) > 59:
        raise _no(text, "TIME")
    seconds = (int(found[1]) * 60 + int(found[2] or 0)) * 60 + int(found[3] or 0)
    return cut_time(seconds * 1_000 + int((found[4] or "").ljust(3, "0")[:3]), precision)


def cut_time(millis: int, precision: int) -> int:
    """A time of day without the digits beyond its precision."""
    return millis if precision >= 3 else millis - millis % _STEPS[3 - precision]


def cut_timestamp(value: int, before: int, after: int) -> int:
    """A timestamp of one precision as one of another, as CAST does it.

    Milliseconds are cut towards 1970, as in Flink; finer digits downwards.

    Example:
        >>> cut_timestamp(-1, 3, 0), cut_timestamp(1_999, 3, 0), cut_timestamp(-1, 6, 3)
        (0, 1000, -1)
    """
    given, wanted = nanos_per_unit(before), nanos_per_unit(after)
    if after <= 3:
        millis = value * given // 1_000_000
        step = _STEPS[3 - after]
        return millis // step * step if millis >= 0 else -(-millis // step * step)
    nanos = value * given
    if nanos % 1_000_000_000 < _STEPS[after]:
        return nanos // wanted  # as Flink counts the digits of the nanoseconds without their leading zeros
    return (nanos - nanos % _STEPS[9 - after]) // wanted


def _no(text: str, type_: str) -> EvaluationError:
    shown = repr(text if len(text) <= 80 else text[:79] + "…")
    wanted = {"TIMESTAMP": "2024-02-29 12:34:56.789", "DATE": "2024-02-29", "TIME": "12:34:56.789"}[type_]
    return EvaluationError(f"CAST: {shown} is not a {type_} such as {wanted}")


# --- to text ------------------------------------------------------------------------------------------


def date_to_text(days: int) -> str:
    """``YYYY-MM-DD``; years beyond 9999 have a sign, as in ISO 8601.

    Example:
        >>> date_to_text(0), date_to_text(2932897)
        ('1970-01-01', '+10000-01-01')
    """
    year, month, day = c.civil(days)
    if 0 <= year <= 9999:
        return f"{year:04d}-{month:02d}-{day:02d}"
    return f"{year:+05d}-{month:02d}-{day:02d}"


_MILLISECOND = datetime.timedelta(milliseconds=1)
_SHOWN = {0: (_MILLISECOND, "seconds"), 3: (_MILLISECOND, "milliseconds"), 6: (_MICROSECOND, "microseconds")}


def timestamp_to_text(value: int, precision: int) -> str:
    """``YYYY-MM-DD HH:MM:SS`` with the digits of the precision.

    Example:
        >>> timestamp_to_text(86401500, 3)
        '1970-01-02 00:00:01.500'
    """
    if precision in _SHOWN:
        unit, shown = _SHOWN[precision]
        try:
            return (_EPOCH + unit * value).isoformat(" ", shown)
        except OverflowError:
            pass
    per_second = 1_000_000_000 // nanos_per_unit(precision)
    seconds, fraction = divmod(value, per_second)
    days, seconds = divmod(seconds, 86_400)
    text = f"{date_to_text(days)} {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    if not precision:
        return text
    return f"{text}.{fraction * nanos_per_unit(precision):09d}"[: precision - 9 or None]


def time_to_text(value: int, precision: int) -> str:
    """``HH:MM:SS`` with the digits of the precision."""
    seconds, millis = divmod(value, 1000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return text + (f".{millis:03d}"[: 1 + precision] if precision else "")


def months_to_text(value: int) -> str:
    """An interval of months as ``+1-02``."""
    years, months = divmod(abs(value), 12)
    return f"{'-' if value < 0 else '+'}{years}-{months:02d}"


def interval_to_text(value: int) -> str:
    """An interval of milliseconds as ``+1 02:03:04.567``."""
    days, rest = divmod(abs(value), c.DAY_MS)
    return f"{'-' if value < 0 else '+'}{days} {time_to_text(rest, 3)}"
