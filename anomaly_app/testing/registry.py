"""A small schema registry in memory, for tests and the demo: Confluent's REST API for Avro, under any path prefix.

``python -m anomaly_app.testing.registry --port 8081`` runs one; :class:`RegistryServer` is one inside a program.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from anomaly_app.formats.avro_types import AvroSchema, Mismatch
from anomaly_app.testing.compatibility import problems
from anomaly_app.testing.http_server import HttpServer, serve

PREFIX = "/apis/ccompat/v6"
"""Where Apicurio, and so the tutorial, has this API."""

LEVELS = (
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE",
)  # fmt: skip


class Refusal(Exception):
    """An answer with an error code of Confluent's."""

    def __init__(self, status: int, code: int, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(message)


@dataclass(slots=True)
class Schemas:
    """What a registry knows; plain data without a network.

    Args:
        level: compatibility of subjects that have no level of their own.
    """

    level: str = "BACKWARD"
    levels: dict[str, str] = field(default_factory=dict)
    by_id: list[AvroSchema] = field(default_factory=list)
    subjects: dict[str, dict[int, int]] = field(default_factory=dict)
    """Subject, version and id of its schema."""
    _ids: dict[str, int] = field(default_factory=dict)

    def register(self, subject: str, text: str) -> int:
        """Id of a schema, registered unless it was; raises :class:`Refusal` if it is not compatible."""
        schema = _parse(text)
        versions = self.subjects.get(subject, {})
        id_ = self._ids.get(_identity(text))
        if id_ is not None and id_ in versions.values():
            return id_
        found = self.incompatible(subject, schema)
        if found:
            reasons = "; ".join(found)
            raise Refusal(409, 409, f"the schema is not compatible with an earlier one of {subject}: {reasons}")
        if id_ is None:
            self.by_id.append(schema)
            id_ = self._ids[_identity(text)] = len(self.by_id)
        self.subjects.setdefault(subject, versions)[max(versions, default=0) + 1] = id_
        return id_

    def incompatible(self, subject: str, schema: AvroSchema, version: int | None = None) -> list[str]:
        """Why a schema may not follow the versions of a subject (or one version) at its level; empty if it may."""
        level = self.levels.get(subject, self.level)
        versions = self.subjects.get(subject, {})
        numbers = sorted(versions) if version is None else [version]
        if version is None and not level.endswith("_TRANSITIVE"):
            numbers = numbers[-1:]
        found: list[str] = []
        for number in numbers:
            earlier = self.by_id[versions[number] - 1]
            if level.startswith(("BACKWARD", "FULL")):
                found += problems(schema, earlier)
            if level.startswith(("FORWARD", "FULL")):
                found += problems(earlier, schema)
        return found

    def versions(self, subject: str) -> dict[int, int]:
        """Versions of a subject and their ids; raises :class:`Refusal` 40401."""
        if subject not in self.subjects:
            raise Refusal(404, 40401, f"subject {subject!r} not found")
        return self.subjects[subject]

    def version(self, subject: str, text: str) -> int:
        """A version by its number or ``latest``; raises :class:`Refusal` 40402 or 42202."""
        versions = self.versions(subject)
        if text in ("latest", "-1"):
            return max(versions)
        if not text.isdecimal() or not int(text):
            raise Refusal(422, 42202, f"{text!r} is not a version: a number from 1 on, or 'latest'")
        if int(text) not in versions:
            raise Refusal(404, 40402, f"version {text} of {subject!r} not found")
        return int(text)

    def schema(self, text: str) -> AvroSchema:
        """A schema by its id; raises :class:`Refusal` 40403."""
        if not text.isdecimal() or not 0 < int(text) <= len(self.by_id):
            raise Refusal(404, 40403, f"schema {text} not found")
        return self.by_id[int(text) - 1]

    def find(self, subject: str, text: str) -> tuple[int, int]:
        """Version and id of a schema in a subject; raises :class:`Refusal` 40401 or 40403."""
        versions = self.versions(subject)
        _parse(text)
        id_ = self._ids.get(_identity(text))
        for version, known in versions.items():
            if known == id_:
                return version, known
        raise Refusal(404, 40403, "schema not found")


def _parse(text: str) -> AvroSchema:
    try:
        return AvroSchema.parse(text)
    except Mismatch as mismatch:
        raise Refusal(422, 42201, f"invalid Avro schema: {mismatch}") from None


def _identity(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


class RegistryServer(HttpServer):
    """A registry on loopback; use it as an async context manager.

    Args:
        port: 0 for a free one.
        compatibility: level of subjects that have none of their own.
        users: names and passwords; None lets everybody in.
    """

    def __init__(
        self, port: int = 0, *, compatibility: str = "BACKWARD", users: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(port, shutdown_s=1.0)
        self.schemas = Schemas(compatibility)
        self.allow(users)

    @property
    def url(self) -> str:
        """Base address, with Apicurio's prefix; others work too."""
        return f"{super().url}{PREFIX}"

    def allow(self, users: Mapping[str, str] | None) -> None:
        """Let in these users from now on, by name and password; None for everybody."""
        self._allowed = None if users is None else {aiohttp.encode_basic_auth(*user) for user in users.items()}

    def application(self) -> web.Application:
        """One handler for all paths: what stands in front of them is of no interest."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            if self._allowed is not None and request.headers.get("Authorization") not in self._allowed:
                raise Refusal(401, 401, "user name and password are needed")
            return web.json_response(await self._answer(request))
        except Refusal as refusal:
            body = {"error_code": refusal.code, "message": refusal.message}
            return web.json_response(body, status=refusal.status)

    async def _answer(self, request: web.Request) -> Any:
        path = request.rel_url.raw_path.rstrip("/")
        for method, pattern, handler in _ROUTES:
            found = pattern.search(path)
            if found and request.method == method:
                return await handler(self.schemas, request, *map(unquote, found.groups()))
        if any(pattern.search(path) for _, pattern, _ in _ROUTES):
            raise Refusal(405, 405, f"{request.method} is not allowed here")
        raise Refusal(404, 404, "HTTP 404 Not Found")


async def _body(request: web.Request, key: str) -> str:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get(key), str):
        raise Refusal(422, 42201, f"a JSON object with the text {key!r} was expected")
    if body.get("schemaType", "AVRO") != "AVRO":
        raise Refusal(422, 42201, f"schemas of type {body['schemaType']} are not supported, only AVRO")
    return str(body[key])


async def _schema_by_id(schemas: Schemas, request: web.Request, id_: str) -> Any:
    return {"schema": schemas.schema(id_).text}


async def _uses_of_id(schemas: Schemas, request: web.Request, id_: str) -> Any:
    schemas.schema(id_)
    uses = [(s, v) for s, versions in schemas.subjects.items() for v, known in versions.items() if known == int(id_)]
    return [{"subject": subject, "version": version} for subject, version in uses]


async def _types(schemas: Schemas, request: web.Request) -> Any:
    return ["AVRO"]


async def _all_subjects(schemas: Schemas, request: web.Request) -> Any:
    return sorted(schemas.subjects)


async def _look_up(schemas: Schemas, request: web.Request, subject: str) -> Any:
    text = await _body(request, "schema")
    version, id_ = schemas.find(subject, text)
    return {"subject": subject, "version": version, "id": id_, "schema": schemas.by_id[id_ - 1].text}


async def _delete_subject(schemas: Schemas, request: web.Request, subject: str) -> Any:
    versions = sorted(schemas.versions(subject))
    del schemas.subjects[subject]
    return versions


async def _all_versions(schemas: Schemas, request: web.Request, subject: str) -> Any:
    return sorted(schemas.versions(subject))


async def _register(schemas: Schemas, request: web.Request, subject: str) -> Any:
    return {"id": schemas.register(subject, await _body(request, "schema"))}


async def _one_version(schemas: Schemas, request: web.Request, subject: str, version: str) -> Any:
    number = schemas.version(subject, version)
    id_ = schemas.subjects[subject][number]
    return {"subject": subject, "version": number, "id": id_, "schema": schemas.by_id[id_ - 1].text}


async def _schema_of_version(schemas: Schemas, request: web.Request, subject: str, version: str) -> Any:
    id_ = schemas.subjects[subject][schemas.version(subject, version)]
    return json.loads(schemas.by_id[id_ - 1].text)


async def _check(schemas: Schemas, request: web.Request, subject: str, version: str) -> Any:
    schema = _parse(await _body(request, "schema"))
    found = schemas.incompatible(subject, schema, schemas.version(subject, version))
    verbose = {"messages": found} if request.query.get("verbose") == "true" else {}
    return {"is_compatible": not found, **verbose}


async def _check_all(schemas: Schemas, request: web.Request, subject: str) -> Any:
    found = schemas.incompatible(subject, _parse(await _body(request, "schema")))
    return {"is_compatible": not found, **({"messages": found} if request.query.get("verbose") == "true" else {})}


async def _get_level(schemas: Schemas, request: web.Request) -> Any:
    return {"compatibilityLevel": schemas.level}


async def _level(request: web.Request) -> str:
    level = await _body(request, "compatibility")
    if level not in LEVELS:
        raise Refusal(422, 42203, f"{level!r} is not a compatibility level: {', '.join(LEVELS)}")
    return level


async def _set_level(schemas: Schemas, request: web.Request) -> Any:
    schemas.level = await _level(request)
    return {"compatibility": schemas.level}


async def _get_subject_level(schemas: Schemas, request: web.Request, subject: str) -> Any:
    if subject not in schemas.levels:
        raise Refusal(404, 40408, f"subject {subject!r} has no compatibility level of its own")
    return {"compatibilityLevel": schemas.levels[subject]}


async def _set_subject_level(schemas: Schemas, request: web.Request, subject: str) -> Any:
    schemas.levels[subject] = await _level(request)
    return {"compatibility": schemas.levels[subject]}


Handler = Callable[..., Awaitable[Any]]


def _routes(*routes: tuple[str, str, Handler]) -> list[tuple[str, re.Pattern[str], Handler]]:
    """Paths with ``*`` for a part; whatever stands before them is the prefix."""
    return [(method, re.compile(path.replace("*", "([^/]+)") + r"\Z"), handler) for method, path, handler in routes]


# The first that fits is taken, so longer paths come first: a subject may be called "subjects".
_ROUTES = _routes(
    ("GET", "/schemas/types", _types),
    ("GET", "/schemas/ids/*", _schema_by_id),
    ("GET", "/schemas/ids/*/versions", _uses_of_id),
    ("POST", "/compatibility/subjects/*/versions/*", _check),
    ("POST", "/compatibility/subjects/*/versions", _check_all),
    ("GET", "/subjects/*/versions/*/schema", _schema_of_version),
    ("GET", "/subjects/*/versions/*", _one_version),
    ("GET", "/subjects/*/versions", _all_versions),
    ("POST", "/subjects/*/versions", _register),
    ("POST", "/subjects/*", _look_up),
    ("DELETE", "/subjects/*", _delete_subject),
    ("GET", "/subjects", _all_subjects),
    ("GET", "/config/*", _get_subject_level),
    ("PUT", "/config/*", _set_subject_level),
    ("GET", "/config", _get_level),
    ("PUT", "/config", _set_level),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m anomaly_app.testing.registry", description="A schema registry in memory, on loopback."
    )
    parser.add_argument("--port", type=int, default=8081, help="where it listens (default 8081; 0: a free port)")
    parser.add_argument("--compatibility", choices=LEVELS, default="BACKWARD", help="of subjects without their own")
    options = parser.parse_args(arguments)
    server = RegistryServer(options.port, compatibility=options.compatibility)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(server, "schema registry on"))
    except OSError as error:
        parser.exit(2, f"port {options.port}: {error.strerror}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
