"""Points in a real InfluxDB 1.x."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from eventually import until
from monitoring_programs import influxdb
from notifications import T0, an_alert, incoming

from anomaly_app.settings.delivery import InfluxdbSink
from anomaly_app.sinks.influxdb import Influxdb
from anomaly_app.sinks.sender import StreamSender
from anomaly_app.testing.influxdb import InfluxDB

__all__ = ["influxdb"]

NASTY = [
    "a b,c=d",
    "q\"u'o`te",
    "back\\slash",
    "C:\\",
    "\\,\\ \\=",
    "line\nbreak\ttab",
    "客户 ünï 🙂",
    "\u2028",
    "#x",
    "",
    " ",
    "\\",
]


def sink(server: InfluxDB, database: str, **settings: Any) -> Influxdb:
    return Influxdb(InfluxdbSink.model_validate({"url": server.url, "database": database, **settings}))


@pytest.fixture
def database(influxdb: InfluxDB, request: pytest.FixtureRequest) -> str:
    influxdb.execute(f'CREATE DATABASE "{request.node.name}"')
    return str(request.node.name)


async def test_the_dashboards_columns(influxdb: InfluxDB, database: str) -> None:
    one = sink(influxdb, database)
    payload = {
        "storeId": "store-001",
        "type": "SHRINKAGE",
        "message": "shrinkage sku=sku-1 sales=30.0 inventoryCounted=20 diff=10",
        "riskScore": 1.0,
    }
    alert = an_alert(key={"employId": "manager-1"}, payload=payload, score=1.0, job="shrinkage", at_ms=T0 + 7)
    assert await one.write(incoming(alert, tenant="eu"), T0) == []
    assert await one.write(incoming(alert, tenant="eu"), T0) == [], "again: the same point"
    await one.close()
    [row] = influxdb.query(database, "SELECT * FROM anomaly_alerts")
    assert row == {
        "time": T0 + 7,
        "employId": "manager-1",
        "id": alert.id,
        "job": "shrinkage",
        "kind": "SHRINKAGE",
        "message": payload["message"],
        "payload_type": "SHRINKAGE",
        "query": "unusual_transactions",
        "riskScore": 1,
        "score": 1,
        "severity": "high",
        "storeId": "store-001",
        "tenant": "eu",
        "type": "selection",
        "value": 1,
    }


async def test_whatever_stands_in_an_alert_is_one_point(influxdb: InfluxDB, database: str) -> None:
    one = sink(influxdb, database)
    alerts = [
        an_alert(number, key={"user": text, text: "x"}, payload={"text": text, text: 1.5}, explanation=text)
        for number, text in enumerate(NASTY)
    ]
    assert await one.write(incoming(*alerts), T0) == []
    await one.close()
    rows = {row["id"]: row for row in influxdb.query(database, "SELECT * FROM anomaly_alerts")}
    assert len(rows) == len(NASTY)
    for alert, text in zip(alerts, NASTY, strict=True):
        assert rows[alert.id].get("text", "") == text and rows[alert.id].get("message", "") == text
    assert [rows[alert.id].get("user") for alert in alerts] == [
        *("a b,c=d", "q\"u'o`te", "back\\slash", "C:/", "/,/ /=", "line break tab", "客户 ünï 🙂", " ", "#x"),
        *(None, " ", "/"),
    ]


async def test_only_points_of_another_type_are_given_back(influxdb: InfluxDB, database: str) -> None:
    one = sink(influxdb, database)
    await one.write(incoming(an_alert(0, payload={"qty": 3})), T0)
    odd = {7, 300, 301, 998}
    alerts = incoming(*[an_alert(n, payload={"qty": "many" if n in odd else n * 0.5}) for n in range(1, 1_001)])
    refused = await one.write(alerts, T0)
    await one.close()
    assert {alert.offset + 1 for alert, _ in refused} == odd
    assert all("field type conflict" in why and "qty" in why for _, why in refused)
    [count] = influxdb.query(database, "SELECT COUNT(value) FROM anomaly_alerts")
    assert count["count"] == 1_001 - len(odd)


async def test_what_retention_forbids_is_given_back(influxdb: InfluxDB, database: str) -> None:
    influxdb.execute(f'CREATE RETENTION POLICY "day" ON "{database}" DURATION 1d REPLICATION 1')
    one = sink(influxdb, database, retention_policy="day")
    alerts = incoming(an_alert())  # of a past year
    [(alert, why)] = await one.write(alerts, T0)
    assert alert is alerts[0] and "retention policy" in why
    await one.close()


async def test_an_outage_and_a_missing_database(influxdb: InfluxDB) -> None:
    with InfluxDB() as server:
        one = StreamSender("ops/influxdb/0", sink(server, "later"), give_up_after_ms=60_000)
        server.kill()
        alerts = incoming(*[an_alert(number) for number in range(10)])
        writing = asyncio.create_task(one.write(alerts))
        await until(lambda: one.health.problem.startswith("it cannot be reached"))
        await asyncio.to_thread(server.start)
        await until(lambda: "database not found" in one.health.problem)
        await asyncio.to_thread(server.execute, 'CREATE DATABASE "later"')
        assert await writing == []
        assert server.query("later", "SELECT COUNT(value) FROM anomaly_alerts")[0]["count"] == 10
        await one.close()


async def test_users_and_passwords() -> None:
    with InfluxDB(databases=["d"], user=("ann", "secret word")) as server:
        one = sink(server, "d", username="ann", password="secret word")
        assert await one.write(incoming(an_alert()), T0) == []
        await one.close()
        one = sink(server, "d", username="ann", password="wrong word")
        with pytest.raises(Exception, match=r"answer 401: .*authorization failed") as caught:
            await one.write(incoming(an_alert()), T0)
        assert "wrong word" not in str(caught.value)
        await one.close()


ALPHABET = "ab01 ,=\\\"'`#._-/:%{}[]<>\n\r\t\x00\x1b\x7f\x85äß客\u200b\u2028\u202e🙂"


async def test_any_text_anywhere_is_taken_and_comes_back(influxdb: InfluxDB, database: str) -> None:
    chance = random.Random(20261127)

    def text() -> str:
        return "".join(chance.choices(ALPHABET, k=chance.randrange(8)))

    alerts = []
    for number in range(500):
        payload = {text(): chance.choice([text(), chance.random() < 0.5]) for _ in range(3)}
        # Names of a type each, for a field has one.
        payload = {f"{type(value).__name__}{name}": value for name, value in payload.items()} | {"text": text()}
        key = {f"key{text()}": text(), text(): text()}
        alerts.append(an_alert(number, key=key, payload=payload, explanation=text(), job=text() or "j", type=text()))
    one = sink(influxdb, database)
    assert await one.write(incoming(*alerts, tenant=text()), T0) == []
    await one.close()
    rows = {row["id"]: row for row in influxdb.query(database, 'SELECT "id", "text", "message" FROM anomaly_alerts')}
    assert len(rows) == 500
    assert [rows[alert.id]["text"] for alert in alerts] == [alert.payload["text"] for alert in alerts]
    assert [rows[alert.id]["message"] for alert in alerts] == [alert.explanation for alert in alerts]
