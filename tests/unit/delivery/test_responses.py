"""Runs of responses, step by step."""

from __future__ import annotations

import msgspec
import pytest
from response_runs import HTTP, LEAD, OPS, WAIT, Kept, incoming, rule

from anomaly_app.delivery.response_records import ResponseRecord
from anomaly_app.delivery.responses import KEPT_MS, PREFIX, Responses
from anomaly_app.delivery.silences import Silence, Silences

FREEZE = rule(HTTP, OPS, WAIT, LEAD)


def test_a_response_that_is_acknowledged() -> None:
    kept = Kept([FREEZE])
    responses = kept.responses
    responses.take([incoming(0), incoming(1, "high")], 1_000)
    (request,) = responses.requests.values()
    assert (request.rule, request.step, request.since_ms, request.alert.key) == (
        "freeze",
        0,
        1_000,
        {"userId": "user0"},
    )
    assert responses.outbox == {} and responses.due_ms() is None
    responses.settled(request.id, True, 2_000, "answer 200")
    assert responses.requests == {} and responses.due_ms() == 902_000
    slack, mail = responses.outbox.values()
    assert (slack.sink, mail.sink, slack.since_ms) == ("ops/slack/0", "ops/email/0", 2_000)
    assert slack.notification.note == (
        "Response freeze. Freeze the account: done. Please acknowledge within 15 minutes: else lead is told."
    )
    assert (slack.notification.reason, slack.notification.alerts[0].labels["userId"]) == ("response", "user0")
    assert slack.notification.alerts[0].starts_ms == 1_767_258_299_999
    responses.settled(slack.id, True, 3_000)
    responses.settled(mail.id, False, 4_000, "given up")
    responses.acknowledge("a0", "ann", 5_000)
    responses.acknowledge("a0", "bob", 6_000)
    assert responses.due_ms() == 5_000 + KEPT_MS and responses.outbox == {}
    assert kept.events() == [
        ("a0", 0, "run", "started"),
        ("a0", 1, "http", "begun"),
        ("a0", 1, "http", "done"),
        ("a0", 2, "notify", "begun"),
        ("a0", 3, "wait_for_ack", "begun"),
        ("a0", 2, "notify", "done"),
        ("a0", 0, "run", "acknowledged"),
        ("a0", 0, "run", "ended"),
    ]
    assert [record.detail for record in kept.records if record.detail] == [
        "answer 200",
        "given up",
        "acknowledged by ann",
    ]
    assert kept.records[0].at == "1970-01-01T00:00:01.000Z" and kept.records[-2].by == "ann"
    assert len({record.id for record in kept.records}) == 8
    assert msgspec.json.decode(msgspec.json.encode(kept.records), type=list[ResponseRecord]) == kept.records


def test_a_response_that_nobody_answers_is_escalated() -> None:
    kept = Kept([FREEZE])
    kept.responses.take([incoming(0)], 0)
    kept.responses.settled(*kept.responses.requests, False, 100, "answer 403")
    kept.responses.advance(900_099)
    assert len(kept.responses.outbox) == 2
    kept.responses.advance(900_100)
    escalated = list(kept.responses.outbox.values())[-1]
    assert escalated.sink == "lead/pagerduty/0" and escalated.notification.reason == "escalation"
    assert escalated.notification.note == (
        "Response freeze. Nobody has acknowledged this for 15 minutes. Freeze the account: failed (answer 403)."
    )
    assert kept.events()[-3:] == [
        ("a0", 3, "wait_for_ack", "timed_out"),
        ("a0", 4, "escalate", "begun"),
        ("a0", 0, "run", "ended"),
    ]
    for id_ in list(kept.responses.outbox):
        kept.responses.settled(id_, False, 900_200, "given up")
    assert [event[1:] for event in kept.events()[-2:]] == [(2, "notify", "failed"), (4, "escalate", "failed")]


def test_an_acknowledgement_that_is_read_first_counts() -> None:
    kept = Kept([FREEZE])
    kept.responses.acknowledge("a0", "ann", 0)
    kept.responses.take([incoming(0)], 1_000)
    assert len(kept.responses.requests) == 1  # what stands in front of the wait is done
    kept.responses.settled(*kept.responses.requests, True, 2_000)
    assert kept.events()[-1] == ("a0", 0, "run", "ended") and len(kept.responses.outbox) == 2


def test_no_step_behind_a_wait_begins_once_it_is_acknowledged() -> None:
    kept = Kept([rule(WAIT, HTTP, OPS, WAIT, LEAD)])
    kept.responses.take([incoming(0)], 0)
    kept.responses.advance(900_000)
    kept.responses.acknowledge("a0", "ann", 900_001)  # while the call is made
    kept.responses.settled(*kept.responses.requests, True, 900_002)
    assert kept.responses.outbox == {} and kept.events()[-1] == ("a0", 0, "run", "ended")


def test_a_dry_run_writes_down_and_does_nothing() -> None:
    kept = Kept([rule(HTTP, OPS, WAIT, LEAD, dry_run=True)])
    kept.responses.take([incoming(0)], 0)
    assert kept.responses.requests == kept.responses.outbox == {}
    assert [event[1:] for event in kept.events()] == [
        (0, "run", "started"),
        (1, "http", "dry_run"),
        (2, "notify", "dry_run"),
        (3, "wait_for_ack", "dry_run"),
        (4, "escalate", "dry_run"),
        (0, "run", "ended"),
    ]
    assert all(record.dry_run for record in kept.records)


def test_more_than_the_limit_are_refused_for_an_hour() -> None:
    kept = Kept([rule(OPS, max_per_hour=2), rule(OPS, name="other")])
    kept.responses.take([incoming(number) for number in range(4)], 0)
    kept.store()
    kept.restart()
    kept.responses.take([incoming(4)], 3_599_999)
    kept.responses.take([incoming(5)], 3_600_000)
    assert [event[0] for event in kept.events() if event[3] == "refused"] == ["a2", "a3", "a4"]
    started = [record.alert for record in kept.records if record.event == "started" and record.rule == "freeze"]
    assert started == ["a0", "a1", "a5"]
    assert kept.responses.fates == {"started": 3, "refused": 1}
    refused = next(record for record in kept.records if record.event == "refused")
    assert refused.detail == "more than 2 runs in an hour" and refused.job == "unusual_transactions"


def test_an_alert_that_comes_again_begins_nothing() -> None:
    kept = Kept([FREEZE])
    kept.responses.take([incoming(0)], 0)
    kept.responses.take([incoming(0)], 1)  # the same offset
    kept.responses.take([incoming(0, offset=9)], 2)  # the same alert
    assert len(kept.responses.requests) == 1 and kept.responses.fates == {"started": 1, "repeated": 1}
    assert kept.responses.positions == {0: 10}
    assert kept.responses.changes()[-1] == (PREFIX + b"position/0", b"10")


def test_what_has_ended_is_forgotten_after_a_day_but_not_what_is_to_be_told() -> None:
    kept = Kept([rule(OPS)])
    kept.responses.take([incoming(0)], 0)
    kept.store()
    kept.responses.advance(KEPT_MS)
    kept.store()
    assert len(kept.entries) == 3 and len(kept.responses.outbox) == 2
    for id_ in list(kept.responses.outbox):
        kept.responses.settled(id_, True, KEPT_MS)
    kept.responses.advance(KEPT_MS + 3_600_000)
    kept.store()
    assert list(kept.entries) == [b"group/1", PREFIX + b"position/0"] and kept.responses.due_ms() is None


def test_what_is_kept_of_a_run_that_has_ended_is_small() -> None:
    kept = Kept([rule(WAIT)])
    kept.responses.take([incoming(0)], 0)
    kept.store()
    large = len(kept.entries[PREFIX + b"run/" + kept.responses._runs.copy().popitem()[0].encode()])
    kept.responses.acknowledge("a0", "ann", 1)
    kept.store()
    (small,) = [len(value) for key, value in kept.entries.items() if key.startswith(PREFIX + b"run/")]
    assert small < large - 300


@pytest.mark.parametrize(
    "rules",
    [[], [rule(HTTP, OPS, LEAD)], [rule(HTTP, OPS, WAIT, LEAD, dry_run=True)]],
    ids=["gone", "other steps", "dry run now"],
)
def test_a_run_of_a_rule_that_was_changed_ends(rules: list[object]) -> None:
    kept = Kept([FREEZE])
    kept.responses.take([incoming(0), incoming(1)], 0)
    kept.responses.settled(next(iter(kept.responses.requests)), True, 1)
    kept.store()
    kept.restart(rules)  # type: ignore[arg-type]
    assert kept.responses.requests == kept.responses.outbox == {} and kept.responses.due_ms() == 0
    kept.responses.acknowledge("a0", "ann", 2)
    kept.responses.advance(3)
    assert [event for event in kept.events() if event[3] == "ended"] == [
        ("a0", 0, "run", "ended"),
        ("a1", 0, "run", "ended"),
    ]
    assert kept.records[-1].detail == "its rule was changed or taken away"
    assert ("a0", 2, "notify", "failed") in kept.events()
    before = len(kept.records)
    kept.restart()
    kept.responses.advance(4)
    assert len(kept.events()) == before


def test_a_way_to_tell_that_is_gone_is_no_hindrance() -> None:
    kept = Kept([rule(OPS)])
    kept.responses.take([incoming(0)], 0)
    kept.store()
    only_mail = rule(type(OPS)("notify", "notify", "ops", ("ops/email/0",)))
    kept.restart([only_mail])
    kept.responses.advance(1)
    assert kept.responses.outbox == {} and kept.events()[-1] == ("a0", 1, "notify", "failed")


def test_tenants_are_matched() -> None:
    responses = Responses([rule(OPS, matchers='tenant=~"eu-.*"')])
    responses.take([incoming(0, tenant="eu-1"), incoming(1, tenant="us-1")], 0)
    assert {delivery.notification.alerts[0].alert.id for delivery in responses.outbox.values()} == {"a0"}


def silenced_until_1_000() -> Silences:
    silences = Silences()
    silences.put(
        Silence(id="s1", matchers=("userId=user0",), starts_ms=0, ends_ms=1_000, created_by="bo", comment="moves house")
    )
    return silences


def test_a_silence_holds_back_only_the_rules_that_heed_it() -> None:
    silences = silenced_until_1_000()
    rules = [rule(OPS, name="freeze"), rule(OPS, name="polite", heed_silences=True)]
    responses = Responses(rules, {}, silences)
    responses.take([incoming(0), incoming(1)], 999)
    began = [(record.rule, record.alert) for record in responses.records() if record.event == "started"]
    assert began == [("freeze", "a0"), ("freeze", "a1"), ("polite", "a1")]
    assert responses.fates == {"started": 3, "silenced": 1}
    responses.take([incoming(2), incoming(0, offset=3)], 1_000)
    assert [record.event for record in responses.records() if record.alert == "a0" and record.rule == "polite"] == [
        "started", "begun", "ended",
    ], "the silence is over"  # fmt: skip


def test_what_a_silence_held_back_is_written_down() -> None:
    silences = silenced_until_1_000()
    responses = Responses([rule(OPS, heed_silences=True)], {}, silences)
    responses.take([incoming(0)], 5)
    (record,) = responses.records()
    assert (record.event, record.detail) == ("silenced", "silence s1 of bo")
    assert responses.outbox == {} and responses.positions == {0: 1}
