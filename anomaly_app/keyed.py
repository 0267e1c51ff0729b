"""Values by key that outgrow memory: those in use live as objects, the others are bytes somewhere else.

In memory, as in :func:`~anomaly_app.query`, all values live. On a worker a :class:`~anomaly_app.room.Backing` is
attached, which has what was flushed; a value is read from it when a row of its key comes, and let go when there is no
room and nothing of it is unsaved. Who owns the values reads :attr:`KeyedState.live` in its own loops, as a plain dict,
after one :meth:`KeyedState.prefetch` for a batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from anomaly_app.errors import StateError
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK
from anomaly_app.patterns.state import KeyCodec
from anomaly_app.room import SLOTS, Backing, Room, size_in_memory
from anomaly_app.schema import NAN, Column

V = TypeVar("V")

Entries = Iterable[tuple[bytes, "bytes | None"]]

HEAD, PART = b"h", b"p"
"""Begin the names of entries: of a value, and of a part of one; the key follows, of a part then its number."""

UNKNOWN = MAX_WATERMARK
"""When a value was used last, if nobody has noted that: it does not expire before it is used again."""

SWEEPS = 4
"""A time to live is so many times as long as what passes between two looks for values that have expired."""
SWEPT_AT_ONCE = 20_000
"""Stored values looked at in one flush."""
SAMPLE = 32
"""One of so many values is measured, to know how much memory a stored byte takes when it lives."""


class ValueCodec(Generic[V]):
    """Values as bytes.

    A value that grows may be stored in numbered parts, so that only what is new is written: then it remembers itself
    which of them are stored.

    Attributes:
        in_parts: there may be such parts.
    """

    in_parts = True

    def encode(self, value: V) -> bytes:
        """What is written whenever the value has changed."""
        raise NotImplementedError

    def decode(self, data: bytes, parts: Mapping[int, bytes]) -> V:
        """And back, with its parts; raises :class:`StateError`."""
        raise NotImplementedError

    def changed_parts(self, value: V) -> Mapping[int, bytes | None]:
        """Parts to be written or deleted (None) since the last call; called in front of :meth:`encode`."""
        return {}

    def stored_parts(self, value: V) -> Collection[int]:
        """Numbers of all parts that :meth:`changed_parts` has given and not deleted."""
        return ()

    def parts_of(self, data: bytes) -> Collection[int]:
        """The same, of what :meth:`encode` gave."""
        return ()

    def used_at(self, value: V) -> int:
        """Time in ms of its last use; needed where values expire."""
        return UNKNOWN

    def was_used_at(self, data: bytes) -> int:
        """The same, of what :meth:`encode` gave."""
        return UNKNOWN


class KeyedState(Generic[V]):
    """Values by key.

    Args:
        keys: columns of the key: it is one value if there is one, a tuple of them if there are several or none.
        codec: of the values.
        ttl_ms: a value that was not used for longer may be dropped; None for never. Who uses it looks first whether it
            has expired (:meth:`has_expired`), so that results do not hang on when it is dropped.

    Attributes:
        live: the values that are in memory. To be read only; a value may be changed in place if :meth:`touch` is told.
        counts: values that were read from the backing, let go, and dropped since they had expired.
        is_stored: somebody asks for :meth:`changes`; else it need not be noted what has changed.

    Example:
        >>> import msgspec
        >>> from anomaly_app.schema import STRING
        >>> class Totals(ValueCodec[list[int]]):
        ...     def encode(self, value):
        ...         return msgspec.msgpack.encode(value)
        ...     def decode(self, data, parts):
        ...         return msgspec.msgpack.decode(data)
        >>> state = KeyedState([Column("user_id", STRING)], Totals())
        >>> state.put("ann", [1])
        >>> state.live["ann"].append(5); state.touch(["ann"])
        >>> entries = dict(state.changes())
        >>> again = KeyedState([Column("user_id", STRING)], Totals())
        >>> again.restore(entries.items())
        >>> again.get("ann"), again.get("bob")
        ([1, 5], None)
    """

    def __init__(self, keys: Sequence[Column], codec: ValueCodec[V], *, ttl_ms: int | None = None) -> None:
        self.live: dict[Any, V] = {}
        self.is_stored = True
        self.counts = {"read": 0, "let go": 0, "expired": 0}
        self._codec, self._ttl_ms = codec, ttl_ms
        self._key_codec, self._single = KeyCodec(keys), len(keys) == 1
        self._dirty: set[Any] = set()
        self._gone: dict[Any, Collection[int]] = {}
        """Keys that were deleted since the last flush, and the parts of their values that are stored."""
        self._under_way: set[Any] = set()
        """Keys that the last flush wrote: it may not be there yet."""
        self._swept_at: int | None = None
        self._backing: Backing | None = None
        self._room: Room | None = None
        self._weights: dict[Any, int] = {}
        """Stored bytes of each live value, if there is a backing."""
        self._weight = self._passed = self._sampled = self._measured = 0
        self._bytes = 0.0
        self._place: bytes | None = None
        """Of the sweep through the backing; None if there is none."""

    def __len__(self) -> int:
        """Number of the values that live."""
        return len(self.live)

    @property
    def has_backing(self) -> bool:
        """Whether values may be elsewhere: then :meth:`prefetch` must be called before they are looked for."""
        return self._backing is not None

    # --- values -------------------------------------------------------------------------------------

    def get(self, key: Any) -> V | None:
        """The value of a key, wherever it is; None if there is none."""
        value = self.live.get(key)
        if value is None and self._backing is not None:
            self.prefetch((key,))
            value = self.live.get(key)
        return value

    def prefetch(self, keys: Iterable[Any]) -> None:
        """See to it that the values of all these keys, if there are any, live until the next call.

        Raises:
            StateError: a stored value is unreadable.
        """
        if self._backing is None:
            return
        self._let_go()  # in front of what follows, which may be among those that go
        live, dirty, under_way = self.live, self._dirty, self._under_way
        missing = [key for key in dict.fromkeys(keys) if key not in live]
        # What was changed and does not live any more has been deleted, and may still stand in the backing.
        missing = [key for key in missing if key not in dirty and key not in under_way]
        if not missing:
            return
        names = [self._name(key) for key in missing]
        found = self._backing.get_many([HEAD + name for name in names])
        read: list[tuple[Any, V, int]] = []
        for key, name, data in zip(missing, names, found, strict=True):
            if data is not None:
                parts, weight = self._parts(name, data)
                value = live[key] = self._codec.decode(data, parts)
                read.append((key, value, len(name) + len(data) + weight))
        self.counts["read"] += len(read)
        self._weigh(read)

    def _parts(self, name: bytes, data: bytes) -> tuple[Mapping[int, bytes], int]:
        numbers = self._codec.parts_of(data)
        if not numbers:
            return {}, 0
        assert self._backing is not None
        found = self._backing.get_many([_part(name, number) for number in numbers])
        return _complete(name, dict(zip(numbers, found, strict=True))), sum(len(part or b"") for part in found)

    def put(self, key: Any, value: V) -> None:
        """Give a key a value: it has none, or another one is replaced whose parts are the same."""
        self.live[key] = value
        if self.is_stored:
            self._dirty.add(key)

    def put_all(self, values: Mapping[Any, V]) -> None:
        """Give each key its value, be it a new one or one that lives already and has been changed in place."""
        self.live.update(values)
        if self.is_stored:
            self._dirty.update(values)

    def touch(self, keys: Iterable[Any]) -> None:
        """The values of these keys, which live, have been changed in place."""
        if self.is_stored:
            self._dirty.update(keys)

    def delete(self, key: Any) -> None:
        """Drop the value of a key, which lives."""
        value = self.live.pop(key)
        if not self.is_stored:
            return
        self._gone[key] = {*self._gone.get(key, ()), *self._codec.stored_parts(value)}
        self._dirty.add(key)
        self._weight -= self._weights.pop(key, 0)

    # --- values that expire ---------------------------------------------------------------------------

    def has_expired(self, value: V, now: int) -> bool:
        """Whether a value is as good as not there: it was not used for longer than the time to live.

        Args:
            value: the value.
            now: in ms: the time of the row that is about to use it, or the watermark if that is later.
        """
        return self._ttl_ms is not None and now - self._codec.used_at(value) > self._ttl_ms

    def sweep(self, now: int) -> None:
        """Drop values that have expired, now and then; to be called with every move of time.

        Args:
            now: watermark in ms.
        """
        if self._ttl_ms is None or not MIN_WATERMARK < now < MAX_WATERMARK:
            return
        if self._swept_at is None:
            self._swept_at = now
        if now - self._swept_at < max(1, self._ttl_ms // SWEEPS):
            return
        self._swept_at = now
        expired = [key for key, value in self.live.items() if self.has_expired(value, now)]
        self.counts["expired"] += len(expired)
        for key in expired:
            self.delete(key)
        if self._backing is not None and self._place is None:
            self._place = HEAD

    def _sweep_stored(self) -> None:
        """Look at some stored values that do not live."""
        if self._place is None or self._backing is None or self._ttl_ms is None or self._swept_at is None:
            return
        entries = self._backing.scan(self._place, SWEPT_AT_ONCE)
        self._place = entries[-1][0] if len(entries) == SWEPT_AT_ONCE else None
        for name, data in entries:
            if not name.startswith(HEAD):  # the heads come first
                self._place = None
                break
            if self._swept_at - self._codec.was_used_at(data) <= self._ttl_ms:
                continue
            key = self._key(name[1:])
            if key not in self.live and key not in self._dirty and key not in self._under_way:
                self._gone[key] = self._codec.parts_of(data)
                self._dirty.add(key)
                self.counts["expired"] += 1

    # --- state ----------------------------------------------------------------------------------------

    def changes(self) -> Entries:
        """Entries put and deleted since the last call. With a backing: what the last call gave is there by now."""
        self._sweep_stored()
        dirty, gone, codec, live = self._dirty, self._gone, self._codec, self.live
        is_backed = self._backing is not None
        self._dirty, self._gone, self._under_way = set(), {}, dirty if is_backed else set()
        encode, key_name, single, in_parts = codec.encode, self._key_codec.encode, self._single, codec.in_parts
        entries: list[tuple[bytes, bytes | None]] = []
        written: list[tuple[Any, V, int]] = []
        for key in dirty:
            name = key_name((key,) if single else key)
            value = live.get(key)
            stored = gone.get(key, ()) if gone else ()
            if value is None:
                entries.append((HEAD + name, None))
                entries += [(_part(name, number), None) for number in stored]
                continue
            parts = codec.changed_parts(value) if in_parts else {}
            data = encode(value)
            entries.append((HEAD + name, data))
            weight = len(name) + len(data)
            if stored:
                left = {*stored} - {*codec.stored_parts(value)}
                entries += [(_part(name, number), None) for number in left]
            if parts:
                entries += [(_part(name, number), part) for number, part in parts.items()]
                weight += sum(len(part or b"") for part in parts.values())
            if is_backed:
                if in_parts and None not in parts.values():  # what was there stands, too
                    weight = max(weight, self._weights.get(key, 0) + (weight if parts else 0))
                written.append((key, value, weight))
        self._weigh(written)
        for key, value, _ in written:  # what was used last is let go last
            del live[key]
            live[key] = value
        self._let_go()
        return entries

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back, without a backing, all entries that stand; raises :class:`StateError`."""
        parts: dict[bytes, dict[int, bytes]] = {}
        heads: list[tuple[bytes, bytes]] = []
        for entry, data in entries:
            if entry.startswith(HEAD):
                heads.append((entry[1:], data))
            elif entry.startswith(PART) and len(entry) > 5:
                parts.setdefault(entry[1:-4], {})[int.from_bytes(entry[-4:], "big")] = data
            else:
                raise StateError(f"an entry of another kind of state: {entry!r}")
        for name, data in heads:
            found = parts.get(name, {})
            own = {number: found.get(number) for number in self._codec.parts_of(data)}
            self.live[self._key(name)] = self._codec.decode(data, _complete(name, own))

    def attach(self, backing: Backing, room: Room) -> None:
        """Let values live elsewhere, beginning with all that stand there; call once, on a fresh state.

        Args:
            backing: has all entries that :meth:`changes` has given and not deleted.
            room: shared with others.
        """
        self._backing, self._room = backing, room
        room.sharers += 1

    def _name(self, key: Any) -> bytes:
        return self._key_codec.encode((key,) if self._single else key)

    def _key(self, name: bytes) -> Any:
        values = tuple([NAN if value != value else value for value in self._key_codec.decode(name)])
        return values[0] if self._single else values

    # --- room -----------------------------------------------------------------------------------------

    def _weigh(self, values: Sequence[tuple[Any, V, int]]) -> None:
        """Note the stored bytes of some values, and measure some of them."""
        weights, more = self._weights, 0
        for key, _, weight in values:
            more += weight - weights.get(key, 0)
            weights[key] = weight
        self._weight += more
        first, self._passed = -self._passed % SAMPLE, self._passed + len(values)
        for key, value, weight in values[first::SAMPLE]:
            self._measured += size_in_memory(key) + size_in_memory(value) + SLOTS
            self._sampled += weight

    def _let_go(self) -> None:
        """Let values go that are stored and not needed, if there is no room."""
        room = self._room
        if room is None:
            return
        per_byte = self._measured / max(1, self._sampled)
        taken = self._weight * per_byte
        room.taken += taken - self._bytes
        self._bytes = taken
        give = room.give(taken)
        if not give:
            return
        live, dirty, under_way, weights = self.live, self._dirty, self._under_way, self._weights
        least, chosen = give / per_byte, list[Any]()
        for key in live:
            if least <= 0:
                break
            if key not in dirty and key not in under_way:
                chosen.append(key)
                least -= weights.get(key, 0)
        for key in chosen:
            del live[key]
            self._weight -= weights.pop(key, 0)
        self.counts["let go"] += len(chosen)
        room.taken -= self._bytes - self._weight * per_byte
        self._bytes = self._weight * per_byte


def _part(name: bytes, number: int) -> bytes:
    return PART + name + number.to_bytes(4, "big")


def _complete(name: bytes, parts: Mapping[int, bytes | None]) -> Mapping[int, bytes]:
    missing = [number for number, data in parts.items() if data is None]
    if missing:
        raise StateError(f"parts of a stored value are missing: {missing} of {name!r}")
    return {number: data for number, data in parts.items() if data is not None}
