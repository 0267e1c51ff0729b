"""Silences: what is not told for a while, because somebody said so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from anomaly_app.delivery.matchers import Matcher, matches, parse_matchers
from anomaly_app.errors import MatcherError

ENDING_SOON = 15 * 60_000
"""How long before its end, in ms, that is said of a silence."""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts that all matchers match are not told from start to end.

    Args:
        id: names it.
        matchers: such as ``user_id="ann"``; all must hold.
        starts_ms: in ms since 1970, as is the end.
        ends_ms: behind which alerts that still come are told at once.
        created_by: who wants it.
        comment: why.

    Raises:
        ValueError: it silences nothing, everything, or nobody says why.

    Example:
        >>> silence = Silence(
        ...     id="1", matchers=("user_id=ann",), starts_ms=0, ends_ms=60_000, created_by="bo", comment="moves house"
        ... )
        >>> silence.active(59_999), silence.active(60_000), silence.ends_soon(0)
        (True, False, True)
    """

    id: str
    matchers: tuple[str, ...]
    starts_ms: int
    ends_ms: int
    created_by: str
    comment: str

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a silence needs an id")
        if self.ends_ms <= self.starts_ms:
            raise ValueError("a silence ends after it starts")
        if not self.created_by.strip() or not self.comment.strip():
            raise ValueError("a silence says who wants it and why: created_by and comment are needed")
        try:
            compiled = self.compile()
        except MatcherError as error:
            raise ValueError(str(error)) from None
        if all(matcher.matches({}) for matcher in compiled):
            raise ValueError("a silence needs a matcher that an alert without the label does not fulfil")

    def compile(self) -> tuple[Matcher, ...]:
        """Its matchers."""
        return tuple(matcher for text in self.matchers for matcher in parse_matchers(text))

    def active(self, now_ms: int) -> bool:
        """Whether it holds at a time, in ms since 1970."""
        return self.starts_ms <= now_ms < self.ends_ms

    def ends_soon(self, now_ms: int, within_ms: int = ENDING_SOON) -> bool:
        """Whether it holds and ends before long."""
        return self.active(now_ms) and self.ends_ms - now_ms <= within_ms


def encode_silence(silence: Silence) -> bytes:
    """The record of a silence, in JSON."""
    return msgspec.json.encode(silence)


def decode_silence(record: bytes) -> Silence:
    """A silence of its record.

    Raises:
        ValueError: it is none.
    """
    try:
        return msgspec.json.decode(record, type=Silence)
    except msgspec.DecodeError as error:
        raise ValueError(f"no silence: {error}") from None


class Silences:
    """All silences that are known.

    Attributes:
        version: another one after each change.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Silence, tuple[Matcher, ...]]] = {}
        self.version = 0

    def put(self, silence: Silence) -> None:
        """Add one, or replace that of the same id."""
        self._known[silence.id] = silence, silence.compile()
        self.version += 1

    def drop(self, silence_id: str) -> None:
        """Forget one, if it is known."""
        if self._known.pop(silence_id, None) is not None:
            self.version += 1

    def forget(self, now_ms: int) -> None:
        """Forget those that have ended."""
        for name in [name for name, (silence, _) in self._known.items() if silence.ends_ms <= now_ms]:
            self.drop(name)

    def __iter__(self) -> Iterator[Silence]:
        return (silence for silence, _ in self._known.values())

    def matching(self, labels: Mapping[str, str]) -> tuple[Silence, ...]:
        """Those whose matchers hold, at whatever time."""
        return tuple(silence for silence, matchers in self._known.values() if matches(matchers, labels))


def silenced_until(silences: tuple[Silence, ...], now_ms: int) -> int:
    """Until when, in ms since 1970, silences that match hold; 0 if none does now."""
    return max((silence.ends_ms for silence in silences if silence.active(now_ms)), default=0)
