"""Groups as state entries.

Two kinds, told apart by the first byte of their key; the start of the slice or session and the key of the group
follow. ``g``: the last row and the accumulators, rewritten when the group has changed. ``v``, with a running number:
values that came since the last one was written, for aggregates that need them all (ARRAY_AGG, MEDIAN, DISTINCT). And
one entry ``t``: the end of the last window that was given out, where a slice outlives a window.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import GenericAlias
from typing import Any, TypeAlias

import msgspec

from anomaly_app.errors import StateError
from anomaly_app.operators import Layout
from anomaly_app.patterns.state import KeyCodec, RowParts
from anomaly_app.schema import Column
from anomaly_app.windows.accumulators import LAST, PLACES, START, Group, Program

Entries: TypeAlias = list[tuple[bytes, "bytes | None"]]

GROUP, VALUES, FIRED = b"g", b"v", b"t"
_BIAS = 1 << 63


@dataclass(frozen=True, slots=True)
class Stored:
    """What of a group stands in entries, besides its own.

    Args:
        chunks: entries of values.
        lengths: number of values in them, by accumulator.
    """

    chunks: int = 0
    lengths: tuple[int, ...] = ()


_ALL = Stored()


@dataclass(slots=True)
class Restored:
    """A group read back."""

    start: int
    key: Any
    group: Group
    stored: Stored


class GroupCodec:
    """Writes and reads the groups of one query.

    Args:
        program: of its groups.
        layout: of its rows.
        keys: columns that key it.
        reads: names of the columns that it reads.
    """

    def __init__(self, program: Program, layout: Layout, keys: Sequence[Column], reads: Collection[str]) -> None:
        self._program, self._single = program, len(keys) == 1
        self._keys = KeyCodec(keys)
        self._rows = RowParts(layout, reads)
        self._encoder = msgspec.msgpack.Encoder()
        self._groups = _decoder(_tuple((*self._rows.types, *program.types)))
        self._values = _decoder(_tuple([GenericAlias(list, type_) for type_ in program.list_types]))

    def put(self, groups: Mapping[Any, Group], stored: dict[Any, Stored], keys: Iterable[Any] | None = None) -> Entries:
        """Entries of groups that have changed; notes what of them is stored then, under what they stand under.

        Args:
            groups: by key; or by anything, if their keys are given.
            stored: what of each is stored.
            keys: of the groups, in their order.
        """
        entries: Entries = []
        encode, split, whole, lists = self._encoder.encode, self._rows.split, self._program.whole, self._program.lists
        for (known, group), key in zip(groups.items(), groups if keys is None else keys, strict=True):
            name = self._name(group[START], key)
            state = [group[place] for place in whole] if lists else group[PLACES:]
            entries.append((GROUP + name, encode((*split(group[LAST]), *state))))
            if not lists:
                stored[known] = _ALL
                continue
            values = [group[place] for place in lists]
            before = stored.get(known) or Stored(0, (0,) * len(lists))
            new = [list(islice(held, done, None)) for held, done in zip(values, before.lengths, strict=True)]
            if any(new):
                entries.append((VALUES + name + before.chunks.to_bytes(4, "big"), encode(new)))
                before = Stored(before.chunks + 1, tuple(map(len, values)))
            stored[known] = before
        return entries

    def delete(self, start: int, key: Any, stored: Stored) -> Entries:
        """Entries that take a stored group away."""
        name = self._name(start, key)
        return [(GROUP + name, None), *((VALUES + name + n.to_bytes(4, "big"), None) for n in range(stored.chunks))]

    def fired(self, end: int) -> tuple[bytes, bytes]:
        """The entry of the last window given out."""
        return FIRED, self._encoder.encode(end)

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> tuple[list[Restored], int | None]:
        """All groups in order of their starts, and the end of the last window given out; None without.

        Raises:
            StateError: an entry is unreadable.
        """
        groups: dict[bytes, bytes] = {}
        chunks: dict[bytes, list[tuple[bytes, bytes]]] = {}
        fired: int | None = None
        for entry, value in entries:
            if entry.startswith(GROUP):
                groups[entry[1:]] = value
            elif entry.startswith(VALUES):
                chunks.setdefault(entry[1:-4], []).append((entry[-4:], value))
            elif entry == FIRED:
                fired = _decode(_decoder(int), value)
            else:
                raise StateError(f"an entry of another kind of state: {entry!r}")
        restored = [self._restore(name, value, sorted(chunks.get(name, ()))) for name, value in groups.items()]
        restored.sort(key=lambda one: one.start)
        return restored, fired

    def _name(self, start: int, key: Any) -> bytes:
        """What names a group in the keys of its entries."""
        return (start + _BIAS).to_bytes(8, "big") + self._keys.encode((key,) if self._single else key)

    def _restore(self, name: bytes, value: bytes, chunks: Sequence[tuple[bytes, bytes]]) -> Restored:
        program = self._program
        start = int.from_bytes(name[:8], "big") - _BIAS
        keys = self._keys.decode(name[8:])
        own, trailing, mark, others, *whole = _decode(self._groups, value)
        group = program.fresh()
        group[LAST], group[START] = self._rows.join(own, trailing, mark, others), start
        for place, state in zip(program.whole, whole, strict=True):
            group[place] = state
        for _, chunk in chunks:
            for place, values in zip(program.lists, _decode(self._values, chunk), strict=True):
                held = group[place]
                held.update(dict.fromkeys(values)) if isinstance(held, dict) else held.extend(values)
        stored = Stored(len(chunks), tuple(len(group[place]) for place in program.lists))
        return Restored(start, keys[0] if self._single else keys, group, stored)


def _tuple(types: Iterable[Any]) -> GenericAlias:
    return GenericAlias(tuple, tuple(types))


def _decoder(type_: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type_)


def _decode(decoder: msgspec.msgpack.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(f"a stored group is unreadable: {error}") from error
