"""Client of a schema registry that speaks Confluent's REST API (Apicurio's ``/apis/ccompat/v6`` does too)."""

from __future__ import annotations

import json
import ssl
from typing import Any
from urllib.parse import quote

import aiohttp

from anomaly_app.basic_auth import basic_auth
from anomaly_app.errors import RegistryError

TIMEOUT_S = 6.0
UNKNOWN_SUBJECT, UNKNOWN_SCHEMA = 40401, 40403
_JSON = "application/vnd.schemaregistry.v1+json"


class RegistryRefusal(RegistryError):
    """The registry answered, and said no; the same question will get the same answer.

    Args:
        problem: what was asked, and what it said.
        status: of HTTP.
        error_code: Confluent's, such as 40403 for an unknown schema; the status if it gave none.
    """

    retriable = False

    def __init__(self, problem: str, status: int, error_code: int) -> None:
        self.status, self.error_code = status, error_code
        super().__init__(problem)


class Registry:
    """Schemas by id, and ids of schemas; answers are kept, for neither ever changes.

    Args:
        url: its base, such as ``http://localhost:8080/apis/ccompat/v6``; several, joined by commas, are tried in turn.
        auth: user name and password.
        tls: how to trust it, and who we are, for https; None for the system's certificates.

    Example:
        >>> Registry("http://ann:secret@localhost:8080/apis/ccompat/v6/")
        <Registry http://localhost:8080/apis/ccompat/v6>
    """

    def __init__(self, url: str, *, auth: tuple[str, str] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._urls, found = _without_credentials(url)
        auth = auth or found
        self._headers = {"Accept": f"{_JSON}, application/json"}
        if auth is not None:
            self._headers["Authorization"] = basic_auth(*auth)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._schemas: dict[int, str] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def __repr__(self) -> str:
        return f"<Registry {', '.join(self._urls)}>"

    async def schema(self, id_: int) -> str:
        """The text of a schema.

        Raises:
            RegistryRefusal: there is none with that id (``error_code`` 40403), or we may not see it.
            RegistryError: the registry cannot be reached.
        """
        known = self._schemas.get(id_)
        if known is None:
            answer = await self._ask("GET", f"/schemas/ids/{id_}")
            if answer.get("schemaType", "AVRO") != "AVRO":
                raise RegistryRefusal(f"schema {id_} is {answer['schemaType']}, not Avro", 200, UNKNOWN_SCHEMA)
            known = self._schemas[id_] = str(answer["schema"])
        return known

    async def register(self, subject: str, schema: str) -> int:
        """Register a schema under a subject, unless it is there, and return its id.

        Raises:
            RegistryRefusal: it is not compatible with the versions before it (status 409), or is no schema (42201).
            RegistryError: the registry cannot be reached.
        """
        known = self._ids.get((subject, schema))
        if known is None:
            path = f"/subjects/{quote(subject, safe='')}/versions"
            known = self._ids[subject, schema] = int((await self._ask("POST", path, {"schema": schema}))["id"])
            self._schemas.setdefault(known, schema)
        return known

    async def close(self) -> None:
        """Close its connections; it opens new ones if it is used again."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), headers=self._headers)
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": _JSON}
        last: Exception | None = None
        for url in self._urls:
            try:
                async with self._session.request(
                    method, url + path, data=data, headers=headers, ssl=True if self._tls is None else self._tls
                ) as response:
                    text = await response.text()
                    return _answer(f"{method} {url}{path}", response.status, text)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                last = error
        reason = str(last) or f"no answer within {TIMEOUT_S:.0f} s"
        raise RegistryError(f"the schema registry at {', '.join(self._urls)} cannot be reached: {reason}") from last


def _without_credentials(url: str) -> tuple[list[str], tuple[str, str] | None]:
    """Addresses without user and password, which no message should show, and these."""
    from yarl import URL

    parsed = [URL(part.strip()) for part in url.split(",") if part.strip()]
    if not parsed or any(part.scheme not in ("http", "https") or not part.host for part in parsed):
        raise RegistryError("the address of the schema registry must begin with http:// or https:// and name a host")
    auth = next(((part.user, part.password or "") for part in parsed if part.user), None)
    return [str(part.with_user(None)).rstrip("/") for part in parsed], auth


def _answer(asked: str, status: int, text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if status < 300:
        if isinstance(answer, dict):
            return answer
        raise RegistryError(f"{asked}: the answer is not that of a schema registry; is the path right?")
    said = answer if isinstance(answer, dict) else {}
    reason = said.get("message") or text[:200] or "no reason given"
    code = int(said.get("error_code") or status)
    if status in (401, 403, 407):
        hint = "check registry.username and registry.password"
        raise RegistryRefusal(f"{asked}: the schema registry refuses the credentials ({reason}); {hint}", status, code)
    # A page of a proxy whose registry is away has no code of a registry's.
    if status in (408, 425, 429) or status >= 500 or (status == 404 and "error_code" not in said):
        raise RegistryError(f"{asked}: the schema registry failed with status {status}: {reason}")
    raise RegistryRefusal(
        f"{asked}: the schema registry refuses with status {status}, code {code}: {reason}", status, code
    )
