from __future__ import annotations

import msgspec
import pytest
from notifications import T0, a_notification, an_alert, told

from anomaly_app.alerts import AlertSource
from anomaly_app.settings.delivery import WebhookSink
from anomaly_app.sinks.deviation import deviation_of
from anomaly_app.sinks.messages import MOST_ITEMS, Message, Messages
from anomaly_app.sinks.templates import Template, TemplateFailed
from anomaly_app.sinks.wording import kind_of, subject


def message(
    *alerts: object, title: str = "", text: str = "", counted: list[str] | None = None, **changes: object
) -> Message:
    settings = WebhookSink.model_validate({"url": "http://x/", "title": title, "text": text})
    messages = Messages(
        settings,
        link="http://page/",
        acknowledge=lambda id_, receiver, created_ms: f"http://page/ack/{id_}?by={receiver}&at={created_ms}",
        count=(counted if counted is not None else []).append,
    )
    return messages.message(a_notification(*alerts, **changes))


def test_a_tired_person_reads_what_who_how_far_since_when_and_where_to_look() -> None:
    id_ = an_alert().id
    assert message().title == "[HIGH] Transaction Anomaly Alert - User user001"
    assert (
        message().text
        == f"""\
ANOMALY DETECTED: User user001 has transaction of 12345.67

userId user001 at 2025-11-27 19:00:00.000: max_amount 12345.67.

Who:       User user001
Severity:  high
Deviation: max_amount 12,345.67 is 4,639 % above avg_amount 260.50; 10.1 times stddev_amount; threshold is 3,261.13
Since:     2025-11-27 19:00:00 UTC
Rule:      unusual_transactions
Alert:     {id_}

time (UTC)           amount     merchantId
2025-11-27 19:00:00  12,345.67  merchant_7

What to do:
- Look at it within the hour: the rows above are what the rule saw.
- Ask who answers for User user001 whether this was meant; watch what comes next.
- Acknowledge the alert, so that others know that you have it.

Where to look: http://page/
Acknowledge: http://page/ack/{id_}?by=ops&at={T0 + 1_000}"""
    )


def test_the_title_counts_and_names_the_worst() -> None:
    alerts = [an_alert(0), an_alert(1, key={"userId": "user002"}, severity="critical"), an_alert(2)]
    assert message(*alerts).title == "[CRITICAL] 3 Transaction Anomaly Alerts - User user001 and 1 other"
    assert message(told(an_alert(), count=9)).title == "[HIGH] 9 Transaction Anomaly Alerts - User user001"
    assert message(told(an_alert(), status="resolved")).title == "[RESOLVED] Transaction Anomaly Alert - User user001"
    mixed = message(an_alert(), an_alert(1, job="refunds", key={}))
    assert mixed.title == "[HIGH] 2 Anomaly Alerts - User user001"
    digest = message(*alerts, reason="digest", held_back=37, more=500)
    assert digest.title == "[CRITICAL] 37 messages held back: 503 alerts"
    assert digest.text.startswith("More messages came than may be sent in a minute: 37 are told here as one.")


def test_many_alerts_are_a_table_and_a_number() -> None:
    alerts = [an_alert(number, key={"userId": f"user{number:03}"}) for number in range(50)]
    made = message(*alerts, more=7)
    assert len(made.items) == MOST_ITEMS and made.left_out == 47
    assert made.table is not None and made.table.left_out == 47
    assert made.table.rows[3] == ["high", "User user003", "+4,639 %", "2025-11-27 19:00:00", "1"]
    assert "and 47 more" in made.text


def test_what_is_over_asks_for_nothing() -> None:
    made = message(told(an_alert(), status="resolved"))
    assert made.resolved and not made.actions and not made.acknowledge
    assert made.text.startswith("It is over: no new alert has come.")


def test_the_rule_says_what_to_do() -> None:
    alert = an_alert(payload={"Recommended_Actions": "- hold the card\n- call the user"})
    assert message(alert).actions == ["hold the card", "call the user"]
    assert message(an_alert(payload={"actions": ["one", "two"]})).actions == ["one", "two"]


def test_a_silent_source() -> None:
    alert = an_alert(
        type="silence", key={"table": "sales"}, payload={"topic": "t"}, rows=[], explanation="Nothing has come."
    )
    made = message(alert)
    assert made.title == "[HIGH] Silent Source Alert - Table sales" and made.table is None
    assert made.actions[0] == "See whether the program that writes to topic transactions runs and reaches Kafka."


def test_words_of_others_stay_on_their_line() -> None:
    nasty = "a\r\nBcc: all@example.com\x1b[2J\u202e"
    alert = an_alert(key={"userId": nasty}, explanation=f"it says {nasty}", job="unusual_\nthings")
    made = message(alert)
    assert made.title.isprintable() and "\n" not in made.title
    assert "\r" not in made.text and "\x1b" not in made.text and "\nBcc" not in made.text


def test_a_title_is_never_long() -> None:
    assert len(message(an_alert(key={f"column_{n}": "x" * 100 for n in range(20)})).title) == 150


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("unusual_transactions", "Transaction Anomaly Alert"),
        ("unusualSales", "Sale Anomaly Alert"),
        ("card-entries", "Card Entry Anomaly Alert"),
        ("alerts", "Anomaly Alert"),
        ("bus_address", "Bus Address Anomaly Alert"),
    ],
)
def test_the_kind_of_alert_is_named_by_its_job(job: str, expected: str) -> None:
    assert kind_of(an_alert(job=job)) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ({"userId": "user001"}, "User user001"),
        ({"storeID": 7, "sku": None}, "Store 7, Sku "),
        ({"id": 7}, "Id 7"),
        ({"客户": "a"}, "客户 a"),
        ({"customer_id": 12}, "Customer 12"),
    ],
)
def test_keys_in_words(key: dict[str, object], expected: str) -> None:
    assert subject(key) == expected


@pytest.mark.parametrize(
    ("payload", "percent"),
    [
        ({"unusual_quantity": 30, "avg_quantity": 4}, 650.0),
        ({"price": 50.0, "anomaly": {"forecast_value": 100.0, "actual_value": 50.0, "lower_bound": 80.0}}, -50.0),
        ({"amount": "150.00", "limit": "100.00"}, 50.0),
        ({"total": 12, "mean_total": 0}, None),
        ({"temperature": 9.0, "avg_humidity": 3.0, "humidity": 4.5}, 50.0),
    ],
)
def test_how_far_from_normal(payload: dict[str, object], percent: float | None) -> None:
    found = deviation_of(payload)
    assert found is not None and found.percent == percent
    assert found.words() and found.short()


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"count": 3, "avg_first_sale_tstamp": "2025-01-01T00:00:00"},
        {"a": True, "threshold": "high"},
        {"max": "NaN", "avg": "Infinity"},
        {"user_id": 7, "risk_score": 0.5},
    ],
)
def test_nothing_is_said_where_nothing_is_known(payload: dict[str, object]) -> None:
    assert deviation_of(payload) is None


def test_templates_say_it_in_other_words() -> None:
    made = message(
        told(an_alert(), count=2),
        title="{{ severity | upper }}: {{ alert.key.userId }} {{ alert.percent | round | int }} %\n",
        text="{% for alert in alerts %}{{ alert.who }} {{ alert.count }}{% endfor %} {{ text[:6] }} {{ link }}",
    )
    assert made.title == "HIGH: user001 4639 %" and made.templated
    assert made.text == "User user001 2 ANOMAL http://page/"


@pytest.mark.parametrize(
    "template",
    [
        "{{ alert.nothing }}",
        "{{ alert.key.user_id.x }}",
        "{{ 1 // 0 }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x'.zfill(1000000000) }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in range(100) %}{{ text }}{{ text }}{{ text }}{{ text }}{% endfor %}",
        "{{ alert.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ alert.update({'id': 1}) }}",
        "{{ alerts.append(1) }}",
        "{% include 'x' %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_that_fails_gives_the_usual_words_and_is_counted(template: str) -> None:
    counted: list[str] = []
    made = message(title=template, text=template, counted=counted)
    assert made.title == message().title and made.text == message().text
    assert counted == ["template_failed", "template_failed"]


def test_a_value_in_an_address_stays_in_its_place() -> None:
    template = Template("https://bank/{{ a }}/x?y={{ b }}", "http", address=True)
    assert template.render({"a": "../admin?", "b": "1&c=2#"}) == "https://bank/..%2Fadmin%3F/x?y=1%26c%3D2%23"
    with pytest.raises(TemplateFailed):
        template.render({"a": 1})


def test_alerts_of_any_shape_can_be_told() -> None:
    odd = an_alert(
        key={},
        payload={"nested": {"a": [1, {"b": None}]}, "big": 10**40, "t": "", "n": None},
        rows=[],
        rows_total=0,
        score=float("inf"),
        explanation="",
        source=AlertSource(topic="", partition=-1, offset=-1),
    )
    for alert in (odd, msgspec.structs.replace(odd, severity="low", score=None)):
        assert message(alert).text and message(alert, an_alert()).text


def test_a_response_says_what_was_done_and_what_follows() -> None:
    note = "Response freeze. Nobody has acknowledged this for 15 minutes. Freeze the account: done."
    message = Messages(WebhookSink()).message(a_notification(reason="escalation", note=note))
    assert message.title == "[HIGH] Escalated: Transaction Anomaly Alert - User user001"
    assert message.text.startswith(f"{note}\n\n")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"type": "anomaly", "score": 817.92}, "818 times as far from the forecast as the bound"),
        ({"type": "anomaly", "score": 817.92, "payload": {"Risk_Score": 817.92}}, "score 817.92"),
        ({"type": "anomaly", "score": 0.93}, "score 0.93"),
        ({"type": "pattern", "score": 5.0}, "score 5.00"),
        ({"score": None}, ""),
    ],
)
def test_a_score_is_told_by_what_it_means(changes: dict[str, object], said: str) -> None:
    made = message(an_alert(**{"payload": {}, **changes}))  # type: ignore[arg-type]
    assert made.items[0].how_far == said and ("Deviation:" in made.text) is bool(said)


def test_rows_do_not_tell_their_time_twice_nor_the_key() -> None:
    row = an_alert().rows[0]
    values = {
        "userId": "user001",
        "ts": "2025-11-27T19:00:00.000",
        "utc": "2025-11-27T19:00:00.000Z",
        "due": "2025-12-01",
    }
    alert = an_alert(rows=[msgspec.structs.replace(row, values=values)])
    table = message(alert).table
    assert table is not None and table.columns == ["time (UTC)", "due"]


def test_without_rows_none_are_promised() -> None:
    made = message(an_alert(rows=[], severity="critical"))
    assert made.actions[0] == "Look at it now." and "above are" not in made.text


def test_the_note_of_a_response_stands_first() -> None:
    made = message(reason="escalation", note="Nobody has answered for 15 minutes.")
    assert made.title == "[HIGH] Escalated: Transaction Anomaly Alert - User user001"
    assert made.text.startswith("Nobody has answered for 15 minutes.\n")


def test_several_are_told_by_a_table_and_a_line_each() -> None:
    alerts = [an_alert(n, key={"userId": f"user00{n}"}, explanation=f"number {n}", payload={}) for n in range(2)]
    made = message(*alerts)
    assert made.text.startswith(
        "severity  who           deviation  since (UTC)          alerts\n"
        "high      User user000             2025-11-27 19:00:00  1\n"
        "high      User user001             2025-11-27 19:00:00  1\n"
        "\n- number 0\n- number 1\n\nWhat to do:\n- Look at it within the hour.\n- Ask who answers for them whether"
    )
    assert "Ask who answers for User user000 whether" in message(alerts[0], alerts[0]).text
