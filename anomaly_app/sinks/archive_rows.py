"""Records as rows of Parquet or JSON lines.

All rows have the columns of :data:`RECORD`; those of alerts have the ones of :data:`ALERT` in front of them. Key and
value stand as text in ``key`` and ``value`` if they are UTF-8, else in ``key_bytes`` and ``value_bytes``. Times are in
UTC.
"""

from __future__ import annotations

import base64
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from anomaly_app.alerts import Alert

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
Row: TypeAlias = dict[str, Any]
"""Values by column; times in ms since 1970."""
Identity: TypeAlias = tuple[int, int | None, int]

ALERT = {
    "id": "text", "job": "text", "version": "text", "query": "text", "type": "text", "severity": "text",
    "score": "double", "event_time": "time", "detected_at": "time", "explanation": "text", "payload": "text",
    "rows": "text", "rows_total": "long", "source_topic": "text", "source_partition": "long", "source_offset": "long",
    "tenant": "text",
}  # fmt: skip
"""Columns of alerts: ``key``, ``payload`` and ``rows`` as the text of JSON. What is no alert has them empty."""

RECORD = {
    "key": "text", "key_bytes": "bytes", "value": "text", "value_bytes": "bytes", "headers": "text",
    "timestamp": "time", "partition": "long", "offset": "long", "checksum": "long",
}  # fmt: skip
"""Columns of all records. ``headers`` is the text of a JSON array of names and values (``{"base64": …}`` if it is no
text); ``value`` of an alert is empty, as its columns say it; ``checksum`` is the CRC-32 of key and value."""

_YEAR_10000_MS = 253_402_300_800_000
"""Which calendars do not have."""

_json = msgspec.json.Encoder()
_alerts = msgspec.json.Decoder(Alert)


class Record(NamedTuple):
    """A record of Kafka.

    Args:
        topic: its topic.
        partition: of the topic.
        offset: in the partition.
        timestamp_ms: in ms since 1970; below 0 if it has none. What is no time before the year 10000 counts as none.
        key: None without.
        value: None for a deletion.
        headers: names and values.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def time_ms(self) -> int | None:
        """The timestamp; None for what is no time."""
        return self.timestamp_ms if 0 <= self.timestamp_ms < _YEAR_10000_MS else None

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers

    @property
    def checksum(self) -> int:
        """CRC-32 of key and value."""
        return zlib.crc32(self.value or b"", zlib.crc32(self.key or b""))

    @property
    def identity(self) -> Identity:
        """What tells it from all others of its partition, also of a topic of the same name that was deleted."""
        return self.offset, self.time_ms, self.checksum


class RowFormat(Protocol):
    """How rows are written and read.

    Attributes:
        suffix: of the names of files.
    """

    suffix: str

    def check(self) -> None:
        """Raises ImportError if a package is missing."""
        ...

    def encode(self, records: Sequence[Record]) -> bytes:
        """A file."""
        ...

    def identities(self, data: bytes) -> Iterable[Identity]:
        """Which records a file has."""
        ...


def row_format(name: str, alerts: bool) -> RowFormat:
    """The format of a file.

    Args:
        name: ``parquet`` or ``json.gz``.
        alerts: its records are alerts.
    """
    return ParquetRows(alerts) if name == "parquet" else JsonRows(alerts)


def identities_of(name: str, data: bytes) -> Iterable[Identity]:
    """Which records a file has.

    Args:
        name: of the file, which tells its format.
        data: of the file.
    """
    return (ParquetRows if name.endswith(ParquetRows.suffix) else JsonRows)(alerts=False).identities(data)


class JsonRows:
    """JSON lines, compressed; the same records give the same bytes."""

    suffix = ".json.gz"

    def __init__(self, alerts: bool) -> None:
        self._alerts = alerts

    def check(self) -> None:
        """It needs nothing."""

    def encode(self, records: Sequence[Record]) -> bytes:
        """A file."""
        kinds = _kinds(self._alerts)
        times = [name for name, kind in kinds.items() if kind == "time"]
        lines = []
        for row in _rows(records, self._alerts):
            for name in times:
                if row[name] is not None:
                    row[name] = _iso(row[name])
            lines.append(_json.encode(row))
        return gzip.compress(b"\n".join(lines) + b"\n", 6, mtime=0)

    def identities(self, data: bytes) -> Iterator[Identity]:
        """Which records a file has."""
        for line in gzip.decompress(data).splitlines():
            row = msgspec.json.decode(line)
            yield row["offset"], _ms(row["timestamp"]) if row["timestamp"] else None, row["checksum"]


class ParquetRows:
    """Parquet, compressed with zstd."""

    suffix = ".parquet"

    def __init__(self, alerts: bool) -> None:
        self._alerts = alerts

    def check(self) -> None:
        """Raises ImportError without pyarrow."""
        import pyarrow.parquet  # noqa: F401  # whether it is there

    def encode(self, records: Sequence[Record]) -> bytes:
        """A file."""
        import pyarrow
        from pyarrow import parquet

        types = {
            "text": pyarrow.string(), "bytes": pyarrow.binary(), "double": pyarrow.float64(),
            "long": pyarrow.int64(), "time": pyarrow.timestamp("ms", "UTC"),
        }  # fmt: skip
        schema = pyarrow.schema([(name, types[kind]) for name, kind in _kinds(self._alerts).items()])
        table = pyarrow.Table.from_pylist(list(_rows(records, self._alerts)), schema)
        file = io.BytesIO()
        parquet.write_table(table, file, compression="zstd")
        return file.getvalue()

    def identities(self, data: bytes) -> Iterator[Identity]:
        """Which records a file has."""
        import pyarrow
        from pyarrow import parquet

        table = parquet.read_table(io.BytesIO(data), columns=["offset", "timestamp", "checksum"])
        times = table["timestamp"].cast(pyarrow.int64())
        yield from zip(*(column.to_pylist() for column in (table["offset"], times, table["checksum"])), strict=True)


SUFFIXES = (JsonRows.suffix, ParquetRows.suffix)
"""Of the files of all formats."""


def _kinds(alerts: bool) -> Mapping[str, str]:
    return {**ALERT, **RECORD} if alerts else RECORD


def _rows(records: Sequence[Record], alerts: bool) -> Iterator[Row]:
    for record in records:
        row: Row = dict.fromkeys(ALERT) if alerts else {}
        row["key"], row["key_bytes"] = _text_or_bytes(record.key)
        row["value"], row["value_bytes"] = _text_or_bytes(record.value)
        row["headers"] = _text(_json.encode([(name, _header(value)) for name, value in record.headers]))
        row["timestamp"] = record.time_ms
        row["partition"], row["offset"], row["checksum"] = record.partition, record.offset, record.checksum
        if alerts and row["value"] is not None:
            row.update(_alert(record))
        yield row


def _alert(record: Record) -> Row:
    """Columns of an alert; none for what cannot be told by them, so that its bytes are kept."""
    tenant = next((value for name, value in record.headers if name == "tenant"), None)
    try:
        alert = _alerts.decode(record.value or b"")
        source = alert.source
        if not all(-_LONG <= number < _LONG for number in (alert.rows_total, source.partition, source.offset)):
            return {}
        return {
            "id": alert.id, "job": alert.job, "version": alert.version, "query": alert.query, "type": alert.type,
            "severity": alert.severity, "score": alert.score, "event_time": _ms(alert.event_time),
            "detected_at": _ms(alert.detected_at), "explanation": alert.explanation,
            "key": _text(_json.encode(alert.key)), "payload": _text(_json.encode(alert.payload)),
            "rows": _text(_json.encode(alert.rows)), "rows_total": alert.rows_total, "source_topic": source.topic,
            "source_partition": source.partition, "source_offset": source.offset,
            "tenant": None if tenant is None else tenant.decode("utf-8", "replace"), "value": None,
        }  # fmt: skip
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}


_LONG = 2**63


def _text_or_bytes(data: bytes | None) -> tuple[str | None, bytes | None]:
    if data is None:
        return None, None
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        return None, data


def _header(value: bytes | None) -> Any:
    text, other = _text_or_bytes(value)
    return text if other is None else {"base64": _text(base64.b64encode(other))}


def _text(data: bytes) -> str:
    return data.decode("utf-8")


def _iso(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1_000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03d}Z"


def _ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round((moment - datetime.fromtimestamp(0, UTC)).total_seconds() * 1_000)
