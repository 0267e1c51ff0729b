"""Topics to which little comes: nobody waits for the next record."""

from __future__ import annotations

import json
import time

from fragment_run import NOW_MS, Topic, Upstream, at

from anomaly_app.jobs.binder import bind_job
from anomaly_app.runtime.frames import What, decode_heads
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.settings import load_settings

TABLES = """CREATE TABLE sales (id INT, shop STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
    WITH ('connector' = 'kafka', 'topic' = 'sales', 'format' = 'json');
CREATE TABLE gates (id INT, shop STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
    WITH ('connector' = 'kafka', 'topic' = 'gates', 'format' = 'json', 'scan.watermark.idle-timeout' = '1 ms');
SELECT shop, COUNT(*) OVER (PARTITION BY shop ORDER BY ts) AS n
    FROM (SELECT shop, ts FROM sales UNION ALL SELECT shop, ts FROM gates)"""


def told(of: str, *, more_to_come: int = 0) -> list[tuple[int, What]]:
    """Rows and what is said of the partition, of each frame of a flush."""
    loaded = load_settings({"worker.app_id": "app"}, environ={})
    job = bind_job(TABLES, name="job", partitions={"sales": 2, "gates": 2})
    (plan,) = job.plans
    pipeline = Pipeline(job, plan, loaded.settings, 2, Registries(loaded))
    number = next(feed.number for feed in pipeline.feeds if feed.topic == of)
    source, target = Topic(of, 0), Topic(pipeline.repartition_topic, 0)
    source.add(json.dumps({"id": 1, "shop": "a", "ts": at(5_000)}).encode())
    up = Upstream(pipeline, number, source, [target, target])
    up.stage.highwater = 1 + more_to_come
    up.take(1)
    time.sleep(0.005)
    found = []
    for record in up.stage.gather(NOW_MS).records:
        assert record.value is not None
        (frame,) = decode_heads(record.value)
        found.append((len(pipeline.feeds[number].codec.decode(frame, 0)[0]), What(frame.what)))
    return sorted(found)


def test_the_last_record_that_there_is_tells_that_nobody_is_to_wait_for_the_next() -> None:
    assert told("gates") == [(0, What.IDLE), (0, What.IDLE), (1, What.ACTIVE)]


def test_a_partition_that_is_not_read_to_its_end_is_waited_for() -> None:
    assert told("gates", more_to_come=1) == [(0, What.ACTIVE), (1, What.ACTIVE)]


def test_others_are_waited_for_as_long_as_the_worker_says() -> None:
    assert told("sales") == [(0, What.ACTIVE), (1, What.ACTIVE)]
