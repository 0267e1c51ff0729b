"""What the writer sends, and what it recognises as sent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import ConsumerRecord

from anomaly_app.errors import StateError
from anomaly_app.runtime.outgoing import ID_HEADER, Outgoing, error_headers, raw, result
from anomaly_app.runtime.writer import OutputWriter


class FakeBatch:
    """Takes so many records."""

    def __init__(self, room: int) -> None:
        self.room, self.records = room, []  # type: ignore[var-annotated]

    def append(self, **record: Any) -> object | None:
        if len(self.records) >= self.room or len(record["value"] or b"") > 1_000:
            return None
        self.records.append(record)
        return record

    def record_count(self) -> int:
        return len(self.records)


class FakeProducer:
    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.topics: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.batches = 0

    def create_batch(self) -> FakeBatch:
        return FakeBatch(self.room)

    async def send_batch(self, batch: FakeBatch, topic: str, *, partition: int) -> Any:
        log = self.topics.setdefault((topic, partition), [])
        offset = len(log)
        log += batch.records
        self.batches += 1
        done = asyncio.get_running_loop().create_future()
        done.set_result(SimpleNamespace(offset=offset))
        return done


def make(room: int = 100, **partitions: int) -> tuple[OutputWriter, FakeProducer]:
    writer = OutputWriter(partitions or {"out": 4, "plain": 1}, ["out"])
    producer = FakeProducer(room)
    writer.producer = producer
    return writer, producer


def test_a_key_always_goes_to_kafkas_partition() -> None:
    writer, producer = make()
    asyncio.run(writer.write([result("out", b"user-%d" % n, b"v", str(n)) for n in range(20)]))
    for (_, partition), records in producer.topics.items():
        for record in records:
            assert DefaultPartitioner()(record["key"], [0, 1, 2, 3], [0, 1, 2, 3]) == partition
    assert sum(map(len, producer.topics.values())) == 20


def test_what_is_written_is_known_by_partition() -> None:
    writer, producer = make()
    assert writer.written == {"out": [-1, -1, -1, -1]}
    asyncio.run(writer.write([Outgoing("out", None, b"v", [], partition=2)] * 3))
    asyncio.run(writer.write([Outgoing("plain", None, b"v", [])]))
    assert writer.written == {"out": [-1, -1, 2, -1]}
    assert len(producer.topics["plain", 0]) == 1


def test_a_full_batch_is_followed_by_another_in_order() -> None:
    writer, producer = make(room=4)
    asyncio.run(writer.write([Outgoing("out", None, b"%d" % n, [], partition=1) for n in range(10)]))
    assert [record["value"] for record in producer.topics["out", 1]] == [b"%d" % n for n in range(10)]
    assert producer.batches == 3
    assert writer.written["out"][1] == 9


def test_a_replay_writes_nothing_twice() -> None:
    writer, producer = make()
    writer.recognise("out", ["b"])
    records = [result("out", b"k", b"v", id_) for id_ in ("a", "b", "c")]
    asyncio.run(writer.write(records))
    (written,) = producer.topics.values()
    assert [dict(record["headers"])[ID_HEADER] for record in written] == [b"a", b"c"]
    assert writer.repeated == 1


def test_the_changelog_answers_with_the_offset_of_its_last_record() -> None:
    writer, producer = make(room=2)
    entries = [(b"a", b"1"), (b"b", None), (b"c", b"3")]
    assert asyncio.run(writer.changelog("log", 0, entries)) == 2
    assert [(record["key"], record["value"]) for record in producer.topics["log", 0]] == entries


def test_a_record_that_fits_no_batch_is_an_error() -> None:
    writer, _ = make()
    with pytest.raises(StateError, match="too large"):
        asyncio.run(writer.write([Outgoing("out", None, b"x" * 2_000, [], partition=0)]))


def test_a_dead_letter_has_its_bytes_its_headers_and_its_place() -> None:
    record = ConsumerRecord(
        "sales", 3, 42, 1_000, 0, b"k", b"\xff", None, 1, 1, (("trace", b"t"), ("anomaly-id", b"x"))
    )
    letter = raw("sales.dlq", record, error_headers(ValueError("no JSON")))
    assert (letter.topic, letter.key, letter.value, letter.id) == ("sales.dlq", b"k", b"\xff", "sales-3-42")
    headers = dict(letter.headers)
    assert headers["trace"] == b"t"
    assert headers["anomaly-source-topic"] == b"sales" and headers["anomaly-source-partition"] == b"3"
    assert headers["anomaly-source-offset"] == b"42" and headers["anomaly-source-timestamp"] == b"1000"
    assert headers["anomaly-error"] == b"no JSON" and headers["anomaly-error-type"] == b"ValueError"
    assert [value for name, value in letter.headers if name == ID_HEADER] == [b"sales-3-42"]


def test_changelogs_of_several_partitions_are_written_side_by_side() -> None:
    writer, producer = make(room=2)
    entries = [(b"a", b"1"), (b"b", None), (b"c", b"3")]
    assert asyncio.run(writer.changelogs([("one", 0, entries), ("two", 1, entries[:1]), ("one", 2, entries)])) == [
        2,
        0,
        2,
    ]
    assert [record["key"] for record in producer.topics["one", 2]] == [b"a", b"b", b"c"]
