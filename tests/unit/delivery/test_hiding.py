"""Silences, inhibition and mute intervals: what is not told, and when it is after all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from delivering import HOUR, MINUTE, SECOND, START, Play, incoming, load, receiver

from anomaly_app.delivery.routes import RouteTree
from anomaly_app.delivery.silences import Silence, decode_silence, encode_silence
from anomaly_app.errors import SettingsError

HEAD = '[delivery.route]\nreceiver = "ops"\ngroup_by = ["job"]\n'


def silence(minutes: int, matcher: str = "user_id=ann", start: int = START, name: str = "1") -> Silence:
    return Silence(
        id=name,
        matchers=(matcher,),
        starts_ms=start,
        ends_ms=start + minutes * MINUTE,
        created_by="bo",
        comment="moves house",
    )


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(load(HEAD + receiver("ops"), tmp_path))


def test_what_still_comes_is_told_when_the_silence_ends(play: Play) -> None:
    play.take(incoming(0, user="ann"))
    play.until(START + MINUTE)
    assert play.told() == [(30, "ops", "new", ["ann"])]
    play.dispatcher.put_silence(silence(59, start=play.now))
    for minute in range(1, 59):
        play.until(START + minute * MINUTE)
        play.take(incoming(minute, user="ann"))
    play.until(START + 3 * HOUR)
    assert play.told() == [(3600, "ops", "new", ["ann"])]
    assert play.dispatcher.fates == {"sent": 2, "grouped": 57}


def test_what_is_over_when_the_silence_ends_was_silenced(play: Play) -> None:
    play.dispatcher.put_silence(silence(60))
    play.take(incoming(0, user="ann"), incoming(1, user="bob"))
    play.until(START + 3 * HOUR)
    assert play.told() == [(30, "ops", "new", ["bob"])]
    assert play.dispatcher.fates == {"sent": 1, "silenced": 1}


def test_a_silence_that_is_dropped_delays_nothing(play: Play) -> None:
    play.dispatcher.put_silence(silence(60))
    play.take(incoming(0, user="ann"))
    play.until(START + 2 * MINUTE)
    play.dispatcher.drop_silence("1")
    play.step()
    assert play.told() == [(120, "ops", "new", ["ann"])]


def test_one_silence_after_another_hides_on(play: Play) -> None:
    play.dispatcher.put_silence(silence(3))
    play.dispatcher.put_silence(silence(4, 'severity="medium"', START + 2 * MINUTE, "2"))
    play.take(incoming(0, user="ann"))
    play.until(START + 4 * MINUTE)
    play.take(incoming(1, user="ann"))
    play.until(START + HOUR)
    assert play.told() == [(360, "ops", "new", ["ann"])]


def test_a_silence_of_a_severity_does_not_hide_a_worse_one(play: Play) -> None:
    play.dispatcher.put_silence(silence(60, 'severity=~"low|medium"'))
    play.take(incoming(0, user="ann"))
    play.until(START + MINUTE)
    play.take(incoming(1, user="ann", severity="critical"))
    play.until(START + 2 * MINUTE)
    assert play.told() == [(90, "ops", "new", ["ann"])]


def test_a_silence_that_begins_while_a_group_waits_counts(play: Play) -> None:
    play.take(incoming(0, user="ann"))
    play.until(START + 10 * SECOND)
    play.dispatcher.put_silence(silence(1, start=play.now))
    play.until(START + HOUR)
    assert play.told() == [(70, "ops", "new", ["ann"])]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ends_ms": START}, "ends after it starts"),
        ({"created_by": " "}, "who wants it and why"),
        ({"comment": ""}, "who wants it and why"),
        ({"matchers": ()}, "needs a matcher"),
        ({"matchers": ('user_id=~".*"',)}, "needs a matcher"),
        ({"matchers": ("user_id!=ann",)}, "needs a matcher"),
        ({"matchers": ("user_id ann",)}, "expected ="),
        ({"id": ""}, "needs an id"),
    ],
)
def test_a_silence_says_what_it_wants(change: dict[str, Any], problem: str) -> None:
    given: dict[str, Any] = {"id": "1", "matchers": ("user_id=ann",), "created_by": "bo", "comment": "moves"}
    given |= {"starts_ms": START, "ends_ms": START + 1}
    with pytest.raises(ValueError, match=problem):
        Silence(**(given | change))


def test_a_silence_is_a_record() -> None:
    assert decode_silence(encode_silence(silence(5))) == silence(5)
    with pytest.raises(ValueError, match="no silence"):
        decode_silence(b'{"id": "1"}')


RULES = """
[[delivery.inhibit_rules]]
source_matchers = 'type="window"'
target_matchers = 'severity!="critical"'
equal = ["user_id", "tenant"]
"""


def test_an_alert_is_held_back_while_the_source_is_there(tmp_path: Path) -> None:
    play = Play(load(HEAD + receiver("ops") + RULES, tmp_path))
    play.take(incoming(0, user="ann", type="window", severity="critical"))
    play.take(incoming(1, user="ann"), incoming(2, user="bob"))
    play.until(START + MINUTE)
    assert play.told() == [(30, "ops", "new", ["ann", "bob"])]
    for minute in (2, 4):
        play.until(START + minute * MINUTE)
        play.take(incoming(1 + minute, user="ann"))
    play.until(START + HOUR)
    assert play.told() == [(300, "ops", "new", ["ann"])]
    assert play.dispatcher.fates == {"sent": 3, "grouped": 2}


def test_what_is_over_before_its_source_was_inhibited(tmp_path: Path) -> None:
    play = Play(load(HEAD + receiver("ops") + RULES, tmp_path))
    play.take(incoming(0, user="ann"), incoming(1, user="ann", type="window", severity="critical"))
    play.until(START + 2 * MINUTE)
    play.take(incoming(2, user="ann", type="window", severity="critical"))
    play.until(START + HOUR)
    assert [row[3] for row in play.told()] == [["ann"]]
    assert play.dispatcher.fates == {"sent": 1, "grouped": 1, "inhibited": 1}


def test_what_matches_both_sides_does_not_hold_back_its_like(tmp_path: Path) -> None:
    play = Play(load(HEAD + receiver("ops") + RULES, tmp_path))
    play.take(incoming(0, user="ann", type="window"), incoming(1, user="ann", type="window", query="other"))
    play.until(START + MINUTE)
    assert play.told() == [(30, "ops", "new", ["ann", "ann"])]


def test_a_missing_label_equals_an_empty_one(tmp_path: Path) -> None:
    play = Play(load(HEAD + receiver("ops") + RULES, tmp_path))
    play.take(incoming(0, key={"store": "1"}, type="window", severity="critical"), incoming(1, key={"user_id": ""}))
    play.until(START + MINUTE)
    assert [row.alert.id[-1] for _, _, told in play.sent for row in told.alerts] == ["0"]


def rule(source: str, target: str) -> str:
    return f"[[delivery.inhibit_rules]]\nsource_matchers = '{source}'\ntarget_matchers = '{target}'\n"


@pytest.mark.parametrize(
    ("rules", "circle"),
    [
        ([("severity=critical", "severity=low"), ("severity=low", "severity=critical")], "[0] → inhibit_rules[1] → "),
        ([("severity=critical", "severity!=critical"), ("severity=high", "severity=low")], None),
        ([("type=silence", "type!=silence"), ("severity=critical", "severity!=critical")], "[0] → inhibit_rules[1] → "),
        ([("type=silence", "type!=silence"), ("severity=critical", "severity!=critical,type!=silence")], None),
        ([("job=a", "job=b"), ("job=b", "job=c"), ("job=c", "job=a")], "[0] → inhibit_rules[1] → inhibit_rules[2] → "),
        ([("job=x", "job=b"), ("job=b", "job=c"), ("job=c", "job=b")], "[1] → inhibit_rules[2] → inhibit_rules[1]"),
        ([("severity=critical", "user_id=ann")], None),
    ],
)
def test_circles_are_refused(rules: list[tuple[str, str]], circle: str | None, tmp_path: Path) -> None:
    loaded = load(HEAD + receiver("ops") + "".join(rule(*each) for each in rules), tmp_path)
    if circle is None:
        RouteTree.compile(loaded)
    else:
        with pytest.raises(SettingsError) as found:
            RouteTree.compile(loaded)
        assert circle in str(found.value) and "inhibit_rules[" in found.value.key


NIGHT = """
[[delivery.time_intervals]]
name = "night"
[[delivery.time_intervals.time_intervals]]
times = [{start_time = "07:00", end_time = "09:00"}]
"""


@pytest.mark.parametrize("which", ["mute", "active"])
def test_what_still_comes_is_told_when_the_interval_ends(which: str, tmp_path: Path) -> None:
    night = (
        NIGHT if which == "mute" else NIGHT.replace("07:00", "09:00").replace('end_time = "09:00', 'end_time = "24:00')
    )
    play = Play(load(HEAD + f'{which}_time_intervals = ["night"]\n' + receiver("ops") + night, tmp_path))
    for minute in range(0, 58, 3):
        play.until(START + minute * MINUTE)
        play.take(incoming(minute, user="ann"), *([incoming(minute + 1, user="bob")] if minute < 30 else []))
    play.until(START + HOUR + MINUTE)
    assert play.told() == [(3600, "ops", "new", ["ann"])]
    assert play.dispatcher.fates == {"sent": 1, "grouped": 19, "muted": 10}


def test_a_silent_source_is_told_once_and_when_it_is_back(tmp_path: Path) -> None:
    play = Play(load(HEAD + receiver("ops", "send_resolved = true"), tmp_path))
    play.take(incoming(0, key={"table": "sales"}, type="silence", severity="high"))
    play.until(START + HOUR)
    play.take(incoming(1, key={"table": "sales"}, type="silence_over", severity="low"))
    play.until(START + 2 * HOUR)
    assert [(each.reason, each.alerts[0].alert.type) for _, _, each in play.sent] == [
        ("new", "silence"),
        ("new", "silence_over"),
    ]


def test_ends_are_told_in_a_silence_and_after_mute_hours(tmp_path: Path) -> None:
    night = NIGHT.replace("07:00", "08:03").replace("09:00", "08:30")
    muted = 'mute_time_intervals = ["night"]\n'
    for route, at in (("", 330), (muted, 1800)):
        play = Play(load(HEAD + route + receiver("ops", "send_resolved = true") + night, tmp_path))
        play.take(incoming(0, user="ann"))
        play.until(START + MINUTE)
        play.dispatcher.put_silence(silence(60, start=play.now))
        play.until(START + HOUR)
        assert [row[:3] for row in play.told()] == [(30, "ops", "new"), (at, "ops", "resolved")]


def test_what_came_in_a_silence_after_it_was_told_has_its_end_told(tmp_path: Path) -> None:
    play = Play(load(HEAD + receiver("ops", "send_resolved = true"), tmp_path))
    play.take(incoming(0, user="ann"))
    play.until(START + MINUTE)
    play.dispatcher.put_silence(silence(60, start=play.now))
    play.take(incoming(1, user="ann"))
    play.until(START + 2 * HOUR)
    assert [row[:3] for row in play.told()] == [(30, "ops", "new"), (360, "ops", "resolved")]
    assert play.dispatcher.fates == {"sent": 1, "silenced": 1}
