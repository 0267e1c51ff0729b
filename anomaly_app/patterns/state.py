"""What a pattern operator stores, as bytes: rows, marks of keys, and the keys of the entries.

Three kinds of entries, told apart by the first byte of their key: ``t`` (one: from which event time on rows are
needed), ``k`` + key (how far matches have consumed the rows of the key) and ``r`` + key + sequence (a held row).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from operator import itemgetter
from types import GenericAlias
from typing import Any

import msgspec

from anomaly_app.errors import StateError
from anomaly_app.operators import COLUMNS, POSITION, TIME, Layout, Row
from anomaly_app.schema import Column, python_type

NEEDED = b"t"
KEY = b"k"
ROW = b"r"


class KeyMark(msgspec.Struct, frozen=True, array_like=True):
    """How far matches have consumed the rows of a key.

    Where the source is the log, rows are named by themselves: ``row`` and ``covered`` are encoded rows, the last ones
    that are no start any more and that a match covers. Where rows are stored, ``start`` and ``end`` are their
    sequence numbers in the key.

    Args:
        number: of the next match.
        row: last row that no match may start at any more; empty where rows are stored.
        covered: last row that a match covers; empty if it is ``row`` or not asked for.
        start: sequence of the next start.
        end: sequence behind the last row that a match covers.

    Example:
        >>> KeyMark.decode(KeyMark(3, b"row").encode())
        KeyMark(number=3, row=b'row', covered=b'', start=0, end=0)
    """

    number: int
    row: bytes = b""
    covered: bytes = b""
    start: int = 0
    end: int = 0

    def encode(self) -> bytes:
        """As bytes."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> KeyMark:
        """From bytes; raises :class:`StateError`."""
        mark: KeyMark = _decode(msgspec.msgpack.Decoder(cls), data, "mark of a key")
        return mark


class RowParts:
    """A row in parts, as it is stored: what its query reads, what trails the columns, and all other columns.

    The columns of a row are those that all queries of its source read. What is stored of one query must stay readable
    when another one reads other columns than before: the other columns are then None.

    Args:
        layout: of the rows.
        reads: names of the columns that the query reads.

    Example:
        >>> from anomaly_app.schema import INT, STRING
        >>> user, shop, qty = Column("user_id", STRING), Column("shop", STRING), Column("qty", INT)
        >>> parts = RowParts(Layout((user, shop, qty)), ["qty"])
        >>> stored = msgspec.msgpack.encode(parts.split((1_000, 42, "ann", "north", 3, 0, 77)))
        >>> parts.join(*msgspec.msgpack.decode(stored, type=tuple[parts.types]))
        (1000, 42, 'ann', 'north', 3, 0, 77)
        >>> fewer = RowParts(Layout((shop, qty)), ["qty"])
        >>> fewer.join(*msgspec.msgpack.decode(stored, type=tuple[fewer.types]))
        (1000, 42, None, 3, 0, 77)
    """

    def __init__(self, layout: Layout, reads: Collection[str]) -> None:
        own = [column for column in layout.columns if column.name in reads]
        others = [column for column in layout.columns if column.name not in reads]
        places = [TIME, POSITION, *(layout.index(column.name) for column in own)]
        spare = [layout.index(column.name) for column in others]
        row = GenericAlias(tuple, (int, int, *(python_type(column.type) for column in own)))
        self.types: tuple[Any, ...] = (row, tuple[Any, ...], int, msgspec.Raw)
        self._width, self._spare = COLUMNS + len(layout.columns), spare
        self._take: Callable[[Row], Row] = itemgetter(*places)
        # Where each column of a row stands in the own and then the other columns.
        self._order = sorted(range(self._width), key=[*places, *spare].__getitem__)
        names = ",".join(f"{column.name} {column.type}" for column in others)
        self._mark = zlib.crc32(names.encode()) if others else 0
        self._others: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
            GenericAlias(tuple, tuple(python_type(column.type) for column in others)) if others else tuple[()]
        )

    def split(self, row: Row) -> tuple[Row, Row, int, Sequence[Any]]:
        """The parts: own columns, what trails, what the others are, the others."""
        width, spare = self._width, self._spare
        if not spare:
            return row[:width], row[width:], 0, ()
        return self._take(row), row[width:], self._mark, [row[place] for place in spare]

    def join(self, own: Row, trailing: Row, mark: int, others: msgspec.Raw) -> Row:
        """And back; raises ``msgspec.DecodeError``."""
        spare = self._spare
        if len(trailing) == 1:  # the origin of a derived row: a path and a place
            path, *place = trailing[0]
            trailing = ((tuple(path), *place),)
        if not spare:
            return (*own, *trailing)
        columns = (*own, *(self._others.decode(others) if mark == self._mark else [None] * len(spare)))
        return (*[columns[place] for place in self._order], *trailing)


class RowCodec:
    """Rows as bytes, as far as a query needs them.

    Args:
        layout: of the rows.
        reads: names of the columns that the query reads.

    Example:
        >>> from decimal import Decimal
        >>> from anomaly_app.schema import STRING, DataType, Kind
        >>> layout = Layout((Column("user_id", STRING), Column("cost", DataType(Kind.DECIMAL, 5, 2))))
        >>> codec = RowCodec(layout, {"user_id", "cost"})
        >>> codec.decode(codec.encode((1_000, 42, "ann", Decimal("9.90"), 3, 77)))
        (1000, 42, 'ann', Decimal('9.90'), 3, 77)
    """

    def __init__(self, layout: Layout, reads: Collection[str]) -> None:
        self._parts = RowParts(layout, reads)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(GenericAlias(tuple, self._parts.types))

    def encode(self, row: Row) -> bytes:
        """A row as bytes."""
        return self._encoder.encode(self._parts.split(row))

    def decode(self, data: bytes) -> Row:
        """A row from bytes; raises :class:`StateError`."""
        parts = _decode(self._decoder, data, "row")
        try:
            return self._parts.join(*parts)
        except msgspec.DecodeError as error:
            raise StateError(f"a stored row is unreadable: {error}") from error


class KeyCodec:
    """Values of the PARTITION BY columns as bytes.

    Example:
        >>> from anomaly_app.schema import INT
        >>> codec = KeyCodec([Column("user_id", INT)])
        >>> codec.decode(codec.encode((7,)))
        (7,)
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        types = tuple(python_type(column.type) for column in columns)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
            tuple[types] if types else tuple[()]  # type: ignore[valid-type]  # a type made at run time
        )

    def encode(self, values: tuple[Any, ...]) -> bytes:
        """A key as bytes; equal keys give equal bytes."""
        return self._encoder.encode(values)

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """A key from bytes; raises :class:`StateError`."""
        values: tuple[Any, ...] = _decode(self._decoder, data, "key")
        return values


def row_key(key: bytes, sequence: int) -> bytes:
    """Entry of a held row."""
    return ROW + key + sequence.to_bytes(8, "big")


def split_row_key(entry: bytes) -> tuple[bytes, int]:
    """Key and sequence of a held row's entry.

    Example:
        >>> split_row_key(row_key(b"ann", 5))
        (b'ann', 5)
    """
    return entry[1:-8], int.from_bytes(entry[-8:], "big")


def _decode(decoder: msgspec.msgpack.Decoder[Any], data: bytes, what: str) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(f"a stored {what} is unreadable: {error}") from error
