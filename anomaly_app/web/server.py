"""The worker's web server: a live page, its API, health and metrics. Read only."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from anomaly_app.alerts import Alert, encode
from anomaly_app.errors import SettingsError
from anomaly_app.status import Subscription, WorkerStatus
from anomaly_app.web.metrics import create_registry

MOST_ALERTS = 1_000
KEEP_ALIVE_S = 15.0
"""Silence after which a comment goes out, so that proxies and readers know the stream lives."""
SHUTDOWN_S = 2.0
"""What requests get to finish; streams are told to end before."""

HEADERS = {
    # 'self' only: neither inline scripts nor anything of another origin can run, whatever rows contain
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_log = logging.getLogger(__name__)


class Handlers:
    """Answers requests from a worker's status.

    Args:
        status: of the worker.
    """

    def __init__(self, status: WorkerStatus) -> None:
        self._status = status
        self._metrics = create_registry(status)
        self._streams: set[Subscription] = set()
        self._static = {file.name: file.read_bytes() for file in files(__package__).joinpath("static").iterdir()}

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
        return self._file("index.html")

    async def static(self, request: web.Request) -> web.Response:
        """A file of the live page."""
        return self._file(request.match_info["name"])

    def _file(self, name: str) -> web.Response:
        suffix = name[name.rfind(".") :]
        if name not in self._static or suffix not in _TYPES:
            raise web.HTTPNotFound
        return web.Response(body=self._static[name], content_type=_TYPES[suffix], charset="utf-8")

    async def worker(self, request: web.Request) -> web.Response:
        """State, totals, partitions and counters."""
        ready, reason = self._status.ready()
        healthy, illness = self._status.healthy()
        partitions = self._status.partitions()
        sources = [partition for partition in partitions if not partition.repartitioned]
        lags = [partition.lag for partition in partitions if partition.lag is not None]
        watermarks = [partition.watermark_ms for partition in partitions if partition.watermark_ms is not None]
        queries = [query for job in self._status.jobs() for query in job["queries"]]
        return _json(
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
        return _json({"jobs": self._status.jobs()})

    async def graph(self, request: web.Request) -> web.Response:
        """The graph of each query, with what passes through its nodes."""
        return _json({"graphs": self._status.graphs()})

    async def alerts(self, request: web.Request) -> web.Response:
        """The latest alerts, newest first; ``?limit=`` of 1 to 1,000."""
        text = request.query.get("limit", "100")
        if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_ALERTS):
            raise web.HTTPBadRequest(text=f"limit must be a whole number from 1 to {MOST_ALERTS}")
        return _json({"alerts": self._status.alerts(int(text))})

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
        return _check(self._status.healthy())

    async def ready(self, request: web.Request) -> web.Response:
        """Whether rows flow."""
        return _check(self._status.ready())

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
    app = web.Application(middlewares=[_guard(bind)])
    app.add_routes(handlers.routes())
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(handlers.close)
    return app


class WebServer:
    """A server that listens.

    Args:
        runner: of the application.
    """

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        address = runner.addresses[0]
        self.host: str = address[0]
        self.port: int = address[1]

    @property
    def url(self) -> str:
        """Address of the page."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    async def cleanup(self) -> None:
        """End streams, finish requests, stop listening."""
        await self._runner.cleanup()


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
    runner = web.AppRunner(create_app(status, bind), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, bind, port).start()
    except OSError as error:
        await runner.cleanup()
        raise _cannot_listen(error, bind, port, origin) from error
    return WebServer(runner)


def _cannot_listen(error: OSError, bind: str, port: int, origin: str) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        problem = f"port {port} of {bind} is in use; choose another one, or 0 for any that is free"
        return SettingsError("web.port", origin, problem)
    if error.errno == errno.EACCES:
        return SettingsError("web.port", origin, f"port {port} needs privileges; choose one above 1023")
    return SettingsError("web.bind", origin, f"cannot listen on {bind!r}: {error.strerror or error}")


def _guard(bind: str) -> Any:
    """Refuse foreign names and methods; turn errors into JSON."""
    loopback = is_loopback(bind)

    @web.middleware
    async def guard(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        # A page of another site can make a browser resolve the site's own name to 127.0.0.1 and then read what is
        # served there (DNS rebinding); the Host header still tells.
        if loopback and not is_loopback(_host_name(request.headers.get("Host", ""))):
            message = "this server answers to localhost, 127.0.0.1 and [::1] only; set web.bind to serve other names"
            return _error(403, message)
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            said = error.text if error.text and not error.text.startswith(str(error.status)) else error.reason
            answer = _error(error.status, said)
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except (asyncio.CancelledError, ConnectionResetError):
            raise
        except Exception:
            _log.exception("%s %s failed", request.method, request.path)
            return _error(500, "internal error; the worker's log has the details")
        return response

    return guard


def is_loopback(host: str) -> bool:
    """Whether a name or address, as in a setting or a Host header without its port, is this machine's own.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("localhost"), is_loopback("example.org")
        (True, True, True, False)
    """
    name = host.removeprefix("[").removesuffix("]")
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _host_name(header: str) -> str:
    if header.startswith("["):
        return header[: header.find("]") + 1]
    return header.rsplit(":", 1)[0] if ":" in header else header


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _events(alerts: Iterable[Alert]) -> bytes:
    return b"".join([b"id: %s\ndata: %s\n\n" % (alert.id.encode(), encode(alert)) for alert in alerts])


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    return _json({"error": {"status": status, "message": message}}, status)


def _check(state: tuple[bool, str]) -> web.Response:
    good, reason = state
    return _json({"ok": good, "reason": "" if good else reason}, 200 if good else 503)
