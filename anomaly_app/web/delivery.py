"""Delivery's web server: a page, health, metrics, silences and acknowledgements.

Everybody who reaches it may read. To silence and to acknowledge one needs ``delivery.token``; without such a setting
only requests from this machine are taken. A page of another site cannot do it through somebody's browser: what a
browser says of where a request comes from is heeded, and no form can send what is asked for here.
"""

from __future__ import annotations

import hmac
import html
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from anomaly_app.delivery.acks import Ack, check_link, is_alert_id
from anomaly_app.delivery.silence_request import SilenceRequest
from anomaly_app.delivery.status import DeliveryStatus
from anomaly_app.errors import BrokerError
from anomaly_app.web.delivery_metrics import create_registry
from anomaly_app.web.http import (
    StaticFiles,
    WebServer,
    application,
    check_answer,
    host_name,
    is_loopback,
    json_answer,
    listen,
)

MOST_BYTES = 65_536
"""Of the body of a request."""
MOST_SHOWN = 100
"""Of each thing on the page."""
LONGEST_NAME, LONGEST_COMMENT, MOST_MATCHERS = 200, 2_000, 50

FORM_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
"""Of the page with the button to acknowledge."""

Body = TypeVar("Body", bound=msgspec.Struct)


class AckRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may stand in the body of a request to acknowledge.

    Args:
        by: who.
        comment: what is said with it.
    """

    by: str = ""
    comment: str = ""


class DeliveryHandlers:
    """Answers requests.

    Args:
        status: of the process.
        token: of ``delivery.token``; "" for none.
        signing_key: of ``delivery.signing_key``; "" for none.
        now_ms: the clock, in ms since 1970.
    """

    def __init__(
        self,
        status: DeliveryStatus,
        token: str,
        signing_key: str,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._status, self._token, self._signing_key, self._now_ms = status, token, signing_key, now_ms
        self._registry = create_registry(status)
        self._static = StaticFiles()

    def routes(self) -> list[web.RouteDef]:
        """All routes; GET answers HEAD too."""
        return [
            web.get("/", self.page),
            web.get("/static/{name}", self.static),
            web.get("/health", self.health),
            web.get("/ready", self.ready),
            web.get("/metrics", self.metrics),
            web.get("/api/status", self.overview),
            web.get("/api/receivers", self.receivers),
            web.get("/api/silences", self.silences),
            web.post("/api/silences", self.silence),
            web.delete("/api/silences/{id}", self.expire),
            web.post("/api/alerts/{id}/ack", self.acknowledge),
            web.get("/ack/{id}", self.ask),
            web.post("/ack/{id}", self.acknowledge_by_link),
        ]

    # --- reading ------------------------------------------------------------------------------------

    async def page(self, request: web.Request) -> web.Response:
        """The page."""
        return self._static.answer("delivery.html")

    async def static(self, request: web.Request) -> web.Response:
        """A file of the page."""
        return self._static.answer(request.match_info["name"])

    async def health(self, request: web.Request) -> web.Response:
        """Whether the process should live."""
        return check_answer(self._status.healthy())

    async def ready(self, request: web.Request) -> web.Response:
        """Whether alerts are delivered."""
        return check_answer(self._status.ready())

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus text, or OpenMetrics if asked for."""
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(self._registry), headers={"Content-Type": content_type})

    async def overview(self, request: web.Request) -> web.Response:
        """Everything that the page shows."""
        status = self._status
        ready, reason = status.ready()
        return json_answer(
            {
                "state": status.state,
                "ready": ready,
                "reason": reason,
                "lag": status.lag(),
                "fates": dict(status.fates()),
                "receivers": status.ways(),
                "groups": status.groups(MOST_SHOWN),
                "group_count": status.group_count(),
                "silences": status.silences(),
                "notifications": status.told(),
                "acks": status.acks(MOST_SHOWN),
                "archives": status.archives(),
            }
        )

    async def receivers(self, request: web.Request) -> web.Response:
        """The sinks of all receivers."""
        return json_answer({"receivers": self._status.ways()})

    async def silences(self, request: web.Request) -> web.Response:
        """All silences that are not long over."""
        return json_answer({"silences": self._status.silences()})

    # --- changing -----------------------------------------------------------------------------------

    async def silence(self, request: web.Request) -> web.Response:
        """Add a silence."""
        self._authorise(request)
        asked = await _body(request, SilenceRequest)
        if not 0 < len(asked.matchers) <= MOST_MATCHERS:
            raise web.HTTPBadRequest(text=f"matchers: from 1 to {MOST_MATCHERS} are needed")
        _check_length("created_by", asked.created_by, LONGEST_NAME)
        _check_length("comment", asked.comment, LONGEST_COMMENT)
        try:
            stored = await self._status.silence(asked)
        except BrokerError as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from error
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return json_answer(stored, 201)

    async def expire(self, request: web.Request) -> web.Response:
        """End a silence."""
        self._authorise(request)
        try:
            found = await self._status.expire(request.match_info["id"])
        except BrokerError as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from error
        if not found:
            raise web.HTTPNotFound(text="there is no silence of this id that is not over")
        return json_answer({"expired": request.match_info["id"]})

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Acknowledge an alert."""
        self._authorise(request)
        alert_id = request.match_info["id"]
        if not is_alert_id(alert_id):
            raise web.HTTPBadRequest(text="this is not the id of an alert")
        asked = await _body(request, AckRequest) if request.body_exists else AckRequest()
        _check_length("by", asked.by, LONGEST_NAME)
        _check_length("comment", asked.comment, LONGEST_COMMENT)
        await self._store(Ack(alert=alert_id, by=asked.by or "api", at_ms=self._now_ms(), comment=asked.comment))
        return json_answer({"acknowledged": alert_id})

    # --- links --------------------------------------------------------------------------------------

    async def ask(self, request: web.Request) -> web.Response:
        """A page with a button: programs that look at links before people do acknowledge nothing."""
        wrong = self._check_link(request)
        if wrong:
            return _form_page("This link cannot be used", f"{wrong[0].upper()}{wrong[1:]}.", status=403)
        known = next((ack for ack in self._status.acks(10_000) if ack.alert == request.match_info["id"]), None)
        if known is not None:
            return _form_page("Acknowledged", f"by {known.by}; there is nothing left to do here.")
        return _form_page(
            "Acknowledge this alert?",
            f"Alert {request.match_info['id']}. Whoever waits for an answer is told that somebody takes care of it.",
            button="Acknowledge",
        )

    async def acknowledge_by_link(self, request: web.Request) -> web.Response:
        """What the button does; the signature of the link is what allows it."""
        wrong = self._check_link(request)
        if wrong:
            return _form_page("This link cannot be used", f"{wrong[0].upper()}{wrong[1:]}.", status=403)
        by = request.query.get("by", "")
        await self._store(Ack(alert=request.match_info["id"], by=by, at_ms=self._now_ms()))
        return _form_page("Acknowledged", "Thank you. Whoever waits for an answer is told.")

    def _check_link(self, request: web.Request) -> str:
        query = request.query
        return check_link(
            self._signing_key,
            request.match_info["id"],
            query.get("by", "")[:LONGEST_NAME],
            query.get("until", ""),
            query.get("sig", ""),
            self._now_ms(),
        )

    # --- who may ------------------------------------------------------------------------------------

    async def _store(self, ack: Ack) -> None:
        try:
            await self._status.acknowledge(ack)
        except BrokerError as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from error

    def _authorise(self, request: web.Request) -> None:
        """Raises HTTPUnauthorized or HTTPForbidden if somebody may not change anything."""
        origin = request.headers.get("Origin")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") or (
            origin is not None and urlsplit(origin).netloc != request.headers.get("Host", "")
        ):
            raise web.HTTPForbidden(text="this comes from a page of another site")
        if self._token:
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
                raise web.HTTPUnauthorized(
                    text="needs the header 'Authorization: Bearer …' with delivery.token",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        elif not (is_loopback(request.remote or "") and is_loopback(host_name(request.headers.get("Host", "")))):
            raise web.HTTPForbidden(text="only from this machine, unless delivery.token is set")


async def _body(request: web.Request, type_: type[Body]) -> Body:
    if request.content_type != "application/json":
        # Forms of other sites can send other types without being asked.
        raise web.HTTPUnsupportedMediaType(text="the body must be application/json")
    try:
        return msgspec.json.decode(await request.read(), type=type_)
    except msgspec.MsgspecError as error:
        raise web.HTTPBadRequest(text=f"the body: {error}") from error


def _check_length(name: str, text: str, most: int) -> None:
    if len(text) > most or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
        raise web.HTTPBadRequest(text=f"{name}: at most {most} characters, and none that control a terminal")


def _form_page(title: str, text: str, *, button: str = "", status: int = 200) -> web.Response:
    form = (
        f'<form method="post"><button type="submit" class="main">{html.escape(button)}</button></form>'
        if button
        else ""
    )
    document = f"""<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <meta name="robots" content="noindex">
  <title>{html.escape(title)}</title>
  <link rel="icon" href="/static/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/static/page.css">
</head>
<body>
  <header><h1><img src="/static/icon.svg" alt="" width="28" height="28">{html.escape(title)}</h1></header>
  <main><p>{html.escape(text)}</p>{form}</main>
</body>
</html>
"""
    headers: dict[str, Any] = {"Content-Security-Policy": FORM_POLICY}
    return web.Response(text=document, status=status, content_type="text/html", headers=headers)


async def serve(
    status: DeliveryStatus, bind: str, port: int, *, token: str = "", signing_key: str = "", origin: str = "settings"
) -> WebServer:
    """Listen and answer until :meth:`WebServer.cleanup`.

    Args:
        status: of the process.
        bind: address or name to listen on.
        port: 0 for any free one.
        token: of ``delivery.token``.
        signing_key: of ``delivery.signing_key``.
        origin: where the port's setting came from, for the error.

    Raises:
        SettingsError: the port is taken, or the address is not this machine's.
    """
    app = create_app(status, bind, token=token, signing_key=signing_key)
    return await listen(app, "delivery", bind, port, origin=origin)


def create_app(status: DeliveryStatus, bind: str, *, token: str = "", signing_key: str = "") -> web.Application:
    """The application; arguments as of :func:`serve`."""
    handlers = DeliveryHandlers(status, token, signing_key)
    return application(handlers.routes(), bind, "delivery", most_bytes=MOST_BYTES)
