"""Generated values as bytes; the registry is asked once, and what goes wrong with it is said."""

from __future__ import annotations

import io
import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from fastavro import parse_schema, schemaless_reader

from anomaly_app.errors import RegistryError
from anomaly_app.generators import sales
from anomaly_app.generators.encode import RegistryAccess, create_encoder

VALUE = {"user_id": "user-1", "product_id": "2", "invoice_id": "3", "quantity": "30", "unit_cost": "£4"}


class Handler(BaseHTTPRequestHandler):
    """Answers as a Confluent registry does, and remembers what it was asked."""

    asked: ClassVar[list[tuple[str, dict[str, object], str | None]]] = []
    answer: ClassVar[tuple[int, bytes]] = (200, b'{"id": 258}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body, self.headers["Authorization"]))
        self.send_response(self.answer[0])
        self.send_header("Content-Length", str(len(self.answer[1])))
        self.end_headers()
        self.wfile.write(self.answer[1])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    Handler.asked, Handler.answer = [], (200, b'{"id": 258}')
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/apis/ccompat/v6/"
        server.shutdown()
        thread.join()


def test_csv_has_the_order_of_the_tutorial_and_not_of_the_schema() -> None:
    assert create_encoder(sales(), "csv")(VALUE).decode() == "3,user-1,2,30,£4"


def test_json_has_every_field_as_text() -> None:
    assert json.loads(create_encoder(sales(), "json")(VALUE)) == VALUE


def test_avro_is_the_wire_format_with_the_registered_id(registry: str) -> None:
    encode = create_encoder(sales(), "avro", RegistryAccess(registry, "ann", "secret"))
    data = encode(VALUE)
    assert struct.unpack(">bI", data[:5]) == (0, 258)
    assert schemaless_reader(io.BytesIO(data[5:]), parse_schema(sales().avro_schema), None) == VALUE
    [(path, body, authorization)] = Handler.asked
    assert path == "/apis/ccompat/v6/subjects/flink.sales.records-value/versions"
    assert json.loads(str(body["schema"])) == sales().avro_schema
    assert authorization == "Basic YW5uOnNlY3JldA=="


@pytest.mark.parametrize("answer", [(409, b'{"error_code": 409}'), (200, b"<html>"), (200, b"{}")])
def test_an_answer_that_is_no_id_is_an_error(registry: str, answer: tuple[int, bytes]) -> None:
    Handler.answer = answer
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1"):
        create_encoder(sales(), "avro", RegistryAccess(registry))


def test_no_registry_and_none_that_listens_are_errors() -> None:
    with pytest.raises(RegistryError, match="give its address"):
        create_encoder(sales(), "avro")
    with pytest.raises(RegistryError, match="cannot be used"):
        create_encoder(sales(), "avro", RegistryAccess("http://127.0.0.1:1"))
    with pytest.raises(RegistryError, match="http://"):
        create_encoder(sales(), "avro", RegistryAccess("localhost:8080"))


def test_the_password_is_not_printed() -> None:
    assert "secret" not in repr(RegistryAccess("http://x", "ann", "secret"))
