from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from fake_delivery import FakeDelivery
from prometheus_client.parser import text_string_to_metric_families

from anomaly_app.delivery.acks import ack_link
from anomaly_app.web import delivery

Client = TestClient[Any, Any]
SILENCE = {"matchers": ['user_id="ann"'], "duration": "2h", "created_by": "bo", "comment": "moves"}
ID = "0e1f" * 8


@pytest.fixture
def status() -> FakeDelivery:
    return FakeDelivery()


@pytest.fixture
async def client(status: FakeDelivery) -> AsyncIterator[Client]:
    async with TestClient(TestServer(delivery.create_app(status, "127.0.0.1", signing_key="key"))) as client:
        yield client


@pytest.fixture
async def guarded(status: FakeDelivery) -> AsyncIterator[Client]:
    """One that wants a token."""
    async with TestClient(TestServer(delivery.create_app(status, "0.0.0.0", token="t-1"))) as client:
        yield client


async def error_of(response: Any) -> str:
    return str((await response.json())["error"]["message"])


# --- reading ------------------------------------------------------------------------------------------


async def test_the_page_and_its_files_are_served_and_allow_no_foreign_code(client: Client) -> None:
    page = await client.get("/")
    text = await page.text()
    assert page.status == 200 and page.content_type == "text/html"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';") and "unsafe" not in policy
    assert "<script>" not in text and " on" not in re.sub(r">[^<]*<", "><", text)
    for name in re.findall(r'"(/static/[^"]+)"', text):
        assert (await client.get(name)).status == 200
    script = await (await client.get("/static/delivery.js")).text()
    assert "innerHTML" not in script
    for name in re.findall(r'\$\("([^"]+)"\)', script):
        assert f'id="{name}"' in text, name


async def test_status_has_all_that_the_page_shows(client: Client, status: FakeDelivery) -> None:
    shown = await (await client.get("/api/status")).json()
    assert shown["state"] == "active" and shown["ready"] and shown["lag"] == 7
    assert [way["name"] for way in shown["receivers"]] == ["ops/slack/0", "ops/slack/1"]
    assert shown["groups"][0]["labels"] == {"user_id": "<b>ann</b>"}
    assert shown["fates"] == {"sent": 3, "waiting": 2} and shown["group_count"] == 1
    status.reason = "reading the state"
    ready = await client.get("/ready")
    assert (ready.status, (await ready.json())["reason"]) == (503, "reading the state")
    assert (await client.get("/health")).status == 200


async def test_metrics_are_those_that_dashboards_ask_for(client: Client, status: FakeDelivery) -> None:
    status.problem = "answer 500"
    text = await (await client.get("/metrics")).text()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["anomaly_delivery_alerts_total", ("fate", "sent")] == 3
    assert ("anomaly_delivery_alerts_total", ("fate", "waiting")) not in samples, "a counter does not fall"
    assert samples["anomaly_delivery_waiting",] == 2
    assert samples["anomaly_receiver_up", ("receiver", "ops"), ("sink", "slack")] == 0
    assert samples["anomaly_receiver_up", ("receiver", "ops"), ("sink", "slack/1")] == 0
    assert samples["anomaly_outbox", ("receiver", "ops")] == 8
    assert samples["anomaly_delivery_lag_records",] == 7
    assert samples["anomaly_delivery_groups",] == 1
    assert samples["anomaly_delivery_active",] == 1
    assert samples["anomaly_archive_files_total",] == 2
    assert samples["anomaly_archive_pending_bytes",] == 11
    status.state = "standby"
    text = await (await client.get("/metrics")).text()
    assert "anomaly_delivery_active 0.0" in text and "\nanomaly_delivery_lag_records" not in text


# --- silences -----------------------------------------------------------------------------------------


async def test_a_silence_is_added_listed_and_ended(client: Client, status: FakeDelivery) -> None:
    added = await client.post("/api/silences", json=SILENCE)
    document = await added.json()
    assert (added.status, document["state"], document["matchers"]) == (201, "active", ['user_id="ann"'])
    assert (await (await client.get("/api/silences")).json())["silences"] == [document]
    assert (await client.delete(f"/api/silences/{document['id']}")).status == 200
    assert (await client.delete(f"/api/silences/{document['id']}")).status == 404
    assert not status.kept


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"matchers": []}, "matchers"),
        ({"matchers": ["user_id"]}, "expected =, !=, =~ or !~"),
        ({"matchers": ["user_id=~.*"]}, "a matcher that an alert without the label does not fulfil"),
        ({"matchers": ["a=b"] * 51}, "from 1 to 50"),
        ({"duration": "soon"}, "should be a duration"),
        ({"duration": ""}, "needs a duration"),
        ({"duration": "9000h"}, "a year at most"),
        ({"ends_at": "2001-01-01"}, "needs a duration"),
        ({"duration": "", "ends_at": "2001-01-01"}, "would have ended already"),
        ({"duration": "", "ends_at": "tomorrow"}, "should be a time"),
        ({"comment": ""}, "created_by and comment"),
        ({"comment": "x" * 2_001}, "at most 2000 characters"),
        ({"created_by": "\x1b[31m"}, "none that control a terminal"),
        ({"matcher": "a=b"}, "unknown field"),
        ({"matchers": "a=b"}, "Expected `array`"),
    ],
)  # fmt: skip
async def test_what_a_silence_cannot_be_is_said(
    client: Client, status: FakeDelivery, changes: dict[str, Any], said: str
) -> None:
    answer = await client.post("/api/silences", json=SILENCE | changes)
    assert answer.status == 400 and said in await error_of(answer)
    assert not status.kept


async def test_bodies_are_bounded_and_must_be_json(client: Client, status: FakeDelivery) -> None:
    answer = await client.post("/api/silences", json=SILENCE | {"comment": "x" * 100_000})
    assert answer.status == 413
    assert (await client.post("/api/silences", data="{", headers={"Content-Type": "application/json"})).status == 400
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await client.post(
            "/api/silences", data=b'{"matchers": ["a=b"]}', headers={"Content-Type": content_type}
        )
        assert answer.status == 415
    assert not status.kept


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
    ],
)
async def test_a_page_of_another_site_changes_nothing(
    client: Client, status: FakeDelivery, headers: dict[str, str]
) -> None:
    assert (await client.post("/api/silences", json=SILENCE, headers=headers)).status == 403
    assert (await client.delete("/api/silences/x", headers=headers)).status == 403
    assert (await client.post(f"/api/alerts/{ID}/ack", headers=headers)).status == 403
    assert not status.kept and not status.acked


async def test_a_token_is_needed_where_one_is_set(guarded: Client, status: FakeDelivery) -> None:
    for headers in ({}, {"Authorization": "Bearer t-2"}, {"Authorization": "t-1"}, {"Authorization": "Basic t-1"}):
        answer = await guarded.post("/api/silences", json=SILENCE, headers=headers)
        assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        assert "t-1" not in await answer.text()
    good = {"Authorization": "Bearer t-1", "Host": "alerts.example"}
    assert (await guarded.post("/api/silences", json=SILENCE, headers=good)).status == 201
    assert (await guarded.get("/api/silences")).status == 200, "everybody may read"


async def test_without_a_token_only_this_machine_may(status: FakeDelivery) -> None:
    async with TestClient(TestServer(delivery.create_app(status, "0.0.0.0"))) as client:
        answer = await client.post("/api/silences", json=SILENCE, headers={"Host": "alerts.example"})
        assert answer.status == 403 and "delivery.token" in await error_of(answer)
        assert (await client.post("/api/silences", json=SILENCE)).status == 201


async def test_a_broker_that_is_away_is_said(client: Client, status: FakeDelivery) -> None:
    status.broker_is_away = True
    answers = [
        await client.post("/api/silences", json=SILENCE),
        await client.delete("/api/silences/x"),
        await client.post(f"/api/alerts/{ID}/ack"),
    ]
    assert [answer.status for answer in answers] == [503] * 3


# --- acknowledgements ---------------------------------------------------------------------------------


async def test_an_alert_is_acknowledged_with_or_without_words(client: Client, status: FakeDelivery) -> None:
    assert (await client.post(f"/api/alerts/{ID}/ack")).status == 200
    assert (await client.post(f"/api/alerts/{ID}/ack", json={"by": "ann", "comment": "mine"})).status == 200
    assert [(ack.alert, ack.by, ack.comment) for ack in status.acked] == [(ID, "api", ""), (ID, "ann", "mine")]
    assert (await client.post(f"/api/alerts/{ID}/ack", json={"who": "ann"})).status == 400
    assert (await client.post("/api/alerts/%2e%2e%2fx/ack")).status in (400, 404)


async def test_a_link_asks_first_and_acknowledges_by_its_button(client: Client, status: FakeDelivery) -> None:
    link = ack_link("http://x/", "key", ID, 'o"ps<', time.time_ns() // 1_000_000).removeprefix("http://x")
    for method in ("GET", "HEAD"):
        answer = await client.request(method, link)
        assert answer.status == 200 and "form-action 'self'" in answer.headers["Content-Security-Policy"]
    text = await (await client.get(link)).text()
    assert '<form method="post">' in text and "<script" not in text
    assert not status.acked, "programs that look at links acknowledge nothing"
    # A browser says that a form of a page without referrer is of nowhere.
    answer = await client.post(link, data={}, headers={"Origin": "null"})
    assert answer.status == 200 and "Acknowledged" in await answer.text()
    assert [(ack.alert, ack.by) for ack in status.acked] == [(ID, 'o"ps<')]
    again = await (await client.get(link)).text()
    assert "<form" not in again and "o&quot;ps&lt;" in again


async def test_a_link_of_another_alert_person_time_or_key_is_refused(client: Client, status: FakeDelivery) -> None:
    now_ms = time.time_ns() // 1_000_000
    good = ack_link("http://x/", "key", ID, "ops", now_ms).removeprefix("http://x")
    old = ack_link("http://x/", "key", ID, "ops", now_ms - 8 * 24 * 3_600_000).removeprefix("http://x")
    wrong = [
        good.replace(ID, "1" * 32),
        good.replace("by=ops", "by=eve"),
        re.sub(r"until=\d+", "until=99999999999999", good),
        re.sub(r"until=\d+", "until=x", good),
        good[:-1],
        good.partition("?")[0],
        ack_link("http://x/", "other", ID, "ops", now_ms).removeprefix("http://x"),
        old,
    ]
    for link in wrong:
        for method in ("GET", "POST"):
            answer = await client.request(method, link)
            assert answer.status == 403 and "cannot be used" in await answer.text()
    assert "This link was good until" in await (await client.get(old)).text()
    assert not status.acked


async def test_without_a_key_no_link_is_good(guarded: Client, status: FakeDelivery) -> None:
    link = ack_link("http://x/", "k", ID, "ops", time.time_ns() // 1_000_000).removeprefix("http://x")
    assert (await guarded.post(link)).status == 403
    assert not status.acked
