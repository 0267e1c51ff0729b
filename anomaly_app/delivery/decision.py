"""What is the same for all alerts of the same labels: worked out once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from anomaly_app.alerts import Alert
from anomaly_app.delivery.inhibition import Part, Sources
from anomaly_app.delivery.labels import LEVELS, SEVERITY, fingerprint, labels_of
from anomaly_app.delivery.routes import Receiver, Route, RouteTree, Way
from anomaly_app.delivery.silences import Silence, Silences, silenced_until

RANKS = {level: rank for rank, level in enumerate(LEVELS)}
_CACHED = 50_000


class Place:
    """A group that alerts go to.

    Args:
        key: of the group.
        route: that leads there.
        way: that is told.
        labels: of the group.
    """

    __slots__ = ("key", "labels", "route", "way")

    def __init__(self, key: str, route: Route, way: Way, labels: dict[str, str]) -> None:
        self.key, self.route, self.way, self.labels = key, route, way, labels

    @property
    def pair(self) -> str:
        """Names route and way."""
        return f"{self.route.id} {self.way.name}"


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


class Decider:
    """Works out decisions, and keeps those of the labels that come again.

    Args:
        tree: of the routes.
        sources: of inhibition.
    """

    def __init__(self, tree: RouteTree, sources: Sources) -> None:
        self._tree, self._sources = tree, sources
        self._decisions: dict[tuple[Any, ...], Decision] = {}
        self._places: dict[tuple[str, ...], list[Place]] = {}

    def decide(self, alert: Alert, tenant: str) -> Decision:
        """What follows from the labels of an alert.

        Args:
            alert: the record.
            tenant: of its header, or of the settings; "" for none.
        """
        key = (alert.job, alert.query, alert.type, alert.severity, tenant, *alert.key.items())
        try:
            found = self._decisions.get(key)
        except TypeError:  # an array in the key
            return self._decide(alert, tenant)
        if found is None:
            if len(self._decisions) >= _CACHED:
                self._decisions.clear()
            found = self._decisions[key] = self._decide(alert, tenant)
        return found

    def _decide(self, alert: Alert, tenant: str) -> Decision:
        labels = labels_of(alert, tenant)
        places: list[Place] = []
        fate = "unrouted"
        for route in self._tree.routes_of(labels):
            if route.receiver is None:
                continue
            if not route.receiver.ways:
                fate = "streamed" if route.receiver.streams else "dropped"
                continue
            places += self._places_of(route, route.receiver, labels)
        sources, targets = self._sources.parts(labels)
        return Decision(labels, tenant, fingerprint(labels), places, "" if places else fate, sources, targets)

    def _places_of(self, route: Route, receiver: Receiver, labels: Mapping[str, str]) -> list[Place]:
        if route.group_by is None:
            return [Place(group_key(route, way, labels), route, way, dict(labels)) for way in receiver.ways]
        key = (route.id, *[labels.get(name, "") for name in route.group_by])
        found = self._places.get(key)
        if found is None:
            if len(self._places) >= _CACHED:
                self._places.clear()
            own = route.group_labels(labels)
            found = self._places[key] = [Place(group_key(route, way, own), route, way, own) for way in receiver.ways]
        return found


def group_key(route: Route, way: Way, labels: Mapping[str, str] | None) -> str:
    """Names a group of a route and a way; of None that of all for which there is no room."""
    named = None if labels is None else sorted(labels.items())
    return hashlib.blake2b(msgspec.json.encode((route.id, way.name, named)), digest_size=12).hexdigest()
