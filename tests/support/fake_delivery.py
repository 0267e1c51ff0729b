"""A delivery's status that tests set by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry

from anomaly_app.delivery.acks import Ack
from anomaly_app.delivery.silence_request import SilenceRequest
from anomaly_app.delivery.silences import Silence
from anomaly_app.delivery.status import ArchiveStatus, GroupStatus, SilenceStatus, State, ToldStatus, WayStatus
from anomaly_app.errors import BrokerError
from anomaly_app.runtime.delivery_notes import silence_status

NOW_MS = 1_764_270_000_000


class FakeDelivery:
    def __init__(self) -> None:
        self.state: State = "active"
        self.reason = ""
        self.broker_is_away = False
        self.registry = CollectorRegistry()
        self.kept: dict[str, Silence] = {}
        self.acked: list[Ack] = []
        self.counts: dict[str, int] = {"sent": 3, "waiting": 2}
        self.problem = ""

    def ready(self) -> tuple[bool, str]:
        return not self.reason, self.reason

    def healthy(self) -> tuple[bool, str]:
        return True, ""

    def lag(self) -> int | None:
        return 7 if self.state == "active" else None

    def fates(self) -> Mapping[str, int]:
        return self.counts

    def responses(self) -> Mapping[str, int]:
        return {"started": 1}

    def ways(self) -> Sequence[WayStatus]:
        common = {"outstanding": 4, "sent": 5, "failed": 1, "problem": self.problem, "sent_ms": NOW_MS}
        return [
            WayStatus(
                name=name, receiver="ops", kind=kind, up=not self.problem, breaker="closed", streaming=False, **common
            )  # type: ignore[arg-type]
            for name, kind in (("ops/slack/0", "slack"), ("ops/slack/1", "slack"))
        ]

    def groups(self, limit: int) -> Sequence[GroupStatus]:
        labels = {"user_id": "<b>ann</b>"}
        return [GroupStatus(id="g", receiver="ops", labels=labels, alerts=3, firing=2, next_ms=None, told_ms=NOW_MS)]

    def group_count(self) -> int:
        return 1

    def silences(self) -> Sequence[SilenceStatus]:
        return [silence_status(silence, NOW_MS) for silence in self.kept.values()]

    def told(self) -> Sequence[ToldStatus]:
        told = ToldStatus(
            at_ms=NOW_MS, way="ops/slack/0", fate="sent", reason="new", status="firing", group_labels={}, alerts=3
        )
        return [told]

    def acks(self, limit: int) -> Sequence[Ack]:
        return self.acked[-limit:]

    def archives(self) -> Sequence[ArchiveStatus]:
        return [ArchiveStatus(name="files", files=2, records=9, pending_bytes=11, problem="")]

    async def silence(self, request: SilenceRequest) -> SilenceStatus:
        self._check()
        silence = request.silence(NOW_MS)
        self.kept[silence.id] = silence
        return silence_status(silence, NOW_MS)

    async def expire(self, silence_id: str) -> bool:
        self._check()
        return self.kept.pop(silence_id, None) is not None

    async def acknowledge(self, ack: Ack) -> None:
        self._check()
        self.acked.append(ack)

    def _check(self) -> None:
        if self.broker_is_away:
            raise BrokerError("no broker answers")
