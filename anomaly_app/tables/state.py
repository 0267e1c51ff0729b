"""State of partitions: a Faust table for changelog, recovery and standby, written in batches by the flush.

Keys and values are bytes of the operators' choosing. One flush is one changelog batch and one RocksDB WriteBatch; the
record under :data:`CHECKPOINT` comes last and says up to where everything else is true.

A flush that does not fit one batch could be torn apart by a crash. It is written as a journal first: entries under keys
of their own, then a checkpoint that counts them, then the entries themselves and a checkpoint that counts none. A
journal that the checkpoint counts is applied after a crash; another one is thrown away.

The key of an entry begins with the name of its owner: the fingerprint of the query that it is state of. The checkpoint
names the owners as of then, so that what a query of another version of the job has left is never taken for state: it
was not kept up with the rows since. It is deleted when a checkpoint no longer names its owner, never before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rocksdict import WriteBatch

from anomaly_app.errors import StateError
from anomaly_app.jobs.checkpoint import Checkpoint

CHECKPOINT = b"\0checkpoint"
JOURNAL = b"\0journal\0"
BATCH_BYTES = 800_000
"""Entries of one changelog batch; brokers refuse 1 MiB."""
RECORD_BYTES = 40
"""At most, of a record beside its key and value."""
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
        journal: entries of the journal that belong to the checkpoint.
        queries: owners of the entries, and what to call them: job and query.
    """

    checkpoint: Checkpoint
    outputs: dict[str, list[int]]
    journal: int = 0
    queries: dict[str, str] = {}


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

    def read(self, partition: int) -> tuple[Stored | None, dict[bytes, bytes], Entries]:
        """The checkpoint of a partition (None if it has none), the entries of its owners, and what to write first.

        The latter settles the journal of a flush that a crash interrupted, and deletes entries that no checkpoint
        counts any more.

        Raises:
            StateError: the checkpoint is unreadable.
        """
        store = self._table.data
        stored: Stored | None = None
        entries: dict[bytes, bytes] = {}
        journal: dict[bytes, bytes] = {}
        for key, value in store._db_for_partition(partition).items():
            if key == CHECKPOINT:
                stored = decode(value)
            elif key.startswith(JOURNAL):
                journal[key] = value
            elif key != store.offset_key:
                entries[key] = value
        settle = self._settle(stored, entries, journal)
        stored = msgspec.structs.replace(stored, journal=0) if stored is not None else None
        owned = {name.encode() for name in stored.queries} if stored is not None else set()
        dead = [key for key in entries if owner(key) not in owned]
        for key in dead:
            del entries[key]
        return stored, entries, [*settle, *((key, None) for key in dead)]

    @staticmethod
    def _settle(
        stored: Stored | None, entries: dict[bytes, bytes], journal: Mapping[bytes, bytes]
    ) -> list[tuple[bytes, bytes | None]]:
        """Apply a journal to the entries; what to write for it."""
        if not journal:
            return []
        changes: list[tuple[bytes, bytes | None]] = []
        if stored is not None and stored.journal:
            changes = [unpack(journal[_journal_key(number)]) for number in range(stored.journal)]
            for key, value_ in changes:
                if value_ is None:
                    entries.pop(key, None)
                else:
                    entries[key] = value_
            stored = msgspec.structs.replace(stored, journal=0)
        done = [(CHECKPOINT, encode(stored))] if stored is not None else []
        return [*changes, *done, *((key, None) for key in journal)]

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


def steps(stored: Stored, changes: Entries) -> list[Entries]:
    """What to write for a flush, one after the other; a crash in between loses or doubles nothing.

    Args:
        stored: the new checkpoint.
        changes: entries of the operators.

    Example:
        >>> [len(step) for step in steps(Stored(Checkpoint(), {}), [(b"key", b"value")])]
        [2]
    """
    record = (CHECKPOINT, encode(stored))
    if sum(len(key) + len(value or b"") + RECORD_BYTES for key, value in [*changes, record]) <= BATCH_BYTES:
        return [[*changes, record]]
    journal = [(_journal_key(number), pack(*change)) for number, change in enumerate(changes)]
    counted = msgspec.structs.replace(stored, journal=len(journal))
    return [journal, [(CHECKPOINT, encode(counted))], [*changes, record], [(key, None) for key, _ in journal]]


def owner(key: bytes) -> bytes:
    r"""Name of the query that an entry is state of.

    Example:
        >>> owner(b"8a3f\0kann")
        b'8a3f'
    """
    return key.partition(b"\0")[0]


def _journal_key(number: int) -> bytes:
    return JOURNAL + number.to_bytes(4, "big")


def pack(key: bytes, value: bytes | None) -> bytes:
    """An entry as the value of one of the journal."""
    return msgspec.msgpack.encode((key, value))


def unpack(data: bytes) -> tuple[bytes, bytes | None]:
    """And back."""
    return msgspec.msgpack.decode(data, type=tuple[bytes, bytes | None])


def decode(data: bytes) -> Stored:
    """The record under :data:`CHECKPOINT` from bytes; raises StateError."""
    try:
        return msgspec.msgpack.decode(data, type=Stored)
    except msgspec.DecodeError as error:
        raise StateError(f"the stored checkpoint is unreadable: {error}") from error


def encode(stored: Stored) -> bytes:
    """The record as bytes."""
    return msgspec.msgpack.encode(stored)
