from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from fake_worker import FakeWorker, make_alert, make_graph, make_partition
from prometheus_client.parser import text_string_to_metric_families

from anomaly_app.errors import SettingsError
from anomaly_app.web import serve, server

Client = TestClient[Any, Any]


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
async def client(worker: FakeWorker) -> AsyncIterator[Client]:
    async with TestClient(TestServer(server.create_app(worker, "127.0.0.1"))) as client:
        yield client


async def test_the_page_and_its_files_are_served_and_allow_no_foreign_code(client: Client) -> None:
    page = await client.get("/")
    text = await page.text()
    assert page.status == 200 and page.content_type == "text/html"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';") and "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    for name, content_type in [("page.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")]:
        assert f"/static/{name}" in text
        file = await client.get(f"/static/{name}")
        assert (file.status, file.content_type) == (200, content_type)
    assert "http://" not in text and "https://" not in text


@pytest.mark.parametrize("name", ["server.py", "..%2Fserver.py", "..%2f..%2fsettings.py", "page", ""])
async def test_nothing_but_the_page_s_files_is_served(client: Client, name: str) -> None:
    response = await client.get(f"/static/{name}")
    assert response.status == 404
    assert await response.json() == {"error": {"status": 404, "message": "Not Found"}}


async def test_status_adds_up_the_partitions(client: Client, worker: FakeWorker) -> None:
    worker.assigned = [
        make_partition(0, rows=10, rows_per_s=2.5, lag=7, watermark_ms=2_000, late=1),
        make_partition(1, rows=5, rows_per_s=0.5, watermark_ms=1_000),
    ]
    worker.counts = {"attempts-given-up": 3}
    worker.feed.publish(make_alert(1))
    status = await (await client.get("/api/status")).json()
    assert (status["rows"], status["rows_per_s"], status["lag"], status["watermark_ms"]) == (15, 3.0, 7, 1_000)
    assert (status["ready"], status["healthy"], status["reason"], status["alerts"]) == (True, True, "", 1)
    assert status["counters"] == {"attempts-given-up": 3}
    assert status["partitions"][0]["late"] == 1 and status["partitions"][1]["lag"] is None


async def test_status_of_a_worker_without_partitions_is_unknown_not_zero(client: Client, worker: FakeWorker) -> None:
    worker.state = (False, "recovering: 3 of 8 partitions")
    status = await (await client.get("/api/status")).json()
    assert status["lag"] is None and status["watermark_ms"] is None
    assert status["reason"] == "recovering: 3 of 8 partitions"


async def test_jobs(client: Client) -> None:
    (job,) = (await (await client.get("/api/jobs")).json())["jobs"]
    assert job["name"] == "unusual_sales" and job["queries"][0]["sink"] == "flink.unusual.sales.records"
    assert job["lookups"][0]["table"] == "limits"


async def test_alerts_come_newest_first_and_limited(client: Client, worker: FakeWorker) -> None:
    for number in range(150):
        worker.feed.publish(make_alert(number))
    alerts = (await (await client.get("/api/alerts?limit=2")).json())["alerts"]
    assert [alert["source"]["offset"] for alert in alerts] == [149, 148]
    assert alerts[0]["explanation"].startswith("user_id user-149 at ")
    assert len((await (await client.get("/api/alerts")).json())["alerts"]) == 100
    assert len((await (await client.get("/api/alerts?limit=1000")).json())["alerts"]) == 150


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "ten", "", "1.5", "٣", "99999999999999999999", "+5", " 5"])
async def test_a_wrong_limit_is_refused(client: Client, limit: str) -> None:
    response = await client.get("/api/alerts", params={"limit": limit})
    assert response.status == 400
    assert (await response.json())["error"]["message"] == "limit must be a whole number from 1 to 1000"


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_checks_answer_503_with_the_reason(client: Client, worker: FakeWorker, path: str) -> None:
    assert (await client.get(path)).status == 200
    worker.state = worker.health = (False, "the broker is gone")
    response = await client.get(path)
    assert response.status == 503
    assert await response.json() == {"ok": False, "reason": "the broker is gone"}


async def test_a_recovering_worker_is_healthy(client: Client, worker: FakeWorker) -> None:
    worker.state = (False, "recovering")
    assert (await client.get("/health")).status == 200


async def test_metrics(client: Client, worker: FakeWorker) -> None:
    worker.assigned = [
        make_partition(3, rows=10, lag=7, watermark_ms=1_500, buffered=4, late=1, dead_letters=2, duplicates=5),
        make_partition(4),
    ]
    worker.counts = {"rows per key": 3}
    worker.state = (False, "recovering")
    worker.feed.publish(make_alert(1))
    response = await client.get("/metrics")
    assert response.content_type == "text/plain"
    samples = {
        (sample.name, sample.labels.get("partition", sample.labels.get("reason", ""))): sample.value
        for family in text_string_to_metric_families(await response.text())
        for sample in family.samples
    }
    assert all(name.startswith("anomaly_") for name, _ in samples)
    expected = {
        "rows_total": 10,
        "lag_records": 7,
        "watermark_timestamp_seconds": 1.5,
        "buffered_rows": 4,
        "late_rows_total": 1,
        "rejected_rows_total": 0,
        "dead_letters_total": 2,
        "duplicate_rows_total": 5,
    }
    assert {name: samples[f"anomaly_{name}", "3"] for name in expected} == expected
    assert ("anomaly_lag_records", "4") not in samples and ("anomaly_watermark_timestamp_seconds", "4") not in samples
    assert samples["anomaly_events_total", "rows per key"] == 3
    assert samples["anomaly_alerts_total", ""] == 1
    assert samples["anomaly_lookup_rows", ""] == 7
    assert samples["anomaly_ready", ""] == 0 and samples["anomaly_healthy", ""] == 1
    assert samples["anomaly_process_resident_memory_bytes", ""] > 0


async def test_metrics_of_flushes(client: Client, worker: FakeWorker) -> None:
    for seconds in (0.004, 0.004, 0.3, 90.0):
        worker.flushed.add(seconds)
    text = await (await client.get("/metrics")).text()
    samples = {
        sample.name + sample.labels.get("le", ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("anomaly_flush_")
    }
    assert samples["anomaly_flush_seconds_bucket0.005"] == samples["anomaly_flush_seconds_bucket0.25"] == 2
    assert samples["anomaly_flush_seconds_bucket0.5"] == samples["anomaly_flush_seconds_bucket60.0"] == 3
    assert samples["anomaly_flush_seconds_bucket+Inf"] == samples["anomaly_flush_seconds_count"] == 4
    assert samples["anomaly_flush_seconds_sum"] == pytest.approx(90.308)


async def test_the_graph_of_each_query(client: Client, worker: FakeWorker) -> None:
    worker.drawn = [make_graph(n2=3)]
    (graph,) = (await (await client.get("/api/graph")).json())["graphs"]
    assert (graph["job"], graph["query"]) == ("unusual_sales", "busy")
    assert [node["inputs"] for node in graph["nodes"]] == [[], ["source 1"], ["exchange"], ["1"], ["1"], ["2", "3"]]
    assert graph["nodes"][3]["late"] == 3 and graph["nodes"][3]["lag"] is None and graph["nodes"][0]["lag"] == 7


async def test_metrics_of_nodes(client: Client, worker: FakeWorker) -> None:
    worker.drawn = [make_graph(n2=3)]
    text = await (await client.get("/metrics")).text()
    samples = {
        (sample.name, sample.labels["node"]): (sample.value, sample.labels["title"])
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("anomaly_node_")
    }
    title = "Aggregate windows of 10 seconds by user_id"
    assert samples["anomaly_node_rows_total", "2"] == (3_000, title)
    assert samples["anomaly_node_late_rows_total", "2"] == (3, title)
    assert samples["anomaly_node_watermark_timestamp_seconds", "2"] == (1_752_156_412, title)
    assert samples["anomaly_node_rows_total", "source 1"] == (6_000, "sales")


async def test_metrics_are_labelled_by_names_of_peoples_own(client: Client, worker: FakeWorker) -> None:
    generated = "anomaly-job-sales-user_id-21107e0a-0c5b1a77-repartition"
    worker.assigned = [
        make_partition(3, queries=("unusual", "rare")),
        make_partition(3, queries=("unusual", "rare"), topic=generated, repartitioned=True),
    ]
    text = await (await client.get("/metrics")).text()
    assert generated not in text
    labels = [
        sample.labels
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "anomaly_rows_total"
    ]
    own = {"job": "unusual_sales", "query": "unusual,rare", "topic": "flink.sales.records", "partition": "3"}
    assert labels == [{**own, "stage": "source"}, {**own, "stage": "repartition"}]


async def test_metrics_in_the_open_format(client: Client, worker: FakeWorker) -> None:
    response = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.content_type == "application/openmetrics-text"
    assert (await response.text()).endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/", "/api/status", "/api/alerts", "/api/alerts/stream", "/metrics"])
async def test_head_answers_without_a_body_and_other_methods_are_refused(client: Client, path: str) -> None:
    head = await client.head(path)
    assert head.status == 200 and await head.read() == b""
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        response = await client.request(method, path)
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"
        assert (await response.json())["error"]["status"] == 405


async def read_event(response: aiohttp.ClientResponse) -> dict[str, str]:
    async with asyncio.timeout(5):
        lines = (await response.content.readuntil(b"\n\n")).decode().splitlines()
    return dict(line.split(": ", 1) for line in lines if line)


async def test_alerts_stream_as_they_come(client: Client, worker: FakeWorker) -> None:
    async with client.get("/api/alerts/stream") as response:
        assert response.content_type == "text/event-stream"
        assert await read_event(response) == {"retry": "2000"}
        alert = make_alert(5, explanation="two\nlines")
        worker.feed.publish(alert)
        event = await read_event(response)
        assert event["id"] == alert.id
        assert json.loads(event["data"])["explanation"] == "two\nlines"
    worker.feed.publish(make_alert(6))


async def test_a_reader_that_comes_back_gets_what_it_missed(client: Client, worker: FakeWorker) -> None:
    alerts = [make_alert(number) for number in range(4)]
    for alert in alerts:
        worker.feed.publish(alert)
    async with client.get("/api/alerts/stream", headers={"Last-Event-ID": alerts[1].id}) as response:
        await read_event(response)
        assert [(await read_event(response))["id"] for _ in range(2)] == [alerts[2].id, alerts[3].id]


async def test_silence_is_broken_by_comments(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.02)
    async with client.get("/api/alerts/stream") as response:
        await read_event(response)
        assert await read_event(response) == {"": "alive"}
        assert await read_event(response) == {"": "alive"}


async def test_a_slow_reader_is_told_how_many_it_lost(worker: FakeWorker) -> None:
    worker = FakeWorker(queue=2)
    async with TestClient[Any, Any](TestServer(server.create_app(worker, "127.0.0.1"))) as client:
        async with client.get("/api/alerts/stream") as response:
            await read_event(response)
            for number in range(5):
                worker.feed.publish(make_alert(number))
            assert await read_event(response) == {"event": "dropped", "data": '{"count":3}'}
            assert [(await read_event(response))["id"] for _ in range(2)] == [make_alert(n).id for n in (3, 4)]


async def test_readers_that_leave_are_forgotten(client: Client, worker: FakeWorker, monkeypatch: Any) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.02)
    async with client.get("/api/alerts/stream") as response:
        await read_event(response)
        assert worker.feed.readers == 1
    async with asyncio.timeout(5):
        while worker.feed.readers:  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0.01)


async def test_streams_end_when_the_server_stops(worker: FakeWorker) -> None:
    running = await serve(worker, "127.0.0.1", 0)
    async with aiohttp.ClientSession() as session, session.get(running.url + "api/alerts/stream") as response:
        await read_event(response)
        async with asyncio.timeout(1):
            await running.cleanup()
        assert await response.content.read() == b""
    assert worker.feed.readers == 0


@pytest.mark.parametrize("host", ["localhost:{}", "127.0.0.1:{}", "[::1]:{}", "LOCALHOST:{}", "localhost"])
async def test_loopback_names_are_answered(client: Client, host: str) -> None:
    response = await client.get("/api/status", headers={"Host": host.format(client.port)})
    assert response.status == 200


@pytest.mark.parametrize(
    "host", ["evil.example:{}", "localhost.evil.example:{}", "10.0.0.1:{}", "127.0.0.1.nip.io", "::1"]
)
@pytest.mark.parametrize("path", ["/", "/api/alerts", "/api/alerts/stream", "/metrics", "/nothing"])
async def test_foreign_names_are_refused_on_loopback(client: Client, host: str, path: str) -> None:
    response = await client.get(path, headers={"Host": host.format(client.port)})
    assert response.status == 403
    assert "localhost" in (await response.json())["error"]["message"]


async def test_any_name_is_answered_elsewhere(worker: FakeWorker) -> None:
    async with TestClient[Any, Any](TestServer(server.create_app(worker, "0.0.0.0"))) as client:
        assert (await client.get("/api/status", headers={"Host": "monitor.example:6066"})).status == 200


async def test_a_failure_is_an_error_in_json_without_its_details(
    client: Client, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(worker, "partitions", fail)
    response = await client.get("/api/status")
    assert response.status == 500
    assert "secret" not in await response.text()
    assert "secret detail" in caplog.text


async def test_a_taken_port_is_a_settings_error(worker: FakeWorker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            SettingsError, match=rf"web\.port \(from command line\): port {port} of 127.0.0.1 is in use"
        ):
            await serve(worker, "127.0.0.1", port, origin="command line")


async def test_an_address_of_another_machine_is_a_settings_error(worker: FakeWorker) -> None:
    with pytest.raises(SettingsError, match=r"web\.bind .*'192\.0\.2\.1'"):
        await serve(worker, "192.0.2.1", 0)


async def test_the_port_that_was_bound_is_told(worker: FakeWorker) -> None:
    running = await serve(worker, "127.0.0.1", 0)
    assert running.port > 0 and running.url == f"http://127.0.0.1:{running.port}/"
    await running.cleanup()
