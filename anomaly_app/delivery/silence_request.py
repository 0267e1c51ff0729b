"""What people ask for when they silence something, and the silence that comes of it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import msgspec

from anomaly_app.alerts.values import iso_time
from anomaly_app.delivery.silences import Silence
from anomaly_app.settings.values import length_ms

LONGEST_MS = 366 * 24 * 3_600_000
"""A mistake is not to silence something for ever."""


class SilenceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked for by who silences.

    Args:
        matchers: such as ``user_id="ann"``; all must hold.
        duration: such as ``2h``, from its start.
        ends_at: ISO-8601, in place of the duration.
        starts_at: ISO-8601; "" for now.
        created_by: who.
        comment: why.
    """

    matchers: list[str]
    duration: str = ""
    ends_at: str = ""
    starts_at: str = ""
    created_by: str = ""
    comment: str = ""

    def silence(self, now_ms: int) -> Silence:
        """The silence, with an id of its own.

        Args:
            now_ms: now, in ms since 1970.

        Raises:
            ValueError: it cannot be as it is asked for.

        Example:
            >>> asked = SilenceRequest(matchers=["user_id=ann"], duration="2h", created_by="bo", comment="known")
            >>> silence = asked.silence(1_000)
            >>> silence.starts_ms, silence.ends_ms
            (1000, 7201000)
        """
        starts_ms = _moment(self.starts_at) if self.starts_at else now_ms
        if bool(self.duration) == bool(self.ends_at):
            raise ValueError("a silence needs a duration, such as '2h', or ends_at")
        ends_ms = _moment(self.ends_at) if self.ends_at else starts_ms + length_ms(self.duration)
        if ends_ms <= now_ms:
            raise ValueError(f"this silence would have ended already, at {iso_time(ends_ms)}")
        if ends_ms - starts_ms > LONGEST_MS:
            raise ValueError("a silence lasts for a year at most; a route without a receiver is for ever")
        return Silence(
            id=secrets.token_hex(6),
            matchers=tuple(self.matchers),
            starts_ms=starts_ms,
            ends_ms=ends_ms,
            created_by=self.created_by,
            comment=self.comment,
        )


def state_of(silence: Silence, now_ms: int) -> str:
    """``pending``, ``active``, ``ending_soon`` or ``expired``."""
    if now_ms < silence.starts_ms:
        return "pending"
    if now_ms >= silence.ends_ms:
        return "expired"
    return "ending_soon" if silence.ends_soon(now_ms) else "active"


def expired(silence: Silence, now_ms: int) -> Silence:
    """The same silence, ended now; one that has not begun never will."""
    return msgspec.structs.replace(
        silence, starts_ms=min(silence.starts_ms, now_ms - 1), ends_ms=min(silence.ends_ms, now_ms)
    )


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} should be a time such as 2026-01-31T09:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000)
