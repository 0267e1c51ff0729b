"""No alert is lost, no id is told with other words, whatever comes, fails or dies; groups keep an oracle's times."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest
from delivering import MINUTE, SECOND, START, Play, incoming, load, receiver
from hypothesis import given, settings, strategies as st

from anomaly_app.delivery.notification import Incoming
from anomaly_app.delivery.silences import Silence
from anomaly_app.settings import LoadedSettings

HOLD, WAIT, INTERVAL, REPEAT, SOON = 20, 5, 15, 60, 17
LONGEST_DEATH = 10
TIMES = f"""
hold = "{HOLD}s"
[delivery.route]
group_wait = "{WAIT}s"
group_interval = "{INTERVAL}s"
repeat_interval = "{REPEAT}s"
receiver = "ops"
"""
RULES = """
[[delivery.inhibit_rules]]
source_matchers = 'type="window"'
target_matchers = 'type!="window"'
equal = ["user_id"]
[[delivery.time_intervals]]
name = "odd"
[[delivery.time_intervals.time_intervals]]
times = [{start_time = "08:01", end_time = "08:02"}, {start_time = "08:03", end_time = "08:04"}]
"""


def settings_of(head: str = "", route: str = "", sink: str = "", rules: str = "", second: str = "") -> LoadedSettings:
    text = "[delivery]\n" + head + TIMES + route + receiver("ops", sink) + second + rules
    with tempfile.TemporaryDirectory() as folder:
        return load(text, Path(folder))


SHAPES = {
    "plain": settings_of(),
    "resolved": settings_of(sink="send_resolved = true"),
    "by user": settings_of(route='group_by = ["user_id"]'),
    "few rows": settings_of(head="max_alerts = 2", sink="send_resolved = true"),
    "few groups": settings_of(head="max_groups = 2", route='group_by = ["user_id", "job"]'),
    "repeated soon": settings_of(route=f'routes = [{{ receiver = "ops", repeat_interval = "{SOON}s" }}]\n'),
    "flood": settings_of(route='group_by = ["user_id"]', sink="max_per_minute = 1"),
    "two sinks": settings_of(
        second='[[delivery.receivers.webhook]]\nurl = "http://localhost:9/b"\n'
        "max_per_minute = 2\nsend_resolved = true\n"
    ),
}
HIDING = {
    "rules": settings_of(route='mute_time_intervals = ["odd"]', rules=RULES),
    "rules, few": settings_of(
        head="max_alerts = 2", route='group_by = ["job"]', sink="max_per_minute = 3\nsend_resolved = true", rules=RULES
    ),
    "muted ends": settings_of(
        route='mute_time_intervals = ["odd"]', sink="send_resolved = true\nmax_per_minute = 2", rules=RULES
    ),
    "active": settings_of(route='active_time_intervals = ["odd"]\ngroup_by = ["..."]', rules=RULES),
}

several = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "cid", "dan", "eve"]),
        st.sampled_from(["low", "medium", "critical"]),
        st.sampled_from(["pattern", "window", "silence"]),
        st.sampled_from([0, 1]),
    ),
    min_size=1,
    max_size=5,
)
takes = st.tuples(st.just("take"), several)
waits = st.tuples(st.just("wait"), st.integers(1, 40))
sinks = st.tuples(st.sampled_from(["down", "up"]), st.just(0))
silences = st.tuples(st.just("silence"), st.tuples(st.sampled_from(["ann", "bob"]), st.integers(1, 60)))
crashes = st.tuples(st.just("crash"), st.tuples(st.floats(0, 1), several, st.integers(0, LONGEST_DEATH)))
acks = st.tuples(st.just("ack"), st.integers(0, 20))
again = st.tuples(st.just("again"), st.integers(0, 20))


class Run:
    """Plays steps, and keeps all that came."""

    def __init__(self, loaded: LoadedSettings) -> None:
        self.play = Play(loaded)
        self.log: list[Incoming] = []
        self.arrived: list[int] = []
        self.offsets = Counter[int]()

    def do(self, steps: Sequence[tuple[str, Any]]) -> None:
        for step in steps:
            self.one(*step)

    def one(self, what: str, given: Any) -> None:
        play = self.play
        if what == "wait":
            play.until(play.now + given * SECOND)
        elif what == "take":
            play.take(*self.make(given))
        elif what == "again" and self.log:
            each = self.log[given % len(self.log)]
            offset = self.offsets[each.partition]
            self.offsets[each.partition] += 1
            self.log.append(Incoming(each.alert, each.raw, each.partition, offset, each.tenant))
            self.arrived.append(play.now)
            play.take(self.log[-1])
        elif what in ("down", "up"):
            play.works = (lambda sink: False) if what == "down" else (lambda sink: True)
            play.step()
        elif what == "silence":
            user, seconds = given
            play.dispatcher.put_silence(silence(user, play.now, seconds))
            play.step()
        elif what == "ack" and self.log:
            play.dispatcher.acknowledge(self.log[given % len(self.log)].alert.id, "bo", play.now)
            play.step()
        elif what == "crash":
            self.crash(*given)

    def make(self, given: Sequence[tuple[str, str, str, int]]) -> list[Incoming]:
        """Alerts as they come of the topic; kept in the log."""
        made = []
        for user, severity, kind, partition in given:
            offset = self.offsets[partition]
            self.offsets[partition] += 1
            fields = {"user": user, "severity": severity, "type": kind}
            made.append(incoming(len(self.log) + len(made), partition=partition, offset=offset, **fields))
        self.log += made
        self.arrived += [self.play.now] * len(made)
        return made

    def crash(self, share: float, given: Sequence[tuple[str, str, str, int]], seconds: int) -> None:
        """Takes more, decides, and dies while that is written; a new one reads on from the positions."""
        play = self.play
        play.dispatcher.take(self.make(given), play.now)
        play.now += seconds * SECOND
        play.dispatcher.advance(play.now)
        changes = play.dispatcher.changes()
        play.store(changes[: round(share * len(changes))])
        play.start()
        positions = play.dispatcher.positions
        play.dispatcher.take([each for each in self.log if each.offset >= positions.get(each.partition, 0)], play.now)
        play.step()

    def finish(self) -> None:
        self.play.works = lambda sink: True
        self.play.step()
        self.play.until(self.play.now + 60 * MINUTE)
        self.play.step()


def silence(user: str, now: int, seconds: int) -> Silence:
    return Silence(
        id=user,
        matchers=(f"user_id={user}",),
        starts_ms=now,
        ends_ms=now + seconds * SECOND,
        created_by="bo",
        comment="test",
    )


@pytest.mark.parametrize("shape", [*SHAPES, *HIDING])
@settings(max_examples=40, deadline=None)
@given(steps=st.lists(takes | waits | sinks | silences | acks | again, max_size=25))
def test_each_alert_has_one_fate_for_each_way(shape: str, steps: list[tuple[str, Any]]) -> None:
    run = Run((SHAPES | HIDING)[shape])
    ways = len(run.play.tree.ways)
    run.play.works = lambda sink: False
    for step in steps:
        run.one(*step)
        assert sum(fates_of_alerts(run.play).values()) == ways * len(run.log)
    run.finish()
    fates = fates_of_alerts(run.play)
    assert sum(fates.values()) == ways * len(run.log)
    assert fates["waiting"] == 0
    assert set(run.play.entries) <= {b"p", b"t", *(key for key in run.play.entries if key.startswith(b"w/"))}
    assert len(run.play.dispatcher.groups) == 0


def fates_of_alerts(play: Play) -> Counter[str]:
    return Counter({fate: count for fate, count in play.dispatcher.fates.items() if fate != "held_back"})


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=40, deadline=None)
@given(steps=st.lists(takes | waits | sinks | crashes, max_size=25))
def test_death_loses_nothing_and_repeats_no_id_with_other_words(shape: str, steps: list[tuple[str, Any]]) -> None:
    run = Run(SHAPES[shape])
    run.do(steps)
    run.finish()
    assert all(each.alerts for _, _, each in run.play.sent)
    by_id: dict[str, bytes] = {}
    for _, _, notification in run.play.sent:
        assert by_id.setdefault(notification.id, msgspec.json.encode(notification)) == msgspec.json.encode(notification)
    came = Counter((each.alert.key["user_id"], each.alert.type) for each in run.log)
    for _, _, notification in run.play.sent:
        assert all(row.count <= came[row.labels["user_id"], row.labels["type"]] for row in notification.alerts)
    for way in run.play.tree.ways:
        for number, each in enumerate(run.log):
            assert told(run, way, number), (way, each.alert.id)


def told(run: Run, way: str, number: int) -> bool:
    """Whether an alert was shown, or one of its fingerprint while it lasted, or was counted in one of its group."""
    each = run.log[number]
    same = [
        at
        for at, other in zip(run.arrived, run.log, strict=True)
        if (other.alert.key, other.alert.type) == (each.alert.key, each.alert.type)
    ]
    begin = run.arrived[number]
    # What is read again after a death comes later than it came first.
    while earlier := [at for at in same if begin - (HOLD + LONGEST_DEATH) * SECOND < at < begin]:
        begin = min(earlier)
    for now, sink, notification in run.play.sent:
        if sink != way or now < begin:
            continue
        labels = {"user_id": each.alert.key["user_id"], "type": each.alert.type, "job": each.alert.job}
        if any(labels.items() <= row.labels.items() for row in notification.alerts):
            return True
        if notification.more and all(labels.get(name) == value for name, value in notification.group_labels.items()):
            return True
    return False


@pytest.mark.parametrize("shape", [*SHAPES, *HIDING])
@settings(max_examples=40, deadline=None)
@given(
    before=st.lists(takes | waits | sinks | silences | acks | again, max_size=15),
    after=st.lists(takes | waits | sinks | silences | acks | again, max_size=15),
)
def test_restored_state_has_the_same_future(
    shape: str, before: list[tuple[str, Any]], after: list[tuple[str, Any]]
) -> None:
    run, twin = Run((SHAPES | HIDING)[shape]), Run((SHAPES | HIDING)[shape])
    for each in (run, twin):
        each.do(before)
    known = list(twin.play.dispatcher.silences)
    twin.play.start()
    for each in known:
        twin.play.dispatcher.put_silence(each)
    for each in (run, twin):
        each.do(after)
        each.finish()
    assert words(twin.play) == words(run.play)


def words(play: Play) -> list[tuple[int, str, bytes]]:
    """What was sent, without ids; in which order at the same time is no matter."""
    return sorted((at, sink, msgspec.json.encode(msgspec.structs.replace(each, id=""))) for at, sink, each in play.sent)


# The times of one group, told second by second from the whole history: another way to say what the rules are.


def oracle(
    arrivals: Sequence[tuple[int, str, int]], until: int, resolved: bool, repeat: int
) -> list[tuple[int, str, set[str], set[str]]]:
    """What is told.

    Args:
        arrivals: second, fingerprint and severity of each alert, by time.
        until: second up to which to look.
        resolved: ends are told.
        repeat: seconds between two notifications of the same.

    Returns:
        second, reason, and who is shown as firing and as resolved.
    """
    told: list[tuple[int, str, set[str], set[str]]] = []
    known: dict[str, tuple[int, int]] = {}  # since when, and the worst severity that was told
    begun: dict[str, int] = {}  # first second of what lasts or was not told yet
    last: dict[str, int] = {}
    worst: dict[str, int] = {}  # of what was not told
    came: set[str] = set()  # since it was told last
    wait_from: int | None = None
    last_told: int | None = None

    def look(now: int) -> None:
        nonlocal wait_from, last_told
        news = {who for who in begun if who in worst}
        over = {who for who in begun if last[who] + HOLD <= now}
        ends = {who for who in over - news if who in known}
        for who in ends if not resolved else ():
            begun.pop(who)
            known.pop(who)
        if not resolved:
            ends = set()
        firing = set(begun) - ends
        due_news = None
        if news:
            assert wait_from is not None
            due_news = wait_from + WAIT if last_told is None else last_told + INTERVAL
        if due_news is not None and due_news <= now:
            reason = "new"
        elif ends and last_told is not None and last_told + INTERVAL <= now:
            reason = "resolved"
        elif last_told is not None and last_told + max(repeat, INTERVAL) <= now and firing & came:
            reason = "repeat"
        else:
            if not begun and last_told is not None and last_told + INTERVAL <= now:
                last_told = None
            return
        told.append((now, reason, firing, ends))
        for who in firing:
            known[who] = (now, max(worst.pop(who, -1), known.get(who, (0, -1))[1]))
        for who in ends:
            begun.pop(who)
            known.pop(who)
        last_told, wait_from = now, None
        came.clear()

    place = 0
    for now in range(until + 1):
        look(now)
        while place < len(arrivals) and arrivals[place][0] == now:
            _, who, rank = arrivals[place]
            place += 1
            if who in begun and who not in worst and last[who] + HOLD <= now:
                begun.pop(who)
                known.pop(who)
            begun.setdefault(who, now)
            if who not in known or rank > known[who][1]:
                worst[who] = max(worst.get(who, -1), rank)
                wait_from = now if wait_from is None else wait_from
            last[who] = now
            came.add(who)
        look(now)
    return told


@pytest.mark.parametrize("shape", ["plain", "resolved", "repeated soon"])
@settings(max_examples=150, deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(["ann", "bob", "cid"]), st.sampled_from([0, 1, 3])), max_size=25
    )
)
def test_groups_are_told_when_the_oracle_says(shape: str, arrivals: list[tuple[int, str, int]]) -> None:
    arrivals.sort(key=lambda each: each[0])
    play = Play(SHAPES[shape])
    alerts = [
        incoming(number, user=user, severity=("low", "medium", "high", "critical")[rank])
        for number, (_, user, rank) in enumerate(arrivals)
    ]
    for second, together in groupby(zip(arrivals, alerts, strict=True), lambda each: each[0][0]):
        play.until(START + second * SECOND)
        play.take(*(each for _, each in together))
    play.until(START + 400 * SECOND)
    found = [
        (
            (now - START) // SECOND,
            each.reason,
            {row.labels["user_id"] for row in each.alerts if row.status == "firing"},
            {row.labels["user_id"] for row in each.alerts if row.status == "resolved"},
        )
        for now, _, each in play.sent
    ]
    assert found == oracle(arrivals, 400, shape == "resolved", SOON if shape == "repeated soon" else REPEAT)
