"""Points to InfluxDB, versions 1 to 3, over HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from yarl import URL

from anomaly_app.delivery.notification import Incoming
from anomaly_app.errors import OptionError
from anomaly_app.settings.delivery import InfluxdbSink
from anomaly_app.sinks.halving import REFUSALS, Verdict, refused_of
from anomaly_app.sinks.http import Answer, Client, parse_url
from anomaly_app.sinks.line_protocol import Lines, parse_picked

MOST_BYTES = 4_000_000
"""Of a request."""
BREATH = 250
"""Alerts written as lines at one go."""
NO_TIME = "its time is none that InfluxDB has"

_DROPPED = re.compile(r"dropped=(\d+)")


class _Point(NamedTuple):
    alert: Incoming
    line: bytes


class Influxdb:
    """Writes each alert as a point; the same alert is the same point.

    Args:
        settings: of the sink.

    Raises:
        OptionError: a setting is wrong.
    """

    def __init__(self, settings: InfluxdbSink) -> None:
        if not settings.measurement or settings.measurement[0] in "#_":
            raise OptionError("measurement", "should be a name that begins neither with # nor with _")
        tags = [parse_picked(entry, "tags") for entry in settings.tags]
        fields = [parse_picked(entry, "fields") for entry in settings.fields]
        self._lines = Lines(settings.measurement, tags, fields)
        self.batch_size, self.batch_wait_ms = settings.batch_size, settings.batch_wait
        token = settings.token.get_secret_value()
        auth = (settings.username, settings.password.get_secret_value()) if settings.username else None
        if token and auth:
            raise OptionError("token", "username is given beside it: give one of them")
        self._client = Client(
            str(_address(settings)),
            settings,
            auth=auth,
            token=token,
            scheme="Token" if settings.version == 2 else "Bearer",
            secret_url=False,
        )

    async def write(self, alerts: Sequence[Incoming], now_ms: int) -> Sequence[tuple[Incoming, str]]:
        """Write them in few requests. Where some are refused, the others are written."""
        refused: list[tuple[Incoming, str]] = []
        points = []
        for number, alert in enumerate(alerts, 1):
            if number % BREATH == 0:
                await asyncio.sleep(0)  # a large batch holds up nothing else
            line = self._lines.line(alert.alert, alert.tenant)
            if line is None:
                refused.append((alert, NO_TIME))
            else:
                points.append(_Point(alert, line.encode()))
        for part in _parts(points, self.batch_size):
            refused += [(point.alert, why) for point, why in await refused_of(part, self._write)]
        return refused

    async def tick(self, now_ms: int) -> None:
        """Nothing is due without an alert."""

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def _write(self, points: Sequence[_Point]) -> Verdict:
        body = b"\n".join(point.line for point in points)
        answer = await self._client.request(body, {"Content-Type": "text/plain; charset=utf-8"})
        if answer.status in REFUSALS:
            return self._verdict(answer, len(points))
        self._client.check(answer, always_retriable=True)
        return ()

    def _verdict(self, answer: Answer, count: int) -> Verdict:
        """Which of the points an answer refuses."""
        said = answer.json()
        said = said if isinstance(said, dict) else {}
        if named := _named(said.get("data"), count):
            return [(place, self._client.words(why.encode())) for place, why in named]
        why = self._client.words(str(said.get("error") or said.get("message") or "").encode() or answer.body)
        why = why or f"answer {answer.status}"
        dropped = _DROPPED.search(answer.body.decode("utf-8", "replace"))
        if dropped and int(dropped[1]) == count:
            return [(place, why) for place in range(count)]
        return why


def _named(data: Any, count: int) -> list[tuple[int, str]]:
    """Version 3 says which lines."""
    entries = data if isinstance(data, list) else []
    named = [
        (int(entry["line_number"]) - 1, str(entry.get("error_message") or "refused"))
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("line_number"), int)
    ]
    return named if all(0 <= place < count for place, _ in named) else []


def _address(settings: InfluxdbSink) -> URL:
    base = parse_url(settings.url)
    if not settings.database:
        raise OptionError("database", "is needed")
    if settings.version == 1:
        query = {"db": settings.database, "precision": "ns"}
        if settings.retention_policy:
            query["rp"] = settings.retention_policy
        return (base / "write").with_query(query)
    if settings.version == 2:
        query = {"bucket": settings.database, "precision": "ns"}
        if settings.org:
            query["org"] = settings.org
        return (base / "api/v2/write").with_query(query)
    return (base / "api/v3/write_lp").with_query({"db": settings.database, "precision": "nanosecond"})


def _parts(points: Sequence[_Point], most: int) -> Iterator[Sequence[_Point]]:
    """At most so many, and not too many bytes together."""
    first, size = 0, 0
    for place, point in enumerate(points):
        if place > first and (place - first == most or size + len(point.line) > MOST_BYTES):
            yield points[first:place]
            first, size = place, 0
        size += len(point.line) + 1
    if first < len(points):
        yield points[first:]
