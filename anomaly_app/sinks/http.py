"""Requests to the addresses of the settings, and to no other: bounded in time and size, and nothing secret told."""

from __future__ import annotations

import json
import math
import os
import ssl
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from anomaly_app.basic_auth import basic_auth
from anomaly_app.errors import OptionError, SinkError
from anomaly_app.settings.delivery import Http

MOST_BYTES = 65_536
"""Of an answer that are read."""
MOST_WORDS = 200
"""Characters of an answer that are told."""
MOST_REDIRECTS = 3
LONGEST_WAIT_S = 86_400.0
"""However long the other side asks to wait."""
CONNECTIONS = 8
"""To one address."""

REFUSALS = frozenset({400, 405, 406, 411, 413, 414, 415, 422, 431, 501})
"""Answers that the same request gets again. Others mean an outage, or something that a person may put right before
it is given up: an expired token, a missing database."""

_MADE = frozenset({"content-length", "transfer-encoding", "connection"})
_KEEPS_METHOD = frozenset({307, 308})
_SHORTEST_SECRET = 4
_COMMON = frozenset({"services", "webhook", "webhooks", "alerts", "integrations"})
"""Parts of addresses that tell nothing."""


class Answer(NamedTuple):
    """What came back.

    Args:
        status: of HTTP.
        body: its first :data:`MOST_BYTES`.
        retry_after_s: how long the other side asks to wait; None if it does not say.
    """

    status: int
    body: bytes
    retry_after_s: float | None

    def json(self) -> Any:
        """The body if it is JSON, else None."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Client:
    """Asks one server. Redirects are followed on that server only.

    Args:
        url: where it is, as configured; user and password in it are sent as basic authentication.
        settings: time-outs, headers and certificates.
        option: name of the setting that holds the address.
        auth: user and password in place of those in the address.
        token: of ``Authorization: Bearer``, or of the scheme given.
        scheme: of the token.
        secrets: texts that no message may contain, beside those of the headers.
        secret_url: nor may any contain parts of the address.

    Raises:
        OptionError: the address is none, or a header cannot be sent; the message does not quote it.
    """

    def __init__(
        self,
        url: str,
        settings: Http,
        *,
        option: str = "url",
        auth: tuple[str, str] | None = None,
        token: str = "",
        scheme: str = "Bearer",
        secrets: Iterable[str] = (),
        secret_url: bool = True,
    ) -> None:
        parsed = parse_url(url, option)
        auth = auth or ((parsed.user, parsed.password or "") if parsed.user else None)
        self.url = parsed.with_user(None)
        self._headers = CIMultiDict({name: value.get_secret_value() for name, value in settings.headers.items()})
        if token:
            self._headers["Authorization"] = f"{scheme} {token}"
        elif auth is not None:
            self._headers["Authorization"] = basic_auth(*auth)
        for name, value in self._headers.items():
            if name.lower() in _MADE:
                raise OptionError("headers", f"{name} is made with each request")
            if not _sendable(name, value):
                raise OptionError("headers", f"{name!r} has characters that a header of HTTP cannot have")
        self._timeout_s = settings.timeout / 1_000
        self._timeouts = aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=settings.connect_timeout / 1_000)
        self._tls = tls_context(settings.ca_file) if parsed.scheme == "https" else None
        hidden = {*(auth or ()), token, *secrets}
        hidden |= {part for value in self._headers.values() for part in (value, *value.split())}
        if secret_url:
            hidden |= {str(url), self.url.raw_path_qs, self.url.path_qs, self.url.raw_path, *self.url.query.values()}
            hidden |= set(self.url.parts) - _COMMON
        self._hidden = _as_written(hidden)
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Client {self.url.scheme}>"

    async def request(
        self,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        url: URL | None = None,
    ) -> Answer:
        """Ask once, within the time-outs.

        Args:
            body: of the request.
            headers: beside those of the settings.
            method: of HTTP.
            url: another address on the same server.

        Raises:
            SinkError: there is no answer, or it leads elsewhere.
        """
        target = self.url if url is None else url
        own = self._headers.copy()
        own.update(headers or {})  # whatever the case in which they are written
        if target.origin() != self.url.origin():
            raise SinkError("the address is not on the configured host", retriable=False)
        try:
            return await self._ask(method, target, body, own)
        except TimeoutError:
            raise SinkError(f"no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # No chain: these errors name the address.
            raise SinkError(failure(error)) from None

    def check(self, answer: Answer, *, always_retriable: bool = False) -> None:
        """Pass if the request was taken.

        Args:
            answer: to it.
            always_retriable: the request was good; whatever is wrong may be put right.

        Raises:
            SinkError: it was not; with the words of the other side.
        """
        if answer.status < 300:
            return
        said = self.words(answer.body)
        raise SinkError(
            f"answer {answer.status}" + (f": {said}" if said else ""),
            retriable=always_retriable or answer.status not in REFUSALS,
            retry_after_s=answer.retry_after_s,
        )

    def words(self, body: bytes) -> str:
        """An answer on one line, cut, without secrets."""
        text = body.decode("utf-8", "replace")
        for secret in self._hidden:
            text = text.replace(secret, "********")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= MOST_WORDS else text[: MOST_WORDS - 1] + "…"

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, method: str, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeouts,
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=True if self._tls is None else self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        for _ in range(MOST_REDIRECTS + 1):
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False, timeout=self._timeouts
            ) as response:
                if 300 <= response.status < 400:
                    url = _redirected(url, response)
                    continue
                return Answer(response.status, await _start_of(response), _retry_after_s(response.headers))
        raise SinkError(f"redirects more than {MOST_REDIRECTS} times")


def parse_url(text: str, option: str = "url") -> URL:
    """An address of the settings.

    Raises:
        OptionError: it is none; the message does not quote it, for it may be a secret.
    """
    if not text:
        raise OptionError(option, "is needed")
    try:
        url = URL(text)
        usable = url.scheme in ("http", "https") and bool(url.host) and (url.port or 0) > 0
    except ValueError:
        usable = False
    if not usable or any(c.isspace() or not c.isprintable() for c in text):
        raise OptionError(option, "should be an address that begins with http:// or https:// and names a host")
    return url


def tls_context(ca_file: Path | None, option: str = "ca_file") -> ssl.SSLContext:
    """Certificates are verified: against a file, or against those that the system trusts.

    Raises:
        OptionError: the file has no certificates.
    """
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise OptionError(option, f"{ca_file} cannot be read as certificates in PEM form") from error


def failure(error: Exception) -> str:
    """Why there is no answer, in words and without the address.

    Example:
        >>> failure(ConnectionRefusedError(111, "Connection refused"))
        'it cannot be reached: Connection refused'
    """
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name of its host cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        cause = getattr(error, "certificate_error", error)
        return f"its certificate is not trusted: {getattr(cause, 'verify_message', None) or 'verification failed'}"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "it does not speak TLS as we do"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError | BrokenPipeError):
        return "it closed the connection before it answered"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "it closed the connection in the middle of its answer"
    if isinstance(error, aiohttp.ClientResponseError):
        return "its answer is not that of a server of HTTP"
    if isinstance(error, OSError):
        # Not its own words: aiohttp puts the address there.
        return f"it cannot be reached: {os.strerror(error.errno) if error.errno else type(error).__name__}"
    return f"the request failed: {type(error).__name__}"


async def _start_of(response: aiohttp.ClientResponse) -> bytes:
    """The first bytes of the body. One that breaks off is as good: what matters was said by the status."""
    parts = bytearray()
    try:
        while len(parts) < MOST_BYTES:
            part = await response.content.read(MOST_BYTES - len(parts))
            if not part:
                return bytes(parts)
            parts += part
    except (aiohttp.ClientError, OSError):  # a time-out is one, too
        if response.status >= 300:
            raise
    response.close()  # the rest is not waited for
    return bytes(parts)


def _redirected(url: URL, response: aiohttp.ClientResponse) -> URL:
    try:
        target = url.join(URL(response.headers.get("Location", "")))
        same = target.origin() == url.origin()
    except ValueError:
        raise SinkError(f"answer {response.status} leads nowhere") from None
    if not same:
        raise SinkError(f"answer {response.status} leads to another host, which is not followed")
    if response.status not in _KEEPS_METHOD or target == url:
        raise SinkError(f"answer {response.status} leads to another address: configure that one")
    return target


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds, or a date by the other side's clock."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            until = parsedate_to_datetime(text).timestamp()
            said = headers.get("Date")
            seconds = until - (parsedate_to_datetime(said).timestamp() if said else time.time())
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if math.isfinite(seconds) else None


def _as_written(secrets: Iterable[str]) -> list[str]:
    """Secrets as an answer may quote them, the longest first; what is very short is no secret, and in every text."""
    written = {
        form
        for secret in secrets
        if len(secret) >= _SHORTEST_SECRET
        for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1])
    }
    return sorted(written, key=len, reverse=True)


def _sendable(name: str, value: str) -> bool:
    token = bool(name) and all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in name)
    return token and all(c == "\t" or (c.isprintable() and ord(c) < 256) for c in value)
