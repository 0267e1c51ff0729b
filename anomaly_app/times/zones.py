"""Zones by the names that Java knows, and local times in them."""

from __future__ import annotations

import datetime
import functools
import re
import zoneinfo

from anomaly_app.errors import EvaluationError
from anomaly_app.times import calendar as c

_SHORT = {
    "ACT": "Australia/Darwin", "AET": "Australia/Sydney", "AGT": "America/Argentina/Buenos_Aires",
    "ART": "Africa/Cairo", "AST": "America/Anchorage", "BET": "America/Sao_Paulo", "BST": "Asia/Dhaka",
    "CAT": "Africa/Harare", "CNT": "America/St_Johns", "CST": "America/Chicago", "CTT": "Asia/Shanghai",
    "EAT": "Africa/Addis_Ababa", "ECT": "Europe/Paris", "IET": "America/Indiana/Indianapolis",
    "IST": "Asia/Kolkata", "JST": "Asia/Tokyo", "MIT": "Pacific/Apia", "NET": "Asia/Yerevan",
    "NST": "Pacific/Auckland", "PLT": "Asia/Karachi", "PNT": "America/Phoenix", "PRT": "America/Puerto_Rico",
    "PST": "America/Los_Angeles", "SST": "Pacific/Guadalcanal", "VST": "Asia/Ho_Chi_Minh",
}  # fmt: skip
"""Old names of ``java.util.TimeZone``."""

_OLD_OFFSET = re.compile(r"GMT([+-])(\d{1,2})(?::(\d\d)|(\d\d))?", re.ASCII)
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?([+-])(\d\d?)(?::?(\d\d)(?::?(\d\d))?)?", re.ASCII)

Zone = datetime.tzinfo


@functools.lru_cache(maxsize=256)
def old_zone(name: str) -> Zone:
    """The zone of a name as ``TimeZone.getTimeZone`` has it: what nobody knows is UTC.

    Example:
        >>> print(old_zone("GMT-08:00"), old_zone("Nowhere"))
        UTC-08:00 UTC
    """
    found = _OLD_OFFSET.fullmatch(name)
    if found is not None:
        hours, minutes = int(found[2]), int(found[3] or found[4] or 0)
        if hours <= 23 and minutes <= 59:
            return _fixed(found[1], hours * 3600 + minutes * 60)
    return _region(_SHORT.get(name, name)) or datetime.UTC


@functools.lru_cache(maxsize=256)
def zone(name: str) -> Zone:
    """The zone of a name as ``ZoneId.of`` has it.

    Raises:
        EvaluationError: there is no such zone.
    """
    if name in ("Z", "UTC", "GMT", "UT"):
        return datetime.UTC
    found = _OFFSET.fullmatch(name)
    if found is not None and int(found[2]) <= 18:
        return _fixed(found[1], int(found[2]) * 3600 + int(found[3] or 0) * 60 + int(found[4] or 0))
    region = _region(name)
    if region is None:
        raise EvaluationError(f"{name!r} is not a time zone such as UTC, Europe/Berlin or +02:00")
    return region


def _fixed(sign: str, seconds: int) -> Zone:
    return datetime.timezone(datetime.timedelta(seconds=-seconds if sign == "-" else seconds))


def _region(name: str) -> Zone | None:
    if not re.fullmatch(r"[A-Za-z][\w+/-]*", name, re.ASCII):
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
        if not zoneinfo.available_timezones():
            raise EvaluationError("this system has no time zones: install the Python package tzdata") from None
        return None


def offset_at(seconds: int, place: Zone) -> int:
    """Offset from UTC, in seconds, of a zone at a time (seconds since 1970)."""
    return _offset(_aware(seconds, datetime.UTC).astimezone(place))


def old_offset(local: int, place: Zone) -> int:
    """Offset of a local time (as seconds since 1970) as in ``GregorianCalendar``.

    That is standard time where clocks are put back, and also in the hour that is skipped.
    """
    return min(_offset(_aware(local, place, fold)) for fold in (0, 1))


def offset_of_local(local: int, place: Zone) -> int:
    """Offset of a local time (as seconds since 1970) as ``LocalDateTime.atZone`` has it: the one before a change."""
    return _offset(_aware(local, place))


_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 (a local time)
_FIRST, _LAST = (c.days_of(year, 1, 1) * 86_400 for year in (2, 9999))


def _aware(seconds: int, place: Zone, fold: int = 0) -> datetime.datetime:
    within = min(max(seconds, _FIRST), _LAST)
    return (_EPOCH + datetime.timedelta(seconds=within)).replace(tzinfo=place, fold=fold)


def _offset(moment: datetime.datetime) -> int:
    offset = moment.utcoffset()
    assert offset is not None
    return int(offset.total_seconds())
