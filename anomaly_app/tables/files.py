"""The state tables of a data directory, read from outside a worker."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from rocksdict import AccessType, Options, Rdict, WriteBatch

from anomaly_app.errors import StateError
from anomaly_app.tables.state import CHECKPOINT, Stored, decode, owner

_DATABASE = re.compile(r"(.+)-state-(\d+)\.db")
UNKNOWN = "?"
"""In place of the name of a query whose state no checkpoint names any more."""


@dataclass(frozen=True, slots=True)
class Database:
    """The database of one partition of a plan.

    Args:
        plan: names the plan's tables.
        partition: whose.
        path: its folder.
    """

    plan: str
    partition: int
    path: Path

    def open(self, *, writable: bool = False) -> Rdict:
        """The database; raises StateError if it cannot be opened."""
        access = AccessType.read_write() if writable else AccessType.read_only()
        try:
            return Rdict(str(self.path), Options(raw_mode=True), access_type=access)
        except Exception as error:  # rocksdict raises nothing more exact
            raise StateError(f"{self.path} cannot be opened: {error}") from error


@dataclass(slots=True)
class QueryState:
    """What is stored of a query.

    Args:
        query: job and query, as ``job/query``; :data:`UNKNOWN` if nothing tells.
        fingerprint: of the query, the owner of the entries.
        plan: in whose tables they are.
        partitions: that have some.
        entries: how many.
        bytes: of their keys and values.
    """

    query: str
    fingerprint: str
    plan: str
    partitions: set[int] = field(default_factory=set)
    entries: int = 0
    bytes: int = 0


def databases(data_dir: Path) -> Iterator[Database]:
    """The databases of a data directory, in order."""
    for path in sorted(data_dir.glob("v*/tables/*-state-*.db")):
        matched = _DATABASE.fullmatch(path.name)
        if matched is not None:
            yield Database(matched[1], int(matched[2]), path)


def read_states(data_dir: Path) -> list[QueryState]:
    """What a data directory has of each query; a worker may run on it meanwhile.

    Raises:
        StateError: a database cannot be read.
    """
    states: dict[tuple[str, str], QueryState] = {}
    for database in databases(data_dir):
        stored, sizes = _sizes(database)
        named = stored.queries if stored is not None else {}
        for name in {**named, **sizes}:
            entries, length = sizes.get(name, (0, 0))
            state = states.setdefault((database.plan, name), QueryState(UNKNOWN, name, database.plan))
            state.query = named.get(name, state.query)
            state.entries += entries
            state.bytes += length
            if entries:
                state.partitions.add(database.partition)
    return sorted(states.values(), key=lambda state: (state.query, state.plan, state.fingerprint))


def _sizes(database: Database) -> tuple[Stored | None, dict[str, tuple[int, int]]]:
    """The checkpoint of a partition, and number and bytes of the entries of each owner."""
    stored: Stored | None = None
    sizes: dict[str, tuple[int, int]] = {}
    opened = database.open()
    try:
        for key, value in opened.items():
            name = owner(key)
            if key == CHECKPOINT:
                stored = decode(value)
            elif name and not name.startswith(b"__"):  # the worker's own, and Faust's offset
                entries, length = sizes.get(name.decode(errors="replace"), (0, 0))
                sizes[name.decode(errors="replace")] = entries + 1, length + len(key) + len(value)
    finally:
        opened.close()
    return stored, sizes


def delete_entries(database: Database, names: Set[bytes], before: bytes | None, after: bytes | None) -> None:
    """Delete the entries of some owners, where no worker runs.

    Args:
        database: of a partition.
        names: the owners.
        before: the checkpoint as the changelog had it.
        after: what to have in its place, for a database that is as far; another one reads it from the changelog.

    Raises:
        StateError: a worker has the database open.
    """
    opened = database.open(writable=True)
    try:
        batch = WriteBatch(raw_mode=True)
        if after is not None and opened.get(CHECKPOINT) == before:
            batch.put(CHECKPOINT, after)
        for key in opened.keys():
            if owner(key) in names:
                batch.delete(key)
        opened.write(batch)
    finally:
        opened.close()


def delete_plan(data_dir: Path, plan: str) -> None:
    """Delete all databases of a plan that no job has any more."""
    for path in data_dir.glob(f"v*/tables/{plan}-*"):
        if re.fullmatch(r"(state|shuffle\d*)-.*", path.name[len(plan) + 1 :]):
            shutil.rmtree(path, ignore_errors=True)
