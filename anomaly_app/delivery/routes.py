"""The route tree: which receivers an alert goes to, and how it is grouped on the way."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from anomaly_app.delivery.inhibition import Inhibition, compile_inhibitions
from anomaly_app.delivery.matchers import Matcher, compile_matchers, matches
from anomaly_app.delivery.time_intervals import Interval, compile_intervals
from anomaly_app.settings import delivery as given
from anomaly_app.settings.loading import LoadedSettings

NOTIFYING = ("webhook", "slack", "email", "pagerduty", "apprise")
"""Kinds of sinks that are told notifications."""
STREAMING = ("alertmanager", "influxdb", "kafka")
"""Kinds of sinks that get every alert."""

ALL_LABELS = "..."
GROUP_BY = ("job", "type")
GROUP_WAIT, GROUP_INTERVAL, REPEAT_INTERVAL = 30_000, 5 * 60_000, 4 * 3_600_000
_CACHED = 50_000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Way:
    """A sink of a receiver that is told notifications.

    Args:
        name: ``receiver/kind/number``.
        receiver: its name.
        send_resolved: it is told when an alert is over.
        max_per_minute: notifications; 0 for any number.
    """

    name: str
    receiver: str
    send_resolved: bool
    max_per_minute: int


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody, and the ways to reach them.

    Args:
        name: its name.
        ways: sinks that are told notifications.
        streams: names of sinks that get every alert.
    """

    name: str
    ways: tuple[Way, ...]
    streams: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A node of the tree, with what it has from the nodes above it.

    Args:
        id: the same as long as matchers, receiver and labels of the group are, here and above.
        place: in the settings, such as ``delivery.route.routes[2]``.
        matchers: all must hold.
        receiver: None only for a root without one.
        group_by: labels; None for all.
        group_wait: in ms, as are the other two.
        group_interval: between two notifications of a group.
        repeat_interval: between two notifications of the same.
        mute: intervals in which nothing is told.
        active: intervals outside of which nothing is told; none for always.
        continue_: routes behind this one are looked at, too.
        routes: below this one.
    """

    id: str
    place: str
    matchers: tuple[Matcher, ...]
    receiver: Receiver | None
    group_by: tuple[str, ...] | None
    group_wait: int
    group_interval: int
    repeat_interval: int
    mute: tuple[Interval, ...]
    active: tuple[Interval, ...]
    continue_: bool
    routes: tuple[Route, ...]

    def group_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels of an alert's group."""
        if self.group_by is None:
            return dict(labels)
        return {name: labels[name] for name in self.group_by if name in labels}

    def muted(self, now_ms: int) -> str | None:
        """Why nothing is told at a time, in ms since 1970; None if it is."""
        for interval in self.mute:
            if interval.contains(now_ms):
                return f"mute interval {interval.name}"
        if self.active and not any(interval.contains(now_ms) for interval in self.active):
            return f"outside of active interval {' and '.join(interval.name for interval in self.active)}"
        return None

    def walk(self) -> Iterator[Route]:
        """This node and all below it."""
        yield self
        for route in self.routes:
            yield from route.walk()

    def take(self, labels: Mapping[str, str]) -> list[Route]:
        """The nodes at which an alert ends that this one matches."""
        found: list[Route] = []
        for route in self.routes:
            if matches(route.matchers, labels):
                found += route.take(labels)
                if not route.continue_:
                    break
        return found or [self]


class RouteTree:
    """The compiled settings of routes, receivers, inhibitions and intervals.

    Args:
        root: takes every alert.
        receivers: by name.
        inhibitions: rules.
    """

    def __init__(self, root: Route, receivers: Mapping[str, Receiver], inhibitions: Sequence[Inhibition]) -> None:
        self.root, self.receivers, self.inhibitions = root, receivers, tuple(inhibitions)
        self._named = tuple(sorted({matcher.name for route in root.walk() for matcher in route.matchers}))
        self._taken: dict[tuple[str, ...], tuple[Route, ...]] = {}

    @classmethod
    def compile(cls, loaded: LoadedSettings) -> RouteTree:
        """Check the settings and make the tree of them.

        Raises:
            SettingsError: a receiver or interval is unknown, a matcher cannot be read, inhibitions go in a circle;
                the message names the place in the file.
        """
        receivers = _receivers(loaded)
        compiler = _Compiler(loaded, receivers, compile_intervals(loaded))
        return cls(compiler.root(), receivers, compile_inhibitions(loaded))

    def routes_of(self, labels: Mapping[str, str]) -> tuple[Route, ...]:
        """The nodes at which an alert ends, in the order of the file."""
        # Routes can tell alerts apart by these labels only.
        key = tuple([labels.get(name, "") for name in self._named])
        found = self._taken.get(key)
        if found is None:
            if len(self._taken) >= _CACHED:
                self._taken.clear()
            found = self._taken[key] = tuple(self.root.take(labels))
        return found

    def receivers_of(self, labels: Mapping[str, str]) -> frozenset[str]:
        """Names of the receivers that an alert goes to."""
        return frozenset(route.receiver.name for route in self.routes_of(labels) if route.receiver is not None)

    @property
    def ways(self) -> dict[str, Way]:
        """All sinks that are told notifications, by name."""
        return {way.name: way for receiver in self.receivers.values() for way in receiver.ways}

    @property
    def pairs(self) -> frozenset[str]:
        """Names of all routes and their ways, to see after a restart which are new."""
        return frozenset(
            f"{route.id} {way.name}" for route in self.root.walk() if route.receiver for way in route.receiver.ways
        )


def _receivers(loaded: LoadedSettings) -> dict[str, Receiver]:
    receivers: dict[str, Receiver] = {}
    for number, receiver in enumerate(loaded.settings.delivery.receivers):
        name = receiver.name
        if name in receivers:
            raise loaded.error(f"delivery.receivers[{number}].name", f"there are two receivers that are named {name}")
        ways = [
            Way(f"{name}/{kind}/{index}", name, sink.send_resolved, sink.max_per_minute)
            for kind in NOTIFYING
            for index, sink in enumerate(getattr(receiver, kind))
        ]
        streams = [f"{name}/{kind}/{index}" for kind in STREAMING for index in range(len(getattr(receiver, kind)))]
        receivers[name] = Receiver(name, tuple(ways), tuple(streams))
    return receivers


class _Compiler:
    def __init__(
        self, loaded: LoadedSettings, receivers: Mapping[str, Receiver], intervals: Mapping[str, Interval]
    ) -> None:
        self._loaded, self._receivers, self._intervals = loaded, receivers, intervals
        self._ids: set[str] = set()

    def root(self) -> Route:
        route = self._loaded.settings.delivery.route
        if route.matchers:
            raise self._loaded.error(
                "delivery.route.matchers", "the root takes every alert: give matchers to its routes"
            )
        if route.continue_:
            raise self._loaded.error("delivery.route.continue", "the root has no routes behind it")
        if not route.receiver and self._receivers:
            problem = "is needed: alerts that no other route takes go to it"
            raise self._loaded.error("delivery.route.receiver", problem + self._known(self._receivers, "receivers"))
        return self._compile(route, "delivery.route", None, ())

    def _compile(self, route: given.Route, place: str, above: Route | None, path: tuple[str, ...]) -> Route:
        matchers = compile_matchers(self._loaded, f"{place}.matchers", route.matchers)
        receiver = above.receiver if above is not None else None
        if route.receiver:
            receiver = self._named(f"{place}.receiver", route.receiver, self._receivers, "receivers")
        group_by = self._group_by(route, place) if route.group_by is not None else above.group_by if above else GROUP_BY
        wait, interval, repeat = (
            (above.group_wait, above.group_interval, above.repeat_interval)
            if above is not None
            else (GROUP_WAIT, GROUP_INTERVAL, REPEAT_INTERVAL)
        )
        steps = (*path, ",".join(map(str, matchers)))
        here = Route(
            id=self._id(steps, receiver, group_by),
            place=place,
            matchers=matchers,
            receiver=receiver,
            group_by=group_by,
            group_wait=wait if route.group_wait is None else route.group_wait,
            group_interval=interval if route.group_interval is None else route.group_interval,
            repeat_interval=repeat if route.repeat_interval is None else route.repeat_interval,
            mute=self._times(f"{place}.mute_time_intervals", route.mute_time_intervals),
            active=self._times(f"{place}.active_time_intervals", route.active_time_intervals),
            continue_=route.continue_,
            routes=(),
        )
        below = tuple(
            self._compile(each, f"{place}.routes[{number}]", here, steps) for number, each in enumerate(route.routes)
        )
        object.__setattr__(here, "routes", below)
        return here

    def _id(self, steps: tuple[str, ...], receiver: Receiver | None, group_by: tuple[str, ...] | None) -> str:
        name = receiver.name if receiver is not None else ""
        for twin in range(len(self._ids) + 1):
            text = msgspec.json.encode((steps, name, group_by, twin))
            found = hashlib.blake2b(text, digest_size=8).hexdigest()
            if found not in self._ids:
                break
        self._ids.add(found)
        return found

    def _group_by(self, route: given.Route, place: str) -> tuple[str, ...] | None:
        labels = route.group_by or ()
        for number, label in enumerate(labels):
            if not label:
                raise self._loaded.error(f"{place}.group_by[{number}]", "the name of a label is empty")
            if label in labels[:number]:
                raise self._loaded.error(f"{place}.group_by[{number}]", f"{label} is there twice")
        if ALL_LABELS in labels:
            if len(labels) > 1:
                problem = f"{ALL_LABELS} is for all labels: name no others beside it"
                raise self._loaded.error(f"{place}.group_by", problem)
            return None
        return labels

    def _times(self, key: str, names: Sequence[str]) -> tuple[Interval, ...]:
        return tuple(
            self._named(f"{key}[{number}]", name, self._intervals, "time intervals")
            for number, name in enumerate(names)
        )

    def _named(self, key: str, name: str, there: Mapping[str, _T], what: str) -> _T:
        if name not in there:
            raise self._loaded.error(key, f"there is no {name!r}{self._known(there, what, name)}")
        return there[name]

    @staticmethod
    def _known(there: Mapping[str, object], what: str, name: str = "") -> str:
        near = difflib.get_close_matches(name, there, 1, cutoff=0.6)
        if near:
            return f"; did you mean {near[0]}?"
        return f"; {what} are {', '.join(there)}" if there else f"; there are no {what}"
