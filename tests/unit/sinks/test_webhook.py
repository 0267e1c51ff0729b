from __future__ import annotations

import hashlib
import hmac
import json
import logging
import ssl
import traceback
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from certificates import Certificate
from notifications import a_notification, an_alert, told

from anomaly_app.errors import SinkError
from anomaly_app.settings.delivery import WebhookSink
from anomaly_app.sinks.messages import Messages
from anomaly_app.sinks.webhook import Webhook
from anomaly_app.testing.receivers import DIE, HALF, HANG, FailingReceiver, error, redirect

SECRET_PATH = "/hooks/T0SECRET/B0SECRET"


@pytest.fixture
async def receiver() -> AsyncIterator[FailingReceiver]:
    async with FailingReceiver() as running:
        yield running


def webhook(receiver: FailingReceiver, **settings: object) -> Webhook:
    parsed = WebhookSink.model_validate({"url": receiver.url + SECRET_PATH, "timeout": "2s", **settings})
    return Webhook(parsed, Messages(parsed, link="http://page/"), "anomaly-delivery")


async def failure(sink: Webhook) -> SinkError:
    try:
        with pytest.raises(SinkError) as caught:
            await sink.send(a_notification())
    finally:
        await sink.close()
    return caught.value


async def test_the_form_of_alertmanagers_webhook(receiver: FailingReceiver) -> None:
    sink = webhook(receiver, secret="k3y", token="t0ken", headers={"X-Team": "fraud"})
    over = told(an_alert(1, key={"userId": "user002"}), status="resolved")
    await sink.send(a_notification(told(an_alert(), count=3), over, more=4))
    await sink.close()
    [request] = receiver[SECRET_PATH].requests
    body = request.json()
    assert body["version"] == "4" and body["status"] == "firing" and body["receiver"] == "ops"
    assert body["groupKey"] == "g-1" and body["truncatedAlerts"] == 4 and body["externalURL"] == "http://page/"
    assert body["commonLabels"] == {
        "job": "unusual_transactions",
        "query": "unusual_transactions",
        "type": "selection",
        "severity": "high",
    }
    one, two = body["alerts"]
    assert one["labels"]["userId"] == "user001" and one["labels"]["alertname"] == "unusual_transactions"
    assert (one["status"], one["endsAt"]) == ("firing", "0001-01-01T00:00:00Z")
    assert (two["status"], two["endsAt"]) == ("resolved", "2025-11-27T19:05:00.000Z")
    assert one["startsAt"] == "2025-11-27T19:00:00.000Z" and one["annotations"]["description"].startswith(
        "userId user001"
    )
    assert one["annotations"]["max_amount"] == "12345.67" and one["annotations"]["deviation"].startswith(
        "max_amount 12,345"
    )
    assert body["commonAnnotations"]["title"].startswith("[HIGH] 8 Transaction Anomaly Alerts - User user001")
    expected = "sha256=" + hmac.new(b"k3y", request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-anomaly-signature"] == expected
    assert request.headers["authorization"] == "Bearer t0ken"
    assert request.headers["x-team"] == "fraud" and request.key == "n-1"


async def test_a_header_of_the_settings_is_not_sent_twice(receiver: FailingReceiver) -> None:
    sink = webhook(receiver, headers={"content-type": "text/plain", "USER-AGENT": "ours"})
    await sink.send(a_notification())
    await sink.close()
    [request] = receiver[SECRET_PATH].requests
    assert request.headers["content-type"] == "application/json" and request.headers["user-agent"] == "ours"


async def test_cloudevents(receiver: FailingReceiver) -> None:
    sink = webhook(receiver, form="cloudevents")
    await sink.send(a_notification())
    await sink.close()
    [request] = receiver[SECRET_PATH].requests
    assert request.headers["content-type"] == "application/cloudevents+json"
    event = request.json()
    assert {name: event[name] for name in ("specversion", "id", "source", "type", "subject", "time")} == {
        "specversion": "1.0",
        "id": "n-1",
        "source": "/anomaly/anomaly-delivery",
        "type": "anomaly.notification.firing",
        "subject": "g-1",
        "time": "2025-11-27T19:00:01.000Z",
    }
    assert event["data"]["alerts"][0]["payload"]["max_amount"] == 12_345.67


async def test_plain_alerts(receiver: FailingReceiver) -> None:
    sink = webhook(receiver, form="alert")
    await sink.send(a_notification())
    await sink.close()
    [alert] = receiver[SECRET_PATH].requests[0].json()
    assert alert["id"] == an_alert().id and alert["status"] == "firing" and alert["key"] == {"userId": "user001"}


async def test_a_repeat_has_the_same_bytes_and_key(receiver: FailingReceiver) -> None:
    receiver[SECRET_PATH].plan(DIE)
    sink = webhook(receiver)
    with pytest.raises(SinkError, match="closed the connection before it answered"):
        await sink.send(a_notification())
    await sink.send(a_notification())
    await sink.close()
    box = receiver[SECRET_PATH]
    assert box.doubles == {"n-1": 1} and len(box.kept) == 1
    assert box.requests[0].body == box.requests[1].body


@pytest.mark.parametrize(
    ("status", "retriable"),
    [(500, True), (503, True), (408, True), (401, True), (404, True), (400, False), (413, False)],
)
async def test_answers_that_say_no(receiver: FailingReceiver, status: int, retriable: bool) -> None:
    receiver[SECRET_PATH].plan(error(status, "because\nof that"))
    problem = await failure(webhook(receiver))
    assert str(problem) == f"answer {status}: because of that" and problem.retriable is retriable


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("Wed, 01 Jan 2099 00:00:00 GMT", 86_400.0), ("soon", None), ("-5", 0.0), ("nan", None)],
)
async def test_retry_after(receiver: FailingReceiver, text: str, seconds: float | None) -> None:
    receiver[SECRET_PATH].plan(error(429, retry_after=text))
    problem = await failure(webhook(receiver))
    assert problem.retriable and problem.retry_after_s == seconds


async def test_one_that_hangs_and_one_that_breaks_off(receiver: FailingReceiver) -> None:
    receiver[SECRET_PATH].plan(HANG, HALF)
    assert str(await failure(webhook(receiver, timeout="200ms"))) == "no answer within 0.2 s"
    assert "in the middle of its answer" in str(await failure(webhook(receiver)))


async def test_nobody_there(receiver: FailingReceiver) -> None:
    sink = webhook(receiver)
    await receiver.stop()
    assert str(await failure(sink)).startswith("it cannot be reached: Connect")
    named = WebhookSink.model_validate({"url": "http://no-such-host.invalid/x"})
    assert "host cannot be resolved" in str(await failure(Webhook(named, Messages(named), "d")))


async def test_redirects_are_followed_on_the_same_host_only(receiver: FailingReceiver) -> None:
    async with FailingReceiver() as other:
        receiver[SECRET_PATH].plan(redirect("/elsewhere"))
        sink = webhook(receiver)
        await sink.send(a_notification())
        assert len(receiver["/elsewhere"].kept) == 1
        for location in (f"{other.url}/x", "//127.0.0.1:1/x", "http://169.254.169.254/", ""):
            receiver[SECRET_PATH].plan(redirect(location))
            with pytest.raises(SinkError) as caught:
                await sink.send(a_notification())
            assert "169.254" not in str(caught.value) and str(other.port) not in str(caught.value)
        receiver[SECRET_PATH].plan(redirect("/elsewhere", status=302))  # it would become a GET
        with pytest.raises(SinkError, match="another address: configure that one"):
            await sink.send(a_notification())
        receiver["/round"].always = redirect("/round/about")
        receiver["/round/about"].always = redirect("/round")
        receiver[SECRET_PATH].plan(redirect("/round"))
        with pytest.raises(SinkError, match="more than 3 times"):
            await sink.send(a_notification())
        await sink.close()
        assert not other["/x"].requests


async def test_an_answer_without_end_costs_no_memory_and_counts_by_its_status() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            return response

    app = web.Application()
    app.router.add_post("/", endless)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = WebhookSink.model_validate({"url": f"http://127.0.0.1:{runner.addresses[0][1]}/"})
    sink = Webhook(settings, Messages(settings), "d")
    await sink.send(a_notification())
    await sink.close()
    await runner.cleanup()


SECRETS = ("T0SECRET", "B0SECRET", "hunter2hunter2", "t0kent0ken", "q-secret-q", "bob-the-user")


async def test_no_secret_is_told_by_anything(receiver: FailingReceiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    address = receiver.url.replace("http://", "http://bob-the-user:hunter2hunter2@") + SECRET_PATH + "?key=q-secret-q"
    settings = WebhookSink.model_validate({"url": address, "token": "", "secret": "t0kent0ken", "timeout": "200ms"})
    said = [repr(settings)]
    echo = f"no {address} {receiver.url}{SECRET_PATH} {SECRET_PATH} q-secret-q t0kent0ken hunter2hunter2"
    receiver[SECRET_PATH].plan(
        error(500, echo), error(400, echo), HANG, HALF, DIE, redirect("http://127.0.0.1:1/T0SECRET")
    )
    sink = Webhook(settings, Messages(settings), "d")
    for _ in range(6):
        await sink.close()
        with pytest.raises(SinkError) as caught:
            await sink.send(a_notification())
        said += [str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))]
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None or caught.value.__suppress_context__
    await receiver.stop()
    with pytest.raises(SinkError) as caught:
        await sink.send(a_notification())
    said += [str(caught.value), repr(sink), repr(vars(sink)), str(sink), caplog.text]
    await sink.close()
    assert not [(secret, text) for secret in SECRETS for text in said if secret in text]


async def test_certificates_are_verified(certificate: Certificate) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.file, certificate.key)
    taken: list[object] = []

    async def take(request: web.Request) -> web.Response:
        taken.append(json.loads(await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server).start()
    port = runner.addresses[0][1]
    trusting = {"url": f"https://localhost:{port}/", "ca_file": str(certificate.file)}
    for content, problem in (
        (trusting, ""),
        ({"url": f"https://localhost:{port}/"}, "its certificate is not trusted: self-signed certificate"),
        ({**trusting, "url": f"https://127.0.0.1:{port}/"}, "its certificate is not trusted: "),
    ):
        settings = WebhookSink.model_validate(content)
        sink = Webhook(settings, Messages(settings), "d")
        if problem:
            assert str(await failure(sink)).startswith(problem)
        else:
            await sink.send(a_notification())
            await sink.close()
    await runner.cleanup()
    assert len(taken) == 1
