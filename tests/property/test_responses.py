"""Responses under any order of alerts, answers, acknowledgements, time and restarts."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st
from response_runs import HTTP, LEAD, OPS, WAIT, Kept, incoming, rule

from anomaly_app.delivery.response_rules import Rule

steps = st.lists(st.sampled_from([HTTP, OPS, WAIT, LEAD]), min_size=1, max_size=5)
rules = st.lists(
    st.tuples(steps, st.booleans(), st.integers(1, 4)), min_size=1, max_size=2
).map(
    lambda given: [
        rule(*steps, name=f"r{number}", dry_run=dry_run, max_per_hour=most)
        for number, (steps, dry_run, most) in enumerate(given)
    ]
)  # fmt: skip
actions = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 3)),
        st.tuples(st.just("again"), st.integers(0, 9)),
        st.tuples(st.just("answer"), st.tuples(st.integers(0, 9), st.booleans())),
        st.tuples(st.just("tell"), st.tuples(st.integers(0, 9), st.booleans())),
        st.tuples(st.just("acknowledge"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(1, 4_000_000)),
    ),
    max_size=30,
)


class Played:
    """Responses to which things happen."""

    def __init__(self, rules: list[Rule]) -> None:
        self.kept = Kept(rules)
        self.now, self.alerts = 1_000_000, 0
        self.acked: dict[str, int] = {}
        self.asked: list[tuple[int, Any]] = []

    def step(self, action: str, value: Any) -> None:
        responses = self.kept.responses
        if action == "take":
            responses.take([incoming(self.alerts + number) for number in range(value)], self.now)
            self.alerts += value
        elif action == "again":  # a replay from below the position
            responses.take([incoming(number) for number in range(min(value, self.alerts))], self.now)
        elif action in ("answer", "tell"):
            waiting = sorted(responses.requests if action == "answer" else responses.outbox)
            if waiting:
                responses.settled(waiting[value[0] % len(waiting)], value[1], self.now)
        elif action == "acknowledge":
            self.acked.setdefault(f"a{value}", self.now)
            responses.acknowledge(f"a{value}", "ann", self.now)
        else:
            self.now += value
        responses.advance(self.now)

    def given_out(self) -> dict[str, Any]:
        return dict(sorted({**self.kept.responses.requests, **self.kept.responses.outbox}.items()))


@settings(deadline=None, max_examples=300)
@given(rules=rules, actions=actions, restarts=st.sets(st.integers(0, 30)), lost=st.sets(st.integers(0, 30)))
def test_restarts_change_nothing(
    rules: list[Rule], actions: list[tuple[str, Any]], restarts: set[int], lost: set[int]
) -> None:
    steady, restarted = Played(rules), Played(rules)
    for number, (action, value) in enumerate(actions):
        if number in lost:  # killed before what happened was stored: it happens again
            before = restarted.now, restarted.alerts
            restarted.step(action, value)
            restarted.kept.records += restarted.kept.responses.records()
            restarted.now, restarted.alerts = before
        if number in restarts | lost:
            restarted.kept.restart()
            for alert in restarted.acked if action != "acknowledge" else restarted.acked.keys() - {f"a{value}"}:
                restarted.kept.responses.acknowledge(alert, "ann", restarted.acked[alert])  # read from its topic
        for played in (steady, restarted):
            played.step(action, value)
            played.kept.store()
        assert steady.given_out() == restarted.given_out()
        assert steady.kept.responses.positions == restarted.kept.responses.positions
        assert steady.kept.responses.due_ms() == restarted.kept.responses.due_ms()
    seen: dict[str, Any] = {}
    for record in restarted.kept.records:
        assert seen.setdefault(record.id, record) == record
    assert {record.id for record in steady.kept.records} == set(seen)


@settings(deadline=None, max_examples=300)
@given(rules=rules, actions=actions)
def test_rules_are_kept(rules: list[Rule], actions: list[tuple[str, Any]]) -> None:
    played = Played(rules)
    asked: dict[str, int] = {}
    starts: dict[str, list[int]] = {}
    for action, value in actions:
        known = len(played.kept.records)
        played.step(action, value)
        played.kept.store()
        for id_ in played.given_out():
            asked.setdefault(id_, played.now)
        for record in played.kept.records[known:]:
            if record.event == "started":
                starts.setdefault(record.rule, []).append(played.now)
    by_rule = {rule.name: rule for rule in rules}
    for name, times in starts.items():
        most = by_rule[name].max_per_hour
        assert all(later - earlier >= 3_600_000 for earlier, later in zip(times, times[most:], strict=False))
    runs: dict[str, list[Any]] = {}
    for record in played.kept.records:
        runs.setdefault(record.run, []).append(record)
    live = {rule.name for rule in rules if not rule.dry_run}
    assert all(item.rule in live for item in played.kept.responses.requests.values())
    for records in runs.values():
        rule_ = by_rule[records[0].rule]
        begun = [record for record in records if record.event in ("begun", "dry_run")]
        # Each step once, in order, as the rule has them.
        assert [record.step for record in begun] == list(range(1, len(begun) + 1))
        assert [record.kind for record in begun] == [step.kind for step in rule_.steps[: len(begun)]]
        assert rule_.dry_run == all(record.event == "dry_run" for record in begun) or not begun
        events = [record.event for record in records]
        assert events[0] in ("started", "refused") and events.count("ended") <= 1
        if events[0] == "refused":
            assert len(records) == 1
        # Nobody is disturbed behind a wait once it was acknowledged.
        if "acknowledged" in events and not rule_.dry_run:
            behind = records[events.index("acknowledged") :]
            waits = [number for number, step in enumerate(rule_.steps, 1) if step.kind == "wait_for_ack"]
            assert all(record.step < waits[0] for record in behind if record.event == "begun" and waits)
        # What follows a wait begins when its time is over, and not before.
        for record in begun:
            if record.step > 1 and rule_.steps[record.step - 2].kind == "wait_for_ack" and not rule_.dry_run:
                assert any(other.step == record.step - 1 and other.event == "timed_out" for other in records)
