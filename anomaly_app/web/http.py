"""What the web servers of this package share: who is answered, headers, errors as JSON, files of the pages."""

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

from anomaly_app.errors import SettingsError

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


class StaticFiles:
    """The files of the pages."""

    def __init__(self) -> None:
        self._files = {file.name: file.read_bytes() for file in files(__package__).joinpath("static").iterdir()}

    def answer(self, name: str) -> web.Response:
        """A file; raises ``HTTPNotFound`` if there is none of that name."""
        suffix = name[name.rfind(".") :]
        if name not in self._files or suffix not in _TYPES:
            raise web.HTTPNotFound
        return web.Response(body=self._files[name], content_type=_TYPES[suffix], charset="utf-8")


def application(routes: Iterable[web.RouteDef], bind: str, section: str, *, most_bytes: int = 0) -> web.Application:
    """An application with its guard and headers.

    Args:
        routes: of the application.
        bind: address that it will be bound to; on a loopback address only requests to loopback names are answered.
        section: of the settings, such as ``web``.
        most_bytes: of the body of a request; 0 for those that read none.
    """
    app = web.Application(middlewares=[_guard(bind, section)], client_max_size=most_bytes or 1_024)
    app.add_routes(routes)
    app.on_response_prepare.append(_add_headers)
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


async def listen(app: web.Application, section: str, bind: str, port: int, *, origin: str = "settings") -> WebServer:
    """Listen and answer until :meth:`WebServer.cleanup`.

    Args:
        app: the application.
        section: of the settings, such as ``web``.
        bind: address or name to listen on.
        port: 0 for any free one; then see :attr:`WebServer.port`.
        origin: where the port's setting came from, for the error.

    Raises:
        SettingsError: the port is taken, or the address is not this machine's.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, bind, port).start()
    except OSError as error:
        await runner.cleanup()
        raise _cannot_listen(error, section, bind, port, origin) from error
    return WebServer(runner)


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


def host_name(header: str) -> str:
    """Of a Host header."""
    if header.startswith("["):
        return header[: header.find("]") + 1]
    return header.rsplit(":", 1)[0] if ":" in header else header


def json_answer(value: Any, status: int = 200) -> web.Response:
    """A document."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def error_answer(status: int, message: str) -> web.Response:
    """An error as a document."""
    return json_answer({"error": {"status": status, "message": message}}, status)


def check_answer(state: tuple[bool, str]) -> web.Response:
    """Good or not, with the reason."""
    good, reason = state
    return json_answer({"ok": good, "reason": "" if good else reason}, 200 if good else 503)


def _guard(bind: str, section: str) -> Any:
    """Refuse foreign names and methods; turn errors into JSON."""
    loopback = is_loopback(bind)

    @web.middleware
    async def guard(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        # A page of another site can make a browser resolve the site's own name to 127.0.0.1 and then read what is
        # served there (DNS rebinding); the Host header still tells.
        if loopback and not is_loopback(host_name(request.headers.get("Host", ""))):
            message = (
                f"this server answers to localhost, 127.0.0.1 and [::1] only; set {section}.bind to serve other names"
            )
            return error_answer(403, message)
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            said = error.text if error.text and not error.text.startswith(str(error.status)) else error.reason
            answer = error_answer(error.status, said)
            for name in ("Allow", "WWW-Authenticate"):
                if name in error.headers:
                    answer.headers[name] = error.headers[name]
            return answer
        except (asyncio.CancelledError, ConnectionResetError):
            raise
        except Exception:
            _log.exception("%s %s failed", request.method, request.path)
            return error_answer(500, "internal error; the log has the details")
        return response

    return guard


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def _cannot_listen(error: OSError, section: str, bind: str, port: int, origin: str) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        problem = f"port {port} of {bind} is in use; choose another one, or 0 for any that is free"
        return SettingsError(f"{section}.port", origin, problem)
    if error.errno == errno.EACCES:
        return SettingsError(f"{section}.port", origin, f"port {port} needs privileges; choose one above 1023")
    return SettingsError(f"{section}.bind", origin, f"cannot listen on {bind!r}: {error.strerror or error}")
