from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from notifications import an_alert, incoming

from anomaly_app.delivery.notification import Incoming
from anomaly_app.errors import OptionError, SinkError
from anomaly_app.settings.delivery import InfluxdbSink
from anomaly_app.sinks import influxdb as module
from anomaly_app.sinks.influxdb import NO_TIME, Influxdb
from anomaly_app.testing.receivers import FailingReceiver, error


def sink(url: str, **settings: Any) -> Influxdb:
    return Influxdb(InfluxdbSink.model_validate({"url": url, **settings}))


@pytest.mark.parametrize(
    ("settings", "path", "authorization"),
    [
        ({}, "/write?db=alerts&precision=ns", ""),
        (
            {"username": "ann", "password": "secret", "retention_policy": "week"},
            "/write?db=alerts&precision=ns&rp=week",
            "Basic YW5uOnNlY3JldA==",
        ),
        (
            {"version": 2, "database": "a&b c", "org": "shop", "token": "t0k"},
            "/api/v2/write?bucket=a%26b+c&precision=ns&org=shop",
            "Token t0k",
        ),
        ({"version": 3, "token": "t0k"}, "/api/v3/write_lp?db=alerts&precision=nanosecond", "Bearer t0k"),
    ],
)
async def test_the_forms_of_the_versions(settings: dict[str, Any], path: str, authorization: str) -> None:
    async with FailingReceiver() as receiver:
        receiver[path.partition("?")[0]].always = error(204, "")
        one = sink(f"{receiver.url}/", **settings)
        assert await one.write(incoming(an_alert(0), an_alert(1)), 0) == []
        await one.close()
        [request] = receiver[path.partition("?")[0]].requests
    assert request.path == path and request.headers.get("authorization", "") == authorization
    assert request.body.count(b"\n") == 1 and request.body.startswith(b"anomaly_alerts,job=")


class FakeInflux:
    """Takes lines but those that hold a word, and says so as a version does."""

    def __init__(self, answer: Callable[[list[str], list[int]], tuple[int, Any]]) -> None:
        self.kept: set[str] = set()
        self.requests = 0
        self._answer = answer
        self.url = ""

    async def __aenter__(self) -> FakeInflux:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._write)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._runner.cleanup()

    async def _write(self, request: web.Request) -> web.Response:
        self.requests += 1
        lines = (await request.text()).split("\n")
        bad = [place for place, line in enumerate(lines) if "BAD" in line]
        self.kept |= {line for line in lines if "BAD" not in line}
        if not bad:
            return web.Response(status=204)
        status, content = self._answer(lines, bad)
        return web.Response(status=status, text=json.dumps(content), content_type="application/json")


def version_1(lines: list[str], bad: list[int]) -> tuple[int, Any]:
    return 400, {"error": f"partial write: field type conflict: input field dropped={len(bad)}"}


def version_1_unparsable(lines: list[str], bad: list[int]) -> tuple[int, Any]:
    return 400, {"error": f"partial write: unable to parse '{lines[bad[0]]}': missing field value dropped=0"}


def version_2(lines: list[str], bad: list[int]) -> tuple[int, Any]:
    return 422, {"code": "unprocessable entity", "message": "failure writing points to database: partial write"}


def version_3(lines: list[str], bad: list[int]) -> tuple[int, Any]:
    data = [{"line_number": place + 1, "original_line": lines[place], "error_message": "wrong type"} for place in bad]
    return 400, {"error": "partial write of line protocol occurred", "data": data}


def alerts_with(bad: set[int], count: int) -> list[Incoming]:
    return incoming(*[an_alert(number, explanation="BAD" if number in bad else "good") for number in range(count)])


@pytest.mark.parametrize("answer", [version_1, version_1_unparsable, version_2, version_3])
@pytest.mark.parametrize("bad", [{0}, {99}, {3, 4, 50, 98}, set(range(100))])
async def test_only_what_is_refused_is_given_back(answer: Callable[..., Any], bad: set[int]) -> None:
    async with FakeInflux(answer) as server:
        one = sink(server.url, version=3 if answer is version_3 else 1)
        alerts = alerts_with(bad, 100)
        refused = await one.write(alerts, 0)
        await one.close()
    assert sorted(alert.offset for alert, _ in refused) == sorted(bad)
    assert len(server.kept) == 100 - len(bad)
    assert all(why and "\n" not in why for _, why in refused)
    if answer is version_3 or (answer is version_1 and len(bad) == 100):
        assert server.requests == 1


async def test_a_time_that_influxdb_does_not_have_costs_that_alert_only() -> None:
    async with FakeInflux(version_1) as server:
        one = sink(server.url)
        alerts = incoming(an_alert(0), an_alert(1, event_time=str(10**17)))
        assert await one.write(alerts, 0) == [(alerts[1], NO_TIME)]
        await one.close()
    assert len(server.kept) == 1


async def test_batches_by_size_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeInflux(version_1) as server:
        one = sink(server.url, batch_size=40)
        assert one.batch_size == 40 and one.batch_wait_ms == 1_000
        await one.write(alerts_with(set(), 100), 0)
        assert server.requests == 3
        monkeypatch.setattr(module, "MOST_BYTES", 1)
        await one.write(alerts_with(set(), 7), 0)
        await one.close()
    assert server.requests == 10 and len(server.kept) == 100


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, '{"error":"database not found: \\"alerts\\""}'),
        (401, '{"error":"no"}'),
        (500, ""),
        (405, "what"),
        (302, ""),
    ],
)
async def test_an_outage_is_no_refusal(status: int, body: str) -> None:
    async with FailingReceiver() as receiver:
        receiver["/write"].always = error(status, body)
        one = sink(receiver.url, username="ann", password="hunter2hunter2")
        with pytest.raises(SinkError) as caught:
            await one.write(alerts_with(set(), 3), 0)
        await one.close()
    assert caught.value.retriable and len(receiver["/write"].requests) == 1
    assert "hunter2" not in str(caught.value) and "hunter2" not in repr(vars(one))
    if status == 404:
        assert str(caught.value) == 'answer 404: {"error":"database not found: \\"alerts\\""}'


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"url": ""}, "url"),
        ({"url": "localhost:8086"}, "url"),
        ({"database": ""}, "database"),
        ({"measurement": "#a"}, "measurement"),
        ({"measurement": ""}, "measurement"),
        ({"tags": ["a=b.c"]}, "tags"),
        ({"fields": ["time"]}, "fields"),
        ({"token": "t", "username": "ann"}, "token"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError) as caught:
        sink(**{"url": "http://x", **settings})
    assert caught.value.option == option
