from __future__ import annotations

import pytest
from notifications import a_notification, an_alert, told

from anomaly_app.errors import OptionError, SinkError
from anomaly_app.settings.delivery import PagerDutySink
from anomaly_app.sinks.messages import Messages
from anomaly_app.sinks.pagerduty import PagerDuty, event_of
from anomaly_app.testing.receivers import FailingReceiver, error

KEY = "r0uting-key-of-32-characters-000"


async def test_a_group_is_triggered_and_resolved_under_one_key() -> None:
    async with FailingReceiver() as receiver:
        settings = PagerDutySink.model_validate({"url": f"{receiver.url}/v2/enqueue", "routing_key": KEY})
        sink = PagerDuty(settings, Messages(settings, link="http://page/"))
        await sink.send(a_notification(an_alert(severity="critical")))
        await sink.send(a_notification(told(an_alert(), status="resolved"), id="n-2"))
        box = receiver["/v2/enqueue"]
        trigger, resolve = (request.json() for request in box.requests)
        box.plan(error(400, f'{{"errors":["bad {KEY}"]}}'))
        with pytest.raises(SinkError) as caught:
            await sink.send(a_notification())
        await sink.close()
    assert KEY not in str(caught.value) and not caught.value.retriable and KEY not in repr(vars(sink))
    assert trigger["routing_key"] == KEY and trigger["event_action"] == "trigger"
    assert resolve == {"routing_key": KEY, "event_action": "resolve", "dedup_key": trigger["dedup_key"]}
    payload = trigger["payload"]
    assert payload["severity"] == "critical" and payload["source"] == "transactions"
    assert payload["summary"].startswith("[CRITICAL] Transaction Anomaly Alert - User user001: ANOMALY DETECTED: User")
    assert payload["custom_details"]["deviation"].startswith("max_amount 12,345.67 is 4,639 % above")
    assert trigger["links"] == [{"href": "http://page/", "text": "Where to look"}]


def test_events_are_never_too_large() -> None:
    settings = PagerDutySink.model_validate({"routing_key": KEY})
    alerts = [an_alert(number, key={"u": "x" * 9_000}, explanation="y" * 9_000) for number in range(50)]
    notification = a_notification(*alerts, group="g" * 999, more=10_000)
    event = event_of(notification, Messages(settings).message(notification))
    assert len(event["payload"]["summary"]) <= 1_024 and len(event["dedup_key"]) <= 255
    assert len(str(event)) < 100_000


def test_it_needs_a_key() -> None:
    settings = PagerDutySink()
    with pytest.raises(OptionError) as caught:
        PagerDuty(settings, Messages(settings))
    assert caught.value.option == "routing_key"
