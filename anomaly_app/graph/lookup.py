"""Tables that joins look rows up in: the latest rows, and indexes over them by what they are asked for.

A table is filled from outside, by whoever reads its file or topic, and never by an operator: every operator of a
process reads the same table, and none keeps rows of it in its state.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import itemgetter
from typing import Any

import msgspec

from anomaly_app.changes import Change
from anomaly_app.errors import FAILURES, DataError
from anomaly_app.operators import COLUMNS, Row
from anomaly_app.schema import Changelog, Schema

KeyOf = Callable[[Row], Any]
"""From a row of a table to a key: one value, or a tuple of several or none. A key with a NULL is never found."""


class LookupIndex:
    """Rows of a table by a key.

    Args:
        key_of: the key of a row.

    Attributes:
        rows: those of each key, in order of arrival.
        failed: rows that are not found, because an expression of the key fails on them.

    Example:
        >>> index = LookupIndex(itemgetter(2))
        >>> index.fill([(0, 0, "ann", 1), (0, 1, None, 2), (0, 2, "ann", 3)])
        >>> index.rows
        {'ann': [(0, 0, 'ann', 1), (0, 2, 'ann', 3)]}
    """

    __slots__ = ("_key_of", "failed", "rows")

    def __init__(self, key_of: KeyOf) -> None:
        self._key_of = key_of
        self.rows: dict[Any, list[Row]] = {}
        self.failed = 0

    def fill(self, rows: Iterable[Row]) -> None:
        """These rows and no others."""
        self.rows, self.failed = self.made(rows)

    def made(self, rows: Iterable[Row]) -> tuple[dict[Any, list[Row]], int]:
        """What :meth:`fill` would hold, and how many rows fail; changes nothing, so that it may run elsewhere."""
        found: dict[Any, list[Row]] = {}
        failed = 0
        key_of = self._key_of
        for row in rows:
            try:
                key = key_of(row)
            except FAILURES:
                failed += 1
                continue
            if key in found:
                found[key].append(row)
            elif not _has_null(key):
                found[key] = [row]
        return found, failed

    def change(self, old: Row | None, new: Row | None) -> None:
        """A row goes, another comes in its place; None for none."""
        before, after = self._key(old, -1), self._key(new, 1)
        if old is not None and not _has_null(before):
            same = self.rows[before]
            place = next(number for number, row in enumerate(same) if row is old)
            if new is not None and before == after:
                same[place] = new  # where it stood: what tells matches apart must not change with every update
                return
            del same[place]
            if not same:
                del self.rows[before]
        if new is not None and not _has_null(after):
            self.rows.setdefault(after, []).append(new)

    def _key(self, row: Row | None, count: int) -> Any:
        if row is None:
            return None
        try:
            return self._key_of(row)
        except FAILURES:
            self.failed += count
            return None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A new content of a table, made beside it.

    Args:
        rows: by primary key, or by number.
        indexes: rows by key, and how many rows fail, of each index.
    """

    rows: dict[Any, Row]
    indexes: dict[Hashable, tuple[dict[Any, list[Row]], int]]


class LookupTable:
    """The latest rows of a table.

    Args:
        name: dotted.
        schema: its columns; with a primary key the last row of each key counts, without one every row does.

    Attributes:
        version: how often it has changed.
        most: rows that it may hold; None for any number.
        refused: rows that found no room.

    Example:
        >>> from anomaly_app.schema import INT, STRING, Column
        >>> schema = Schema((Column("k", STRING), Column("v", INT)), primary_key=("k",))
        >>> table = LookupTable("t", schema)
        >>> index = table.index("k", itemgetter(2))
        >>> table.swap(table.load([(0, 0, "ann", 1), (0, 1, "bob", 2), (0, 2, "ann", 3)]))
        >>> index.rows["ann"], len(table)
        ([(0, 2, 'ann', 3)], 2)
    """

    def __init__(self, name: str, schema: Schema) -> None:
        self.name, self.schema = name, schema
        places = {column.name: place for place, column in enumerate(schema.columns, COLUMNS)}
        keys = [places[name] for name in schema.primary_key]
        self._key_of: KeyOf | None = itemgetter(*keys) if keys else None
        self._rows: dict[Any, Row] = {}
        self._indexes: dict[Hashable, LookupIndex] = {}
        self.version = self.refused = 0
        self.most: int | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def failed(self) -> int:
        """Rows that some join cannot find, because an expression of its key fails on them."""
        return sum(index.failed for index in self._indexes.values())

    def index(self, name: Hashable, key_of: KeyOf) -> LookupIndex:
        """Rows by a key; the same index for the same name.

        Args:
            name: what the key is.
            key_of: the key of a row.
        """
        known = self._indexes.get(name)
        if known is None:
            known = self._indexes[name] = LookupIndex(key_of)
            known.fill(self._rows.values())
        return known

    # --- all at once ----------------------------------------------------------------------------------

    def load(self, rows: Sequence[Row]) -> Loaded:
        """A new content, to be given to :meth:`swap`; may run in another thread.

        Args:
            rows: in order; of a table that is changed each says what it does in its last value.

        Raises:
            DataError: there are more than the table may hold.
        """
        held: dict[Any, Row] = {}
        changes = self.schema.changelog is not Changelog.APPEND
        if self._key_of is None:
            held = dict(enumerate(rows))
        else:
            for row in rows:
                if not changes or row[-1] in _COMES:
                    held[self._key_of(row)] = row
                else:
                    held.pop(self._key_of(row), None)
        if self.most is not None and len(held) > self.most:
            problem = f"table {self.name} has {len(held):,} rows: limits.lookup_rows allows {self.most:,} for a lookup"
            raise DataError(problem)
        return Loaded(held, {name: index.made(held.values()) for name, index in list(self._indexes.items())})

    def swap(self, loaded: Loaded) -> None:
        """Take a new content in place of the old one."""
        self._rows = loaded.rows
        for name, index in self._indexes.items():
            if name in loaded.indexes:
                index.rows, index.failed = loaded.indexes[name]
            else:
                index.fill(self._rows.values())
        self.version += 1

    # --- row by row -----------------------------------------------------------------------------------

    def take(self, rows: Iterable[Row]) -> None:
        """Changes, in order; of a table with primary key whose rows say what they do.

        A new key that finds no room is counted.
        """
        key_of = self._key_of
        assert key_of is not None, "a table that changes row by row has a primary key"
        for row in rows:
            key = key_of(row)
            old = self._rows.get(key)
            new = row if row[-1] in _COMES else None
            if old is None and (new is None or (self.most is not None and len(self._rows) >= self.most)):
                self.refused += new is not None
                continue
            if new is None:
                del self._rows[key]
            else:
                self._rows[key] = new
            for index in self._indexes.values():
                index.change(old, new)
            self.version += 1


def match_number(key: Any) -> int:
    """A number of a row of a table, from its primary key: tells the matches of one row apart, whatever their order.

    Example:
        >>> match_number(("ann", 1)) == match_number(("ann", 1)) != match_number(("ann", 2))
        True
    """
    return int.from_bytes(blake2b(msgspec.msgpack.encode(key, enc_hook=str), digest_size=7).digest(), "big")


_COMES = frozenset({Change.INSERT.value, Change.AFTER.value})


def _has_null(key: Any) -> bool:
    return key is None or (type(key) is tuple and None in key)
