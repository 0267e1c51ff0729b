"""One column that is the whole key or value, as Flink's ``raw`` format has it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from anomaly_app.errors import DecodeError
from anomaly_app.formats.options import RawOptions
from anomaly_app.schema import TEXTS, Column, DataType, Kind

_CODES = {
    Kind.BOOLEAN: "?",
    Kind.TINYINT: "b",
    Kind.SMALLINT: "h",
    Kind.INT: "i",
    Kind.BIGINT: "q",
    Kind.FLOAT: "f",
    Kind.DOUBLE: "d",
}


class RawCodec:
    r"""Decodes and encodes the bytes of a record as one value.

    Args:
        columns: just one, of a text or number type, BOOLEAN or BYTES.
        options: of the format.

    Raises:
        TypeError: there is not one column, or it has another type.

    Example:
        >>> from anomaly_app.schema import INT
        >>> codec = RawCodec([Column("a", INT)], RawOptions())
        >>> codec.encode((258,)), codec.decode_one(bytes([0, 0, 1, 2]))
        (b'\x00\x00\x01\x02', (258,))
    """

    def __init__(self, columns: Sequence[Column], options: RawOptions) -> None:
        if len(columns) != 1:
            raise TypeError(f"the format 'raw' is for one column, not for {len(columns)}")
        self._type = columns[0].type
        self._read, self._write = _functions(self._type, options)

    def decode_all(self, payloads: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """All records of a batch; raises if any of them is wrong."""
        read = self._read
        return [(read(payload),) for payload in payloads]

    def decode_one(self, payload: bytes) -> tuple[Any, ...]:
        """One record; raises :class:`DecodeError`."""
        try:
            return (self._read(payload),)
        except (ValueError, struct.error) as error:
            raise DecodeError(f"not a raw {self._type}: {error}") from None

    def encode(self, values: Sequence[Any]) -> bytes | None:
        """The bytes of a value; None for NULL."""
        return None if values[0] is None else self._write(values[0])


def _functions(type_: DataType, options: RawOptions) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    if type_.kind in TEXTS:
        charset = options.charset
        return lambda data: str(data, charset), lambda value: value.encode(charset)
    if type_.kind is Kind.BYTES:
        return bytes, bytes
    if type_.kind not in _CODES:
        raise TypeError(f"the format 'raw' cannot hold {type_}")
    layout = struct.Struct((">" if options.endianness == "big-endian" else "<") + _CODES[type_.kind])
    return lambda data: layout.unpack(data)[0], layout.pack
