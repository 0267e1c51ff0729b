"""The worker's web server: a live page, its API, health and metrics. Read only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from anomaly_app.alerts import Alert, encode
from anomaly_app.status import Subscription, WorkerStatus
from anomaly_app.web.http import StaticFiles, WebServer, application, check_answer, json_answer, listen
from anomaly_app.web.metrics import create_registry

MOST_ALERTS = 1_000
KEEP_ALIVE_S = 15.0
"""Silence after which a comment goes out, so that proxies and readers know the stream lives."""


class Handlers:
    """Answers requests from a worker's status.

    Args:
        status: of the worker.
    """

    def __init__(self, status: WorkerStatus) -> None:
        self._status = status
        self._metrics = create_registry(status)
        self._streams: set[Subscription] = set()
        self._static = StaticFiles()

    def routes(self) -> list[web.RouteDef]:
        """All routes; GET answers HEAD too."""
        return [
            web.get("/", self.page),
            web.get("/static/{name}", self.static),
            web.get("/api/status", self.worker),
            web.get("/api/jobs", self.jobs),
            web.get("/api/graph", self.graph),
            web.get("/api/alerts", self.alerts),
            web.get("/api/alerts/stream", self.stream),
            web.get("/health", self.health),
            web.get("/ready", self.ready),
            web.get("/metrics", self.metrics),
        ]

    async def close(self, app: web.Application | None = None) -> None:
        """End all streams."""
        for subscription in list(self._streams):
            subscription.close()

    async def page(self, request: web.Request) -> web.Response:
        """The live page."""
        return self._static.answer("index.html")

    async def static(self, request: web.Request) -> web.Response:
        """A file of the live page."""
        return self._static.answer(request.match_info["name"])

    async def worker(self, request: web.Request) -> web.Response:
        """State, totals, partitions and counters."""
        ready, reason = self._status.ready()
        healthy, illness = self._status.healthy()
        partitions = self._status.partitions()
        sources = [partition for partition in partitions if not partition.repartitioned]
        lags = [partition.lag for partition in partitions if partition.lag is not None]
        watermarks = [partition.watermark_ms for partition in partitions if partition.watermark_ms is not None]
        queries = [query for job in self._status.jobs() for query in job["queries"]]
        return json_answer(
            {
                "ready": ready,
                "healthy": healthy,
                "reason": "" if ready and healthy else reason if not ready else illness,
                "rows": sum(partition.rows for partition in sources),
                "rows_per_s": sum(partition.rows_per_s for partition in sources),
                "lag": sum(lags) if lags else None,
                "watermark_ms": min(watermarks, default=None),
                "alerts": sum(query["alerts"] for query in queries),
                "partitions": partitions,
                "counters": self._status.counters(),
            }
        )

    async def jobs(self, request: web.Request) -> web.Response:
        """Jobs and their queries."""
        return json_answer({"jobs": self._status.jobs()})

    async def graph(self, request: web.Request) -> web.Response:
        """The graph of each query, with what passes through its nodes."""
        return json_answer({"graphs": self._status.graphs()})

    async def alerts(self, request: web.Request) -> web.Response:
        """The latest alerts, newest first; ``?limit=`` of 1 to 1,000."""
        text = request.query.get("limit", "100")
        if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_ALERTS):
            raise web.HTTPBadRequest(text=f"limit must be a whole number from 1 to {MOST_ALERTS}")
        return json_answer({"alerts": self._status.alerts(int(text))})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Alerts as they come, as server-sent events.

        A reader that comes back with ``Last-Event-ID`` gets first what it missed and is still kept. An event of type
        ``dropped`` says how many alerts the reader was too slow for.
        """
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        subscription = self._status.subscribe()
        missed = self._since(request.headers.get("Last-Event-ID", ""))
        self._streams.add(subscription)
        try:
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n" + _events(missed))
            await self._follow(subscription, response)
        except ConnectionResetError:
            pass  # the reader has gone; there is nobody to tell
        finally:
            self._streams.discard(subscription)
            subscription.close()
        return response

    async def _follow(self, subscription: Subscription, response: web.StreamResponse) -> None:
        told = 0
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    alerts = await subscription.take()
            except TimeoutError:
                await response.write(b": alive\n\n")
                continue
            if not alerts:
                return
            events = _events(alerts)
            if subscription.dropped > told:
                events = b'event: dropped\ndata: {"count":%d}\n\n' % (subscription.dropped - told) + events
                told = subscription.dropped
            await response.write(events)

    def _since(self, last: str) -> list[Alert]:
        """Kept alerts after the one of that id, oldest first; none if it is not known."""
        if not last:
            return []
        kept = self._status.alerts(MOST_ALERTS)
        for number, alert in enumerate(kept):
            if alert.id == last:
                return kept[:number][::-1]
        return []

    async def health(self, request: web.Request) -> web.Response:
        """Whether the process should live."""
        return check_answer(self._status.healthy())

    async def ready(self, request: web.Request) -> web.Response:
        """Whether rows flow."""
        return check_answer(self._status.ready())

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus text, or OpenMetrics if asked for."""
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(self._metrics), headers={"Content-Type": content_type})


def routes(status: WorkerStatus) -> list[web.RouteDef]:
    """The routes alone, for a server of somebody else."""
    return Handlers(status).routes()


def create_app(status: WorkerStatus, bind: str) -> web.Application:
    """The application: routes, headers, errors as JSON.

    Args:
        status: of the worker.
        bind: address that it will be bound to; on a loopback address only requests to loopback names are answered.
    """
    handlers = Handlers(status)
    app = application(handlers.routes(), bind, "web")
    app.on_shutdown.append(handlers.close)
    return app


async def serve(status: WorkerStatus, bind: str, port: int, *, origin: str = "settings") -> WebServer:
    """Listen and answer until :meth:`WebServer.cleanup`.

    Args:
        status: of the worker.
        bind: address or name to listen on.
        port: 0 for any free one; then see :attr:`WebServer.port`.
        origin: where the port's setting came from, for the error.

    Raises:
        SettingsError: the port is taken, or the address is not this machine's.
    """
    return await listen(create_app(status, bind), "web", bind, port, origin=origin)


def _events(alerts: Iterable[Alert]) -> bytes:
    return b"".join([b"id: %s\ndata: %s\n\n" % (alert.id.encode(), encode(alert)) for alert in alerts])
