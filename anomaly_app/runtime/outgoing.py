"""Records on their way out: results, alerts, late rows, dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from anomaly_app.alerts.values import to_json
from anomaly_app.operators import COLUMNS, Layout, Row

ID_HEADER = "anomaly-id"
"""Id of the alert (or of the source record) of a record; by it a replay after a crash knows what is written already."""

MAX_RECORD_BYTES = 1_000_000
"""Of key, value and headers: brokers refuse batches beyond 1 MiB, unless they are told otherwise."""
MAX_ERROR = 2_000
"""Characters of an error in a header."""

Headers = list[tuple[str, bytes]]


class Outgoing(NamedTuple):
    """A record to write.

    Args:
        topic: where.
        key: bytes or None.
        value: bytes or None (a tombstone).
        headers: name and bytes.
        id: of the alert that it belongs to; "" for none.
        partition: of the topic, beginning anew behind its last one; None to choose it by the key.
        once: several plans may have the same to say of a source record: it is written once.
        is_frame: of a repartition topic: those that are written at a time for one partition are one record.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    id: str = ""
    partition: int | None = None
    once: bool = False
    is_frame: bool = False


def result(topic: str, key: bytes | None, value: bytes | None, alert_id: str) -> Outgoing:
    """A result row or an alert."""
    return Outgoing(topic, key, value, [(ID_HEADER, alert_id.encode())], alert_id)


def coordinates(topic: str, partition: int, offset: int, timestamp_ms: int) -> Headers:
    """Where a record comes from, as headers."""
    return [
        ("anomaly-source-topic", topic.encode()),
        ("anomaly-source-partition", b"%d" % partition),
        ("anomaly-source-offset", b"%d" % offset),
        ("anomaly-source-timestamp", b"%d" % timestamp_ms),
    ]


def raw(topic: str, record: Any, headers: Headers) -> Outgoing:
    """A source record with its own bytes and headers, and where it comes from; too large a one is cut."""
    place = coordinates(record.topic, record.partition, record.offset, record.timestamp)
    own = [(name, value or b"") for name, value in record.headers or () if not name.startswith("anomaly-")]
    told = [*place, ("anomaly-payload", b"raw"), *headers]
    return _identified(topic, record.key, record.value, own, told, f"{record.topic}-{record.partition}-{record.offset}")


def _identified(topic: str, key: bytes | None, value: bytes | None, own: Headers, told: Headers, id_: str) -> Outgoing:
    headers = [*own, *told, (ID_HEADER, id_.encode())]
    if size(key, value, headers) > MAX_RECORD_BYTES:
        headers = headers if size(None, None, own) <= MAX_RECORD_BYTES // 4 else headers[len(own) :]
        headers.append(("anomaly-truncated", b"%d" % len(value or b"")))
        key = key and key[: MAX_RECORD_BYTES // 4]
        value = value and value[: MAX_RECORD_BYTES // 2]
    return Outgoing(topic, key, value, headers, id_, once=True)


def size(key: bytes | None, value: bytes | None, headers: Headers = []) -> int:  # noqa: B006 (never changed)
    """Bytes of a record."""
    return len(key or b"") + len(value or b"") + sum(len(name) + len(content) for name, content in headers)


NODE_HEADER = "anomaly-node"
"""What part of a query the row of a record is of, if it is none of the source."""


class RowWriter:
    """Rows as JSON, for records whose bytes are gone: a rule failed on them later, or they come from upstream.

    Args:
        layout: columns of a row.
        source: topic that they come from.
    """

    def __init__(self, layout: Layout, source: str) -> None:
        self._columns = [(column.name, to_json(column.type)) for column in layout.columns]
        self._source = source

    def write(
        self, topic: str, shown: Sequence[Mapping[str, Any]], time: int, place: tuple[int, int], headers: Headers,
        about: str,
    ) -> Outgoing:  # fmt: skip
        """Rows of one problem.

        Args:
            topic: where to.
            shown: the rows concerned, as :meth:`show` gives them; the last one is where the problem arose.
            time: event time of the last one.
            place: partition and offset of the last one in the source.
            headers: more of them.
            about: tells problems of one row apart.
        """
        value = msgspec.json.encode(shown[0] if len(shown) == 1 else shown)
        where = coordinates(self._source, *place, time)
        id_ = f"{self._source}-{place[0]}-{place[1]}-{about}"
        return _identified(topic, None, value, [], [*where, ("anomaly-payload", b"row"), *headers], id_)

    def shown(self, row: Row) -> Mapping[str, Any]:
        """The columns of a row that have a name for people, as values of JSON."""
        values = row[COLUMNS:]
        return {
            name: value if convert is None or value is None else convert(value)
            for (name, convert), value in zip(self._columns, values, strict=False)
            if not name.startswith("$")
        }


def error_headers(error: BaseException, more: Iterable[tuple[str, str]] = ()) -> Headers:
    """What went wrong, as headers."""
    return text_headers([("anomaly-error", str(error)), ("anomaly-error-type", type(error).__name__), *more])


def text_headers(named: Iterable[tuple[str, str]]) -> Headers:
    """Texts as headers; empty ones are left out."""
    return [(name, value[:MAX_ERROR].encode(errors="replace")) for name, value in named if value]
