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
