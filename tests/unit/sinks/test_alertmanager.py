from __future__ import annotations

from typing import Any

import pytest
from notifications import T0, an_alert, incoming

from anomaly_app.errors import OptionError, SinkError
from anomaly_app.settings.delivery import AlertmanagerSink
from anomaly_app.sinks import alertmanager as module
from anomaly_app.sinks.alertmanager import Alertmanager
from anomaly_app.testing.receivers import Box, FailingReceiver, error

HOLD_MS = 300_000
PATH = "/am/api/v2/alerts"
ENDS = "2025-11-27T19:05:00.000Z"


def sink(receiver: FailingReceiver, counted: list[str] | None = None, **settings: Any) -> Alertmanager:
    parsed = AlertmanagerSink.model_validate({"url": f"{receiver.url}/am/", **settings})
    count = (counted if counted is not None else []).append
    return Alertmanager(parsed, hold_ms=HOLD_MS, link="http://page/", count=count)


def posted(box: Box, number: int = -1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = box.requests[number].json()
    return found


async def test_an_alert_lasts_from_its_event_for_hold_and_is_said_again_meanwhile() -> None:
    async with FailingReceiver() as receiver:
        one, box = sink(receiver), receiver[PATH]
        assert await one.write(incoming(an_alert(key={"user-id": "7"}), tenant="eu"), T0 + 1_000) == []
        assert posted(box) == [
            {
                "labels": {
                    "alertname": "unusual_transactions",
                    "job": "unusual_transactions",
                    "query": "unusual_transactions",
                    "type": "selection",
                    "severity": "high",
                    "tenant": "eu",
                    "user_id": "7",
                },
                "annotations": {
                    "summary": "ANOMALY DETECTED: User user001 has transaction of 12345.67",
                    "description": "userId None at 2025-11-27 19:00:00.000: max_amount 12345.67.",
                    "id": an_alert(key={"user-id": "7"}).id,
                    "deviation": "max_amount 12,345.67 is 4,639 % above avg_amount 260.50; "
                    "10.1 times stddev_amount; threshold is 3,261.13",
                    "user_id": "7",
                    "window_start": "2025-11-27T18:55:00.000",
                    "max_amount": "12345.67",
                    "avg_amount": "260.5",
                    "stddev_amount": "1200.25",
                    "threshold": "3261.13",
                    "row_count": "42",
                    "severity": "high",
                    "alert": "ANOMALY DETECTED: User user001 has transaction of 12345.67",
                },
                "startsAt": "2025-11-27T19:00:00.000Z",
                "endsAt": ENDS,
                "generatorURL": "http://page/",
            }
        ]
        for second in range(2, 400):
            await one.tick(T0 + second * 1_000)
        await one.close()
        times = [post[0]["endsAt"] for post in map(lambda request: request.json(), box.requests)]
    assert times == [ENDS] * len(times)
    assert len(times) == 1 + 9 + 1, "each half minute, and once that it is over"


async def test_what_comes_again_lasts_longer_and_began_when_it_did() -> None:
    async with FailingReceiver() as receiver:
        one, box = sink(receiver), receiver[PATH]
        await one.write(incoming(an_alert(0)), T0)
        await one.write(incoming(an_alert(1, at_ms=T0 + 60_000), an_alert(2, at_ms=T0 + 30_000)), T0 + 61_000)
        assert [(post["startsAt"], post["endsAt"]) for post in posted(box)] == [
            ("2025-11-27T19:00:00.000Z", "2025-11-27T19:06:00.000Z")
        ]
        await one.write(incoming(an_alert(3, at_ms=T0 + HOLD_MS * 3)), T0 + HOLD_MS * 3)
        assert posted(box)[0]["startsAt"] == "2025-11-27T19:15:00.000Z", "the first was over"
        await one.close()


async def test_what_comes_late_lasts_from_when_it_came() -> None:
    async with FailingReceiver() as receiver:
        one, box = sink(receiver), receiver[PATH]
        late, early, odd = T0 - 3_600_000, T0 + 3_600_000, "9223372036854775807"
        alerts = incoming(
            an_alert(0, key={"u": "late"}, at_ms=late),
            an_alert(1, key={"u": "early"}, at_ms=early),
            an_alert(2, key={"u": "odd"}, event_time=odd),
            an_alert(3, key={"u": "none"}, event_time=""),
        )
        await one.write(alerts, T0)
        assert [(post["labels"]["u"], post["startsAt"], post["endsAt"]) for post in posted(box)] == [
            ("late", "2025-11-27T18:00:00.000Z", ENDS),
            ("early", "2025-11-27T19:00:00.000Z", ENDS),
            ("odd", "2025-11-27T19:00:00.000Z", ENDS),
            ("none", "2025-11-27T19:00:00.000Z", ENDS),
        ]
        await one.close()


def silence(type_: str, at_ms: int) -> Any:
    severity: Any = "high" if type_ == "silence" else "low"
    return an_alert(key={"table": "sales"}, type=type_, severity=severity, query="", at_ms=at_ms, payload={})


async def test_the_silence_of_a_source_lasts_until_records_come_again() -> None:
    async with FailingReceiver() as receiver:
        one, box = sink(receiver), receiver[PATH]
        await one.write(incoming(silence("silence", T0)), T0)
        for minute in range(60):
            await one.tick(T0 + minute * 60_000)
        assert posted(box)[0]["endsAt"] == "2025-11-27T20:04:00.000Z"
        await one.write(incoming(silence("silence_over", T0 + 3_600_000)), T0 + 3_600_000)
        [over] = posted(box)
        assert over["labels"] == posted(box, 0)[0]["labels"] and over["endsAt"] == "2025-11-27T20:00:00.000Z"
        before = len(box.requests)
        await one.tick(T0 + 10 * 3_600_000)
        assert len(box.requests) == before
        await one.close()


async def test_what_fails_is_posted_at_the_next_call() -> None:
    async with FailingReceiver() as receiver:
        one, box = sink(receiver), receiver[PATH]
        box.plan(error(503))
        with pytest.raises(SinkError):
            await one.write(incoming(an_alert()), T0)
        await one.tick(T0 + 40_000)
        assert len(box.requests) == 1, "it is not known to be there: its reader writes it again"
        await one.write(incoming(an_alert()), T0)
        box.plan(error(503))
        with pytest.raises(SinkError):
            await one.tick(T0 + 31_000)
        await one.tick(T0 + 32_000)
        await one.tick(T0 + 33_000)
        assert len(box.requests) == 4
        await one.close()


async def test_the_refused_are_found_and_the_others_taken() -> None:
    async with FailingReceiver() as receiver:
        one = sink(receiver)
        box = receiver[PATH]
        alerts = incoming(*[an_alert(number, key={"u": str(number % 8)}) for number in range(16)])
        # All; the halves; the quarters of the first; its first two.
        for step in (error(400, "bad label"), error(400), error(400), error(400, "bad label")):
            box.plan(step)
        refused = await one.write(alerts, T0)
        assert [(alert.offset, why) for alert, why in refused] == [(0, "bad label"), (8, "bad label")]
        await one.tick(T0 + 40_000)
        assert len(posted(box)) == 7
        await one.close()


async def test_no_more_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LASTING", 3)
    counted: list[str] = []
    async with FailingReceiver() as receiver:
        one, box = sink(receiver, counted), receiver[PATH]
        await one.write(incoming(*[an_alert(number, key={"u": str(number)}) for number in range(5)]), T0)
        assert counted == ["not_posted_again"] * 2 and len(posted(box)) == 5
        await one.tick(T0 + 40_000)
        assert len(posted(box)) == 3
        await one.close()


async def test_many_are_posted_in_parts_and_the_end_is_not_said_where_it_should_not() -> None:
    async with FailingReceiver() as receiver:
        one, box = sink(receiver, send_resolved=False), receiver[PATH]
        await one.write(incoming(*[an_alert(number, key={"u": str(number)}) for number in range(1_100)]), T0)
        assert [len(posted(box, number)) for number in range(3)] == [500, 500, 100]
        await one.tick(T0 + 10 * HOLD_MS)
        assert len(box.requests) == 3
        await one.close()


async def test_who_we_are() -> None:
    async with FailingReceiver() as receiver:
        for settings, expected in (({"token": "t"}, "Bearer t"), ({"username": "a", "password": "b"}, "Basic YTpi")):
            one = sink(receiver, **settings)
            await one.write(incoming(an_alert()), T0)
            await one.close()
            assert receiver[PATH].requests[-1].headers["authorization"] == expected
        with pytest.raises(OptionError):
            sink(receiver, token="t", username="a")


async def test_a_link_that_is_none_is_left_out() -> None:
    async with FailingReceiver() as receiver:
        one = Alertmanager(AlertmanagerSink(url=f"{receiver.url}/am"), hold_ms=HOLD_MS, link="not a link")
        await one.write(incoming(an_alert()), T0)
        await one.close()
        assert "generatorURL" not in posted(receiver[PATH])[0]
