"""Where alerts go and why, in words: ``anomaly deliver --check`` and ``--explain``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from anomaly_app.alerts import Alert
from anomaly_app.alerts.values import iso_time
from anomaly_app.delivery.decision import Decision, Place
from anomaly_app.delivery.dispatcher import Dispatcher
from anomaly_app.delivery.groups import Group
from anomaly_app.delivery.inhibition import Inhibition
from anomaly_app.delivery.matchers import matches
from anomaly_app.delivery.members import Hidden
from anomaly_app.delivery.response_rules import Rule
from anomaly_app.delivery.routes import Route, RouteTree
from anomaly_app.delivery.silences import Silence
from anomaly_app.words import duration


@dataclass(frozen=True, slots=True)
class Step:
    """A route that was looked at.

    Args:
        depth: 0 for the root.
        route: the node.
        failed: the first matcher that does not hold; "" if all do.
        ends: the alert goes to its receiver.
    """

    depth: int
    route: Route
    failed: str
    ends: bool


@dataclass(frozen=True, slots=True)
class Destination:
    """A sink that is told, or would be.

    Args:
        place: group and way.
        at_ms: when, if nothing else comes, in ms since 1970; None if it is not told.
        why: what decides that.
        hidden: why it is not told now.
    """

    place: Place
    at_ms: int | None
    why: str
    hidden: Hidden


@dataclass(slots=True)
class Explanation:
    """What becomes of an alert that came now.

    Args:
        decision: on its labels.
        steps: through the tree.
        destinations: sinks that are told notifications.
        streams: sinks that get it in any case.
        silences: that match, at whatever time.
        held: rules that hold it back, and until when; None if no source is there now.
        holds: rules by which it holds back others.
        responses: rules that begin a run.
        now_ms: in ms since 1970.
    """

    decision: Decision
    steps: list[Step]
    destinations: list[Destination]
    streams: list[str]
    silences: tuple[Silence, ...]
    held: list[tuple[Inhibition, int | None]]
    holds: list[Inhibition]
    responses: list[Rule]
    now_ms: int

    def lines(self) -> Iterator[str]:
        """All of it in words."""
        yield "labels: " + ", ".join(f'{name}="{value}"' for name, value in self.decision.labels.items())
        yield "routes:"
        for step in self.steps:
            told = f"no: {step.failed}" if step.failed else "yes, and the alert ends here" if step.ends else "yes"
            yield f"  {'  ' * step.depth}{step.route.place} ({_condition(step.route)}): {told}"
        if self.decision.fate == "unrouted":
            yield "no receiver: it is counted as unrouted"
        elif self.decision.fate == "dropped":
            yield "the receiver has no sinks: it is counted as dropped"
        for silence in self.silences:
            name = f"silence {silence.id} ({', '.join(silence.matchers)})"
            yield f"{name}: {_when(silence, self.now_ms)}; {silence.created_by}: {silence.comment}"
        for rule, until in self.held:
            state = "no such source is there now" if until is None else f"until {_time(until)} at least"
            yield f"held back by {_rule(rule)}: {state}"
        for rule in self.holds:
            yield f"holds back others by {_rule(rule)}"
        for name in self.streams:
            yield f"{name}: gets every alert, in order"
        for each in self.destinations:
            when = "not told" if each.at_ms is None else f"told at {_time(each.at_ms)}"
            labels = ", ".join(f'{name}="{value}"' for name, value in each.place.labels.items()) or "no labels"
            yield f"{each.place.way.name} (group {{{labels}}}): {when}: {each.why}"
        for rule_ in self.responses:
            held = rule_.heed_silences and any(silence.active(self.now_ms) for silence in self.silences)
            yield f"response {rule_.name}: {'not begun while it is silenced' if held else steps_text(rule_)}"


def steps_text(rule: Rule) -> str:
    """The steps of a response on one line."""
    return ", then ".join(step.name for step in rule.steps) + " (dry run)" * rule.dry_run


def explain(dispatcher: Dispatcher, alert: Alert, tenant: str, now_ms: int, rules: Sequence[Rule] = ()) -> Explanation:
    """What would become of an alert, and why; nothing is changed by it.

    Args:
        dispatcher: with the state and silences that are known, or without any.
        alert: the record.
        tenant: of its header, or of the settings; "" for none.
        now_ms: now, in ms since 1970.
        rules: of responses.
    """
    decision = dispatcher.decide(alert, tenant)
    inhibitions = {rule.id: rule for rule in dispatcher.tree.inhibitions}
    held: list[tuple[Inhibition, int | None]] = []
    for part in decision.targets:
        found = dispatcher.sources.holding((part,), now_ms)
        held.append((inhibitions[part.rule], None if found is None else found[1]))
    routes = dispatcher.tree.routes_of(decision.labels)
    receivers = [route.receiver for route in routes if route.receiver is not None]
    return Explanation(
        decision=decision,
        steps=list(_steps(dispatcher.tree.root, decision.labels, 0)),
        destinations=[_destination(dispatcher, decision, place, now_ms) for place in decision.places],
        streams=list(dict.fromkeys(name for receiver in receivers for name in receiver.streams)),
        silences=decision.silences(dispatcher.silences),
        held=held,
        holds=[inhibitions[part.rule] for part in decision.sources],
        responses=[rule for rule in rules if matches(rule.matchers, decision.labels)],
        now_ms=now_ms,
    )


def _destination(dispatcher: Dispatcher, decision: Decision, place: Place, now_ms: int) -> Destination:
    route = place.route
    hidden, until = dispatcher.hiding(decision, route, now_ms)
    if hidden == "silenced":
        why = "silenced; if it still comes then it is told at once"
    elif hidden == "inhibited":
        why = "held back by another alert, at least until then"
    elif hidden == "muted":
        why = f"{route.muted(now_ms)}; looked at again then"
    if hidden:
        return Destination(place, until, why, hidden)
    group = dispatcher.groups.get(place.key)
    at_ms, why = _due(group, decision, route, now_ms)
    return Destination(place, at_ms, why, "")


def _due(group: Group | None, decision: Decision, route: Route, now_ms: int) -> tuple[int | None, str]:
    if group is None or (not group.told_ms and not group.first_ms):
        return now_ms + route.group_wait, f"the first of its group: others are waited for {duration(route.group_wait)}"
    if group.outstanding:
        return None, "a notification of its group is on its way: it is told with the next"
    if group.held_ms:
        return None, "its sink takes no more now: it is told with the next digest"
    member = group.members.by_fingerprint.get(decision.fingerprint)
    if member is not None and not member.news and decision.rank <= member.told_rank:
        if group.members.active(member, now_ms):
            if member.acked_by:
                return None, f"the same was told, and {member.acked_by} has taken it"
            again = max(route.repeat_interval, route.group_interval)
            return group.told_ms + again, f"the same was told: it is repeated after {duration(again)} if it still comes"
    if group.told_ms:
        due = max(now_ms, group.told_ms + route.group_interval)
        return due, f"the group was told at {_time(group.told_ms)}: {duration(route.group_interval)} must be between"
    return group.first_ms + route.group_wait, f"the group waits for others since {_time(group.first_ms)}"


def _steps(route: Route, labels: Mapping[str, str], depth: int) -> Iterator[Step]:
    failed = next((str(each) for each in route.matchers if not each.matches(labels)), "")
    below: list[Step] = []
    if not failed:
        for each in route.routes:
            below += _steps(each, labels, depth + 1)
            if matches(each.matchers, labels) and not each.continue_:
                break
    ends = not failed and not any(step.depth == depth + 1 and not step.failed for step in below)
    yield Step(depth, route, failed, ends)
    yield from below


def describe(tree: RouteTree) -> Iterator[str]:
    """The tree, its receivers and rules, line by line."""
    yield from _branch(tree.root, "", "")
    used = {route.receiver.name for route in tree.root.walk() if route.receiver is not None}
    for receiver in tree.receivers.values():
        sinks = ", ".join((*(way.name for way in receiver.ways), *receiver.streams))
        note = "" if receiver.name in used else " (no route leads to it)"
        yield f"receiver {receiver.name}: {sinks or 'no sinks: what comes to it is dropped'}{note}"
    for rule in tree.inhibitions:
        yield f"inhibition: {_rule(rule)}"


def _branch(route: Route, first: str, rest: str) -> Iterator[str]:
    name = route.receiver.name if route.receiver is not None else "nobody"
    by = "all labels" if route.group_by is None else ", ".join(route.group_by) or "nothing"
    told = f"{first}{_condition(route)} → {name} · groups by {by} · waits {duration(route.group_wait)}"
    told += f", then {duration(route.group_interval)}, repeats after {duration(route.repeat_interval)}"
    if route.mute:
        told += f" · mute at {', '.join(interval.name for interval in route.mute)}"
    if route.active:
        told += f" · only at {', '.join(interval.name for interval in route.active)}"
    yield told + (" · continue" if route.continue_ else "")
    for number, each in enumerate(route.routes):
        last = number == len(route.routes) - 1
        yield from _branch(each, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _condition(route: Route) -> str:
    return ", ".join(map(str, route.matchers)) or "all alerts"


def _rule(rule: Inhibition) -> str:
    text = f"{rule.place}: {', '.join(map(str, rule.source))} → {', '.join(map(str, rule.target))}"
    return text + (f", equal {', '.join(rule.equal)}" if rule.equal else "")


def _when(silence: Silence, now_ms: int) -> str:
    if silence.active(now_ms):
        soon = ", which is soon" if silence.ends_soon(now_ms) else ""
        return f"until {_time(silence.ends_ms)}{soon}"
    return f"from {_time(silence.starts_ms)}" if silence.starts_ms > now_ms else f"ended at {_time(silence.ends_ms)}"


def _time(ms: int) -> str:
    return iso_time(ms, " ", "")[:19] + " UTC"
