"""A source that falls silent, judged by the wall clock."""

from __future__ import annotations

import json

import pytest

from anomaly_app.alerts import Alert, encode
from anomaly_app.alerts.silent_source import SilenceWatch
from anomaly_app.errors import StateError
from anomaly_app.jobs.model import Job
from anomaly_app.jobs.topic_tables import Format, Source
from anomaly_app.schema import Schema

START = 1_760_000_000_000
MINUTE = 60_000


def watch(remembered: bytes | None = None, *, table: str = "sales", job: str = "spikes") -> SilenceWatch:
    source = Source(table, Schema(()), "orders", Format("json"))
    return SilenceWatch(Job(job, "abc", "", "", ()), source, MINUTE, remembered)


def told(watching: SilenceWatch, *seen: tuple[list[int], int]) -> list[Alert]:
    alerts = (watching.observe(ends, START + seconds * 1000) for ends, seconds in seen)
    return [alert for alert in alerts if alert is not None]


def test_one_alert_for_a_silence_and_one_when_it_is_over() -> None:
    silence, over = told(
        watch(), ([3, 4], 0), ([3, 5], 30), ([3, 5], 89), ([3, 5], 90), ([3, 5], 500), ([4, 5], 510), ([4, 5], 560)
    )
    assert (silence.type, silence.severity, silence.event_time) == ("silence", "high", "2025-10-09T08:54:50.000Z")
    assert (over.type, over.severity, over.event_time) == ("silence_over", "low", "2025-10-09T09:01:50.000Z")
    assert silence.id != over.id
    assert json.loads(encode(silence))["payload"] == {
        "topic": "orders",
        "silent_since": "2025-10-09T08:53:50.000Z",
        "silent_s": 60.0,
        "silence_after_s": 60.0,
    }
    assert over.payload["silent_s"] == 480.0
    assert "for 8 minutes" in over.explanation


def test_each_silence_has_an_id_of_its_own() -> None:
    alerts = told(watch(), ([1], 0), ([1], 60), ([2], 70), ([2], 130), ([3], 140), ([3], 150))
    assert [alert.type for alert in alerts] == ["silence", "silence_over", "silence", "silence_over"]
    assert len({alert.id for alert in alerts}) == 4


def test_another_worker_gives_the_same_silence_the_same_id() -> None:
    (one,) = told(watch(), ([1, 2], 0), ([1, 2], 61))
    (two,) = told(watch(), ([1, 2], 7), ([1, 2], 99))
    assert one.id == two.id
    others = [told(other, ([1, 2], 0), ([1, 2], 61))[0].id for other in (watch(table="x"), watch(job="x"))]
    assert len({one.id, *others}) == 3


def test_after_a_restart_a_silence_is_not_told_again_and_its_end_is() -> None:
    before = watch()
    assert [alert.type for alert in told(before, ([5], 0), ([5], 60))] == ["silence"]
    after = watch(before.memory())
    assert told(after, ([5], 100), ([5], 1_000)) == []
    assert [alert.type for alert in told(after, ([6], 1_001))] == ["silence_over"]


def test_a_silence_that_began_before_a_restart_is_counted_from_its_beginning() -> None:
    before = watch()
    assert told(before, ([5], 0), ([6], 50)) == []
    (alert,) = told(watch(before.memory()), ([6], 111))
    assert alert.payload["silent_s"] == 61.0


def test_records_that_came_during_a_restart_begin_a_new_count() -> None:
    before = watch()
    assert told(before, ([5], 0)) == []
    after = watch(before.memory())
    assert told(after, ([6], 500), ([6], 559)) == []
    assert len(told(after, ([6], 560))) == 1


def test_a_clock_that_is_set_back_raises_no_alert_by_itself() -> None:
    watching = watch()
    assert told(watching, ([5], 0), ([5], -3_600), ([5], -3_541)) == []
    assert len(told(watching, ([5], -3_540))) == 1


def test_only_news_are_to_be_remembered() -> None:
    watching = watch()
    watching.observe([5], START)
    assert watching.news
    watching.memory()
    watching.observe([5], START + 1)
    assert not watching.news


def test_memory_that_is_unreadable() -> None:
    with pytest.raises(StateError, match="orders"):
        watch(b"\xc1")
