"""Bounds: on what a sink is told in a minute, on groups, on rows, on the size of the state."""

from __future__ import annotations

from pathlib import Path

import msgspec
from delivering import HOUR, MINUTE, SECOND, START, Play, incoming, load, receiver

from anomaly_app.alerts import UsedRow, encode
from anomaly_app.delivery.notification import Incoming

HEAD = '[delivery.route]\nreceiver = "ops"\ngroup_by = ["user_id"]\n'


def test_a_flood_becomes_a_digest(tmp_path: Path) -> None:
    play = Play(load(HEAD + receiver("ops", "max_per_minute = 3"), tmp_path))
    play.take(*(incoming(number, user=f"u{number}") for number in range(100)))
    play.until(START + HOUR)
    assert [((now - START) // SECOND, each.reason, each.held_back) for now, _, each in play.sent] == [
        (30, "new", 0),
        (30, "new", 0),
        (30, "new", 0),
        (90, "digest", 97),
    ]
    digest = play.sent[3][2]
    assert (len(digest.alerts), digest.more, digest.group_labels, digest.status) == (50, 47, {}, "firing")
    assert play.dispatcher.fates == {"sent": 100, "held_back": 97}


def test_no_more_than_the_bound_goes_out_in_any_minute(tmp_path: Path) -> None:
    play = Play(load(HEAD + receiver("ops", "max_per_minute = 3"), tmp_path))
    for second in range(0, 600, 7):
        play.until(START + second * SECOND)
        play.take(incoming(second, user=f"u{second}", severity="critical" if second == 7 else "low"))
    play.until(START + HOUR)
    times = [now for now, _, _ in play.sent]
    assert all(later - now >= MINUTE for now, later in zip(times, times[3:], strict=False))
    assert sum(len(each.alerts) + each.more for _, _, each in play.sent) == 86
    assert {each.reason for _, _, each in play.sent} == {"new", "digest"}
    assert len(times) <= 33


def test_a_sink_that_is_not_bounded_gets_each_group_by_itself(tmp_path: Path) -> None:
    play = Play(load(HEAD + receiver("ops"), tmp_path))
    play.take(*(incoming(number, user=f"u{number}") for number in range(250)))
    play.until(START + MINUTE)
    assert len(play.sent) == 250
    assert {(now - START) // SECOND for now, _, _ in play.sent} == {30}


def test_a_dead_sink_has_a_bounded_number_on_the_way(tmp_path: Path) -> None:
    play = Play(load(HEAD + receiver("ops"), tmp_path))
    play.works = lambda sink: False
    for number in range(300):
        play.take(incoming(number, user=f"u{number}"))
    play.until(START + HOUR)
    assert len(play.dispatcher.outbox) == 100
    play.works = lambda sink: True
    play.step()
    assert len(play.sent) == 300
    assert sorted(row.labels["user_id"] for _, _, each in play.sent for row in each.alerts) == sorted(
        f"u{number}" for number in range(300)
    )


def test_groups_for_which_there_is_no_room_share_one(tmp_path: Path) -> None:
    play = Play(load("[delivery]\nmax_groups = 3\n" + HEAD + receiver("ops"), tmp_path))
    play.take(*(incoming(number, user=f"u{number}") for number in range(10)))
    assert len(play.dispatcher.groups) == 4 and play.dispatcher.overflowed == 7
    play.until(START + MINUTE)
    assert sorted((len(each.alerts), each.group_labels.get("user_id", "")) for _, _, each in play.sent) == [
        (1, "u0"), (1, "u1"), (1, "u2"), (7, ""),
    ]  # fmt: skip


def test_the_worst_and_then_the_latest_are_shown(tmp_path: Path) -> None:
    play = Play(load('[delivery]\nmax_alerts = 3\n[delivery.route]\nreceiver = "ops"\n' + receiver("ops"), tmp_path))
    severities = ["low", "critical", "low", "high", "low", "medium", "low"]
    play.take(*(incoming(n, user=f"u{n}", severity=severity) for n, severity in enumerate(severities)))
    play.until(START + MINUTE)
    ((_, _, told),) = play.sent
    assert [row.labels["user_id"] for row in told.alerts] == ["u1", "u3", "u5"] and told.more == 4
    assert play.dispatcher.fates == {"sent": 3, "grouped": 4}


def test_what_was_only_counted_is_told_after_the_worse_ones_are_over(tmp_path: Path) -> None:
    play = Play(
        load(
            '[delivery]\nmax_alerts = 1\nhold = "1m"\n[delivery.route]\nreceiver = "ops"\n' + receiver("ops"), tmp_path
        )
    )
    play.take(incoming(0, user="ann", severity="critical"))
    play.until(START + 45 * SECOND)
    play.take(incoming(1, user="bob", severity="low"))
    play.until(START + HOUR)
    assert play.told() == [(30, "ops", "new", ["ann"]), (330, "ops", "new", ["bob"])]


def test_entries_are_bounded_and_large_alerts_keep_their_labels(tmp_path: Path) -> None:
    play = Play(load('[delivery.route]\nreceiver = "ops"\n' + receiver("ops"), tmp_path))
    alerts = []
    for number in range(2_000):
        small = incoming(number, key={"user_id": "ü" * 3_000 + str(number), "tags": ["x" * 500] * 9}).alert
        rows = [
            UsedRow(variable="A", event_time="", partition=0, offset=0, values={"text": "x" * 900}) for _ in range(20)
        ]
        large = msgspec.structs.replace(small, rows=rows, payload={"all": ["y" * 700] * 40})
        alerts.append(Incoming(large, encode(large), 0, number, ""))
    play.works = lambda sink: False
    play.take(*alerts)
    play.until(START + MINUTE)
    assert max(len(entry) for entry in play.entries.values()) < 1_000_000
    before = {name: (member.decision.labels, member.decision.fingerprint) for group in play.dispatcher.groups.values()
              for name, member in group.members.by_fingerprint.items()}  # fmt: skip
    play.start()
    (group,) = play.dispatcher.groups.values()
    assert {n: (m.decision.labels, m.decision.fingerprint) for n, m in group.members.by_fingerprint.items()} == before
    assert len(before) == 50 and len(group.members.counted) == 1_000
    play.take(*alerts[-5:])
    play.works = lambda sink: True
    play.step()
    play.until(START + HOUR)
    assert sum(len(each.alerts) + each.more for _, _, each in play.sent) == 2_000


def test_an_acknowledged_alert_is_not_repeated_until_it_gets_worse(tmp_path: Path) -> None:
    head = '[delivery.route]\nreceiver = "ops"\nrepeat_interval = "10m"\n'
    play = Play(load(head + receiver("ops"), tmp_path))
    for minute in range(0, 60, 3):
        play.until(START + minute * MINUTE)
        play.take(incoming(minute, user="ann", severity="critical" if minute >= 45 else "low"))
        if minute == 45:  # a process that starts again reads old acknowledgements again
            play.dispatcher.acknowledge(f"{9:032x}", "bo", play.now)
        if minute == 12:
            assert play.dispatcher.acknowledge(f"{9:032x}", "bo", play.now)  # that was told
            assert not play.dispatcher.acknowledge("f" * 32, "bo", play.now)
            play.store()
            play.start()
    assert play.told() == [
        (30, "ops", "new", ["ann"]),
        (630, "ops", "repeat", ["ann"]),
        (2700, "ops", "new", ["ann"]),
        (3300, "ops", "repeat", ["ann"]),
    ]
