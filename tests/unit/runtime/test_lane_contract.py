"""The private names of Faust and aiokafka that the lane bends: an upgrade that changes them must fail here, loudly."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import aiokafka
import faust
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.stores import rocksdb
from faust.tables.recovery import Recovery
from faust.transport import conductor, consumer
from faust.transport.drivers import aiokafka as driver

from anomaly_app.runtime import lane


def source(thing: object) -> str:
    return inspect.getsource(thing)  # type: ignore[arg-type]


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_versions_are_those_that_were_read() -> None:
    assert version("faust-streaming") == "0.15.3"
    assert version("aiokafka") == "0.14.0"
    assert version("rocksdict") == "0.3.29"


def test_every_override_replaces_something_of_the_same_shape() -> None:
    for name in (
        "getmany",
        "_new_offset",
        "_add_gap",
        "on_partitions_revoked",
        "perform_seek",
        "on_buffer_full",
        "ack",
    ):
        assert parameters(getattr(lane.LaneConsumer, name)) == parameters(getattr(driver.Consumer, name)), name
    assert parameters(lane._ConsumerThread._create_worker_consumer) == parameters(
        driver.AIOKafkaConsumerThread._create_worker_consumer
    )
    assert "_settings_extra" in source(driver.Producer._new_producer)
    assert "self.conf.broker_consumer" in source(faust.App._new_transport)


def test_the_fetcher_reads_through_getmany_and_filters_by_read_offset() -> None:
    drained = source(consumer.Consumer._drain_messages)
    assert "getmany(timeout=1.0)" in drained
    assert "offset >= r_offset" in drained
    assert "set_read_offset(tp, offset)" in drained


def test_commits_ask_new_offset_for_partitions_with_acknowledgements() -> None:
    assert "for tp in self._acked" in source(consumer.Consumer._filter_tps_with_pending_acks)
    assert "self._new_offset(tp)" in source(consumer.Consumer._filter_committable_offsets)
    assert "self._unacked_messages" in source(consumer.Consumer.wait_empty)


def test_recovery_seeks_before_it_resumes_the_flow() -> None:
    completed = source(Recovery.on_recovery_completed)
    assert completed.index("consumer.perform_seek()") < completed.index("consumer.resume_flow()")
    resumed = source(Recovery._resume_streams)
    assert resumed.index("consumer.perform_seek()") < resumed.index("consumer.resume_flow()")


def test_revocation_goes_through_the_consumer_and_stops_the_flow() -> None:
    assert "consumer.stop_flow" in source(faust.App._on_partitions_revoked)
    assert "_consumer_wait_empty" in source(faust.App._on_partitions_revoked)


def test_the_conductor_hands_over_what_the_schema_makes() -> None:
    assert "chan.decode(message, propagate=True)" in source(conductor.ConductorCompiler.build)


def test_aiokafka_takes_fetch_wait_and_group_from_these_names() -> None:
    start = source(aiokafka.AIOKafkaConsumer)
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in start
    assert "group_id=self._group_id" in start
    assert "isolation_level=self._isolation_level" in start
    assert parameters(lane._ConsumerThread.highwater) == parameters(driver.AIOKafkaConsumerThread.highwater)


def test_errors_of_the_group_and_of_commits_pass_these_names() -> None:
    assert "await self._push_error_to_user(exc)" in source(GroupCoordinator)
    assert parameters(GroupCoordinator._push_error_to_user) == ["self", "exc"]
    assert "self._coordinator = GroupCoordinator(" in source(aiokafka.AIOKafkaConsumer.start)
    assert "await consumer.commit(aiokafka_offsets)" in source(driver.AIOKafkaConsumerThread._commit)


def test_batches_of_the_producer() -> None:
    assert parameters(aiokafka.AIOKafkaProducer.send_batch) == ["self", "batch", "topic", "partition"]
    assert {"timestamp", "key", "value", "headers"} <= set(parameters(BatchBuilder.append))


def test_the_store_keeps_one_database_a_partition_with_the_persisted_offset() -> None:
    assert rocksdb.Store.offset_key == b"__faust\0offset__"
    assert "str(offset).encode()" in source(rocksdb.Store.set_persisted_offset)
    assert "raw_mode=True" in source(rocksdb.RocksDBOptions.as_options)
    assert parameters(rocksdb.Store.apply_changelog_batch) == ["self", "batch", "to_key", "to_value"]
