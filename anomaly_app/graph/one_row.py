"""One row as the value of a key."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from anomaly_app.keyed import ValueCodec
from anomaly_app.operators import TIME, Layout, Row
from anomaly_app.patterns.state import RowCodec


class OneRow(ValueCodec[Row]):
    """A row as the value of a key.

    Args:
        layout: of the row.
        reads: names of the columns that somebody needs: the others are not stored.
    """

    def __init__(self, layout: Layout, reads: Collection[str]) -> None:
        self._rows = RowCodec(layout, reads)

    def encode(self, value: Row) -> bytes:
        """The row as bytes."""
        return self._rows.encode(value)

    def decode(self, data: bytes, parts: Mapping[int, bytes]) -> Row:
        """And back."""
        return self._rows.decode(data)

    def used_at(self, value: Row) -> int:
        """Its time."""
        time: int = value[TIME]
        return time

    def was_used_at(self, data: bytes) -> int:
        """The same, of stored bytes."""
        return self.used_at(self._rows.decode(data))
