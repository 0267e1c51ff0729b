"""What is the same for all alerts of the same labels: worked out once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly_app.delivery.inhibition import Part
from anomaly_app.delivery.labels import LEVELS, SEVERITY
from anomaly_app.delivery.routes import Route, Way
from anomaly_app.delivery.silences import Silence, Silences, silenced_until

if TYPE_CHECKING:
    from anomaly_app.delivery.groups import Group

RANKS = {level: rank for rank, level in enumerate(LEVELS)}


class Place:
    """A group that alerts go to.

    Args:
        key: of the group.
        route: that leads there.
        way: that is told.
        labels: of the group.

    Attributes:
        group: once it is there.
    """

    __slots__ = ("group", "key", "labels", "route", "way")

    def __init__(self, key: str, route: Route, way: Way, labels: dict[str, str]) -> None:
        self.key, self.route, self.way, self.labels = key, route, way, labels
        self.group: Group | None = None


class Decision:
    """Labels, and all that follows from them.

    Args:
        labels: of an alert.
        tenant: of the alert.
        fingerprint: hash of the labels without the severity.
        places: groups that it goes to.
        fate: what becomes of it if there are none.
        sources: rules in which it holds others back.
        targets: rules in which it is held back.
    """

    __slots__ = (
        "_silences",
        "_version",
        "fate",
        "fingerprint",
        "labels",
        "places",
        "rank",
        "sources",
        "targets",
        "tenant",
    )

    def __init__(
        self,
        labels: dict[str, str],
        tenant: str,
        fingerprint: str,
        places: list[Place],
        fate: str,
        sources: tuple[Part, ...],
        targets: tuple[Part, ...],
    ) -> None:
        self.labels, self.tenant, self.fingerprint, self.places, self.fate = labels, tenant, fingerprint, places, fate
        self.sources, self.targets = sources, targets
        self.rank = RANKS.get(labels.get(SEVERITY, ""), 0)
        self._silences: tuple[Silence, ...] = ()
        self._version = 0

    def silences(self, silences: Silences) -> tuple[Silence, ...]:
        """Those that match, at whatever time."""
        if self._version != silences.version:
            self._silences, self._version = silences.matching(self.labels), silences.version
        return self._silences

    def silenced_until(self, silences: Silences, now_ms: int) -> int:
        """Until when it is silenced, in ms since 1970; 0 if it is not."""
        found = self.silences(silences)
        return silenced_until(found, now_ms) if found else 0
