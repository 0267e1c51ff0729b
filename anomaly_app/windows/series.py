"""Keys as numbered series of detectors: who has which number, what is stored of it, and when it expires."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec

from anomaly_app.detectors import Detector
from anomaly_app.errors import StateError
from anomaly_app.patterns.state import KeyCodec
from anomaly_app.schema import Column

MODEL = b"m"
"""Begins the entries of detectors: number of the detector, length of the key, key, name that the detector chose."""
SEEN = b"s"
"""Begins the entries of keys that may expire: event time of the last row."""

_NOTHING: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Retention:
    """How long keys are kept, and how many.

    Args:
        ttl_ms: a key that has been silent for longer, in event time, is dropped; None to keep all.
        keys: that one partition may hold; rows of others are not judged.
    """

    ttl_ms: int | None = None
    keys: int = 1_000_000


class KeyedSeries:
    """Which key is which series, what is stored of each, and when it was last seen.

    A key that expires gets a fresh series; its old number is given to others.

    Args:
        detectors: of a query; a key has the same number in all of them.
        keys: columns that key them.
        retention: how long keys are kept, and how many.
    """

    def __init__(self, detectors: Sequence[Detector], keys: Sequence[Column], retention: Retention) -> None:
        self._detectors, self._codec = detectors, KeyCodec(keys)
        self._ttl_ms, self._most = retention.ttl_ms, retention.keys
        self._single = len(keys) == 1
        self._numbers: dict[Any, int] = {}
        self._free: list[int] = []
        self._next = self._room = 0
        self._seen: OrderedDict[Any, int] = OrderedDict()
        self._unseen: list[Any] = []
        self._stored: dict[Any, frozenset[bytes]] = {}
        self._names: dict[frozenset[bytes], frozenset[bytes]] = {}
        self._touched: dict[Any, None] = {}
        self._begun_again: set[Any] = set()
        self._obsolete: list[bytes] = []

    # --- series -------------------------------------------------------------------------------------

    def numbers(self, keys: Sequence[Any], times: Sequence[int]) -> tuple[list[int | None], list[int]]:
        """Series of the rows (None where there is no room for another key), and those that have ended meanwhile.

        The latter are to be freed when the rows are judged.
        """
        self._touched.update(dict.fromkeys(keys))
        series: list[int | None] = []
        over: list[int] = []
        known, seen, ttl_ms = self._numbers, self._seen, self._ttl_ms
        if ttl_ms is None:
            for key in keys:
                number = known.get(key)
                series.append(self._begin(key) if number is None else number)
            self._forget_refused(keys, series)
            return series, over
        for key, time in zip(keys, times, strict=True):
            number = known.get(key)
            if number is not None and time - seen.get(key, time) > ttl_ms:
                over.append(self._end(key))
                number = None
            if number is None:
                if len(known) >= self._most:
                    over += self._silent(time - 1)  # as if the watermark had been here between the rows
                number = self._begin(key)
            if number is not None:
                seen[key] = time
                seen.move_to_end(key)
            series.append(number)
        self._forget_refused(keys, series)
        return series, over

    def _forget_refused(self, keys: Sequence[Any], series: Sequence[int | None]) -> None:
        """Keys for which there is no room have no state to write."""
        if None in series:
            for key in set(keys) - self._numbers.keys() - self._begun_again:
                self._touched.pop(key, None)

    def expire(self, watermark: int) -> int:
        """Drop keys whose next row can only come too late; how many there were."""
        over = self._silent(watermark)
        self.free(over)
        return len(over)

    def _silent(self, watermark: int) -> list[int]:
        """End keys that have been silent for too long; their series."""
        over: list[int] = []
        seen, ttl_ms = self._seen, self._ttl_ms
        if ttl_ms is None:
            return over
        for key in self._unseen:
            seen.setdefault(key, watermark)
        self._unseen = []
        while seen:
            key, time = next(iter(seen.items()))
            if time + ttl_ms > watermark:
                break
            over.append(self._end(key))
            self._touched[key] = None
        return over

    def free(self, series: Sequence[int]) -> None:
        """The numbers may be given to other keys."""
        for number in series:
            for detector in self._detectors:
                detector.forget(number)
        self._free += series

    def _begin(self, key: Any) -> int | None:
        if len(self._numbers) >= self._most:
            return None
        return self._room_for(key)

    def _room_for(self, key: Any) -> int:
        if self._free:
            number = self._free.pop()
        else:
            number = self._next
            self._next += 1
        if number >= self._room:
            # Ever more at once: detectors copy what they hold when they grow.
            self._room = max(number + 1, self._room + self._room // 2)
            for detector in self._detectors:
                detector.grow(self._room)
        self._numbers[key] = number
        return number

    def _end(self, key: Any) -> int:
        self._seen.pop(key, None)
        self._begun_again.add(key)
        return self._numbers.pop(key)

    # --- state ----------------------------------------------------------------------------------------

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Entries put and deleted since the last call."""
        touched, begun_again, obsolete = self._touched, self._begun_again, self._obsolete
        self._touched, self._begun_again, self._obsolete = {}, set(), []
        for name in obsolete:
            yield name, None
        for key in touched:
            name = self._codec.encode((key,) if self._single else key)
            number, before = self._numbers.get(key), self._stored.get(key, _NOTHING)
            known = set(_NOTHING if key in begun_again else before)
            for place, detector in enumerate(self._detectors if number is not None else ()):
                head = place.to_bytes(2, "big")
                for entry, value in detector.changes(number):  # type: ignore[arg-type]  # of None there are no detectors
                    yield _model_key(head, name, entry), value
                    (known.discard if value is None else known.add)(head + entry)
            for gone in before - known if key in begun_again else ():
                yield _model_key(gone[:2], name, gone[2:]), None
            if number is None:
                self._stored.pop(key, None)
                yield SEEN + name, None
                continue
            if known != before:
                names = frozenset(known)
                self._stored[key] = self._names.setdefault(names, names)
            if self._ttl_ms is not None:
                yield SEEN + name, msgspec.msgpack.encode(self._seen[key])

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the entries that stand."""
        expires = self._ttl_ms is not None
        models: dict[bytes, list[tuple[bytes, bytes, bytes]]] = {}
        seen: dict[bytes, int] = {}
        for entry, value in entries:
            if entry.startswith(MODEL) and len(entry) >= 7:
                end = 7 + int.from_bytes(entry[3:7], "big")
                models.setdefault(entry[7:end], []).append((entry[1:3], entry[end:], value))
            elif entry.startswith(SEEN):
                seen[entry[1:]] = _decode_time(value)
            else:
                raise StateError(f"an entry of another kind of state: {entry!r}")
        keys = {}
        for name in {**models, **(seen if expires else {})}:
            values = self._codec.decode(name)
            key = keys[name] = values[0] if self._single else values
            number, parts = self._room_for(key), models.get(name, [])
            for place, detector in enumerate(self._detectors):
                head = place.to_bytes(2, "big")
                own = [(entry, value) for owner, entry, value in parts if owner == head]
                if own:
                    detector.restore(number, own)
            names = frozenset(owner + entry for owner, entry, _ in parts)
            self._stored[key] = self._names.setdefault(names, names)
        if not expires:
            self._obsolete = [SEEN + name for name in seen]
            return
        # Without a time are keys that were stored before they could expire: silent from now on.
        self._unseen = [keys[name] for name in models if name not in seen]
        for name, time in sorted(seen.items(), key=itemgetter(1)):
            self._seen[keys[name]] = time


def _model_key(head: bytes, name: bytes, entry: bytes) -> bytes:
    return MODEL + head + len(name).to_bytes(4, "big") + name + entry


def _decode_time(data: bytes) -> int:
    try:
        return msgspec.msgpack.decode(data, type=int)
    except msgspec.DecodeError as error:
        raise StateError(f"a stored time is unreadable: {error}") from error
