"""When groups are told, and of what."""

from __future__ import annotations

from pathlib import Path

import pytest
from delivering import HOUR, MINUTE, SECOND, START, Play, incoming, load, receiver

from anomaly_app.errors import StateError

SIMPLE = '[delivery.route]\nreceiver = "ops"\ngroup_by = ["job"]\n' + receiver("ops")


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(load(SIMPLE, tmp_path))


def test_a_group_waits_for_others_and_then_for_its_interval(play: Play) -> None:
    play.take(incoming(0, user="ann"))
    play.until(START + 10 * SECOND)
    play.take(incoming(1, user="bob"))
    play.until(START + 40 * SECOND)
    assert play.told() == [(30, "ops", "new", ["bob", "ann"])]
    play.take(incoming(2, user="cid"))
    play.until(START + 5 * MINUTE)
    assert play.told() == []
    play.until(START + 6 * MINUTE)
    assert play.told() == [(330, "ops", "new", ["cid"])]  # ann and bob are over: nothing new for five minutes


def test_the_same_is_repeated_only_while_it_comes(play: Play) -> None:
    for minute in range(0, 5 * 60, 4):
        play.until(START + minute * MINUTE)
        play.take(incoming(minute, user="ann"))
    play.until(START + 12 * HOUR)
    assert play.told() == [(30, "ops", "new", ["ann"]), (4 * 3600 + 30, "ops", "repeat", ["ann"])]
    assert play.dispatcher.fates == {"sent": 2, "grouped": 73}
    assert play.entries.keys() == {b"p", b"t"}


def test_what_gets_worse_is_new(play: Play) -> None:
    play.take(incoming(0, user="ann"))
    play.until(START + MINUTE)
    play.take(incoming(1, user="ann", severity="low"), incoming(2, user="ann", severity="critical"))
    play.until(START + 10 * MINUTE)
    assert [row[:3] for row in play.told()] == [(30, "ops", "new"), (330, "ops", "new")]


def test_the_end_is_told_once_to_who_wants_to_know(tmp_path: Path) -> None:
    play = Play(load('[delivery.route]\nreceiver = "ops"\n' + receiver("ops", "send_resolved = true"), tmp_path))
    play.take(incoming(0, user="ann"))
    play.until(START + HOUR)
    assert [(now - START, each.status, each.reason) for now, _, each in play.sent] == [
        (30 * SECOND, "firing", "new"),
        (330 * SECOND, "resolved", "resolved"),
    ]
    row = play.sent[1][2].alerts[0]
    assert (row.status, row.ends_ms, row.count) == ("resolved", START + 5 * MINUTE, 1)


def test_a_dead_sink_gets_one_message_at_a_time_and_then_the_rest(play: Play) -> None:
    play.works = lambda sink: False
    for number in range(500):
        play.until(START + number * SECOND)
        play.take(incoming(number, user=f"u{number}"))
        assert len(play.dispatcher.outbox) <= 1
    assert play.dispatcher.fates == {"waiting": 500}
    play.works = lambda sink: True
    play.until(START + HOUR)
    play.step()
    play.until(START + 2 * HOUR)
    shown = [len(each.alerts) + each.more for _, _, each in play.sent]
    assert shown == [30, 470]
    assert play.dispatcher.fates["waiting"] == 0
    assert play.dispatcher.fates["sent"] + play.dispatcher.fates["grouped"] == 500


def test_what_was_taken_is_not_taken_again(play: Play) -> None:
    play.take(incoming(0, user="ann"), incoming(1, user="bob"))
    play.start()
    play.take(incoming(0, user="ann"), incoming(1, user="bob"), incoming(2, user="cid"))
    play.until(START + MINUTE)
    assert play.told() == [(30, "ops", "new", ["cid", "bob", "ann"])]
    assert play.dispatcher.positions == {0: 3}


def test_a_delivery_that_is_not_settled_is_the_same_after_a_restart(play: Play) -> None:
    play.works = lambda sink: False
    play.take(incoming(0, user="ann"))
    play.until(START + MINUTE)
    before = dict(play.dispatcher.outbox)
    play.start()
    assert play.dispatcher.outbox == before and len(before) == 1


@pytest.mark.parametrize("event_time", ["soon", "", "-62135596800001", "+10000-01-01"])
def test_an_alert_with_a_time_that_is_none_is_told_as_of_now(play: Play, event_time: str) -> None:
    play.take(incoming(0, event_time=event_time))
    play.until(START + MINUTE)
    assert play.sent[0][2].alerts[0].starts_ms == START


def test_an_alert_that_is_forwarded_twice_counts_once(play: Play) -> None:
    play.take(incoming(0, user="ann"), incoming(1, user="bob"), incoming(0, user="ann", offset=2))
    play.until(START + MINUTE)
    play.take(incoming(1, user="bob", offset=3))
    play.until(START + HOUR)
    assert [row.count for _, _, each in play.sent for row in each.alerts] == [1, 1]
    assert play.dispatcher.fates == {"sent": 2, "duplicate": 2}


def test_a_state_that_cannot_be_read_is_told(play: Play) -> None:
    play.take(incoming(0))
    name = next(key for key in play.entries if key.startswith(b"g/"))
    play.entries[name] = b"\x93"
    with pytest.raises(StateError, match="anomaly-delivery cannot be read"):
        play.start()


def test_what_came_once_is_not_repeated_however_long_it_counts(tmp_path: Path) -> None:
    head = '[delivery.route]\nreceiver = "ops"\ngroup_interval = "10s"\nrepeat_interval = "20s"\n'
    play = Play(load(head + receiver("ops"), tmp_path))
    play.take(incoming(1, user="ann"))
    play.until(START + 2 * MINUTE)
    assert play.told() == [(30, "ops", "new", ["ann"])], "it counts for five minutes, but does not come any more"
    play.take(incoming(2, user="ann"))
    play.until(START + 4 * MINUTE)
    assert play.told() == [(120, "ops", "repeat", ["ann"])], "it has come again, and the last time is long ago"
    play.take(incoming(3, user="ann"))
    play.until(START + 4 * MINUTE + 5_000)
    play.take(incoming(4, user="ann"))
    play.until(START + 10 * MINUTE)
    assert play.told() == [(240, "ops", "repeat", ["ann"]), (260, "ops", "repeat", ["ann"])]
