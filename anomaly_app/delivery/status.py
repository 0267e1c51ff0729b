"""What delivery shows, and what may be asked of it: the protocol between its process and its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from anomaly_app.delivery.acks import Ack
from anomaly_app.delivery.silence_request import SilenceRequest

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

State: TypeAlias = Literal["starting", "active", "standby", "stopped"]


class WayStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A sink of a receiver.

    Args:
        name: receiver, kind and number, such as ``ops/slack/0``.
        receiver: its name.
        kind: of the sink, such as ``slack``.
        up: the last attempt went well, or there was none.
        breaker: ``closed`` is good.
        outstanding: notifications that are to be sent; of a streaming way, alerts.
        sent: attempts that were taken since the process began.
        failed: that were not.
        problem: of the last failure, without secrets; "" since one went well.
        sent_ms: when the last one went well, in ms since 1970.
        streaming: it gets every alert, singly.
    """

    name: str
    receiver: str
    kind: str
    up: bool
    breaker: str
    outstanding: int
    sent: int
    failed: int
    problem: str
    sent_ms: int | None
    streaming: bool


class GroupStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A group of alerts that are told together.

    Args:
        id: hash of route and labels.
        receiver: who is told.
        labels: by which it is grouped.
        alerts: how many fingerprints are in it.
        firing: how many of these are not over.
        next_ms: when it is to be told next, in ms since 1970; None if nothing is due.
        told_ms: when it was told last; None if it was not.
    """

    id: str
    receiver: str
    labels: Mapping[str, str]
    alerts: int
    firing: int
    next_ms: int | None
    told_ms: int | None


class SilenceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A silence, as it is told to programs.

    Args:
        id: of the silence.
        matchers: as they are written.
        starts_at: ISO-8601 in UTC.
        ends_at: the same.
        created_by: who.
        comment: why.
        state: ``pending``, ``active``, ``ending_soon`` or ``expired``.
    """

    id: str
    matchers: Sequence[str]
    starts_at: str
    ends_at: str
    created_by: str
    comment: str
    state: str


class ToldStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A notification of which the fate is known.

    Args:
        at_ms: when, in ms since 1970.
        way: receiver, kind and number of the sink.
        fate: ``sent`` or ``gave_up``.
        reason: why it was told.
        status: ``firing`` or ``resolved``.
        group_labels: of its group.
        alerts: how many it was about.
        problem: why it was given up; "" if it was sent.
    """

    at_ms: int
    way: str
    fate: str
    reason: str
    status: str
    group_labels: Mapping[str, str]
    alerts: int
    problem: str = ""


class ArchiveStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An archive.

    Args:
        name: of the settings.
        files: written since the process began.
        records: in these.
        pending_bytes: in memory.
        problem: why it cannot write; "" if it can.
    """

    name: str
    files: int
    records: int
    pending_bytes: int
    problem: str


class DeliveryStatus(Protocol):
    """What a delivery process tells about itself; all but the last three answer at once."""

    @property
    def state(self) -> State:
        """Whether it is the active one of its name."""
        ...

    @property
    def registry(self) -> CollectorRegistry:
        """Its metrics."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether alerts are delivered or it stands by, else the reason."""
        ...

    def healthy(self) -> tuple[bool, str]:
        """Whether the process should go on living."""
        ...

    def lag(self) -> int | None:
        """Alerts that are not decided yet; None while unknown."""
        ...

    def fates(self) -> Mapping[str, int]:
        """What became of alerts, and how many, since the process began."""
        ...

    def responses(self) -> Mapping[str, int]:
        """Runs of responses since the process began, by how they began."""
        ...

    def ways(self) -> Sequence[WayStatus]:
        """The sinks of all receivers."""
        ...

    def groups(self, limit: int) -> Sequence[GroupStatus]:
        """Groups, those that were told last first."""
        ...

    def group_count(self) -> int:
        """How many groups are remembered."""
        ...

    def silences(self) -> Sequence[SilenceStatus]:
        """All silences that are not long over."""
        ...

    def told(self) -> Sequence[ToldStatus]:
        """The latest notifications, newest first."""
        ...

    def acks(self, limit: int) -> Sequence[Ack]:
        """The latest acknowledgements, newest first."""
        ...

    def archives(self) -> Sequence[ArchiveStatus]:
        """The archives."""
        ...

    async def silence(self, request: SilenceRequest) -> SilenceStatus:
        """Store a silence.

        Raises:
            ValueError: it cannot be as it is asked for.
            BrokerError: it cannot be stored.
        """
        ...

    async def expire(self, silence_id: str) -> bool:
        """End a silence now; whether there was one.

        Raises:
            BrokerError: it cannot be stored.
        """
        ...

    async def acknowledge(self, ack: Ack) -> None:
        """Store an acknowledgement.

        Raises:
            BrokerError: it cannot be stored.
        """
        ...


def sink_label(way: str) -> str:
    """How metrics call a sink.

    Example:
        >>> sink_label("ops/slack/0"), sink_label("ops/slack/1")
        ('slack', 'slack/1')
    """
    return way.partition("/")[2].removesuffix("/0")
