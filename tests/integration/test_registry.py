"""The registry client, and the worker's Avro, against the test kit's registry and against Apicurio."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from anomaly_app.errors import DecodeError, RegistryError
from anomaly_app.formats.records import RecordDecoder, RecordEncoder
from anomaly_app.formats.registry import Registry, RegistryRefusal
from anomaly_app.jobs.topic_tables import Format, Sink, Source
from anomaly_app.operators import Layout
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, Origin, Schema
from anomaly_app.testing.maven import missing_tools
from anomaly_app.testing.registry import RegistryServer


@pytest.fixture(scope="module", params=["kit", pytest.param("apicurio", marks=pytest.mark.registry)])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "apicurio":
        problem = missing_tools()
        if problem:
            pytest.skip(problem)
        from anomaly_app.testing.apicurio import Apicurio

        with Apicurio() as apicurio:
            yield apicurio.url
        return
    command = [sys.executable, "-m", "anomaly_app.testing.registry", "--port", "0", "--compatibility", "NONE"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()
    assert process.returncode == 0


@pytest.fixture
async def registry(url: str) -> AsyncIterator[Registry]:
    await call("PUT", f"{url}/config", {"compatibility": "BACKWARD"})
    registry = Registry(url)
    yield registry
    await registry.close()


@pytest.fixture
def subject() -> str:
    return f"topic-{uuid.uuid4()}-value"


async def call(method: str, url: str, body: Any = None) -> tuple[int, Any]:
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    data = None if body is None else json.dumps(body)
    async with aiohttp.ClientSession() as session, session.request(method, url, data=data, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


def record(*fields: Any, name: str = "Sales") -> str:
    return json.dumps({"type": "record", "name": name, "namespace": "a.b", "fields": list(fields)})


def field(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **more}


FIRST = record(field("user_id", "string"), field("qty", "int"))
OPTIONAL = record(field("user_id", "string"), field("qty", "int"), field("note", ["null", "string"], default=None))


async def test_a_schema_keeps_its_id(registry: Registry, url: str, subject: str) -> None:
    id_ = await registry.register(subject, FIRST)
    other = Registry(url)
    try:
        assert await other.register(subject, FIRST) == id_
        assert json.loads(await other.schema(id_)) == json.loads(FIRST)
        assert await other.register(subject, OPTIONAL) != id_
    finally:
        await other.close()
    assert await call("GET", f"{url}/subjects/{subject}/versions") == (200, [1, 2])
    status, latest = await call("GET", f"{url}/subjects/{subject}/versions/latest")
    assert (status, latest["version"], json.loads(latest["schema"])) == (200, 2, json.loads(OPTIONAL))
    status, found = await call("POST", f"{url}/subjects/{subject}", {"schema": FIRST})
    assert (status, found["id"], found["version"], found["subject"]) == (200, id_, 1, subject)
    assert subject in (await call("GET", f"{url}/subjects"))[1]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (record(field("user_id", "string"), field("qty", "int"), field("note", "string")), "a new field, no default"),
        (record(field("user_id", "string"), field("qty", "string")), "another type"),
        (record(field("user_id", "string"), field("qty", ["null", "string"])), "another type in a union"),
    ],
)
async def test_what_cannot_read_old_records_is_refused(
    registry: Registry, url: str, subject: str, changed: str, problem: str
) -> None:
    await registry.register(subject, FIRST)
    with pytest.raises(RegistryRefusal) as caught:
        await registry.register(subject, changed)
    assert (caught.value.status, caught.value.error_code, caught.value.retriable) == (409, 409, False)
    path = f"{url}/compatibility/subjects/{subject}/versions/latest"
    status, answer = await call("POST", path, {"schema": changed})
    assert (status, answer["is_compatible"]) == (200, False)


@pytest.mark.parametrize(
    "changed",
    [
        OPTIONAL,
        record(field("user_id", "string")),
        record(field("user_id", "string"), field("qty", "long")),
        record(field("user_id", ["null", "string"]), field("qty", "double")),
        record(field("user_id", "bytes"), field("qty", "int")),
    ],
)
async def test_what_can_read_old_records_is_taken(registry: Registry, url: str, subject: str, changed: str) -> None:
    await registry.register(subject, FIRST)
    path = f"{url}/compatibility/subjects/{subject}/versions/latest"
    status, answer = await call("POST", path, {"schema": changed})
    assert (status, answer["is_compatible"]) == (200, True)
    await registry.register(subject, changed)


async def test_the_level_of_a_subject_goes_before_the_general_one(registry: Registry, url: str, subject: str) -> None:
    await call("PUT", f"{url}/config", {"compatibility": "NONE"})
    await registry.register(subject, FIRST)
    await registry.register(subject, record(field("qty", "string")))
    status, answer = await call("PUT", f"{url}/config/{subject}", {"compatibility": "BACKWARD"})
    assert (status, answer["compatibility"]) == (200, "BACKWARD")
    with pytest.raises(RegistryRefusal):
        await registry.register(subject, FIRST.replace("user_id", "other"))


@pytest.mark.parametrize("schema", ["{", '{"type": "record"}', '"strin"'])
async def test_what_is_no_schema_is_refused(registry: Registry, subject: str, schema: str) -> None:
    with pytest.raises(RegistryRefusal) as caught:
        await registry.register(subject, schema)
    assert (caught.value.status, caught.value.error_code) == (422, 42201)


async def test_unknown_ids_and_subjects(registry: Registry, url: str, subject: str) -> None:
    with pytest.raises(RegistryRefusal) as caught:
        await registry.schema(987_654)
    assert (caught.value.status, caught.value.error_code) == (404, 40403)
    assert (await call("GET", f"{url}/subjects/{subject}/versions"))[1]["error_code"] == 40401
    assert (await call("GET", f"{url}/subjects/{subject}/versions/latest"))[1]["error_code"] == 40401
    await registry.register(subject, FIRST)
    assert (await call("GET", f"{url}/subjects/{subject}/versions/9"))[1]["error_code"] == 40402
    assert (await call("POST", f"{url}/subjects/{subject}", {"schema": OPTIONAL}))[1]["error_code"] == 40403


class Message(NamedTuple):
    value: bytes | None
    key: bytes | None = None
    offset: int = 0
    timestamp: int = 5_000
    topic: str = "sales"
    partition: int = 0


USER, QTY, NOTE = Column("user_id", STRING), Column("qty", INT), Column("note", STRING)
AVRO = Format("avro-confluent")


def sink(topic: str, *columns: Column) -> Sink:
    names = tuple(column.name for column in columns)
    return Sink("s", columns, topic, AVRO, AVRO, names[:1], names)


async def test_rows_through_the_registry(registry: Registry, url: str) -> None:
    topic = f"sales-{uuid.uuid4()}"
    old, new = RecordEncoder(sink(topic, USER, QTY), registry), RecordEncoder(sink(topic, USER, QTY, NOTE), registry)
    await old.prepare()
    await new.prepare()
    messages = [
        Message(*reversed(old.encode(("ann", 3)))),
        Message(*reversed(new.encode(("bob", None, "hi"))), offset=1),
    ]
    names = ("user_id", "qty", "note")
    time = Column("ts", TIMESTAMP_3, Origin.METADATA, "timestamp")
    source = Source(
        "t", Schema((USER, QTY, NOTE, time), "ts"), topic, AVRO, key_format=AVRO, key_fields=("user_id",),
        value_fields=names,
    )  # fmt: skip
    decoder = RecordDecoder(source, Layout((NOTE, QTY, USER)), registry)
    await decoder.prepare(messages)
    assert decoder.decode(messages, 0) == ([(5_000, 0, None, 3, "ann"), (5_000, 1, "hi", None, "bob")], [], 0, 0)
    subjects = (await call("GET", f"{url}/subjects"))[1]
    assert {f"{topic}-key", f"{topic}-value"} <= set(subjects)


async def test_an_id_that_the_registry_does_not_know_is_a_bad_record(registry: Registry) -> None:
    source = Source("t", Schema((USER,)), "x", AVRO, value_fields=("user_id",))
    decoder = RecordDecoder(source, Layout((USER,)), registry)
    messages = [Message(b"\0\0\x0f\x12\x34rest"), Message(b"no magic"), Message(b"")]
    await decoder.prepare(messages)
    rows, bad, *_ = decoder.decode(messages, 0)
    assert rows == []
    assert [str(error).split(":")[0] for _, error in bad] == [
        "the schema registry has no schema with the id 987700",
        "not Avro in the Confluent wire format",
        "not Avro in the Confluent wire format",
    ]
    assert all(isinstance(error, DecodeError) for _, error in bad)


# --- what only the test kit's own can show ---------------------------------------------------------


async def test_a_registry_that_is_down_is_no_fault_of_the_records() -> None:
    server = RegistryServer()
    await server.start()
    registry = Registry(server.url)
    source = Source("t", Schema((USER,)), "x", AVRO, value_fields=("user_id",))
    encoder = RecordEncoder(Sink("s", (USER,), "x", AVRO, value_fields=("user_id",)), registry)
    await encoder.prepare()
    message = Message(encoder.encode(("ann",))[1])
    await server.stop()
    fresh = Registry(server.url)
    decoder = RecordDecoder(source, Layout((USER,)), fresh)
    with pytest.raises(RegistryError, match="cannot be reached") as caught:
        await decoder.prepare([message])
    assert caught.value.retriable
    await server.start()
    await decoder.prepare([message])
    await server.stop()
    await decoder.prepare([message])
    assert decoder.decode([message], 7).rows == [(7, 0, "ann")]
    await registry.close()
    await fresh.close()


async def test_credentials() -> None:
    async with RegistryServer(users={"ann": "se:cret"}) as server:
        registry = Registry(server.url, auth=("ann", "se:cret"))
        assert await registry.register("s", FIRST) == 1
        await registry.close()
        stranger = Registry(server.url.replace("http://", "http://ann:guess@"))
        with pytest.raises(RegistryRefusal, match=r"registry\.password") as caught:
            await stranger.register("s", FIRST)
        assert "guess" not in str(caught.value)
        assert not caught.value.retriable
        await stranger.close()


async def test_addresses_are_tried_in_turn_and_under_any_prefix() -> None:
    async with RegistryServer() as server:
        root = f"http://127.0.0.1:{server.port}"
        registry = Registry(f"http://127.0.0.1:9/none, {root}")
        assert await registry.register("a/b c", FIRST) == 1
        assert server.schemas.subjects == {"a/b c": {1: 1}}
        await registry.close()
        assert await call("GET", f"{root}/deep/down/subjects") == (200, ["a/b c"])
        assert (await call("GET", f"{root}/nothing"))[0] == 404
        assert (await call("PUT", f"{root}/subjects"))[0] == 405
        assert (await call("PUT", f"{root}/config", {"compatibility": "SOME"}))[1]["error_code"] == 42203
        assert (await call("GET", f"{root}/config/s"))[1]["error_code"] == 40408


async def test_a_page_that_is_no_registry_is_named() -> None:
    async with RegistryServer() as server:
        registry = Registry(f"{server.url}/subjects?x=")
        with pytest.raises(RegistryError, match="not that of a schema registry"):
            await registry.schema(1)
        await registry.close()


def test_a_taken_port_is_said_in_one_line() -> None:
    command = [sys.executable, "-m", "anomaly_app.testing.registry", "--port"]
    with subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split(":")[-1].split("/")[0]
        second = subprocess.run([*command, port], capture_output=True, text=True, timeout=30, env=os.environ)
        process.terminate()
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr.startswith(f"port {port}: ")
    assert second.stderr.count("\n") == 1


@pytest.mark.registry
@pytest.mark.timeout(180)
def test_the_script_starts_shows_and_stops_apicurio(tmp_path: Path) -> None:
    problem = missing_tools()
    if problem:
        pytest.skip(problem)

    def script(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "anomaly_app.testing.apicurio", "--state", str(tmp_path / "state.json")]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)
        assert done.stderr == ""
        return done.returncode, done.stdout

    assert script("status") == (1, "Apicurio Registry does not run\n")
    try:
        status, shown = script("start", "--port", "0")
        assert (status, shown.startswith("Apicurio Registry runs on http://127.0.0.1:")) == (0, True)
        url = shown.split()[4]
        assert script("start")[1] == shown
        assert script("status") == (0, f"Apicurio Registry runs on {url}\n")
        port = url.split(":")[2].split("/")[0]
        other = [sys.executable, "-m", "anomaly_app.testing.apicurio", "--state", str(tmp_path / "other.json")]
        taken = subprocess.run([*other, "start", "--port", port], capture_output=True, text=True, timeout=60)
        assert (taken.returncode, taken.stdout) == (2, "")
        assert f"cannot listen on port {port}" in taken.stderr
    finally:
        assert script("stop") == (0, "Apicurio Registry stopped\n")
    assert script("stop") == (0, "Apicurio Registry does not run\n")
