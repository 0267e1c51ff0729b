"""While alerts of one kind are there, those of another are not told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from anomaly_app.delivery.matchers import Matcher, compile_matchers, matches, may_both_hold
from anomaly_app.settings.loading import LoadedSettings

_CACHED = 50_000


@dataclass(frozen=True, slots=True)
class Inhibition:
    """A rule.

    An alert that matches both sides is held back by those only that match the source alone: neither by itself nor by
    another of its kind.

    Args:
        place: in the settings, such as ``delivery.inhibit_rules[0]``.
        source: matchers of what must be there.
        target: matchers of what is not told then.
        equal: labels that must be equal in both; a missing one equals an empty one.
    """

    place: str
    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]

    @property
    def id(self) -> str:
        """Names the rule, wherever it stands in the file."""
        text = msgspec.json.encode([[*map(str, self.source)], [*map(str, self.target)], self.equal])
        return hashlib.blake2b(text, digest_size=8).hexdigest()

    def key(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Values of the labels that must be equal."""
        return tuple([labels.get(name, "") for name in self.equal])


def compile_inhibitions(loaded: LoadedSettings) -> tuple[Inhibition, ...]:
    """The rules of the settings.

    Raises:
        SettingsError: a matcher cannot be read, or rules go in a circle.
    """
    rules = []
    for number, rule in enumerate(loaded.settings.delivery.inhibit_rules):
        place = f"delivery.inhibit_rules[{number}]"
        source = compile_matchers(loaded, f"{place}.source_matchers", rule.source_matchers)
        target = compile_matchers(loaded, f"{place}.target_matchers", rule.target_matchers)
        rules.append(Inhibition(place, source, target, tuple(dict.fromkeys(rule.equal))))
    circle = circle_of(rules)
    if circle:
        names = [f"inhibit_rules[{rules.index(rule)}]" for rule in (*circle, circle[0])]
        problem = (
            f"goes in a circle, so that alerts could hold each other back and none be told: {' → '.join(names)}; "
            "give target_matchers that leave out what is a source"
        )
        raise loaded.error(circle[0].place, problem)
    return tuple(rules)


def circle_of(rules: Sequence[Inhibition]) -> list[Inhibition]:
    """Rules of which each may hold back the sources of the next, and the last those of the first; none without such.

    A rule alone is no circle: what matches both of its sides does not hold back itself.
    """
    behind = [
        [other for other in rules if other is not rule and may_both_hold(rule.target, other.source)] for rule in rules
    ]
    done: set[int] = set()

    def search(rule: Inhibition, path: list[Inhibition]) -> list[Inhibition]:
        for seen, each in enumerate(path):
            if each is rule:
                return path[seen:]
        place = next(number for number, each in enumerate(rules) if each is rule)
        if place in done:
            return []
        for other in behind[place]:
            found = search(other, [*path, rule])
            if found:
                return found
        done.add(place)
        return []

    return next((found for rule in rules if (found := search(rule, []))), [])


@dataclass(frozen=True, slots=True)
class Part:
    """What an alert is in a rule.

    Args:
        rule: id of the rule.
        key: values of the labels that must be equal.
        both: it matches both sides.
    """

    rule: str
    key: tuple[str, ...]
    both: bool


class Sources:
    """Which sources are there, and until when.

    Args:
        rules: of the tree.
    """

    def __init__(self, rules: Sequence[Inhibition]) -> None:
        self._rules = {rule.id: rule for rule in rules}
        self._until: dict[tuple[str, tuple[str, ...]], tuple[int, int]] = {}
        self._changed: dict[tuple[str, tuple[str, ...]], None] = {}
        names = {matcher.name for rule in rules for matcher in (*rule.source, *rule.target)}
        self._named = tuple(sorted(names.union(*(rule.equal for rule in rules))))
        self._parts: dict[tuple[str, ...], tuple[tuple[Part, ...], tuple[Part, ...]]] = {}

    def parts(self, labels: Mapping[str, str]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        """In which rules an alert is a source, and in which a target."""
        # Rules can tell alerts apart by these labels only.
        known = tuple([labels.get(name, "") for name in self._named])
        found = self._parts.get(known)
        if found is None:
            if len(self._parts) >= _CACHED:
                self._parts.clear()
            found = self._parts[known] = self._parts_of(labels)
        return found

    def _parts_of(self, labels: Mapping[str, str]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        sources, targets = [], []
        for name, rule in self._rules.items():
            source, target = matches(rule.source, labels), matches(rule.target, labels)
            if source or target:
                part = Part(name, rule.key(labels), source and target)
                sources += [part] * source
                targets += [part] * target
        return tuple(sources), tuple(targets)

    def seen(self, parts: Sequence[Part], until_ms: int) -> None:
        """A source has come, and is there until then."""
        for part in parts:
            name = part.rule, part.key
            alone, both = self._until.get(name, (0, 0))
            self._until[name] = (alone, max(both, until_ms)) if part.both else (max(alone, until_ms), both)
            self._changed[name] = None

    def holding(self, parts: Sequence[Part], now_ms: int) -> tuple[Inhibition, int] | None:
        """The rule that holds a target back the longest, and until when if its source does not come again."""
        found: tuple[Inhibition, int] | None = None
        for part in parts:
            alone, both = self._until.get((part.rule, part.key), (0, 0))
            until = alone if part.both else max(alone, both)
            if until > now_ms and (found is None or until > found[1]):
                found = self._rules[part.rule], until
        return found

    def forget(self, now_ms: int) -> None:
        """Forget sources that are over."""
        for name in [name for name, until in self._until.items() if max(until) <= now_ms]:
            del self._until[name]
            self._changed[name] = None

    def changes(self) -> list[tuple[bytes, bytes | None]]:
        """Entries that have changed since the last call."""
        entries: list[tuple[bytes, bytes | None]] = []
        for name in self._changed:
            until = self._until.get(name)
            digest = hashlib.blake2b(msgspec.json.encode(name), digest_size=12).hexdigest()
            entries.append((f"i/{digest}".encode(), None if until is None else msgspec.msgpack.encode((name, until))))
        self._changed.clear()
        return entries

    def restore(self, entry: bytes) -> bool:
        """Take back a stored entry; false if its rule is no more."""
        (rule, key), (alone, both) = msgspec.msgpack.decode(entry, type=_Stored)
        if rule not in self._rules:
            return False
        self._until[rule, key] = alone, both
        return True


_Stored: TypeAlias = tuple[tuple[str, tuple[str, ...]], tuple[int, int]]
