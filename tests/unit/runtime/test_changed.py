"""Tables that change on their way through a stage: what is written of it, and what a restart makes of it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from anomaly_app.errors import SqlValidationError
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.runtime.detect_stage import DetectStage
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.stage import Flush
from anomaly_app.settings import LoadedSettings, Settings

COLUMNS = "id INT, qty INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts, PRIMARY KEY (id) NOT ENFORCED"
UPSERT = "'connector' = 'upsert-kafka', 'key.format' = 'json', 'value.format' = 'json'"
TABLES = f"""
CREATE TABLE stock ({COLUMNS}) WITH ({UPSERT}, 'topic' = 'stock');
CREATE TABLE events (id INT, qty INT) WITH ('connector' = 'kafka', 'topic' = 'events', 'format' = 'debezium-json');
CREATE TABLE plain (id INT, qty INT) WITH ('connector' = 'kafka', 'topic' = 'plain', 'format' = 'json');
CREATE TABLE latest (id INT, qty INT, PRIMARY KEY (id) NOT ENFORCED) WITH ({UPSERT}, 'topic' = 'latest');
CREATE TABLE told (id INT, qty INT) WITH ('connector' = 'kafka', 'topic' = 'told', 'format' = 'debezium-json');
CREATE TABLE shown (id INT, qty INT) WITH ('connector' = 'print', 'print-identifier' = 'shown');
CREATE TABLE gone (id INT, qty INT) WITH ('connector' = 'blackhole');
"""


def record(topic: str, offset: int, key: Any, value: Any) -> Any:
    key, value = (None if part is None else json.dumps(part).encode() for part in (key, value))
    sizes = len(key or b""), len(value or b"")
    return ConsumerRecord(topic, 0, offset, 5_000, 0, key, value, None, *sizes, ())


def row(offset: int, id_: int, qty: int | None, second: int = 0) -> Any:
    """A row of stock; without quantity a deletion."""
    value = None if qty is None else {"id": id_, "qty": qty, "ts": f"2026-01-01 00:00:{second:02}"}
    return record("stock", offset, {"id": id_}, value)


def stage(statement: str, topic: str = "stock", tables: str = TABLES) -> DetectStage:
    loaded = LoadedSettings(Settings())
    job = bind_job(tables + statement, name="job", partitions={topic: 1})
    (plan,) = job.plans
    pipeline = Pipeline(job, plan, loaded.settings, 1, Registries(loaded))
    return DetectStage(pipeline, topic, 0, 1, None, plan.create_task())


def flush(one: DetectStage, *records: Any) -> Flush:
    one.process(records, 1_800_000_000_000)
    return one.gather(0)


def told(flushed: Flush, topic: str) -> list[tuple[Any, Any]]:
    return [
        (record.key and json.loads(record.key), record.value and json.loads(record.value))
        for record in flushed.records
        if record.topic == topic
    ]


LATEST = "INSERT INTO latest SELECT id, qty FROM stock"


def test_the_last_change_of_a_key_is_written_and_a_deletion_is_a_record_without_value() -> None:
    one = stage(LATEST)
    first = flush(one, row(0, 1, 5), row(1, 2, 6), row(2, 1, 7))
    assert told(first, "latest") == [({"id": 2}, {"id": 2, "qty": 6}), ({"id": 1}, {"id": 1, "qty": 7})]
    second = flush(one, row(3, 2, None), row(4, 1, 8), row(5, 9, None))
    assert told(second, "latest") == [({"id": 2}, None), ({"id": 1}, {"id": 1, "qty": 8})]
    assert not [record for record in (*first.records, *second.records) if record.id or record.headers]


def test_a_row_that_leaves_a_filter_is_deleted_and_one_that_comes_back_is_there() -> None:
    one = stage(f"{LATEST} WHERE qty > 5")
    assert told(flush(one, row(0, 1, 7)), "latest") == [({"id": 1}, {"id": 1, "qty": 7})]
    assert told(flush(one, row(1, 1, 3)), "latest") == [({"id": 1}, None)]
    assert told(flush(one, row(2, 1, 2)), "latest") == []
    assert told(flush(one, row(3, 1, 9), row(4, 1, 1), row(5, 1, 8)), "latest") == [({"id": 1}, {"id": 1, "qty": 8})]


def test_events_take_back_what_goes_and_bring_what_comes() -> None:
    made = flush(stage("INSERT INTO told SELECT id, qty FROM stock"), row(0, 1, 5), row(1, 1, 7), row(2, 1, None))
    events = [value for _, value in told(made, "told")]
    assert [(event["op"], (event["before"] or event["after"])["qty"]) for event in events] == [
        ("c", 5), ("d", 5), ("c", 7), ("d", 7)
    ]  # fmt: skip
    assert {record.partition for record in made.records} == {0}  # in order


def test_events_in_and_out() -> None:
    given = [
        record("events", 0, None, {"op": "r", "after": {"id": 1, "qty": 5}}),
        record("events", 1, None, {"op": "u", "before": {"id": 1, "qty": 5}, "after": {"id": 2, "qty": 6}}),
        record("events", 2, None, None),
        record("events", 3, None, {"op": "u", "before": None, "after": {"id": 2, "qty": 7}}),
    ]
    one = stage("INSERT INTO latest SELECT id, qty FROM events", "events")
    made = flush(one, *given)
    assert told(made, "latest") == [({"id": 1}, None), ({"id": 2}, {"id": 2, "qty": 6})]
    assert (one.tombstones, one.dead_letters) == (1, 1)
    (letter,) = [record for record in made.records if record.topic == "events.dlq"]
    assert b"REPLICA IDENTITY FULL" in dict(letter.headers)["anomaly-error"]


def test_groups_are_told_once_a_flush_under_their_key() -> None:
    given = [record("plain", n, None, {"id": n % 2, "qty": n}) for n in range(6)]
    one = stage("INSERT INTO latest SELECT id, SUM(qty) FROM plain GROUP BY id", "plain")
    assert told(flush(one, *given[:3]), "latest") == [
        ({"id": 0}, {"id": 0, "qty": 2}),
        ({"id": 1}, {"id": 1, "qty": 1}),
    ]
    assert told(flush(one, *given[3:]), "latest") == [
        ({"id": 1}, {"id": 1, "qty": 9}),
        ({"id": 0}, {"id": 0, "qty": 6}),
    ]
    moved = stage("INSERT INTO latest SELECT CAST(COUNT(*) AS INT) AS n, id FROM plain GROUP BY id", "plain")
    assert left([flush(moved, *given[:5])]) == {3: 0, 2: 1}
    assert left([flush(moved, given[5])]) == {3: 1}
    events = stage("INSERT INTO told SELECT id, SUM(qty) FROM plain GROUP BY id", "plain")
    flush(events, given[0])
    told_ = [value for _, value in told(flush(events, given[2]), "told")]
    assert [(event["op"], (event["before"] or event["after"])["qty"]) for event in told_] == [("d", 0), ("c", 2)]


def test_rows_are_printed_with_their_kind_or_go_nowhere() -> None:
    made = flush(stage("INSERT INTO shown SELECT id, qty FROM stock"), row(0, 1, 5), row(1, 1, 7), row(2, 1, None))
    lines = ["+I[1, 5]", "-U[1, 5]", "+U[1, 7]", "-D[1, 7]"]
    assert made.lines == [(False, f"shown> {line}") for line in lines] and made.records == []
    assert flush(stage("INSERT INTO gone SELECT id, qty FROM stock"), row(0, 1, 5)).records == []
    insertions = flush(stage("INSERT INTO shown SELECT * FROM plain", "plain"), record("plain", 0, None, {"id": 1}))
    assert insertions.lines == [(False, "shown> +I[1, null]")]


def test_a_result_that_has_no_form_is_a_dead_letter_and_the_others_are_written() -> None:
    tables = TABLES.replace("latest (id INT, qty INT,", "latest (id INT, at TIMESTAMP(3),")
    one = stage("INSERT INTO latest SELECT id, TIMESTAMPADD(YEAR, qty, ts) FROM stock", tables=tables)
    made = flush(one, row(0, 1, 300_000), row(1, 2, 5))
    assert told(made, "latest") == [({"id": 2}, {"id": 2, "at": "2031-01-01 00:00:00"})]
    assert [record.topic for record in made.records].count("stock.dlq") == 1


def test_a_deletion_without_a_time_is_not_set_apart_and_does_not_move_time() -> None:
    one = stage(LATEST)
    made = flush(one, row(0, 1, 5, 7), row(1, 1, None), row(2, 2, 6, 3))
    assert told(made, "latest") == [({"id": 1}, None), ({"id": 2}, {"id": 2, "qty": 6})]
    assert one.task.watermark == 1_767_225_607_000
    # The one that an absurd time stands before is not dragged along.
    far = flush(one, record("stock", 3, {"id": 3}, {"id": 3, "qty": 1, "ts": "9999-01-01 00:00:00"}), row(4, 2, None))
    assert told(far, "latest") == [({"id": 2}, None)]
    assert (one.rejected, one.dead_letters) == (1, 0)


def left(flushes: list[Flush], topic: str = "latest") -> dict[int, Any]:
    """What a compacted topic holds in the end."""
    found: dict[int, Any] = {}
    for flushed in flushes:
        for key, value in told(flushed, topic):
            found.pop(key["id"], None)
            if value is not None:
                found[key["id"]] = value["qty"]
    return found


def test_a_restart_wherever_it_falls_ends_with_the_same_rows() -> None:
    draw = random.Random(5)
    ids = range(6)
    given = [row(n, draw.choice(ids), draw.choice([None, *range(10)]), n // 10) for n in range(120)]
    expected: dict[int, int] = {}
    for one in given:
        id_ = json.loads(one.key)["id"]
        expected.pop(id_, None)
        qty = one.value and json.loads(one.value)["qty"]
        if qty is not None and qty > 3:
            expected[id_] = qty
    for trial in range(20):
        flushes: list[Flush] = []
        at, stored, entries = 0, Checkpoint(), {}
        while at < len(given):
            worker = stage(f"{LATEST} WHERE qty > 3")
            at = worker.task.restore(stored, entries)
            for _ in range(draw.randint(1, 4)):
                step = draw.randint(1, 15)
                batch, at = given[at : at + step], at + step
                if batch:
                    flushes.append(flush(worker, *batch))
                if draw.random() < 0.7 and flushes and flushes[-1].checkpoint is not None:
                    stored = flushes[-1].checkpoint
                    for made in flushes[-1:]:
                        for key, value in made.changes:
                            entries.pop(key, None) if value is None else entries.__setitem__(key, value)
                else:
                    break  # written, and killed before the checkpoint
        assert left(flushes) == expected, trial


# --- what does not fit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "problem", "place"),
    [
        (
            "INSERT INTO plain SELECT id, qty FROM stock",
            "table plain of the connector 'kafka' with the format 'json' does not take rows back, and table stock is",
            "plain SELECT",
        ),
        (
            "INSERT INTO plain SELECT id, COUNT(*) AS n FROM plain GROUP BY id",
            "does not take rows back, and the groups",
            "plain SELECT",
        ),
        ("SELECT id FROM stock", "are alerts, which cannot be taken back", "SELECT id"),
        (f"SET 'anomaly.alerts' = 'all'; {LATEST}", "SET 'anomaly.alerts' = 'none'", "INSERT INTO latest"),
    ],
)
def test_what_takes_no_rows_back_is_no_place_for_them(statement: str, problem: str, place: str) -> None:
    with pytest.raises(SqlValidationError) as caught:
        bind_job(TABLES + statement, name="job")
    assert problem in str(caught.value)
    assert (TABLES + statement)[caught.value.start :].startswith(place)
