"""State of partitions: a Faust table for changelog, recovery and standby, written in batches by the flush.

Keys and values are bytes of the operators' choosing. One flush is one changelog batch and one RocksDB WriteBatch; the
record under :data:`CHECKPOINT` comes last and says up to where everything else is true.

A flush that does not fit one batch could be torn apart by a crash. It is written as a journal first: entries under keys
of their own, then a checkpoint that counts them, then the entries themselves and a checkpoint that counts none. A
journal that the checkpoint counts is applied after a crash; another one is thrown away.

The key of an entry begins with the name of its owner: the fingerprint of the query that it is state of. The checkpoint
names the owners as of then, so that what a query of another version of the job has left is never taken for state: it
was not kept up with the rows since. It is deleted when a checkpoint no longer names its owner, never before.

Entries of stores of values by key (:mod:`anomaly_app.keyed`) are not read when a partition begins, but one by one, when
a row of their key comes. They stand together behind the other entries of their owner, and are passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from rocksdict import WriteBatch

from anomaly_app.errors import StateError
from anomaly_app.graph.operator import KEYED
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
        at = store._db_for_partition(partition).iter()
        at.seek_to_first()
        while at.valid():
            key = at.key()
            if is_keyed(key):
                at.seek(_behind_stores(owner(key)))
                continue
            if key == CHECKPOINT:
                stored = decode(at.value())
            elif key.startswith(JOURNAL):
                journal[key] = at.value()
            elif key != store.offset_key:
                entries[key] = at.value()
            at.next()
        settle = self._settle(stored, entries, journal)
        stored = msgspec.structs.replace(stored, journal=0) if stored is not None else None
        owned = {name.encode() for name in stored.queries} if stored is not None else set()
        dead = [key for key in entries if owner(key) not in owned]
        for key in dead:
            del entries[key]
        dead += self._stores_of_others(partition, owned)
        dead += [key for key, value in settle if value is not None and is_keyed(key) and owner(key) not in owned]
        return stored, entries, [*settle, *((key, None) for key in dead)]

    def left_behind(self, partition: int, entries: Iterable[bytes], owners: Collection[bytes]) -> list[bytes]:
        """Keys of all entries whose owner is none of these, those of stores among them.

        Args:
            partition: whose.
            entries: keys of those that :meth:`read` gave.
            owners: queries of the job.
        """
        return [key for key in entries if owner(key) not in owners] + self._stores_of_others(partition, owners)

    def _stores_of_others(self, partition: int, owners: Collection[bytes]) -> list[bytes]:
        """Keys of the entries of stores whose owner is none of these."""
        found: list[bytes] = []
        at = self._table.data._db_for_partition(partition).iter()
        at.seek_to_first()
        while at.valid():
            key = at.key()
            name = owner(key)
            first = name + b"\0" + KEYED
            if is_keyed(key):
                if name in owners:
                    at.seek(_behind_stores(name))
                    continue
                found.append(key)
            elif not key.startswith(b"\0") and key < first:
                at.seek(first)
                continue
            at.next()
        return found

    def backing(self, partition: int, prefix: bytes) -> StoredValues:
        """The values of a store that are not in memory.

        Args:
            partition: whose.
            prefix: what the keys of its entries begin with.
        """
        return StoredValues(self._table.data, partition, prefix)

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
                if is_keyed(key):
                    continue  # it is looked up where it stands then
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


class StoredValues:
    """Values of a store that are not in memory: a :class:`~anomaly_app.room.Backing`.

    Args:
        data: the Faust store of the table.
        partition: whose.
        prefix: what the keys of its entries begin with.
    """

    def __init__(self, data: Any, partition: int, prefix: bytes) -> None:
        self._data, self._partition, self._prefix = data, partition, prefix

    def get_many(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        """What stands under each name; None for nothing."""
        prefix = self._prefix
        found: Sequence[bytes | None] = self._data._db_for_partition(self._partition).get([prefix + n for n in names])
        return found

    def scan(self, behind: bytes, most: int) -> Sequence[tuple[bytes, bytes]]:
        """The first entries, in order of their names, behind a name."""
        prefix, length = self._prefix, len(self._prefix)
        at = self._data._db_for_partition(self._partition).iter()
        at.seek(prefix + behind)
        found: list[tuple[bytes, bytes]] = []
        while len(found) < most and at.valid():
            key = at.key()
            if not key.startswith(prefix):
                break
            if key[length:] > behind:
                found.append((key[length:], at.value()))
            at.next()
        return found


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


def is_keyed(key: bytes) -> bool:
    r"""Whether an entry is that of a store, which is not read as a whole.

    Example:
        >>> is_keyed(b"8a3f\0\x7f\0\0\0hann"), is_keyed(b"8a3f\0\0\0kann")
        (True, False)
    """
    place = key.find(b"\0")
    return place > 0 and key.startswith(KEYED, place + 1)


def _behind_stores(name: bytes) -> bytes:
    """Where the entries of an owner's stores end."""
    return name + b"\0" + bytes([KEYED[0] + 1])


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
