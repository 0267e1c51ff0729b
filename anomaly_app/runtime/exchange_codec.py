"""How rows stand on their way from one fragment of a query to the next: see :mod:`anomaly_app.runtime.exchange`."""

from __future__ import annotations

from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.runtime.frames import Frame, FrameCodec
from anomaly_app.schema import BIGINT, Column
from anomaly_app.upstreams import PARTITION_BITS

_PLACE = (Column("$root", BIGINT), Column("$offset", BIGINT))
"""Behind the columns: where the last row of a table stands that a row was made of."""


class ExchangeCodec:
    """Frames of rows of a fragment.

    Args:
        layout: columns of a row.
        number: of the fragment among the inputs of the next one.
        base: number of the first of its inputs among those of the next one.

    Example:
        >>> from anomaly_app.runtime.frames import decode_head
        >>> codec = ExchangeCodec(Layout((Column("n", BIGINT),)), 1, 2)
        >>> data = codec.frames.encode(0, 900, [(800, 17, 5, 3, 42)])
        >>> codec.decode(decode_head(data), 1)
        ([(800, 1048576, 5, ((65536, 17), 1048576, 131075, 42))], [17])
    """

    def __init__(self, layout: Layout, number: int, base: int) -> None:
        self.layout = Layout((*layout.columns, *_PLACE))
        self.frames = FrameCodec(self.layout, number)
        self._width, self._base = COLUMNS + len(layout.columns), base << PARTITION_BITS

    def decode(self, frame: Frame, frame_offset: int, place: int = 0) -> tuple[list[Row], list[int]]:
        """Rows that end with their origin, and their numbers; arguments and errors of :meth:`FrameCodec.decode`."""
        given, numbers = self.frames.decode(frame, frame_offset, place)
        width, base = self._width, self._base
        rows = []
        for row in given:
            root, offset, upstream, number = row[width:]
            rows.append((*row[:width], ((upstream, number), row[1], root + base, offset)))
        return rows, numbers
