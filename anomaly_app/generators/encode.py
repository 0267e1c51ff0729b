"""Values of generated records as bytes: JSON, CSV, or Avro in the Confluent wire format."""

from __future__ import annotations

import base64
import io
import json
import ssl
import struct
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from anomaly_app.errors import RegistryError
from anomaly_app.generators.stream import Generator

Encoder = Callable[[Mapping[str, Any]], bytes]
FORMATS = ("avro", "csv", "json")
TIMEOUT_S = 10.0


class RegistryAccess(NamedTuple):
    """How a schema registry is reached.

    Args:
        url: base address of its Confluent REST API, such as ``http://localhost:8080/apis/ccompat/v6``.
        username: for basic authentication; "" without.
        password: of that user.
        ca_file: certificates to trust; None for the system's.
    """

    url: str
    username: str = ""
    password: str = ""
    ca_file: Path | None = None

    def __repr__(self) -> str:
        return f"RegistryAccess({self.url!r})"


def create_encoder(generator: Generator, format_: str, registry: RegistryAccess | None = None) -> Encoder:
    """What turns values of a stream into bytes.

    Args:
        generator: the stream.
        format_: ``json``, ``csv`` or ``avro``.
        registry: where the Avro schema is registered, as ``<topic>-value``.

    Raises:
        RegistryError: the registry is not given, unreachable, or refuses the schema.

    Example:
        >>> from anomaly_app.generators import clicks
        >>> create_encoder(clicks(), "csv")({"user_id": "user-1", "product_id": "7"})
        b'user-1,7'
    """
    if format_ == "json":
        return msgspec.json.encode
    if format_ == "csv":
        fields = generator.csv_fields
        # No value of these streams has a character that CSV would quote.
        return lambda value: ",".join([str(value[field]) for field in fields]).encode()
    if format_ != "avro":
        raise ValueError(f"format {format_!r} should be one of {', '.join(FORMATS)}")
    return avro_encoder(registry, f"{generator.topic}-value", generator.avro_schema)


def avro_encoder(registry: RegistryAccess | None, subject: str, schema: dict[str, Any]) -> Encoder:
    """What turns values into Avro in the Confluent wire format; errors as of :func:`create_encoder`.

    Args:
        registry: where the schema is registered.
        subject: under which name.
        schema: of the values.
    """
    from fastavro import parse_schema, schemaless_writer

    if registry is None or not registry.url:
        raise RegistryError("Avro records need a schema registry: give its address")
    header = struct.pack(">bI", 0, register(registry, subject, schema))
    parsed = parse_schema(schema)

    def encode(value: Mapping[str, Any]) -> bytes:
        buffer = io.BytesIO()
        buffer.write(header)
        schemaless_writer(buffer, parsed, value)
        return buffer.getvalue()

    return encode


def register(registry: RegistryAccess, subject: str, schema: dict[str, Any]) -> int:
    """Register an Avro schema, or find it if it is registered already; returns its id.

    Raises:
        RegistryError: the registry is unreachable or refuses.
    """
    address = f"{registry.url.rstrip('/')}/subjects/{quote(subject, safe='')}/versions"
    if urlsplit(address).scheme not in ("http", "https"):
        raise RegistryError(f"the registry's address {registry.url!r} should begin with http:// or https://")
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    if registry.username:
        credentials = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
        headers["Authorization"] = f"Basic {credentials}"
    body = json.dumps({"schema": json.dumps(schema)}).encode()
    request = urllib.request.Request(address, body, headers)
    context = ssl.create_default_context(cafile=registry.ca_file) if address.startswith("https") else None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as response:
            return int(json.load(response)["id"])
    except urllib.error.HTTPError as error:
        with error:
            detail = error.read(500).decode("utf-8", "replace")
        raise RegistryError(f"the registry at {registry.url} answers {error.code} for {subject}: {detail}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", error)
        raise RegistryError(f"the registry at {registry.url} cannot be used: {reason}") from error
