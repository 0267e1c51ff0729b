"""State that was written under other settings."""

from __future__ import annotations

from pathlib import Path

from delivering import HOUR, MINUTE, START, Play, incoming, load, receiver

ROUTES = '[delivery.route]\nreceiver = "ops"\n[[delivery.route.routes]]\nreceiver = "{}"\nmatchers = \'job="sales"\'\n'


def play_of(text: str, folder: Path, entries: dict[bytes, bytes] | None = None) -> Play:
    return Play(load(text, folder), entries=entries or {})


def test_untold_alerts_of_a_route_that_is_gone_go_where_they_belong_now(tmp_path: Path) -> None:
    before = play_of(ROUTES.format("dev") + receiver("ops") + receiver("dev"), tmp_path)
    before.take(incoming(0, user="ann"), incoming(1, user="ann"), incoming(2, user="bob"))
    after = play_of('[delivery.route]\nreceiver = "ops"\n' + receiver("ops"), tmp_path, before.entries)
    after.until(START + HOUR)
    assert after.told() == [(30, "ops", "new", ["bob", "ann"])]
    assert after.dispatcher.fates == {"sent": 2, "grouped": 1}
    after.store()
    assert not [key for key in after.entries if key.startswith((b"g/", b"r/", b"d/"))]


def test_alerts_go_to_a_sink_that_takes_the_place_of_another(tmp_path: Path) -> None:
    head = '[delivery.route]\nreceiver = "ops"\n'
    before = play_of(head + receiver("ops"), tmp_path)
    before.take(incoming(0, user="ann"))
    slack = '[[delivery.receivers]]\nname = "ops"\n[[delivery.receivers.slack]]\nurl = "http://localhost:9/"\n'
    after = play_of(head + slack, tmp_path, before.entries)
    after.until(START + HOUR)
    assert [(sink, len(each.alerts)) for _, sink, each in after.sent] == [("ops/slack/0", 1)]


def test_one_of_two_sinks_that_is_gone_tells_the_other_nothing_twice(tmp_path: Path) -> None:
    head = '[delivery.route]\nreceiver = "ops"\n'
    two = receiver("ops") + '[[delivery.receivers.slack]]\nurl = "http://localhost:9/"\n'
    before = play_of(head + two, tmp_path)
    before.works = lambda sink: sink.startswith("ops/webhook")
    before.take(incoming(0, user="ann"))
    before.until(START + MINUTE)
    before.take(incoming(1, user="bob"))
    after = play_of(head + receiver("ops"), tmp_path, before.entries)
    assert [each.sink for each in after.dispatcher.withdrawn] == ["ops/slack/0"]
    after.now = before.now
    after.until(START + HOUR)
    assert after.told() == [(330, "ops", "new", ["bob"])]
    assert after.dispatcher.fates == {"sent": 1, "gave_up": 2}


def test_what_is_on_its_way_for_a_route_that_is_gone_is_sent(tmp_path: Path) -> None:
    before = play_of(ROUTES.format("ops") + receiver("ops"), tmp_path)
    before.works = lambda sink: False
    before.take(incoming(0, user="ann"))
    before.until(START + MINUTE)
    after = play_of('[delivery.route]\nreceiver = "ops"\n' + receiver("ops"), tmp_path, before.entries)
    assert dict(after.dispatcher.outbox) == before.dispatcher.outbox
    after.until(START + HOUR)
    after.step()
    assert [each.id for _, _, each in after.sent] == list(before.dispatcher.outbox)
    assert not [key for key in after.entries if key.startswith((b"g/", b"r/", b"d/"))]


def test_times_that_changed_hold_for_groups_that_are_there(tmp_path: Path) -> None:
    head = '[delivery.route]\nreceiver = "ops"\n'
    before = play_of(head + receiver("ops"), tmp_path)
    before.take(incoming(0, user="ann"))
    after = play_of(head + 'group_wait = "2m"\n' + receiver("ops"), tmp_path, before.entries)
    after.until(START + HOUR)
    assert after.told() == [(120, "ops", "new", ["ann"])]


def test_a_record_that_took_the_place_of_another_before_its_group_was_stored(tmp_path: Path) -> None:
    play = play_of('[delivery]\nmax_alerts = 6\n[delivery.route]\nreceiver = "ops"\n' + receiver("ops"), tmp_path)
    severities = ["critical"] * 4 + ["low"] * 2
    play.take(*(incoming(number, user=f"u{number}", severity=severity) for number, severity in enumerate(severities)))
    last = incoming(6, user="u6", severity="critical")
    play.dispatcher.take([last], play.now)
    changes = play.dispatcher.changes()
    assert changes[0][0].startswith(b"r/") and changes[1][0].startswith(b"g/")
    play.store(changes[:1])
    play.start()
    play.take(last)
    play.until(START + HOUR)
    ((_, _, told),) = play.sent
    assert [row.labels["user_id"] for row in told.alerts] == ["u6", "u3", "u2", "u1", "u0", "u5"]
    assert all(row.alert.key == {"user_id": row.labels["user_id"]} for row in told.alerts)
    assert told.more == 1 and play.dispatcher.fates["grouped"] == 1


def test_a_group_is_not_forgotten_before_what_it_took_is_stored_as_read(tmp_path: Path) -> None:
    play = play_of('[delivery.route]\nreceiver = "ops"\n' + receiver("ops"), tmp_path)
    play.take(incoming(0, user="ann"))
    play.until(START + MINUTE)
    again = incoming(1, user="ann")
    play.dispatcher.take([again], play.now)
    play.now = START + HOUR  # the process was held up
    play.dispatcher.advance(play.now)
    changes = play.dispatcher.changes()
    play.store(changes[:-2])
    assert changes[-1][0] == b"p"
    play.start()
    play.take(again)
    play.until(START + 2 * HOUR)
    assert [told.reason for _, _, told in play.sent] == ["new"]


def test_a_group_passes_over_what_it_has_if_the_positions_were_not_stored(tmp_path: Path) -> None:
    play = play_of('[delivery.route]\nreceiver = "ops"\n' + receiver("ops"), tmp_path)
    alerts = [incoming(number, user="ann") for number in range(5)]
    play.dispatcher.take(alerts, play.now)
    play.store([change for change in play.dispatcher.changes() if change[0] != b"p"])
    play.start()
    assert play.dispatcher.positions == {}
    play.take(*alerts)
    play.until(START + HOUR)
    assert [row.count for _, _, told in play.sent for row in told.alerts] == [5]


def test_a_delivery_that_was_decided_again_is_not_dropped_with_the_one_before(tmp_path: Path) -> None:
    play = play_of('[delivery.route]\nreceiver = "ops"\n' + receiver("ops"), tmp_path)
    play.take(incoming(0, user="ann"))
    play.now += MINUTE
    play.dispatcher.advance(play.now)
    changes = play.dispatcher.changes()
    assert changes[0][0].startswith(b"d/")
    play.store(changes[:1])  # the group does not know of it
    for _ in range(2):
        play.start()
        play.dispatcher.advance(play.now)
        play.store()
        assert [f"d/{name}".encode() for name in play.dispatcher.outbox] == [changes[0][0]]
    assert changes[0][0] in play.entries


def test_a_group_that_is_there_again_is_not_dropped_with_the_one_before(tmp_path: Path) -> None:
    play = play_of('[delivery.route]\nreceiver = "ops"\n' + receiver("ops"), tmp_path)
    play.take(incoming(0, user="ann"))
    play.until(START + 5 * MINUTE)
    play.now = START + HOUR
    play.dispatcher.advance(play.now)
    play.dispatcher.take([incoming(1, user="ann")], play.now)
    play.store()
    play.start()
    play.until(START + 2 * HOUR)
    assert [row.alert.id[-1] for _, _, told in play.sent for row in told.alerts] == ["0", "1"]
