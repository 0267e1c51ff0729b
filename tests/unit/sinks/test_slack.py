from __future__ import annotations

from typing import Any

import pytest
from notifications import a_notification, an_alert, told

from anomaly_app.errors import SinkError
from anomaly_app.settings.delivery import SlackSink
from anomaly_app.sinks.messages import Messages
from anomaly_app.sinks.slack import Slack, blocks_of
from anomaly_app.testing.receivers import FailingReceiver, error


def made(*alerts: Any, settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    parsed = SlackSink.model_validate({"url": "http://x/", **(settings or {})})
    messages = Messages(parsed, link="http://page/", acknowledge=lambda *of: "http://page/ack?a=1&b=2")
    return blocks_of(messages.message(a_notification(*alerts, **changes)))


def check_limits(content: dict[str, Any]) -> None:
    """Those that Slack documents for blocks."""
    assert 1 <= len(content["blocks"]) <= 50 and content["text"]
    for block in content["blocks"]:
        match block["type"]:
            case "header":
                assert 1 <= len(block["text"]["text"]) <= 150
            case "section":
                texts = [block["text"]] if "text" in block else block["fields"]
                assert len(block.get("fields", ())) <= 10
                assert all(1 <= len(text["text"]) <= (2_000 if "fields" in block else 3_000) for text in texts)
            case "context":
                assert len(block["elements"]) <= 10
            case other:
                raise AssertionError(other)


def test_one_alert() -> None:
    content = made()
    check_limits(content)
    header, own, what, fields, rows, todo, links, id_ = content["blocks"]
    assert header["text"]["text"] == content["text"] == "[HIGH] Transaction Anomaly Alert - User user001"
    assert own["text"]["text"] == "ANOMALY DETECTED: User user001 has transaction of 12345.67"
    assert what["text"]["text"].startswith("userId user001 at 2025-11-27")
    assert [field["text"].partition("\n")[0] for field in fields["fields"]] == [
        "*Who*",
        "*Severity*",
        "*Deviation*",
        "*Since*",
        "*Rule*",
    ]
    assert rows["text"]["text"].startswith("```time (UTC)           amount     merchantId\n")
    assert todo["text"]["text"].startswith("*What to do*\n• Look at it")
    assert id_["elements"][0]["text"] == f"alert {an_alert().id}"
    assert links["text"]["text"] == "<http://page/|Where to look>  |  <http://page/ack?a=1&amp;b=2|Acknowledge>"


@pytest.mark.parametrize(
    "nasty", ["<!channel> <@U1> <http://evil|here>", "```\n<!here>", "&" * 9_000, "<" * 9_000, "x" * 9_000]
)
def test_words_of_others_are_no_mention_and_never_too_long(nasty: str) -> None:
    alert = an_alert(
        key={f"{nasty}{number}": nasty for number in range(20)},
        explanation=nasty,
        job=nasty,
        payload={"actions": [nasty] * 20, "max_a": 3, "avg_a": 1},
    )
    for content in (
        made(alert),
        made(*[alert] * 50, more=10**9),
        made(alert, settings={"text": "{{ alert.explanation }}"}),
    ):
        check_limits(content)
        for block in content["blocks"][1:]:
            for text in [block.get("text"), *block.get("fields", ())]:
                if text and text["type"] == "mrkdwn":
                    assert "<" not in text["text"] or text["text"].startswith("<http://page/|")
                    assert not text["text"].startswith("```time") or text["text"].count("```") == 2


def test_a_template_says_all() -> None:
    content = made(settings={"text": "*{{ alert.who }}* {{ acknowledge }}"})
    check_limits(content)
    assert [block["text"]["text"] for block in content["blocks"][1:]] == ["*User user001* http://page/ack?a=1&amp;b=2"]


def test_many_are_a_table() -> None:
    content = made(*[an_alert(number, key={"userId": f"user{number:03}"}) for number in range(50)])
    check_limits(content)
    table = next(block["text"]["text"] for block in content["blocks"] if block["text"]["text"].startswith("```"))
    assert "user009" in table and table.endswith("and 40 more```")
    over = made(told(an_alert(), status="resolved"))
    assert over["text"].startswith("[RESOLVED]") and "ack" not in str(over)


async def test_it_is_posted_to_the_channel() -> None:
    async with FailingReceiver() as receiver:
        settings = SlackSink.model_validate({"url": f"{receiver.url}/services/T/B/x", "channel": "#fraud"})
        sink = Slack(settings, Messages(settings))
        await sink.send(a_notification())
        box = receiver["/services/T/B/x"]
        assert box.requests[0].json()["channel"] == "#fraud"
        box.plan(error(404, "no_service"), error(400, "invalid_blocks"), error(429, "", retry_after="30"))
        problems = []
        for _ in range(3):
            with pytest.raises(SinkError) as caught:
                await sink.send(a_notification())
            problems.append((str(caught.value), caught.value.retriable, caught.value.retry_after_s))
        await sink.close()
    assert problems == [
        ("answer 404: no_service", True, None),
        ("answer 400: invalid_blocks", False, None),
        ("answer 429", True, 30.0),
    ]
