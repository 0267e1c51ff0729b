"""State of many series as a structure of arrays, and as entries of a store."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np

from anomaly_app.detectors import Entries, Floats, Integers
from anomaly_app.errors import StateError

BLOCKS = 32
"""Most parts that a table of a series is stored in."""
TRAINING_BLOCK = 32
"""Points of the training that are stored together."""
_STATE, _TABLE, _TRAINING = b"s", b"t", b"w"


def enlarged(values: Floats, columns: int) -> Floats:
    """The same array with more columns of zeros, some for later."""
    if columns <= values.shape[1]:
        return values
    made = np.zeros((*values.shape[:-1], max(columns, values.shape[1] * 3 // 2)), dtype=values.dtype)
    made[..., : values.shape[1]] = values
    return made


class Storage:
    """Fields, a table and the training of each series.

    A stored series is one entry with all fields, one entry for each part of the table, which holds what a point does
    not change, and until the model is estimated some entries with the points that wait for it.

    Args:
        fields: numbers of a series.
        rows: of its table; 0 without.
        block: rows of the table that are stored together, if it has such parts; at most 63 of them.
    """

    def __init__(self, fields: int, rows: int, block: int = 0) -> None:
        self.state = np.zeros((fields, 0))
        self.table = np.zeros((rows, 0))
        self.block = block or max(8, -(-rows // BLOCKS))
        """Rows of the table that are stored together."""
        self.training: dict[int, tuple[array[float], array[int]]] = {}
        self.size = 0
        self._changed = np.zeros(0, dtype=np.bool_)
        self._written = np.zeros(0, dtype=np.int64)
        self._stored: dict[int, int] = {}
        self._replaced: set[int] = set()

    def grow(self, series: int) -> None:
        """Make room."""
        if series > self.size:
            self.size = series
            self.state, self.table = enlarged(self.state, series), enlarged(self.table, series)
            columns = self.state.shape[1]
            self._changed.resize(columns, refcheck=False)
            self._written.resize(columns, refcheck=False)

    def touch(self, series: Integers | int) -> None:
        """The fields of some series have changed."""
        self._changed[series] = True

    def wrote(self, series: Integers | int, rows: Integers) -> None:
        """Rows of tables have changed: one row of each of some series, or some rows of one."""
        parts = np.left_shift(1, rows // self.block)
        self._written[series] |= parts if isinstance(series, np.ndarray) else np.bitwise_or.reduce(parts)

    def wrote_all(self, series: int) -> None:
        """The whole table of a series has changed."""
        if len(self.table):
            self.wrote(series, np.arange(0, len(self.table), self.block))

    def take_changes(self, series: int) -> tuple[bool, int]:
        """What has changed of a series since the last call, or that of :meth:`changes`: any fields; parts of the table.

        The parts are bits of a number.
        """
        changed, written = bool(self._changed[series]), int(self._written[series])
        self._changed[series], self._written[series] = False, 0
        return changed, written

    def held(self, series: int) -> int:
        """Points of the training of a series."""
        training = self.training.get(series)
        return 0 if training is None else len(training[0])

    def replace(self, series: int, values: array[float], times: array[int]) -> None:
        """Give a series another training, which is written as a whole."""
        self.training[series] = values, times
        self._replaced.add(series)

    def changes(self, series: int) -> Entries:
        """Entries put or deleted since the last call."""
        return list(self._changes(series))

    def _changes(self, series: int) -> Iterator[tuple[bytes, bytes | None]]:
        if self._changed[series]:
            self._changed[series] = False
            yield _STATE, self.state[:, series].tobytes()
        written = int(self._written[series])
        if written:
            self._written[series] = 0
            for number in range(written.bit_length()):
                if written >> number & 1:
                    part = self.table[number * self.block : (number + 1) * self.block, series]
                    yield _TABLE + number.to_bytes(1, "big"), part.tobytes()
        stored, training = self._stored.get(series, 0), self.training.get(series)
        values, times = training if training is not None else (array("d"), array("q"))
        whole = series in self._replaced
        if whole or stored != len(values):
            self._replaced.discard(series)
            self._stored[series] = len(values)
            kept = 0 if whole else min(stored - stored % TRAINING_BLOCK, len(values))
            for start in range(kept, len(values), TRAINING_BLOCK):
                end = start + TRAINING_BLOCK
                yield _training_name(start), values[start:end].tobytes() + times[start:end].tobytes()
            for start in range(-(-len(values) // TRAINING_BLOCK) * TRAINING_BLOCK, stored, TRAINING_BLOCK):
                yield _training_name(start), None
            if not len(values):
                del self._stored[series]

    def restore(self, series: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Give a fresh series its entries."""
        values, times = array("d"), array("q")
        for name, value in sorted(entries):
            if name == _STATE and len(value) == 8 * len(self.state):
                self.state[:, series] = np.frombuffer(value)
            elif name[:1] == _TABLE and len(name) == 2:
                part = self.table[name[1] * self.block : (name[1] + 1) * self.block, series]
                if len(value) != 8 * len(part):
                    raise StateError("a stored table of a forecasting model has another size than its options say")
                part[:] = np.frombuffer(value)
            elif name[:1] == _TRAINING and len(name) == 3 and len(value) % 16 == 0:
                half = len(value) // 2
                values.frombytes(value[:half])
                times.frombytes(value[half:])
            else:
                raise StateError("stored state of a forecasting model has another form than its options say")
        if values:
            self.training[series] = values, times
            self._stored[series] = len(values)

    def forget(self, series: int) -> None:
        """Make a series fresh."""
        self.state[:, series] = 0.0
        self.table[:, series] = 0.0
        self._changed[series] = False
        self._written[series] = 0
        self.training.pop(series, None)
        self._stored.pop(series, None)
        self._replaced.discard(series)


def _training_name(start: int) -> bytes:
    return _TRAINING + (start // TRAINING_BLOCK).to_bytes(2, "big")
