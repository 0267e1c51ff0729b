r"""Alerts as lines of InfluxDB.

Its line protocol has no way to write some things: a backslash before what is escaped by one, or at the end of a tag
(it becomes ``/``), control characters in names and tags (they become spaces), a name ``time`` (it becomes ``time_``).
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from anomaly_app.alerts import Alert
from anomaly_app.delivery.labels import labels_of
from anomaly_app.errors import OptionError
from anomaly_app.sinks.event_time import event_ms

LATEST_NS = 2**63 - 3
"""Beyond which InfluxDB has no time, nor before its negative."""
LONGEST_TAG = 1_000
"""Characters. InfluxDB takes 65,535 bytes for all tags of a point."""
LONGEST_FIELD = 16_000
"""Characters of a text: at most 64,000 bytes, which is what InfluxDB takes."""

OWN_FIELDS = ("id", "score", "value", "message")
_NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})
"""What stands in alerts for floats that JSON does not have; InfluxDB has none either."""


class Picked(NamedTuple):
    """A column that becomes a tag or a field.

    Args:
        name: of the tag or field.
        path: where it stands in the alert; with one step in the key, else in the payload.
    """

    name: str
    path: tuple[str, ...]

    def of(self, alert: Alert) -> Any:
        """Its value; None if there is none."""
        if len(self.path) == 1:
            name = self.path[0]
            return alert.key[name] if name in alert.key else alert.payload.get(name)
        value: Any = {"key": alert.key, "payload": alert.payload}
        for step in self.path:
            value = value.get(step) if isinstance(value, Mapping) else None
        return value


def parse_picked(entry: str, option: str) -> Picked:
    """A column as written in the settings: ``storeId``, ``payload.type`` or ``kind=payload.type``.

    Raises:
        OptionError: it is none.

    Example:
        >>> parse_picked("kind=payload.type", "tags"), parse_picked("storeId", "tags")
        (Picked(name='kind', path=('payload', 'type')), Picked(name='storeId', path=('storeId',)))
    """
    name, renamed, path = entry.partition("=")
    steps = tuple((path if renamed else name).split("."))
    name = name.strip() if renamed else steps[-1]
    if not name or not all(steps) or (len(steps) > 1 and steps[0] not in ("key", "payload")):
        raise OptionError(option, f"{entry!r} should be a column, or name=key.column, or name=payload.column")
    if name == "time":
        raise OptionError(option, f"{entry!r}: InfluxDB has no tags or fields named time; rename it: when={entry}")
    return Picked(name, steps)


class Lines:
    """Writes alerts as lines.

    Tags are the labels of the alert, and those picked; fields are ``id``, ``score``, ``value=1i``, ``message`` and the
    payload. Numbers of the payload are floats always, so that columns of one name fit together. The payload's own
    ``message`` goes before the explanation; columns named like the other fields get ``payload_`` before their name.

    Args:
        measurement: name of it.
        tags: that are picked.
        fields: that are picked; none for the whole payload.
    """

    def __init__(self, measurement: str, tags: Sequence[Picked], fields: Sequence[Picked]) -> None:
        self._measurement = _escaped(measurement, ", ")
        self._tags, self._fields = tags, fields

    def line(self, alert: Alert, tenant: str) -> str | None:
        """One point; None if its time is none that InfluxDB has.

        A point with the tags and the time of another replaces it. So the nanoseconds tell where the alert's row stands:
        alerts of one millisecond stay apart, and a repeat replaces itself.
        """
        millis = event_ms(alert)
        if millis is None:
            return None
        nanos = millis * 1_000_000 + _place(alert)
        if abs(nanos) > LATEST_NS:
            return None
        tags = self._tags_of(alert, tenant)
        # Sorted tags are what InfluxDB takes fastest.
        written = "".join(f",{_escaped(name, ',= ')}={_escaped(tags[name], ',= ')}" for name in sorted(tags))
        fields = ",".join(f"{_escaped(name, ',= ')}={value}" for name, value in self._fields_of(alert, tags))
        return f"{self._measurement}{written} {fields} {nanos}"

    def _tags_of(self, alert: Alert, tenant: str) -> dict[str, str]:
        tags: dict[str, str] = {}
        picked = ((column.name, column.of(alert)) for column in self._tags)
        for name, value in (*labels_of(alert, tenant).items(), *picked):
            text = _tag(value)
            if text:
                tags.setdefault(_name(name), text)
        return tags

    def _fields_of(self, alert: Alert, tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        message = alert.payload.get("message")
        yield "id", _text(alert.id)
        if alert.score is not None and math.isfinite(alert.score):
            yield "score", repr(float(alert.score))
        yield "value", "1i"
        yield "message", _text(message if isinstance(message, str) and message else alert.explanation)
        columns = [(column.name, column.of(alert)) for column in self._fields] or list(alert.payload.items())
        told = {*OWN_FIELDS, *tags}
        for column, value in columns:
            written = _field(value)
            if written is None or column == "message" or (column in tags and tags[column] == _tag(value)):
                continue
            name = _name(column)
            while name in told:
                name = f"payload_{name}"
            told.add(name)
            yield name, written


def _place(alert: Alert) -> int:
    """Different for rows near each other in a partition; most often for others and alerts of one row, too."""
    source = alert.source
    return (source.offset * 101 + source.partition * 333_337 + zlib.crc32(alert.id.encode()) % 101) % 1_000_000


def _name(name: str) -> str:
    return "time_" if name == "time" else name or "_"


def _tag(value: Any) -> str:
    if value is None or isinstance(value, Mapping | list):
        return ""
    return (("true" if value else "false") if isinstance(value, bool) else str(value))[:LONGEST_TAG]


def _field(value: Any) -> str | None:
    """A number, text or boolean; None for what is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return None
        return repr(number) if math.isfinite(number) else None
    return _text(value) if isinstance(value, str) and value not in _NOT_FINITE else None


def _text(value: str) -> str:
    value = value[:LONGEST_FIELD].encode("utf-8", "replace").decode()
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


_PLAIN = re.compile(r"[\w.:/@+-]*", re.ASCII).fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def _escaped(text: str, special: str) -> str:
    r"""A name or a tag.

    Example:
        >>> print(_escaped("a b,c=d\\,\n\\", ",= "))
        a\ b\,c\=d/\,\ /
    """
    if _PLAIN(text):
        return text
    text = _CONTROL.sub(" ", text).encode("utf-8", "replace").decode()
    text = re.sub(r"\\+(?=[,= ]|$)", lambda found: "/" * len(found[0]), text)
    return re.sub(f"([{special}])", r"\\\1", text)
