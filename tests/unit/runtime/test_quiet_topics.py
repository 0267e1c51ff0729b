"""Topics to which little comes: nobody waits for the next record."""

from __future__ import annotations

import json
import time

from fragment_run import NOW_MS, Downstream, Topic, Upstream, at

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


def upstream(of: str) -> Upstream:
    """A partition of a table with one row."""
    loaded = load_settings({"worker.app_id": "app"}, environ={})
    job = bind_job(TABLES, name="job", partitions={"sales": 2, "gates": 2})
    (plan,) = job.plans
    pipeline = Pipeline(job, plan, loaded.settings, 2, Registries(loaded))
    number = next(feed.number for feed in pipeline.feeds if feed.topic == of)
    source, target = Topic(of, 0), Topic(pipeline.repartition_topic, 0)
    source.add(json.dumps({"id": 1, "shop": "a", "ts": at(5_000)}).encode())
    return Upstream(pipeline, number, source, [target, target])


def frames(up: Upstream) -> list[tuple[int, What]]:
    """Rows and what is said of the partition, of each frame of a flush."""
    found = []
    for record in up.stage.gather(NOW_MS).records:
        assert record.value is not None
        (frame,) = decode_heads(record.value)
        found.append((len(up.stage.feed.codec.decode(frame, 0)[0]), What(frame.what)))
    return sorted(found)


def told(of: str, *, more_to_come: int = 0) -> list[tuple[int, What]]:
    """The same behind its row."""
    up = upstream(of)
    up.stage.highwater = 1 + more_to_come
    up.take(1)
    time.sleep(0.005)
    return frames(up)


def test_the_last_record_that_there_is_tells_that_nobody_is_to_wait_for_the_next() -> None:
    assert told("gates") == [(0, What.IDLE), (0, What.IDLE), (1, What.ACTIVE)]


def test_a_partition_that_is_not_read_to_its_end_is_waited_for() -> None:
    assert told("gates", more_to_come=1) == [(0, What.ACTIVE), (1, What.ACTIVE)]


def test_a_partition_with_rows_that_came_while_nobody_read_is_waited_for_before_they_are_read() -> None:
    up = upstream("gates")
    up.stage.highwater = 5
    assert [frames(up) for _ in range(2)] == [[], []]
    up.stage.come_back()
    assert [frames(up) for _ in range(2)] == [[(0, What.ACTIVE), (0, What.ACTIVE)], []]


def test_others_are_waited_for_as_long_as_the_worker_says() -> None:
    assert told("sales") == [(0, What.ACTIVE), (1, What.ACTIVE)]


def rows_that_are_late(*, come_back: bool) -> int:
    """Both partitions were idle; then no worker runs for a while, and what has come to one of them is read first."""
    loaded = load_settings({"worker.app_id": "app"}, environ={})
    job = bind_job(TABLES, name="job", partitions={"sales": 2, "gates": 2})
    (plan,) = job.plans
    pipeline = Pipeline(job, plan, loaded.settings, 2, Registries(loaded))
    targets = [Topic(pipeline.repartition_topic, partition) for partition in range(2)]
    ups = [
        Upstream(pipeline, feed.number, Topic(feed.topic, partition), targets)
        for feed in pipeline.feeds
        for partition in range(2)
    ]
    downs = [Downstream(pipeline, target) for target in targets]
    for up in ups:
        up.stage.idle = True
        up.flush(True)
    for down in downs:
        down.take(100)
        down.flush(True)
    for one in (*ups, *downs):
        one.start()
    behind, ahead = (up for up in ups if up.topic.name == "sales")
    for up, ms in ((behind, 1_000), (ahead, 50_000), (ahead, 51_000)):
        up.topic.add(json.dumps({"id": 1, "shop": "a", "ts": at(ms)}).encode())
    if come_back:
        behind.stage.come_back()
        behind.flush(True)
    for up in (ahead, behind):
        up.take(10)
        up.flush(True)
        for down in downs:
            down.take(100)
    return sum(down.stage.late for down in downs)


def test_rows_that_came_while_nobody_read_are_not_late() -> None:
    assert rows_that_are_late(come_back=False) == 1
    assert rows_that_are_late(come_back=True) == 0
