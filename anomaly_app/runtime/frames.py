"""What travels through a repartition topic: frames of rows from one upstream partition to one downstream partition.

A frame is one Kafka record: the rows of one flush that belong downstream, with their offsets upstream, and the
watermark of the upstream partition behind them. A frame without rows carries only the watermark. One record for many
rows keeps the cost of Kafka's per-record work off the rows; and the frames that a worker has for one partition at a
time are one record too: steps downstream do not multiply by the partitions upstream.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any

import msgspec

from anomaly_app.changes import CHANGE_COLUMN, Change
from anomaly_app.errors import DecodeError
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.schema import python_type
from anomaly_app.upstreams import place_of, upstream_of

POSITION_BITS = 20
"""A row behind a repartition has the position (offset of its frame << 20) + its number in the frame."""
PLACE_BITS = 14
"""Of several frames in a record, the one at place k has the positions from k << 14 on."""
MAX_ROWS = (1 << PLACE_BITS) - 1
"""Rows of a frame, fewer than positions."""
MAX_FRAMES = 1 << POSITION_BITS - PLACE_BITS
"""Frames of a record."""
MAX_BYTES = 700_000
"""Rows are split over frames beyond it; brokers refuse records of 1 MiB."""


class What(IntEnum):
    """What a frame says about its upstream partition."""

    ACTIVE = 0
    IDLE = 1
    """It has no rows for now and holds nobody up."""
    END = 2
    """A bounded run has reached its end there."""
    LAST = 3
    """Rows that came of the end of a bounded run."""
    SEVERAL = 4
    """No frame itself: in place of rows it has frames, of several upstream partitions."""


class Frame(msgspec.Struct, array_like=True):
    """Head of a frame; the rows follow, encoded apart.

    Args:
        upstream: number of the upstream partition, and of its topic: see :mod:`anomaly_app.upstreams`.
        watermark: of it, behind the rows, in ms.
        what: see :class:`What`.
        run: of END and LAST: which run of the worker; those of an earlier run say nothing.
        columns: name and type of each column of the rows: after a change of the job, frames of its earlier version are
            still in the topic.
        rows: ``(event time, upstream offset, column 0, …)``; of a table that changes, in place of the offset a number
            made of it, since a record may give two rows.
        input: number of the table that the upstream partition is of, where the queries read several.
    """

    upstream: int
    watermark: int
    what: int = What.ACTIVE
    run: str = ""
    columns: msgspec.Raw = msgspec.Raw(b"\x90")
    rows: msgspec.Raw = msgspec.Raw(b"\x90")
    input: int = 0


_head = msgspec.msgpack.Decoder(Frame)
_heads = msgspec.msgpack.Decoder(list[Frame])
_encode = msgspec.msgpack.Encoder().encode
_NOTHING = msgspec.Raw(b"\x90")


def decode_head(data: bytes) -> Frame:
    """A frame whose rows are not decoded yet; raises ``msgspec.DecodeError``."""
    return _head.decode(data)


def decode_heads(data: bytes) -> list[Frame]:
    """The frames of a record, without their rows; raises ``msgspec.DecodeError``."""
    head = _head.decode(data)
    return _heads.decode(head.rows) if head.what == What.SEVERAL else [head]


def bundled(frames: Iterable[bytes]) -> list[bytes]:
    """Frames for one partition as few records, in their order.

    Example:
        >>> one = FrameCodec(Layout(()))
        >>> records = bundled([one.encode(0, 900), one.encode(1, 800)])
        >>> [[(frame.upstream, frame.watermark) for frame in decode_heads(data)] for data in records]
        [[(0, 900), (1, 800)]]
    """
    records: list[bytes] = []
    held: list[bytes] = []
    size = 0
    for frame in frames:
        if held and (size + len(frame) > MAX_BYTES or len(held) == MAX_FRAMES):
            records.append(_bundle(held))
            held, size = [], 0
        held.append(frame)
        size += len(frame)
    return [*records, _bundle(held)] if held else records


def _bundle(frames: Sequence[bytes]) -> bytes:
    if len(frames) == 1:
        return frames[0]
    return _encode(Frame(0, 0, What.SEVERAL, rows=msgspec.Raw(_encode([msgspec.Raw(frame) for frame in frames]))))


class FrameCodec:
    """Frames of rows with the columns of a layout.

    Args:
        layout: columns of a row.
        number: of the table.
        topic: number of its topic; 0 if it has one only.

    Example:
        >>> from anomaly_app.schema import INT, Column
        >>> codec = FrameCodec(Layout((Column("qty", INT),)))
        >>> data = codec.encode(3, 900, [(1_000, 42, 7)])
        >>> codec.decode(decode_head(data), frame_offset=1)
        ([(1000, 1048576, 7, 3, 42)], [42])
    """

    def __init__(self, layout: Layout, number: int = 0, topic: int = 0) -> None:
        self._changing = layout.columns[-1:] == (CHANGE_COLUMN,)
        self._number, self._topic = number, topic
        self._names = [f"{column.name} {column.type.with_nullable(True)}" for column in layout.columns]
        self._types = [python_type(column.type) for column in layout.columns]
        self._columns = msgspec.Raw(_encode(self._names))
        self._own = _rows_decoder(self._types)
        self._others: dict[bytes, tuple[Any, list[int]]] = {}

    def encode(
        self, upstream: int, watermark: int, rows: Sequence[Row] = (), what: What = What.ACTIVE, run: str = ""
    ) -> bytes:
        """A frame of rows ``(event time, offset, columns…)``."""
        if self._changing:
            # The row that comes by an update stands behind the one that goes: so each has a number of its own.
            rows = [(row[0], row[1] << 1 | (row[-1] == Change.AFTER), *row[COLUMNS:]) for row in rows]
        upstream = place_of(self._topic, upstream)
        if not rows:
            return _encode(Frame(upstream, watermark, what, run, input=self._number))
        return _encode(Frame(upstream, watermark, what, run, self._columns, msgspec.Raw(_encode(rows)), self._number))

    def encode_all(
        self, upstream: int, watermark_before: int, watermark: int, rows: Sequence[Row], what: What = What.ACTIVE,
        run: str = "",
    ) -> list[bytes]:  # fmt: skip
        """As many frames as the rows need; only the last one carries the new watermark."""
        if len(rows) <= MAX_ROWS:
            data = self.encode(upstream, watermark, rows, what, run)
            if len(data) <= MAX_BYTES or len(rows) == 1:
                return [data]
        half = len(rows) // 2
        return [
            *self.encode_all(upstream, watermark_before, watermark_before, rows[:half], what, run),
            *self.encode_all(upstream, watermark_before, watermark, rows[half:], what, run),
        ]

    def decode(self, frame: Frame, frame_offset: int, place: int = 0) -> tuple[list[Row], list[int]]:
        """Rows in the engine's form, with (upstream partition, upstream offset) behind the columns, and their numbers.

        The numbers rise; they are the offsets, where a record gives one row.

        The upstream partition is told as one number, of table and partition: see :mod:`anomaly_app.upstreams`.

        Args:
            frame: of the record at ``frame_offset``.
            frame_offset: offset of the record.
            place: of the frame in it.

        Raises:
            DecodeError: the rows lack a column that the job reads now.
            msgspec.DecodeError: these are no rows.
        """
        if frame.rows == _NOTHING:
            return [], []
        position, upstream = position_of(frame_offset, place), upstream_of(frame.input, frame.upstream)
        given = self._own.decode(frame.rows) if frame.columns == self._columns else self._decode_other(frame)
        rows: list[Row] = []
        offsets: list[int] = []
        changing = self._changing
        for number, row in enumerate(given):
            offset = row[1]
            offsets.append(offset)
            if changing:
                offset >>= 1
            rows.append((row[0], position + number, *row[COLUMNS:], upstream, offset))
        return rows, offsets

    def _decode_other(self, frame: Frame) -> list[Row]:
        """Rows of another version of the job."""
        given = bytes(frame.columns)
        if given not in self._others:
            names = msgspec.msgpack.decode(given, type=list[str])
            for name in self._names:
                if name not in names:
                    raise DecodeError(f"rows of an earlier version of the job, without the column {name}")
            places = [names.index(name) for name in self._names]
            types: list[Any] = [Any] * len(names)
            for place, type_ in zip(places, self._types, strict=True):
                types[place] = type_
            self._others[given] = _rows_decoder(types), [COLUMNS + place for place in places]
        decoder, places = self._others[given]
        return [(row[0], row[1], *(row[place] for place in places)) for row in decoder.decode(frame.rows)]


def position_of(offset: int, place: int = 0) -> int:
    """Position of the first row of the frame at a place of a record.

    Example:
        >>> position_of(1), position_of(1, 2), position_of(1, MAX_FRAMES) == position_of(2)
        (1048576, 1081344, True)
    """
    return (offset << POSITION_BITS) + (place << PLACE_BITS)


def _rows_decoder(types: Sequence[Any]) -> Any:
    row = tuple[(int, int, *types)]  # type: ignore[valid-type]  # a type made at run time
    return msgspec.msgpack.Decoder(list[row])


def partition_of(layout: Layout, partition_by: Sequence[str], partitions: int) -> Callable[[Row], int]:
    """Where a row belongs: the same partition for equal keys, in every process and release, and of every table."""
    places = [layout.index(name) for name in partition_by]
    if not places:
        return lambda row: 0
    known: dict[Any, int] = {}
    single = places[0] if len(places) == 1 else -1

    def find(row: Row) -> int:
        key = row[single] if single >= 0 else tuple([row[place] for place in places])
        try:
            return known[key]
        except KeyError:
            pass
        if len(known) > MAX_KNOWN_KEYS:
            known.clear()
        target = known[key] = zlib.crc32(_encode(key)) % partitions
        return target

    return find


MAX_KNOWN_KEYS = 200_000
"""Keys whose partition is remembered; a look-up costs a tenth of the hash."""
