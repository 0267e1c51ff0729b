"""State of partitions: a Faust table for changelog, recovery and standby, written in batches by the flush.

Keys and values are bytes of the operators' choosing. One flush is one changelog batch and one RocksDB WriteBatch; the
record under :data:`CHECKPOINT` comes last and says up to where everything else is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rocksdict import WriteBatch

from anomaly_app.errors import StateError
from anomaly_app.jobs.checkpoint import Checkpoint

CHECKPOINT = b"\0checkpoint"
WRITE_BUFFER = 16 << 20
BLOCK_CACHE = 32 << 20
"""Bytes for each partition; the defaults of Faust are 64 MiB and 2 GiB."""

Entries = Sequence[tuple[bytes, bytes | None]]


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """The record under :data:`CHECKPOINT`.

    Args:
        checkpoint: of the partition.
        outputs: of every topic written, the last acknowledged offset of each of its partitions (-1 for none): what
            this partition writes later stands behind them.
    """

    checkpoint: Checkpoint
    outputs: dict[str, list[int]]


class StateTable:
    """State of all partitions of one topic that this worker has.

    Args:
        app: the Faust application.
        name: of the table; its changelog is ``<app id>-<name>-changelog``.
        partitions: as many as the topic that feeds it.
    """

    def __init__(self, app: Any, name: str, partitions: int) -> None:
        self._table = app.Table(
            name,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            options={"write_buffer_size": WRITE_BUFFER, "block_cache_size": BLOCK_CACHE},
        )

    @property
    def changelog(self) -> str:
        """Name of the changelog topic."""
        return str(self._table.changelog_topic.get_topic_name())

    def read(self, partition: int) -> tuple[Stored | None, dict[bytes, bytes]]:
        """The checkpoint of a partition (None if it has none) and all other entries.

        Raises:
            StateError: the checkpoint is unreadable.
        """
        store = self._table.data
        stored: Stored | None = None
        entries: dict[bytes, bytes] = {}
        for key, value in store._db_for_partition(partition).items():
            if key == CHECKPOINT:
                stored = decode(value)
            elif key != store.offset_key:
                entries[key] = value
        return stored, entries

    def write(self, partition: int, entries: Entries, changelog_offset: int) -> None:
        """Store entries (None deletes) together with the changelog offset that they reach."""
        store = self._table.data
        batch = WriteBatch(raw_mode=True)
        for key, value in entries:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(store.offset_key, b"%d" % changelog_offset)
        store._db_for_partition(partition).write(batch)


def decode(data: bytes) -> Stored:
    """The record under :data:`CHECKPOINT` from bytes; raises StateError."""
    try:
        return msgspec.msgpack.decode(data, type=Stored)
    except msgspec.DecodeError as error:
        raise StateError(f"the stored checkpoint is unreadable: {error}") from error


def encode(stored: Stored) -> bytes:
    """The record as bytes."""
    return msgspec.msgpack.encode(stored)
