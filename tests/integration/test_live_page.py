"""What a live worker shows: when it is ready, alerts as they come, and to whom."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sales_run import Broker, Run, sale_rows, status_of, until

from anomaly_app.testing.broker import EmbeddedBroker


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with EmbeddedBroker() as embedded:
        yield Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic))


def test_ready_stream_and_address(broker: Broker, tmp_path: Path) -> None:
    run = Run(broker, tmp_path, "live")
    with run.start() as worker:
        seen: list[int] = []
        deadline = time.monotonic() + 30
        while 200 not in seen and time.monotonic() < deadline:
            status = status_of(worker, "/ready")
            if status == 503:
                assert status_of(worker, "/health") == 200
                answer = worker.get("/ready")
                assert answer["ok"] or answer["reason"]  # it may have become ready in between
            if not seen or seen[-1] != status:
                seen.append(status)
            time.sleep(0.01)
        assert seen == [0, 503, 200], worker.output
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(worker.process.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening == ["127.0.0.1"]
        for path in ("/table/", "/router/", "/stats/"):
            assert status_of(worker, path) == 404
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/api/alerts/stream", timeout=20) as stream:
            run.send(sale_rows(2_000, seed=10))
            lines = iter(stream.readline, b"")
            data = next(line for line in lines if line.startswith(b"data: "))
        alert = json.loads(data.removeprefix(b"data: "))
        assert alert["job"] == "live" and alert["explanation"] and alert["rows"]
        [shown] = [a for a in worker.get("/api/alerts?limit=1000")["alerts"] if a["id"] == alert["id"]]
        assert shown == alert

        def nodes() -> list[dict[str, Any]]:
            (graph,) = worker.get("/api/graph")["graphs"]
            found: list[dict[str, Any]] = graph["nodes"]
            return found

        until(lambda: nodes()[1]["rows"] == 2_000, worker, "all rows have come through")
        source, exchange, match = nodes()
        assert [node["kind"] for node in (source, exchange, match)] == ["source", "exchange", "operator"]
        assert match["inputs"] == ["exchange"] and match["title"].startswith("Match (T+? U)") and match["rows"] > 0
        assert source["rows"] == 2_000 and source["late"] == match["late"] == 0
        begin = time.monotonic()
        assert worker.stop() == 0, worker.output
        assert time.monotonic() - begin < 20
